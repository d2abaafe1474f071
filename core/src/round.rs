//! One round of a coordinator: a vote on a ballot, then a write at it (protocol, sections 5.1 and 5.3).
//!
//! A round only counts. What follows from the counts is the coordinator's business.

use crate::ballot::Ballot;
use crate::decide::{Pending, Seen};
use crate::entry::Entry;
use crate::message::Accepted;
use crate::slab::Slot;
use crate::time::{Instant, Span};

/// A set of masters, by their place in the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Votes(u16);

impl Votes {
    pub(crate) const fn add(&mut self, master: usize) {
        self.0 |= 1 << master;
    }

    pub(crate) const fn one(master: usize) -> Self {
        Self(1 << master)
    }

    /// The first `masters` of them.
    pub(crate) const fn all(masters: usize) -> Self {
        Self(if masters < 16 { (1 << masters) - 1 } else { u16::MAX })
    }

    pub(crate) const fn has(self, master: usize) -> bool {
        self.0 & (1 << master) != 0
    }

    pub(crate) const fn count(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Their places, the first one first.
    pub(crate) fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        core::iter::from_fn(move || {
            let master = left.trailing_zeros();
            left &= left.checked_sub(1)?;
            Some(master as usize)
        })
    }

    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// What masters say of a key, added up as it comes, for a vote or a query.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Summary {
    heard: bool,
    /// What was accepted at the highest ballot.
    best: Option<(Ballot, Entry)>,
    /// Until when the first of those that hold it keep it.
    until: Instant,
    /// Whether all that were heard hold the same.
    same: bool,
    floor: Ballot,
}

impl Summary {
    pub(crate) const fn new() -> Self {
        let until = Instant::from_micros(0);
        Self { heard: false, best: None, until, same: true, floor: Ballot::ZERO }
    }

    /// Adds what a master says, which came `now`.
    pub(crate) fn add(&mut self, now: Instant, accepted: Option<&Accepted>, floor: Ballot) {
        self.floor = self.floor.max(floor);
        let (highest, ballot) = (self.best.as_ref().map(|best| best.0), accepted.map(|a| a.ballot));
        self.same &= !self.heard || ballot == highest;
        self.heard = true;
        let Some(accepted) = accepted.filter(|_| ballot >= highest) else { return };
        let until = now.after(accepted.remaining);
        if ballot == highest {
            self.until = self.until.min(until);
        } else {
            self.best = Some((accepted.ballot, accepted.entry.clone()));
            self.until = until;
        }
    }

    /// What all that were heard say together, `now`, when the hybrid clock shows `clock`.
    pub(crate) fn seen(&self, now: Instant, clock: u64) -> Seen<'_> {
        let best = self.best.as_ref().map(|(ballot, entry)| (*ballot, entry));
        let remaining = if best.is_some() { self.until.since(now) } else { Span::ZERO };
        let live = best.is_none_or(|(_, entry)| entry.held().is_none() || !remaining.is_zero());
        let unanimous = self.same && live;
        Seen { best, remaining, unanimous, chosen: unanimous, floor: self.floor, clock }
    }
}

/// A vote under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Vote {
    pub(crate) round: u64,
    pub(crate) ballot: Ballot,
    /// When the first `Prepare` was sent.
    pub(crate) at: Instant,
    pub(crate) promised: Votes,
    pub(crate) summary: Summary,
    pub(crate) denied: Votes,
    /// Masters that have no room for another key.
    pub(crate) full: Votes,
    pub(crate) resend_at: Instant,
}

/// What entitles a coordinator to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Base {
    pub(crate) round: u64,
    pub(crate) ballot: Ballot,
    /// When the vote was sent from which the ballot descends.
    pub(crate) vote_at: Instant,
    /// Masters that the accept goes to: they promised the ballot, or implied it.
    pub(crate) sent: Votes,
    /// Whether the ballot itself was voted on. Masters that have not answered may still be asked.
    pub(crate) voted: bool,
}

/// A write under way, or chosen: then it is where the next operation may start from in one round trip.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Write {
    pub(crate) base: Base,
    pub(crate) entry: Entry,
    pub(crate) keep: Span,
    /// Before the first `Accept` was sent: what is kept for `keep` was kept from here on at the earliest.
    pub(crate) at: Instant,
    /// Past this nothing is sent or counted.
    pub(crate) until: Instant,
    pub(crate) accepted: Votes,
    pub(crate) refused: Votes,
    /// What its caller is told once it is chosen; with none, the task goes on from there.
    pub(crate) verdict: Option<Pending>,
    /// A lock that waited and is granted by the same write as its caller's release.
    pub(crate) heir: Option<Slot>,
    /// The vote found nothing as high as the accept that the first task in the queue has sent.
    pub(crate) precludes_next: bool,
    pub(crate) chosen: bool,
    /// When the masters are told to forget it, once all of them hold a mark.
    pub(crate) forget_at: Option<Instant>,
    pub(crate) resend_at: Instant,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ballot::Token;
    use crate::entry::{Held, OpId};

    const NOW: Instant = Instant::from_micros(1_000_000);

    fn report(counter: u64, held: bool, remaining: u64) -> Accepted {
        let (token, last_op) = (Token(counter), OpId::default());
        let entry = if held {
            Entry::Held(Held {
                value: "v".into(),
                meta: "".into(),
                lease: Span::from_secs(1),
                delay: Span::ZERO,
                token,
                last_op,
            })
        } else {
            Entry::Free { last_op, token }
        };
        let (ballot, remaining) = (Ballot { counter, proposer: 1 }, Span::from_micros(remaining));
        Accepted { ballot, entry, remaining }
    }

    /// What was heard, and how many microseconds before `NOW`.
    fn sum_up(reports: &[(u64, Option<Accepted>)]) -> Summary {
        let mut summary = Summary::new();
        for (before, accepted) in reports {
            let at = Instant::from_micros(NOW.as_micros() - before);
            summary.add(at, accepted.as_ref(), Ballot { counter: 9, proposer: 0 });
        }
        summary
    }

    #[test]
    fn a_set_of_masters_has_the_places_that_were_put_in() {
        for masters in 0..=16 {
            let all = Votes::all(masters);
            assert_eq!(all.count(), masters);
            assert!(all.iter().eq(0..masters));
        }
        let mut votes = Votes::one(3);
        votes.add(3);
        votes.add(9);
        assert!(votes.iter().eq([3, 9]) && votes.has(9) && !votes.has(4));
        let rest = votes.without(Votes::all(5));
        assert!(rest.iter().eq([9]) && rest.without(rest) == Votes::default());
    }

    #[test]
    fn the_highest_ballot_counts_and_of_its_answers_the_shortest() {
        let (low, high) = (report(5, true, 900), report(7, true, 500));
        for reports in [[low.clone(), high.clone()], [high, low]] {
            let summary = sum_up(&reports.map(|report| (0, Some(report))));
            let seen = summary.seen(NOW, 0);
            assert_eq!((seen.best.unwrap().0.counter, seen.remaining.as_micros()), (7, 500));
            assert!(!seen.unanimous);
        }
        // The first has waited for 300 µs here, the second came just now.
        let summary = sum_up(&[(300, Some(report(7, true, 500))), (0, Some(report(7, true, 400)))]);
        let seen = summary.seen(NOW, 0);
        assert_eq!((seen.remaining.as_micros(), seen.unanimous), (200, true));
    }

    #[test]
    fn unanimous_is_live_or_free_or_nothing_at_all() {
        let unanimous = |reports: [Option<Accepted>; 2]| {
            sum_up(&reports.map(|report| (0, report))).seen(NOW, 0).unanimous
        };
        assert!(unanimous([None, None]));
        assert!(unanimous([Some(report(3, false, 0)), Some(report(3, false, 0))]));
        assert!(!unanimous([Some(report(3, false, 0)), None]));
        assert!(!unanimous([None, Some(report(3, false, 0))]));
        assert!(!unanimous([Some(report(3, true, 5)), Some(report(3, true, 0))]));
        assert_eq!(sum_up(&[(0, None), (0, None)]).seen(NOW, 0).floor.counter, 9);
    }
}
