//! What time does to records: promises run out, leases end, and what is over goes once it cannot matter any more (protocol,
//! sections 6 and 7).
//!
//! Any number of leases may end at once. So one call looks at a bounded number of records, a few of them together.

use super::{Acceptor, Record, stale_at};
use crate::ballot::Token;
use crate::bytes::Key;
use crate::effect::Event;
use crate::faults::Rule;
use crate::settings::Timing;
use crate::slab::Slot;
use crate::time::{Instant, Span};

/// How long at least an entry that is over is kept before the key's home is asked to settle it.
pub(super) const STALE_AFTER: Span = Span::from_secs(3);
/// Records that are looked at together when their timers fire, so that they are waited for together.
const TOGETHER: usize = 16;
/// Timers that are moved to lower levels of the wheel for each record that may be looked at.
const MOVES_EACH: u32 = 2;
/// The most keys that wait for being settled; further ones go by age.
pub(super) const STALE_QUEUE: usize = 4_096;
/// Leases that may end in a second and be settled all the same: what a node asks for in the time until then.
const CROWD: usize = 4_096;

/// How many leases have ended in the second that began then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Crowd {
    since: Instant,
    ended: usize,
}

impl Crowd {
    pub(super) const fn new(since: Instant) -> Self {
        Self { since, ended: 0 }
    }

    /// Counts one more. Whether its key can be settled before it goes by age.
    fn has_room(&mut self, now: Instant) -> bool {
        if now.since(self.since) >= Span::from_secs(1) {
            *self = Self { since: now, ended: 0 };
        }
        self.ended += 1;
        self.ended <= CROWD
    }
}

impl Acceptor {
    /// Works off what became due, `most` records of it and no more, and tells of leases that ended.
    pub(crate) fn tick(&mut self, now: Instant, most: usize, mut tell: impl FnMut(Event)) {
        let mut moves = u32::try_from(most).unwrap_or(u32::MAX).saturating_mul(MOVES_EACH);
        let mut slots = [0; TOGETHER];
        for _ in 0..most / TOGETHER {
            let mut count = 0;
            for place in &mut slots {
                let Some(slot) = self.timers.pop_within(now, &mut moves) else { break };
                *place = slot;
                count += 1;
            }
            let due = slots.get(..count).unwrap_or_default();
            due.iter().filter_map(|&slot| self.records.get(slot)).for_each(Record::touch);
            due.iter().for_each(|&slot| self.due(now, slot, &mut tell));
            if count < TOGETHER {
                break;
            }
        }
    }

    /// Looks at a record whose timer has fired, and sets it again.
    fn due(&mut self, now: Instant, slot: Slot, tell: &mut impl FnMut(Event)) {
        let Some(record) = self.records.get(slot) else { return };
        let Some(written) = &record.accepted else {
            let promise_ends = record.promised_at.after(self.timing.promise_timeout);
            if record.open && now < promise_ends {
                self.timers.set(slot, promise_ends);
            } else {
                self.remove(slot);
            }
            return;
        };
        if !written.ended && now < written.expires_at {
            return self.timers.set(slot, written.expires_at);
        }
        let (key, token) = (record.key.clone(), written.token);
        let age_from = if Rule::AgeFromPromise.is_out() {
            written.at
        } else {
            written.at.max(record.promised_at)
        };
        let (over, stale_at) = (age_from.after(self.horizon), stale_at(written, &self.timing));
        // Where too many end at once to be settled, the rest go by age, and need not be looked at before.
        let mut reported = now >= stale_at;
        if !written.ended {
            reported |= !self.crowd.has_room(now);
            self.leases -= 1;
            tell(Event::Expired { key, token });
        } else if now >= over && !record.is_open(now, self.timing.promise_timeout) {
            self.remove(slot);
            self.forgotten.by_age += 1;
            return;
        } else if !written.reported && reported && self.stale.len() < STALE_QUEUE {
            self.stale.push_back((key, token));
        }
        let again = now.after(stale_after(&self.timing));
        self.timers.set(slot, if reported { over.max(again) } else { stale_at });
        if let Some(written) = &mut self.records[slot].accepted {
            written.ended = true;
            written.reported |= reported;
        }
    }

    /// A key whose entry is over, to be settled by its home; each at most once.
    pub(crate) fn next_stale(&mut self) -> Option<(Key, Token)> {
        self.stale.pop_front()
    }

    pub(crate) fn has_stale(&self) -> bool {
        !self.stale.is_empty()
    }
}

/// As long as an entry that is over is kept: nobody goes on from it without a vote any more.
pub(super) fn stale_after(timing: &Timing) -> Span {
    STALE_AFTER.max(timing.promise_timeout)
}
