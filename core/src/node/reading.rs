//! What a node shows: local reads, listings, who waits, and how it is. Nothing here asks anybody or changes anything.

use alloc::vec::Vec;

use super::Node;
use crate::acceptor::Acceptor;
use crate::bytes::Key;
use crate::decide::describe;
use crate::entry::{Entry, Held};
use crate::hash::{self, Seeded};
use crate::request::{Holder, Status};
use crate::tally::Tally;
use crate::time::{Instant, Span};
use crate::view::{Cursor, Page, Waiting};

/// About how many bytes the waiters that are shown at once take.
const WAITING_BYTES: usize = 128 << 10;

/// A local record, as it stands here and now: it may be stale, or not agreed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// What was accepted here.
    pub entry: Entry,
    /// How much longer this node keeps it; zero if it is dead or free.
    pub remaining: Span,
}

/// Keys that are looked ahead for at once: more reads of far memory than a processor has under way at a time.
const AHEAD: usize = 32;

impl Node {
    /// Looks ahead: a driver that has several inputs at hand may say, before it hands them in one by one, which keys they are
    /// about. What they will read of far memory is read now, and waited for together instead of one after the other. Changes
    /// nothing, and costs next to nothing where all of it is near.
    pub fn foresee<'a>(&self, keys: impl IntoIterator<Item = &'a Key>) {
        if !self.acceptor.is_far() {
            return;
        }
        let (seed, mut keys) = (Seeded(self.seed), keys.into_iter().fuse());
        loop {
            let mut hashes = [0; AHEAD];
            let mut count = 0;
            for (hash, key) in hashes.iter_mut().zip(keys.by_ref()) {
                *hash = seed.of(key);
                count += 1;
            }
            let hashes = hashes.get(..count).unwrap_or_default();
            self.acceptor.foresee(hashes);
            self.coordinator.foresee(hashes);
            if count < AHEAD {
                break;
            }
        }
    }

    /// The local record of `key`, if one is held here: the local read.
    #[must_use]
    pub fn peek(&self, now: Instant, key: &[u8]) -> Option<View> {
        let (entry, remaining) = self.kept().live(now.max(self.now), key)?;
        Some(View { entry, remaining })
    }

    /// Who holds `key` by the local record.
    #[must_use]
    pub fn holder(&self, now: Instant, key: &[u8]) -> Option<Holder> {
        let view = self.peek(now, key)?;
        Some(describe(view.entry.held()?, view.remaining, self.clock.shows(now.max(self.now))))
    }

    /// A page of the keys that start with `prefix` and are held by the local records: `most` of them, or fewer. Each
    /// call does a bounded amount of work, even where nothing matches, and none walks all records; going on from
    /// `next` until there is none does. `None` if `from` is no place in these records, which others have replaced since, or
    /// which are another node's: start anew.
    ///
    /// A replica lists what it has learned, a node that does not vote yet what little it has.
    #[must_use]
    pub fn list(&self, now: Instant, prefix: &[u8], from: Cursor, most: usize) -> Option<Page> {
        let (now, records) = (now.max(self.now), self.records_name());
        if from != Cursor::START && from.records != records {
            return None;
        }
        let (held, next) = self.kept().page(now, prefix, from.place, most);
        let clock = self.clock.shows(now);
        let holder = |(key, held, remaining): (&Key, Held, _)| {
            (key.clone(), describe(&held, remaining, clock))
        };
        let holders = held.into_iter().map(holder).collect();
        Some(Page { holders, next: next.map(|place| Cursor { records, place }) })
    }

    /// Who waits for `key` here: locks in its queue, if this node is its home, and waits on the local record. Shows the
    /// first `most` of them.
    #[must_use]
    pub fn waiting(&self, now: Instant, key: &[u8], most: usize) -> Waiting {
        let now = now.max(self.now);
        let mut waiting = Waiting::default();
        let mut bytes = 0;
        for waiter in self.coordinator.waiting(now, key).chain(self.waiters.waiting(now, key)) {
            waiting.all += 1;
            bytes += waiter.value.len() + waiter.meta.len();
            if waiting.first.len() < most && bytes <= WAITING_BYTES {
                waiting.first.push(waiter);
            }
        }
        waiting
    }

    /// What this node knows of itself and its peers.
    #[must_use]
    pub fn status(&self, now: Instant) -> Status {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let (forgotten_by_agreement, forgotten_by_age) = self.forgotten();
        Status {
            id: self.peers.me,
            standing: self.standing(),
            active_in: self.sync.active_in(now),
            uptime: self.clock.elapsed(now),
            cluster: self.disk.file().cluster,
            epoch: self.peers.epoch(),
            changing: self.membership.is_changing(),
            members: self.peers.list(self.standing()),
            heard: self.peers.heard_of(now, |peer| self.rates.ppm(now, peer)),
            lags: self.feeder.lags(now),
            leases: count(self.acceptor.leases() + self.learned.leases()),
            records: count(self.records()),
            operations: count(self.coordinator.operations() + self.relays.len()),
            queued: count(self.coordinator.queueing()),
            waiters: count(self.waiters.len()),
            forgotten_by_agreement,
            forgotten_by_age,
            troubles: Vec::new(),
        }
    }

    /// What this node counted as a coordinator.
    #[must_use]
    pub const fn tally(&self) -> &Tally {
        self.coordinator.tally()
    }

    /// Records of any kind kept here, promises alone included.
    #[must_use]
    pub fn records(&self) -> usize {
        self.acceptor.records() + self.learned.records()
    }

    /// Records that went: by agreement of all masters, and by age.
    #[must_use]
    pub const fn forgotten(&self) -> (u64, u64) {
        let forgotten = self.acceptor.forgotten();
        (forgotten.by_agreement, forgotten.by_age)
    }

    /// The records that local reads are about.
    const fn kept(&self) -> &Acceptor {
        if self.sync.learns() { &self.learned } else { &self.acceptor }
    }

    /// Tells these records from all that stood or will stand in their place, here or elsewhere.
    fn records_name(&self) -> u64 {
        let learned = u8::from(self.sync.learns());
        let since = self.kept().since().as_micros().to_le_bytes();
        // Never zero, which is where listings start.
        hash::keyed((self.clock.proposer(), 0), &[&since, &[learned]]) | 1
    }
}
