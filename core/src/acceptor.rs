//! The acceptor: what a master has promised and accepted (protocol, sections 4, 5.1, 5.3 and 7).
//!
//! Per key there is a *record*: a promise, which is open while its proposer may turn it into an accept, and what
//! was accepted last. For all keys without a record the *floor* stands: it is at least every promise that was
//! forgotten, so that forgetting never lets a lower ballot in again.
//!
//! Invariants: a record's promise is not below what it accepted; an accept needs this very acceptor's open
//! promise of the same ballot; the floor is not below any promise of a removed record; an entry that was accepted
//! is kept for the horizon after it died, unless all masters agreed to drop it.

#![expect(clippy::indexing_slicing, reason = "slots are kept only while their things are there")]

mod aging;
mod pages;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::hash::{Hash, Hasher};
use core::hint::black_box;

use self::aging::{Crowd, stale_after};
use crate::ballot::{Ballot, Token};
use crate::bytes::{Bytes, Key};
use crate::effect::Event;
use crate::entry::{Entry, Held, OpId};
use crate::faults::Rule;
use crate::hash::Seeded;
use crate::message::{Accepted, Answer, Copied};
use crate::settings::{Settings, Timing};
use crate::slab::{Keyed, Shelf, Slot};
use crate::time::{Instant, Span};
use crate::timers::Wheel;

/// One key at one master. With a million leases it is what memory goes into, and what an operation waits for to come from
/// there: three lines of a cache, side by side, with key and value in them unless they are long.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[repr(align(64))]
struct Record {
    key: Key,
    promised: Ballot,
    promised_at: Instant,
    open: bool,
    accepted: Option<Written>,
}

/// What a record has accepted: an [`Entry`], with what is seldom there put aside.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Written {
    ballot: Ballot,
    at: Instant,
    /// For a held entry; for a free one the same as `at`.
    expires_at: Instant,
    token: Token,
    chain: (u64, u64),
    step: u32,
    held: bool,
    /// Whether the end of the lease was reported, or there was none.
    ended: bool,
    /// Whether the home was asked to settle it.
    reported: bool,
    lease: Span,
    value: Bytes,
    rest: Option<Box<Rest>>,
}

/// What a held entry may have besides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Rest {
    meta: Bytes,
    delay: Span,
}

const _: () = assert!(size_of::<Option<Record>>() <= 192, "three lines of a cache");

impl Keyed for Record {
    fn key(&self) -> &Key {
        &self.key
    }
}

impl Written {
    /// What accepting `entry` at `ballot` leaves until `expires_at`.
    fn new(ballot: Ballot, entry: &Entry, at: Instant, expires_at: Instant) -> Self {
        let OpId { chain, step } = entry.last_op();
        let (token, held) = (entry.token(), entry.held());
        let rest = held.filter(|held| !held.meta.is_empty() || !held.delay.is_zero());
        Self {
            ballot,
            at,
            expires_at,
            token,
            chain,
            step,
            held: held.is_some(),
            ended: held.is_none(),
            reported: false,
            lease: held.map_or(Span::ZERO, |held| held.lease),
            value: held.map_or(Bytes::EMPTY, |held| held.value.clone()),
            rest: rest.map(|held| Box::new(Rest { meta: held.meta.clone(), delay: held.delay })),
        }
    }

    fn entry(&self) -> Entry {
        let last_op = OpId { chain: self.chain, step: self.step };
        if !self.held {
            return Entry::Free { last_op, token: self.token };
        }
        let (meta, delay) = match &self.rest {
            Some(rest) => (rest.meta.clone(), rest.delay),
            None => (Bytes::EMPTY, Span::ZERO),
        };
        let (value, lease, token) = (self.value.clone(), self.lease, self.token);
        Entry::Held(Held { value, meta, lease, delay, token, last_op })
    }

    fn remaining(&self, now: Instant) -> Span {
        if self.held { self.expires_at.since(now) } else { Span::ZERO }
    }

    /// What happened to an ownership that is replaced by another, or by none.
    fn end(&self, key: &Key, now: Instant) -> Event {
        let (key, token) = (key.clone(), self.token);
        if now < self.expires_at {
            Event::Released { key, token }
        } else {
            Event::Expired { key, token }
        }
    }

    fn report(&self, now: Instant) -> Accepted {
        Accepted { ballot: self.ballot, entry: self.entry(), remaining: self.remaining(now) }
    }
}

/// How often records went, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Forgotten {
    pub(crate) by_agreement: u64,
    pub(crate) by_age: u64,
}

/// The acceptor of one master.
#[derive(Clone, Debug)]
pub(crate) struct Acceptor {
    records: Shelf<Record>,
    timers: Wheel,
    floor: Ballot,
    timing: Timing,
    horizon: Span,
    limit: usize,
    /// About how many bytes a part of a snapshot carries.
    part: usize,
    /// Since when it keeps records.
    since: Instant,
    leases: usize,
    /// The highest counter that was taken over from others.
    highest: u64,
    forgotten: Forgotten,
    /// Keys whose entries are over and still here.
    stale: VecDeque<(Key, Token)>,
    crowd: Crowd,
}

/// What it remembers, without counts that only people look at.
impl Hash for Acceptor {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { records, timers, floor, highest, stale, .. } = self;
        (records, timers, floor, highest, stale).hash(state);
    }
}

impl Acceptor {
    pub(crate) fn new(settings: &Settings, seed: (u64, u64), floor: Ballot, now: Instant) -> Self {
        let mut horizon = settings.timing.horizon();
        if Rule::Horizon.is_out() {
            horizon = settings.timing.max_lease;
        }
        Self {
            records: Shelf::new(Seeded(seed)),
            timers: Wheel::new(now),
            floor,
            timing: settings.timing,
            horizon,
            limit: usize::try_from(settings.limits.records).unwrap_or(usize::MAX),
            part: usize::try_from(settings.limits.snapshot_part).unwrap_or(usize::MAX),
            since: now,
            leases: 0,
            highest: 0,
            forgotten: Forgotten::default(),
            stale: VecDeque::new(),
            crowd: Crowd::new(now),
        }
    }

    /// Whether it keeps so much that reading early is worth while.
    pub(crate) fn is_far(&self) -> bool {
        self.records.is_far()
    }

    /// Reads early what votes and writes on keys of these hashes will read.
    pub(crate) fn foresee(&self, hashes: &[u32]) {
        self.records.foresee(hashes, |slot, record| {
            record.touch();
            self.timers.touch(slot);
        });
    }

    /// Answers a `Prepare` about a key of this hash.
    pub(crate) fn prepare(
        &mut self,
        now: Instant,
        (key, hash): (&Key, u32),
        ballot: Ballot,
    ) -> Answer {
        let Some(slot) = self.records.find_hashed(key, hash) else {
            let floor = if Rule::Floor.is_out() { Ballot::ZERO } else { self.floor };
            if ballot.counter <= floor.counter {
                return Answer::NotPromised { ballot, counter: floor.counter };
            }
            if self.records.len() >= self.limit {
                return Answer::Full { ballot };
            }
            self.insert_promised(now, (key, hash), ballot);
            return Answer::Promise { ballot, accepted: None, floor };
        };
        let record = &mut self.records[slot];
        if ballot != record.promised {
            if ballot.counter <= record.promised.counter {
                return Answer::NotPromised { ballot, counter: record.promised.counter };
            }
            record.promised = ballot;
            record.promised_at = now;
            record.open = true;
        }
        let accepted = record.accepted.as_ref().map(|written| written.report(now));
        Answer::Promise { ballot, accepted, floor: self.floor }
    }

    fn insert_promised(&mut self, now: Instant, (key, hash): (&Key, u32), ballot: Ballot) -> Slot {
        let (key, open, accepted) = (key.clone(), true, None);
        let record = Record { key, promised: ballot, promised_at: now, open, accepted };
        let slot = self.records.insert(hash, record);
        self.timers.set(slot, now.after(self.timing.promise_timeout));
        slot
    }

    /// Accepts an entry that is kept for so long, and tells what that changed; or returns the counter that is promised.
    pub(crate) fn accept(
        &mut self,
        now: Instant,
        (key, hash): (&Key, u32),
        ballot: Ballot,
        (entry, keep): (&Entry, Span),
        mut tell: impl FnMut(Event),
    ) -> Result<(), u64> {
        let found = self.records.find_hashed(key, hash);
        let Some(slot) = found.or_else(|| self.record_for_fault(now, (key, hash), ballot)) else {
            return Err(self.floor.counter);
        };
        let record = &mut self.records[slot];
        if record.accepted.as_ref().is_some_and(|written| written.ballot == ballot) {
            return Ok(());
        }
        if !record.honours(ballot, now, self.timing.promise_timeout) {
            return Err(record.promised.counter);
        }
        let looked_at_by = record.looked_at_by(&self.timing);
        record.promised = implied_promise(ballot);
        record.open = true;
        if Rule::ImpliedAge.is_out() {
            record.promised_at = now;
        }
        let (held, token) = (entry.held().is_some(), entry.token());
        let expires_at = if held { now.after(keep) } else { now };
        let mut written = Written::new(ballot, entry, now, expires_at);
        let mut had_lease = false;
        if let Some(before) = &record.accepted {
            let same = before.token == token;
            if !before.ended && (!held || !same) {
                tell(before.end(key, now));
            }
            had_lease = !before.ended;
            // The same mark once more is not reported once more.
            written.reported = !held && before.reported && same;
        }
        self.leases += usize::from(held);
        self.leases -= usize::from(had_lease);
        record.accepted = Some(written);
        let due = if held { expires_at } else { now.after(stale_after(&self.timing)) };
        // The timer is a line of memory of its own, and most of those who extend need not touch it.
        if looked_at_by.is_none_or(|at| due < at) {
            self.timers.set_sooner(slot, due);
        }
        if held {
            tell(Event::Held { key: key.clone(), token });
        }
        Ok(())
    }

    /// With the rule taken out that an accept needs a promise, makes one up.
    fn record_for_fault(&mut self, now: Instant, key: (&Key, u32), ballot: Ballot) -> Option<Slot> {
        (Rule::OwnPromise.is_out() && ballot.counter > self.floor.counter)
            .then(|| self.insert_promised(now, key, ballot))
    }

    /// What was accepted for the key.
    pub(crate) fn accepted(&self, now: Instant, key: &[u8], hash: u32) -> Option<Accepted> {
        let record = &self.records[self.records.find_hashed(key, hash)?];
        record.accepted.as_ref().map(|written| written.report(now))
    }

    /// The entry of the key, if somebody holds it, and how much longer it is kept.
    pub(crate) fn live(&self, now: Instant, key: &[u8]) -> Option<(Entry, Span)> {
        let written = self.records[self.records.find(key)?].accepted.as_ref()?;
        let remaining = written.remaining(now);
        (!remaining.is_zero()).then(|| (written.entry(), remaining))
    }

    /// Whether the key's promise is the one that an accept at `ballot` implied.
    pub(crate) fn implied_by(&self, key: &[u8], hash: u32, ballot: Ballot) -> bool {
        self.records.find_hashed(key, hash).is_some_and(|slot| {
            let record = &self.records[slot];
            record.open && record.promised == implied_promise(ballot)
        })
    }

    /// Closes a promise that will not be used. The bound stays.
    pub(crate) fn abort(&mut self, key: &[u8], ballot: Ballot) {
        let Some(slot) = self.records.find(key) else { return };
        let record = &mut self.records[slot];
        if record.promised == ballot {
            record.open = false;
            if record.accepted.is_none() {
                self.remove(slot);
            }
        }
    }

    /// Drops a record that all masters agreed on, unless something newer has begun.
    pub(crate) fn forget(&mut self, now: Instant, key: &[u8], ballot: Ballot) {
        let Some(slot) = self.records.find(key) else { return };
        let record = &self.records[slot];
        let agreed = record.accepted.as_ref().is_some_and(|written| written.ballot == ballot);
        let idle = !record.is_open(now, self.timing.promise_timeout)
            || record.promised == implied_promise(ballot);
        if agreed && idle {
            self.remove(slot);
            self.forgotten.by_agreement += 1;
        }
    }

    /// Whether time has something to do here.
    #[inline]
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        self.timers.is_due(now)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.timers.deadline()
    }

    fn remove(&mut self, slot: Slot) {
        if let Some(record) = self.records.get(slot) {
            self.timers.clear(slot);
            self.floor = self.floor.max(record.promised);
            let live = record.accepted.as_ref().is_some_and(|written| !written.ended);
            self.leases -= usize::from(live);
            self.records.remove(slot);
        }
    }

    /// Takes over what another node knows of a key, unless something newer is here: of equal ballots the one that
    /// ends first, of promises the highest, closed. Tells what changed for those who watch the key.
    pub(crate) fn absorb(&mut self, now: Instant, copied: Copied, mut tell: impl FnMut(Event)) {
        let Copied { key, promised, accepted } = copied;
        let promised = promised.max(accepted.ballot);
        self.highest = self.highest.max(promised.counter).max(accepted.entry.token().0);
        let hash = self.records.hash(&key);
        let slot = self.records.find_hashed(&key, hash).unwrap_or_else(|| {
            let (key, promised_at, open) = (key.clone(), now, false);
            self.records.insert(hash, Record { key, promised, promised_at, open, accepted: None })
        });
        let record = &mut self.records[slot];
        record.promised = record.promised.max(promised);
        record.promised_at = now;
        let live = accepted.entry.held().is_some() && !accepted.remaining.is_zero();
        let expires_at = if live { now.after(accepted.remaining) } else { now };
        let token = accepted.entry.token();
        let mut was_live = false;
        match &mut record.accepted {
            Some(written) if written.ballot > accepted.ballot => return,
            Some(written) if written.ballot == accepted.ballot => {
                written.expires_at = written.expires_at.min(expires_at);
                self.timers.set_sooner(slot, expires_at);
                return;
            }
            before => {
                if let Some(ended) = before.as_ref().filter(|written| !written.ended) {
                    was_live = true;
                    if !live || ended.token != token {
                        tell(ended.end(&key, now));
                    }
                }
                let mut written = Written::new(accepted.ballot, &accepted.entry, now, expires_at);
                written.ended = !live;
                *before = Some(written);
            }
        }
        self.leases += usize::from(live);
        self.leases -= usize::from(was_live);
        self.timers.set_sooner(slot, expires_at);
        if live {
            tell(Event::Held { key, token });
        }
    }

    /// Promises nothing up to `floor` for keys without a record.
    pub(crate) fn raise_floor(&mut self, floor: Ballot) {
        self.floor = self.floor.max(floor);
    }

    pub(crate) const fn floor(&self) -> Ballot {
        self.floor
    }

    /// The highest counter of all that was taken over from others, and of the floor.
    pub(crate) fn highest(&self) -> u64 {
        self.highest.max(self.floor.counter)
    }

    pub(crate) fn records(&self) -> usize {
        self.records.len()
    }

    pub(crate) const fn leases(&self) -> usize {
        self.leases
    }

    pub(crate) const fn forgotten(&self) -> Forgotten {
        self.forgotten
    }

    /// Panics if an invariant is broken. Walks all records.
    pub(crate) fn check(&self, ceiling: u64) {
        let mut leases = 0;
        for (slot, record) in self.records.iter() {
            assert_eq!(self.records.find(&record.key), Some(slot), "the index finds every record");
            assert!(record.promised.counter <= ceiling, "nothing promised above the ceiling");
            let fires = self.timers.fires_by(slot, record.looked_at_by(&self.timing));
            assert!(fires, "every record is looked at, in time");
            if let Some(written) = &record.accepted {
                assert!(record.promised >= written.ballot, "a promise is not below its accept");
                leases += usize::from(!written.ended);
            } else {
                assert!(record.open, "a closed promise alone is not kept");
            }
        }
        assert_eq!(leases, self.leases, "leases are counted");
    }
}

/// What accepting at `ballot` promises along with it.
fn implied_promise(ballot: Ballot) -> Ballot {
    if Rule::ImpliedPromise.is_out() { ballot } else { ballot.next() }
}

/// When the home is asked to settle this.
fn stale_at(written: &Written, timing: &Timing) -> Instant {
    written.expires_at.max(written.at).after(stale_after(timing))
}

impl Record {
    /// Reads something on each of its lines.
    #[inline]
    fn touch(&self) {
        black_box((self.promised.counter, self.key.first(), self.open));
        if let Some(written) = &self.accepted {
            black_box((written.ballot.counter, written.value.first(), written.lease));
        }
    }

    /// When its timer fires at the latest, as far as the record itself tells.
    fn looked_at_by(&self, timing: &Timing) -> Option<Instant> {
        match &self.accepted {
            None => Some(self.promised_at.after(timing.promise_timeout)),
            Some(written) if !written.ended => Some(written.expires_at),
            Some(written) if !written.reported => Some(stale_at(written, timing)),
            Some(_) => None,
        }
    }

    fn is_open(&self, now: Instant, promise_timeout: Span) -> bool {
        self.open && now < self.promised_at.after(promise_timeout)
    }

    /// Whether an accept at `ballot` may be taken now.
    fn honours(&self, ballot: Ballot, now: Instant, promise_timeout: Span) -> bool {
        if Rule::OwnPromise.is_out() && ballot > self.promised {
            return true;
        }
        let implied = self.accepted.as_ref().filter(|written| written.ballot.next() == ballot);
        let lowered = Rule::ImpliedPromise.is_out()
            && implied.is_some_and(|written| written.ballot == self.promised);
        if (self.promised != ballot && !lowered) || !self.is_open(now, promise_timeout) {
            return false;
        }
        match implied {
            Some(written) => !written.held || now < written.expires_at,
            None => true,
        }
    }
}
