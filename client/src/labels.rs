//! Owners' descriptions of themselves: a map of labels, as a JSON object on the wire.
//!
//! The cluster does not look into a description. Clients agree to write a JSON object whose members are all
//! strings, in UTF-8 and with its keys in order, or nothing at all where there are no labels.

use std::collections::BTreeMap;

use leasehold_core::Bytes;

/// What an owner says about itself: host, process, version, anything that helps people.
pub type Labels = BTreeMap<String, String>;

/// The bytes of these labels.
///
/// ```
/// use leasehold_client::labels;
/// let description = labels::encode(&[("host".to_owned(), "a".to_owned())].into());
/// assert_eq!(&description[..], br#"{"host":"a"}"#);
/// ```
#[must_use]
pub fn encode(labels: &Labels) -> Bytes {
    if labels.is_empty() {
        return Bytes::EMPTY;
    }
    // A map of strings always has an encoding.
    serde_json::to_vec(labels).unwrap_or_default().into()
}

/// The labels in these bytes, if that is what they are. No bytes are no labels.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Labels> {
    if bytes.is_empty() { Some(Labels::new()) } else { serde_json::from_slice(bytes).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_back_and_strange_bytes_are_no_labels() {
        let labels = Labels::from([("pid".to_owned(), "7".to_owned())]);
        assert_eq!(decode(&encode(&labels)), Some(labels));
        assert_eq!(decode(&encode(&Labels::new())), Some(Labels::new()));
        for strange in [&b"\xff"[..], b"[1]", b"{\"a\":1}", b"{"] {
            assert_eq!(decode(strange), None);
        }
    }
}
