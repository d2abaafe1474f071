//! Where a client is: a label that its node adds to an owner's description.
//!
//! The core does not look into descriptions. Clients agree to write a JSON object of strings ([`labels`]); the node adds
//! [`LABEL`] to it, in place of whatever the client itself calls so, when it takes a lock or a new description.
//! One that is something else, or nothing that can be read, is left as it is. The label counts towards the limit on
//! descriptions.

use std::net::SocketAddr;

use leasehold_client::labels::{self, Labels};
use leasehold_core::wire::ClientItem;
use leasehold_core::{Action, Bytes};

/// The label that holds the address from which the owner acquired the key, or last described itself.
pub(crate) const LABEL: &str = "client_address";

/// Where the client of a connection is.
#[derive(Debug)]
pub(crate) struct Origin {
    address: String,
    /// The description of an owner that says nothing of itself, shared by all of them.
    alone: Bytes,
}

impl Origin {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let address = address.to_string();
        let alone = labels::encode(&Labels::from([(LABEL.to_owned(), address.clone())]));
        Self { address, alone }
    }

    /// Adds the address to the description in a request, if it has one.
    pub(crate) fn sign(&self, item: &mut ClientItem) {
        let ClientItem::Request { request, .. } = item else { return };
        match &mut request.action {
            Action::Lock { meta, .. } | Action::Update { meta: Some(meta), .. } => {
                *meta = self.signed(meta);
            }
            Action::Update { meta: None, .. }
            | Action::Extend { .. }
            | Action::Release { .. }
            | Action::Read
            | Action::WaitHeld
            | Action::WaitReleased => {}
        }
    }

    fn signed(&self, meta: &Bytes) -> Bytes {
        if meta.is_empty() {
            return self.alone.clone();
        }
        let Some(mut labels) = labels::decode(meta) else { return meta.clone() };
        labels.insert(LABEL.to_owned(), self.address.clone());
        labels::encode(&labels)
    }
}

#[cfg(test)]
mod tests {
    use leasehold_core::{KeyRequest, OpId, Owner, Span};

    use super::*;

    fn signed(action: Action) -> Action {
        let origin = Origin::new("10.0.0.7:51234".parse().unwrap());
        let request = KeyRequest { key: "k".into(), patience: Span::ZERO, action };
        let mut item = ClientItem::Request { call: 1, request };
        origin.sign(&mut item);
        let ClientItem::Request { request, .. } = item else { panic!("{item:?}") };
        request.action
    }

    fn update(meta: Option<Bytes>) -> Action {
        Action::Update { id: OpId::default(), owner: Owner::default(), value: "v".into(), meta }
    }

    #[test]
    fn the_address_is_added_and_cannot_be_made_up() {
        let ours = r#"{"client_address":"10.0.0.7:51234"}"#;
        for (meta, expected) in [
            ("", ours),
            (r#"{"client_address":"elsewhere"}"#, ours),
            (r#"{"host":"a"}"#, r#"{"client_address":"10.0.0.7:51234","host":"a"}"#),
            // Not ours to understand.
            ("[1]", "[1]"),
        ] {
            assert_eq!(signed(update(Some(meta.into()))), update(Some(expected.into())));
        }
        assert_eq!(signed(update(None)), update(None));
        assert_eq!(signed(Action::Read), Action::Read);
    }
}
