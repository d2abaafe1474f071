//! What masters tell replicas (protocol, section 10).
//!
//! A coordinator's chosen changes wait here for a moment and leave as one batch to every replica. Batches are numbered per
//! sender and boot, so that a replica sees when one is missing; an idle sender repeats its last number every
//! second, so that a lost last batch shows, too. Replicas acknowledge, which is how lag is known.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use crate::ballot::Ballot;
use crate::bytes::Key;
use crate::entry::Entry;
use crate::members::NodeId;
use crate::message::{Accepted, Copied, Feed};
use crate::request::Lag;
use crate::time::{Instant, Span};

/// How long changes wait for others to leave with.
const PUSH_INTERVAL: Span = Span::from_millis(20);
/// How many leave at once, and about how many bytes, without waiting.
const FULL: usize = 1_024;
const FULL_BYTES: usize = 128 << 10;
/// How often an idle sender repeats its last number.
const IDLE_INTERVAL: Span = Span::from_secs(1);
/// The most batches whose acknowledgement is waited for.
const UNACKNOWLEDGED: usize = 4_096;

/// A chosen change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fact {
    pub(crate) key: Key,
    pub(crate) ballot: Ballot,
    pub(crate) entry: Entry,
    pub(crate) expires_at: Instant,
}

/// The changes that this node tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Feeder {
    boot: u64,
    pending: Vec<Fact>,
    bytes: usize,
    push_at: Option<Instant>,
    idle_at: Instant,
    /// The number of the last batch, and how many changes left up to it.
    number: u64,
    told: u64,
    /// Batches that some replica has not acknowledged: number, changes before it, and when it left.
    sent: VecDeque<(u64, u64, Instant)>,
    /// The last batch that each replica has acknowledged.
    replicas: BTreeMap<NodeId, u64>,
}

impl Feeder {
    pub(crate) const fn new(boot: u64, now: Instant) -> Self {
        Self {
            boot,
            pending: Vec::new(),
            bytes: 0,
            push_at: None,
            idle_at: now.after(IDLE_INTERVAL),
            number: 0,
            told: 0,
            sent: VecDeque::new(),
            replicas: BTreeMap::new(),
        }
    }

    /// Tells these replicas from now on.
    pub(crate) fn configure(&mut self, replicas: impl Iterator<Item = NodeId>) {
        let number = self.number;
        let known = core::mem::take(&mut self.replicas);
        let acknowledged = |id| (id, known.get(&id).copied().unwrap_or(number));
        self.replicas = replicas.map(acknowledged).collect();
        if self.replicas.is_empty() {
            self.pending.clear();
            self.sent.clear();
            self.push_at = None;
        }
    }

    /// Whether there is anybody to tell.
    pub(crate) fn has_replicas(&self) -> bool {
        !self.replicas.is_empty()
    }

    /// Takes a change, if there is anybody to tell.
    pub(crate) fn add(&mut self, now: Instant, fact: Fact) {
        if self.replicas.is_empty() {
            return;
        }
        self.bytes += fact.key.len() + fact.entry.held().map_or(0, |held| held.value.len());
        self.pending.push(fact);
        let full = self.pending.len() >= FULL || self.bytes >= FULL_BYTES;
        let push_at = if full { now } else { now.after(PUSH_INTERVAL) };
        self.push_at = Some(self.push_at.map_or(push_at, |at| at.min(push_at)));
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        if self.replicas.is_empty() {
            return None;
        }
        Some(self.push_at.map_or(self.idle_at, |at| at.min(self.idle_at)))
    }

    /// The batch that is due, and for whom.
    #[inline]
    pub(crate) fn tick(&mut self, now: Instant) -> Option<(Vec<NodeId>, Feed)> {
        let due = self.deadline().is_some_and(|at| now >= at);
        due.then(|| self.batch(now))
    }

    fn batch(&mut self, now: Instant) -> (Vec<NodeId>, Feed) {
        self.push_at = None;
        self.idle_at = now.after(IDLE_INTERVAL);
        self.bytes = 0;
        let facts: Vec<Copied> = self.pending.drain(..).map(|fact| fact.copied(now)).collect();
        if !facts.is_empty() {
            self.number += 1;
            self.sent.push_back((self.number, self.told, now));
            self.told += u64::try_from(facts.len()).unwrap_or(0);
            if self.sent.len() > UNACKNOWLEDGED {
                self.sent.pop_front();
            }
        }
        let batch = Feed::Batch { boot: self.boot, number: self.number, facts };
        (self.replicas.keys().copied().collect(), batch)
    }

    /// A replica has all up to this batch.
    pub(crate) fn acknowledged(&mut self, replica: NodeId, boot: u64, number: u64) {
        if boot != self.boot || number > self.number {
            return;
        }
        if let Some(last) = self.replicas.get_mut(&replica) {
            *last = number.max(*last);
        }
        let all = self.replicas.values().copied().min().unwrap_or(0);
        while self.sent.front().is_some_and(|(number, ..)| *number <= all) {
            self.sent.pop_front();
        }
    }

    /// How far each replica is behind.
    pub(crate) fn lags(&self, now: Instant) -> Vec<(NodeId, Lag)> {
        self.replicas.iter().map(|(&replica, &last)| (replica, self.lag(last, now))).collect()
    }

    fn lag(&self, last: u64, now: Instant) -> Lag {
        let oldest = self.sent.iter().find(|(number, ..)| *number > last);
        oldest.map_or_else(Lag::default, |(_, before, at)| Lag {
            entries: self.told - before,
            time: now.since(*at),
        })
    }
}

impl Fact {
    fn copied(self, now: Instant) -> Copied {
        let remaining = self.expires_at.since(now);
        let accepted = Accepted { ballot: self.ballot, entry: self.entry, remaining };
        Copied { key: self.key, promised: self.ballot, accepted }
    }
}

/// What a replica knows of those who tell it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Senders(BTreeMap<NodeId, (u64, u64)>);

impl Senders {
    /// Takes note of a batch. Whether none before it is missing.
    pub(crate) fn batch(&mut self, from: NodeId, boot: u64, number: u64, empty: bool) -> bool {
        let before = self.0.insert(from, (boot, number));
        let Some((_, last)) = before.filter(|(last_boot, _)| *last_boot == boot) else {
            return false;
        };
        if number < last {
            // An old one, late: what it says is known or superseded.
            self.0.insert(from, (boot, last));
            return true;
        }
        number == last || (!empty && number == last + 1)
    }

    /// The link to this node was lost. Whether it was a sender: who knows what else it had to say.
    pub(crate) fn lost(&mut self, sender: NodeId) -> bool {
        self.0.remove(&sender).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_batch_shows() {
        let (mut senders, a) = (Senders::default(), NodeId(1));
        assert!(!senders.batch(a, 7, 4, true), "what was said before is not known");
        assert!(senders.batch(a, 7, 4, true) && senders.batch(a, 7, 5, false));
        assert!(senders.batch(a, 7, 3, false), "a late one changes nothing");
        assert!(!senders.batch(a, 7, 7, false), "6 is missing");
        assert!(!senders.batch(a, 7, 8, true), "8 was lost, as an idle sender shows");
        assert!(!senders.batch(a, 9, 8, true), "another boot");
        assert!(senders.lost(a) && !senders.lost(a));
        assert!(!senders.batch(a, 9, 8, true));
    }
}
