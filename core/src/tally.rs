//! What a coordinator counts for those who watch it: how long its rounds took, what masters answered, and how much of
//! a lease was left when it was extended.
//!
//! Numbers only, in place, so that counting costs an addition. Nothing here decides anything.

use crate::message::Answer;
use crate::time::Span;

/// Counts how many of what was measured were at most each bound, and sums all of it up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread {
    bounds: &'static [u64],
    /// One for each bound, and one for what is above all of them.
    counts: [u64; Spread::MOST + 1],
    sum: u64,
}

impl Spread {
    /// The most bounds there may be.
    pub const MOST: usize = 14;

    /// Spans in microseconds, from what a round takes within a rack to what one takes that was sent again.
    pub const SPANS: &'static [u64] = &[
        100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
        1_000_000, 2_500_000,
    ];

    /// Parts of a thousand.
    pub const PARTS: &'static [u64] =
        &[0, 50, 100, 150, 200, 250, 300, 400, 500, 600, 700, 800, 900, 1_000];

    const fn new(bounds: &'static [u64]) -> Self {
        Self { bounds, counts: [0; Self::MOST + 1], sum: 0 }
    }

    fn add(&mut self, measured: u64) {
        let place = self.bounds.iter().position(|bound| measured <= *bound);
        if let Some(count) = self.counts.get_mut(place.unwrap_or(self.bounds.len())) {
            *count += 1;
        }
        self.sum = self.sum.saturating_add(measured);
    }

    /// The bounds, and how many were above the one before and at most this one; last those above all, as `u64::MAX`.
    pub fn counts(&self) -> impl Iterator<Item = (u64, u64)> {
        let bounds = self.bounds.iter().copied().chain([u64::MAX]);
        bounds.zip(self.counts)
    }

    /// All that was measured, added up.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.sum
    }
}

/// What masters answered to this node's rounds, this node included where it is one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VoteCounts {
    /// Promises.
    pub promised: u64,
    /// Refused promises: a higher ballot was promised before.
    pub not_promised: u64,
    /// Refused promises for want of room for another key.
    pub full: u64,
    /// Accepts.
    pub accepted: u64,
    /// Refused accepts.
    pub not_accepted: u64,
    /// Answers to reads.
    pub read: u64,
    /// Masters that do not vote yet.
    pub joining: u64,
}

/// What a coordinator has counted since its node started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// From the first `Prepare` of a vote to its quorum, in microseconds.
    pub prepare: Spread,
    /// From the first `Accept` of a write to its quorum, in microseconds.
    pub accept: Spread,
    /// From the question of a read to a quorum of answers, in microseconds.
    pub query: Spread,
    /// What was left of leases when they were extended, in thousandths of them.
    pub renew_margin: Spread,
    /// What masters answered.
    pub votes: VoteCounts,
    /// Writes that were to release a key and grant it to the next lock in one, and were given up before they were chosen.
    pub handoffs_split: u64,
}

impl Tally {
    pub(crate) const fn new() -> Self {
        Self {
            prepare: Spread::new(Spread::SPANS),
            accept: Spread::new(Spread::SPANS),
            query: Spread::new(Spread::SPANS),
            renew_margin: Spread::new(Spread::PARTS),
            votes: VoteCounts {
                promised: 0,
                not_promised: 0,
                full: 0,
                accepted: 0,
                not_accepted: 0,
                read: 0,
                joining: 0,
            },
            handoffs_split: 0,
        }
    }

    pub(crate) fn prepared(&mut self, took: Span) {
        self.prepare.add(took.as_micros());
    }

    pub(crate) fn accepted(&mut self, took: Span) {
        self.accept.add(took.as_micros());
    }

    pub(crate) fn queried(&mut self, took: Span) {
        self.query.add(took.as_micros());
    }

    /// A lease of this length is extended while so much of it is left.
    pub(crate) fn renewed(&mut self, left: Span, lease: Span) {
        let part = left.times(1_000).as_micros().checked_div(lease.as_micros());
        self.renew_margin.add(part.unwrap_or(0));
    }

    pub(crate) const fn answered(&mut self, answer: &Answer) {
        let count = match answer {
            Answer::Promise { .. } => &mut self.votes.promised,
            Answer::NotPromised { .. } => &mut self.votes.not_promised,
            Answer::Full { .. } => &mut self.votes.full,
            Answer::Accepted { .. } => &mut self.votes.accepted,
            Answer::NotAccepted { .. } => &mut self.votes.not_accepted,
            Answer::Has { .. } => &mut self.votes.read,
            Answer::Joining => &mut self.votes.joining,
        };
        *count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_counts_at_the_first_bound_that_holds_it() {
        assert!(Spread::SPANS.len() <= Spread::MOST && Spread::PARTS.len() <= Spread::MOST);
        let mut tally = Tally::new();
        for micros in [0, 100, 101, 2_500_000, 2_500_001, u64::MAX] {
            tally.prepared(Span::from_micros(micros));
        }
        let counted = |spread: &Spread| -> alloc::vec::Vec<(u64, u64)> {
            spread.counts().filter(|(_, count)| *count > 0).collect()
        };
        assert_eq!(counted(&tally.prepare), [(100, 2), (250, 1), (2_500_000, 1), (u64::MAX, 2)]);
        tally.renewed(Span::from_secs(20), Span::from_secs(30));
        tally.renewed(Span::from_secs(30), Span::from_secs(30));
        tally.renewed(Span::from_secs(31), Span::from_secs(30));
        assert_eq!(counted(&tally.renew_margin), [(700, 1), (1_000, 1), (u64::MAX, 1)]);
        assert_eq!(tally.renew_margin.sum(), 666 + 1_000 + 1_033);
    }
}
