//! Shared byte strings: keys, values and owners' descriptions.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::ops::Deref;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest string that is kept in place, so that usual keys and values need no memory of their own.
const SHORT: usize = 38;

/// An immutable byte string that is cheap to clone. Short ones do not allocate, long ones are shared.
#[derive(Clone)]
pub struct Bytes(Kept);

/// The name that a lease is about.
pub type Key = Bytes;

#[derive(Clone)]
enum Kept {
    Short { len: u8, bytes: [u8; SHORT] },
    Long(Arc<[u8]>),
}

impl Bytes {
    /// The empty string.
    pub const EMPTY: Self = Self(Kept::Short { len: 0, bytes: [0; SHORT] });
}

impl Deref for Bytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Kept::Short { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Kept::Long(bytes) => bytes,
        }
    }
}

impl Default for Bytes {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Bytes {}

impl PartialOrd for Bytes {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Bytes {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl Hash for Bytes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl core::borrow::Borrow<[u8]> for Bytes {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        let mut short = [0; SHORT];
        match (short.get_mut(..bytes.len()), u8::try_from(bytes.len())) {
            (Some(place), Ok(len)) => {
                place.copy_from_slice(bytes);
                Self(Kept::Short { len, bytes: short })
            }
            (None, _) | (_, Err(_)) => Self(Kept::Long(Arc::from(bytes))),
        }
    }
}

impl From<&str> for Bytes {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl From<String> for Bytes {
    fn from(text: String) -> Self {
        text.as_bytes().into()
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        bytes.as_slice().into()
    }
}

/// As text, with what is not printable ASCII escaped.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.escape_ascii())
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.escape_ascii())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Slice;
        impl Visitor<'_> for Slice {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            // The input's own slice: its length was checked against the input before anything is allocated.
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(bytes.into())
            }
        }
        deserializer.deserialize_bytes(Slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_all_lengths_are_what_they_were_made_of() {
        let text: Vec<u8> = (0..=255).collect();
        for len in 0..text.len() {
            let (one, other) = (Bytes::from(&text[..len]), Bytes::from(&text[1..=len.max(1)]));
            assert_eq!(*one, text[..len]);
            assert_eq!(one.clone(), one);
            // Ordered and told apart by what they say, however they are kept.
            assert!(one < Bytes::from(&text[..=len]), "{len}");
            assert_eq!(one.cmp(&other), text[..len].cmp(&text[1..=len.max(1)]));
            assert_eq!(matches!(one.0, Kept::Short { .. }), len <= SHORT);
        }
        assert_eq!((Bytes::default(), size_of::<Bytes>()), (Bytes::EMPTY, 40));
    }
}
