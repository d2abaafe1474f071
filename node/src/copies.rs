//! Two nodes that are one: a data directory that was copied.
//!
//! The node file says which incarnation a node is, and what it may have promised. Two processes that start from copies of
//! one file both vote in its name, and know nothing of each other's promises: of two quorums that have that name in common
//! none may have a node in common. Each start of a node has a *boot* of its own, so the others can tell: a node that was
//! restarted is heard under one boot and then under another, a copy under both at the same time. Neither gets a link
//! then, and both are told why, until only one has been heard for a while.

use std::collections::BTreeMap;

use leasehold_core::wire::PeerHello;
use leasehold_core::{Instant, NodeId, Span};

/// Two boots that were both heard for so long are of two processes. Of one that ended, what it had sent before may still
/// be on its way in when the next one is there.
const OVERLAP: Span = Span::from_secs(1);
/// A boot that was not heard for so long is over. One that is refused dials again every two seconds.
const OVER: Span = Span::from_secs(10);
/// Boots of one node that are told apart.
const BOOTS: usize = 8;

/// The boots of each node that were heard lately.
#[derive(Debug, Default)]
pub(crate) struct Copies(BTreeMap<NodeId, Vec<Boot>>);

#[derive(Debug)]
struct Boot {
    boot: u64,
    place: String,
    first: Instant,
    last: Instant,
}

impl Copies {
    /// A node was heard, at this place. Whether another one of the same incarnation is there as well, in words for the logs
    /// of all.
    pub(crate) fn heard(&mut self, now: Instant, hello: &PeerHello, place: &str) -> Option<String> {
        self.0.retain(|_, boots| {
            boots.retain(|boot| now.since(boot.last) < OVER);
            !boots.is_empty()
        });
        let boots = self.0.entry(hello.member.id).or_default();
        if let Some(boot) = boots.iter_mut().find(|boot| boot.boot == hello.boot) {
            boot.last = now;
            place.clone_into(&mut boot.place);
        } else if boots.len() < BOOTS {
            let place = place.to_owned();
            boots.push(Boot { boot: hello.boot, place, first: now, last: now });
        }
        let own = boots.iter().find(|boot| boot.boot == hello.boot)?;
        let at_once = |other: &&Boot| {
            let both = own.last.min(other.last).since(own.first.max(other.first));
            other.boot != own.boot && both > OVERLAP
        };
        let other = boots.iter().find(at_once)?;
        let (mut one, mut two) = (own, other);
        if two.place < one.place {
            (one, two) = (two, one);
        }
        Some(format!(
            "the data directory of `{}` (incarnation {:016x}) is in use twice, at {} and at {}: a copy votes in the name of \
             the original; stop one of them, and start it again only with a data directory of its own",
            hello.member.name, hello.member.id.0, one.place, two.place
        ))
    }
}

#[cfg(test)]
mod tests {
    use leasehold_core::wire::VERSIONS;
    use leasehold_core::{Member, Timing};

    use super::*;

    fn hello(boot: u64) -> PeerHello {
        let member = Member { id: NodeId(7), name: "c".into(), ..Member::default() };
        let mut identity =
            crate::handshake::Identity::new("blue".into(), member, boot, Timing::default());
        identity.versions = VERSIONS;
        identity.hello()
    }

    fn at(millis: u64) -> Instant {
        Instant::default().after(Span::from_millis(millis))
    }

    #[test]
    fn a_restart_is_no_copy() {
        let mut copies = Copies::default();
        for millis in [0, 500, 1_000] {
            assert_eq!(copies.heard(at(millis), &hello(1), "x"), None);
        }
        // What the first had sent is read after the second has come.
        assert_eq!(copies.heard(at(1_500), &hello(2), "x"), None);
        assert_eq!(copies.heard(at(1_600), &hello(1), "x"), None);
        for millis in [2_000, 4_000, 30_000] {
            assert_eq!(copies.heard(at(millis), &hello(2), "x"), None);
        }
    }

    #[test]
    fn two_that_are_heard_for_a_while_are_named_until_one_is_gone() {
        let mut copies = Copies::default();
        assert_eq!(copies.heard(at(0), &hello(1), "x"), None);
        assert_eq!(copies.heard(at(1_000), &hello(2), "y"), None);
        assert_eq!(copies.heard(at(2_500), &hello(1), "x"), None);
        let why = copies.heard(at(3_000), &hello(2), "y").unwrap();
        assert!(why.contains("`c`") && why.contains("at x and at y"), "{why}");
        assert_eq!(copies.heard(at(3_500), &hello(1), "x"), Some(why));
        assert!(copies.heard(at(9_000), &hello(2), "y").is_some());
        assert_eq!(copies.heard(at(14_000), &hello(2), "y"), None);
    }
}
