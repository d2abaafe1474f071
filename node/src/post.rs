//! Mail that this node has handed on and that nobody has said yet what became of.
//!
//! Mail is carried at most once: nothing here sends anything again. Each piece is answered exactly once: by the receipt of
//! whoever was handed it, by the end of the connection or link that it went over, or by time.

// Whose order is the seed's on a simulated network.
#[cfg(madsim)]
use std::collections::HashMap;
use std::collections::VecDeque;

#[cfg(not(madsim))]
use hashbrown::HashMap;
use leasehold_core::{Instant, NodeId, Span};

/// Pieces under way at a time.
const MOST: usize = 1 << 16;
/// After so long nobody knows any more what became of a piece.
const PATIENCE: Span = Span::from_secs(5);

/// Who wants to know what becomes of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// A client of this node, by its name for the request.
    Client { connection: u64, call: u64 },
    /// Another node, by its name for the piece.
    Peer { peer: NodeId, mail: u64 },
}

/// Who was handed a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taker {
    Client(u64),
    Peer(NodeId),
}

/// All mail that is under way.
#[derive(Debug)]
pub(crate) struct PostOffice {
    /// This node's name for the last piece. It starts at random, so that no receipt for an earlier boot fits.
    last: u64,
    pending: HashMap<u64, (Sender, Taker)>,
    by_age: VecDeque<(Instant, u64)>,
}

impl PostOffice {
    pub(crate) fn new(boot: u64) -> Self {
        Self { last: boot, pending: HashMap::new(), by_age: VecDeque::new() }
    }

    /// Names a piece that is handed to `taker`. `None` if there are too many.
    pub(crate) fn take(&mut self, now: Instant, sender: Sender, taker: Taker) -> Option<u64> {
        if self.pending.len() >= MOST || self.by_age.len() >= MOST {
            return None;
        }
        self.last = self.last.wrapping_add(1);
        self.pending.insert(self.last, (sender, taker));
        self.by_age.push_back((now, self.last));
        Some(self.last)
    }

    /// Whom to tell what became of a piece, if `taker` was handed it.
    pub(crate) fn close(&mut self, mail: u64, taker: Taker) -> Option<Sender> {
        let (sender, handed_to) = self.pending.get(&mail)?;
        if *handed_to != taker {
            return None;
        }
        let sender = *sender;
        self.pending.remove(&mail);
        Some(sender)
    }

    /// Whom to tell that nobody knows, because `taker` is gone.
    pub(crate) fn gone(&mut self, taker: Taker) -> Vec<Sender> {
        let taken = self.pending.extract_if(|_, (_, handed_to)| *handed_to == taker);
        taken.map(|(_, (sender, _))| sender).collect()
    }

    /// Whom to tell that nobody knows, because it has been too long.
    pub(crate) fn expired(&mut self, now: Instant) -> Vec<Sender> {
        let mut expired = Vec::new();
        while let Some((at, mail)) = self.by_age.front().copied()
            && now.since(at) > PATIENCE
        {
            self.by_age.pop_front();
            expired.extend(self.pending.remove(&mail).map(|(sender, _)| sender));
        }
        expired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENDER: Sender = Sender::Client { connection: 1, call: 2 };

    #[test]
    fn each_piece_is_answered_once_and_only_by_whoever_was_handed_it() {
        let mut office = PostOffice::new(u64::MAX);
        let now = Instant::default();
        let mail = office.take(now, SENDER, Taker::Client(3)).unwrap();
        assert_eq!(office.close(mail, Taker::Client(4)), None);
        assert_eq!(office.close(mail, Taker::Client(3)), Some(SENDER));
        assert_eq!(office.close(mail, Taker::Client(3)), None);
        assert!(office.gone(Taker::Client(3)).is_empty());
        office.take(now, SENDER, Taker::Client(3)).unwrap();
        office.take(now, SENDER, Taker::Peer(NodeId(3))).unwrap();
        assert_eq!(office.gone(Taker::Client(3)), [SENDER]);
        assert!(office.expired(now.after(PATIENCE)).is_empty());
        assert_eq!(office.expired(now.after(PATIENCE.times(2))), [SENDER]);
        assert!(office.expired(now.after(PATIENCE.times(3))).is_empty());
    }

    #[test]
    fn there_is_a_limit_that_time_lifts() {
        let mut office = PostOffice::new(0);
        let now = Instant::default();
        for _ in 0..MOST {
            office.take(now, SENDER, Taker::Client(3)).unwrap();
        }
        assert_eq!(office.take(now, SENDER, Taker::Client(3)), None);
        assert_eq!(office.expired(now.after(PATIENCE.times(2))).len(), MOST);
        assert!(office.take(now, SENDER, Taker::Client(3)).is_some());
    }
}
