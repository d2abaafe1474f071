//! What gathers for a peer until it leaves in one piece.
//!
//! A bundle leaves at the end of the batch in which something came into it that somebody waits for. What nobody waits for
//! stays until then, or until the next beat: while little is going on, a write of its own for each such thing would be a
//! good part of all that a node writes, and of all that wakes its peers.

use leasehold_core::wire::{Frame, Malformed, PeerItem};
use leasehold_core::{Body, Message, Tell};

/// With so many bytes a bundle leaves in any case.
const ENOUGH: usize = 16 << 10;

/// Items on their way to one peer.
#[derive(Debug, Default)]
pub(crate) struct Bundle {
    frame: Frame,
    /// Whether somebody waits for what is inside.
    urgent: bool,
}

impl Bundle {
    /// Adds an item.
    ///
    /// # Errors
    ///
    /// It fits no frame; nothing was added.
    pub(crate) fn push(&mut self, item: &PeerItem) -> Result<(), Malformed> {
        self.frame.push(item)?;
        self.urgent |= !may_wait(item);
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frame.is_empty()
    }

    /// What is inside has waited long enough.
    pub(crate) fn hurry(&mut self) {
        self.urgent = !self.is_empty();
    }

    /// Whether it shall leave now.
    pub(crate) fn is_due(&self) -> bool {
        self.urgent || self.frame.len() >= ENOUGH
    }

    /// All that is inside, as bytes.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.urgent = false;
        self.frame.take()
    }

    /// Builds the next one in this memory. Only while it is empty.
    pub(crate) fn reuse(&mut self, spare: Vec<u8>) {
        debug_assert!(self.is_empty(), "what is inside would be lost");
        drop(self.frame.swap(spare));
    }
}

/// Nobody waits for a record to be dropped.
const fn may_wait(item: &PeerItem) -> bool {
    matches!(item, PeerItem::Message(Message { body: Body::Tell(Tell::Forget { .. }), .. }))
}

#[cfg(test)]
mod tests {
    use leasehold_core::{Ballot, Epoch};

    use super::*;

    fn forget(key: &'static [u8]) -> PeerItem {
        let body = Body::Tell(Tell::Forget { key: key.into(), ballot: Ballot::default() });
        PeerItem::Message(Message { epoch: Epoch::default(), counter: 0, body })
    }

    #[test]
    fn what_nobody_waits_for_leaves_with_what_somebody_does() {
        let mut bundle = Bundle::default();
        bundle.push(&forget(b"a")).unwrap();
        assert!(!bundle.is_due());
        bundle.push(&PeerItem::Beat).unwrap();
        bundle.push(&forget(b"b")).unwrap();
        assert!(bundle.is_due());
        let mut frame = Frame::default();
        for item in [forget(b"a"), PeerItem::Beat, forget(b"b")] {
            frame.push(&item).unwrap();
        }
        assert_eq!(bundle.take(), frame.take());
        bundle.push(&forget(b"c")).unwrap();
        assert!(!bundle.is_due());
    }

    #[test]
    fn nothing_waits_for_ever_or_in_great_numbers() {
        let mut bundle = Bundle::default();
        bundle.hurry();
        assert!(!bundle.is_due());
        bundle.push(&forget(b"a")).unwrap();
        bundle.hurry();
        assert!(bundle.is_due());
        bundle.take();
        while !bundle.is_due() {
            bundle.push(&forget(b"a")).unwrap();
        }
        assert!((ENOUGH..ENOUGH + 100).contains(&bundle.take().len()));
    }
}
