//! One round of a coordinator: a vote on a ballot, then a write at it (protocol, sections 5.1 and 5.3).
//!
//! A round only counts. What follows from the counts is the coordinator's business.

use alloc::vec::Vec;

use crate::ballot::Ballot;
use crate::decide::{Seen, Verdict};
use crate::entry::Entry;
use crate::message::Accepted;
use crate::time::{Instant, Span};

/// A set of masters, by their place in the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Votes(u16);

impl Votes {
    pub(crate) const fn add(&mut self, master: usize) {
        self.0 |= 1 << master;
    }

    pub(crate) const fn has(self, master: usize) -> bool {
        self.0 & (1 << master) != 0
    }

    pub(crate) const fn count(self) -> usize {
        self.0.count_ones() as usize
    }

    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// A master's state as it came, for a vote or a query.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Report {
    pub(crate) accepted: Option<Accepted>,
    pub(crate) floor: Ballot,
    pub(crate) at: Instant,
}

/// What a quorum's reports say together, `now`, when the hybrid clock shows `clock`.
pub(crate) fn sum_up(reports: &[Report], now: Instant, clock: u64) -> Seen {
    let accepted = |report: &Report| report.accepted.as_ref().map(|a| a.ballot);
    let highest = reports.iter().filter_map(accepted).max();
    let remaining = |report: &Report| {
        let accepted = report.accepted.as_ref().filter(|a| Some(a.ballot) == highest)?;
        Some(accepted.remaining.minus(now.since(report.at)))
    };
    let same = reports.iter().all(|report| accepted(report) == highest);
    let best = reports.iter().find(|report| accepted(report) == highest);
    let best = best.and_then(|report| report.accepted.as_ref());
    let remaining_least = reports.iter().filter_map(remaining).min().unwrap_or(Span::ZERO);
    let live = best.is_none_or(|a| a.entry.held().is_none() || !remaining_least.is_zero());
    Seen {
        best: best.map(|a| (a.ballot, a.entry.clone())),
        remaining: remaining_least,
        unanimous: same && live,
        floor: reports.iter().map(|report| report.floor).max().unwrap_or(Ballot::ZERO),
        clock,
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
    pub(crate) reports: Vec<Report>,
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
    pub(crate) verdict: Verdict,
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

    fn report(counter: u64, held: bool, remaining: u64, at: u64) -> Report {
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
        let accepted = Some(Accepted { ballot, entry, remaining });
        Report { accepted, floor: Ballot::ZERO, at: Instant::from_micros(at) }
    }

    fn nothing() -> Report {
        Report { accepted: None, floor: Ballot { counter: 9, proposer: 0 }, at: NOW }
    }

    #[test]
    fn the_highest_ballot_counts_and_of_its_answers_the_shortest() {
        let seen =
            sum_up(&[report(5, true, 900, 1_000_000), report(7, true, 500, 1_000_000)], NOW, 0);
        assert_eq!((seen.best.unwrap().0.counter, seen.remaining.as_micros()), (7, 500));
        assert!(!seen.unanimous);
        // The first has waited for 300 µs here, the second came just now.
        let seen =
            sum_up(&[report(7, true, 500, 999_700), report(7, true, 400, 1_000_000)], NOW, 0);
        assert_eq!(seen.remaining.as_micros(), 200);
        assert!(seen.unanimous);
    }

    #[test]
    fn unanimous_is_live_or_free_or_nothing_at_all() {
        assert!(sum_up(&[nothing(), nothing()], NOW, 0).unanimous);
        assert!(sum_up(&[report(3, false, 0, 0), report(3, false, 0, 0)], NOW, 0).unanimous);
        assert!(!sum_up(&[report(3, false, 0, 0), nothing()], NOW, 0).unanimous);
        assert!(!sum_up(&[report(3, true, 5, 1_000_000), report(3, true, 0, 0)], NOW, 0).unanimous);
        assert_eq!(sum_up(&[nothing(), nothing()], NOW, 0).floor.counter, 9);
    }
}
