//! The hybrid clock that ballots are drawn from (protocol, section 3; Kulkarni et al., "Logical Physical Clocks",
//! 2014, has the idea).
//!
//! Invariant: a fresh counter is greater than every counter that this node has sent, seen, or implied by an accept.

use crate::ballot::{Ballot, COUNTER_END};
use crate::time::{Instant, Span};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Clock {
    boot_at: Instant,
    wall_at_boot: u64,
    proposer: u64,
    highest: u64,
}

impl Clock {
    pub(crate) fn new(wall_at_boot: u64, proposer: u64, now: Instant) -> Self {
        // A wall clock beyond what a counter can hold is treated like one that is far behind.
        let wall_at_boot = if wall_at_boot < COUNTER_END / 2 { wall_at_boot } else { 0 };
        Self { boot_at: now, wall_at_boot, proposer, highest: 0 }
    }

    /// Takes note of a counter that somebody used.
    pub(crate) fn observe(&mut self, counter: u64) {
        self.highest = self.highest.max(counter);
    }

    /// The highest counter known here.
    pub(crate) const fn highest(&self) -> u64 {
        self.highest
    }

    /// A ballot that nobody has used.
    pub(crate) fn fresh(&mut self, now: Instant) -> Ballot {
        self.highest = self.reading(now).max(self.highest.saturating_add(1));
        Ballot { counter: self.highest, proposer: self.proposer }
    }

    /// What the clock alone says, in microseconds.
    pub(crate) fn reading(&self, now: Instant) -> u64 {
        self.wall_at_boot.saturating_add(self.elapsed(now).as_micros())
    }

    /// How long this node has been running, by its own clock.
    pub(crate) const fn elapsed(&self, now: Instant) -> Span {
        now.since(self.boot_at)
    }

    /// What the hybrid clock shows: no counter that was heard of is higher.
    pub(crate) fn shows(&self, now: Instant) -> u64 {
        self.reading(now).max(self.highest)
    }

    /// When the clock alone says at least `counter`.
    pub(crate) fn when(&self, counter: u64) -> Instant {
        self.boot_at.after(Span::from_micros(counter.saturating_sub(self.wall_at_boot)))
    }

    /// What tells this boot from others.
    pub(crate) const fn proposer(&self) -> u64 {
        self.proposer
    }
}
