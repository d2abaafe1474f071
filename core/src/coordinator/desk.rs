//! What a desk knows of its key without asking.

use alloc::collections::VecDeque;

use super::{Desk, Phase};
use crate::bytes::Key;
use crate::round::Write;
use crate::settings::Timing;
use crate::time::{Instant, Span};

impl Desk {
    pub(super) const fn new(key: Key, hash: u32) -> Self {
        Self {
            key,
            hash,
            task: None,
            phase: Phase::Rest,
            queue: VecDeque::new(),
            parked: VecDeque::new(),
            unpark_at: None,
        }
    }

    /// How many wait here.
    pub(super) fn crowd(&self) -> usize {
        self.queue.len() + self.parked.len()
    }

    /// The chosen write that the next operation can start from without a vote.
    pub(super) fn base(&self, now: Instant, timing: &Timing) -> Option<&Write> {
        let Phase::Write(write) = &self.phase else { return None };
        let young = now < write.base_until(timing);
        let live = write.entry.held().is_none() || !write.left(now).is_zero();
        (write.chosen && young && live).then_some(write)
    }

    /// How long the key is held yet, as far as this desk knows.
    pub(super) fn held_for(&self, now: Instant) -> Option<Span> {
        let Phase::Write(write) = &self.phase else { return None };
        let held = write.chosen && write.entry.held().is_some() && !write.left(now).is_zero();
        held.then(|| write.left(now))
    }
}

impl Write {
    /// How much longer the masters that accepted keep a held entry, by this node's clock.
    pub(super) fn left(&self, now: Instant) -> Span {
        self.keep.minus(now.since(self.at))
    }

    /// Until when the masters' implied promises are surely honoured.
    pub(super) fn base_until(&self, timing: &Timing) -> Instant {
        self.base.vote_at.after(timing.promise_timeout.split(4).times(3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ballot::{Ballot, Token};
    use crate::bytes::Bytes;
    use crate::entry::{Entry, Held, OpId};
    use crate::round::{Base, Votes};

    const NOW: Instant = Instant::from_micros(50_000_000);
    const KEEP: Span = Span::from_secs(10);

    /// A desk whose last write, for which this vote was sent, was begun a while ago.
    fn desk(chosen: bool, held: bool, begun: Span, voted: Span) -> Desk {
        let (token, last_op) = (Token(5), OpId::default());
        let (value, meta, delay) = ("me".into(), Bytes::EMPTY, Span::ZERO);
        let entry = if held {
            Entry::Held(Held { value, meta, lease: KEEP, delay, token, last_op })
        } else {
            Entry::Free { last_op, token }
        };
        let ago = |span: Span| Instant::from_micros(NOW.as_micros() - span.as_micros());
        let (ballot, sent) = (Ballot { counter: 9, proposer: 1 }, Votes::all(3));
        let base = Base { round: 1, ballot, vote_at: ago(voted), sent, voted: true };
        let votes = Votes::default();
        let mut desk = Desk::new("k".into(), 0);
        desk.phase = Phase::Write(Write {
            base,
            entry,
            keep: KEEP,
            at: ago(begun),
            until: NOW,
            accepted: votes,
            refused: votes,
            verdict: None,
            heir: None,
            precludes_next: false,
            chosen,
            forget_at: None,
            resend_at: NOW,
        });
        desk
    }

    #[test]
    fn what_a_desk_knows_without_asking() {
        let timing = Timing::default();
        let (young, old) = (Span::from_secs(1), timing.promise_timeout);
        for chosen in [false, true] {
            for held in [false, true] {
                for (begun, live) in [(Span::from_secs(1), true), (KEEP, false)] {
                    for voted in [young, old] {
                        let desk = desk(chosen, held, begun, voted);
                        let case = (chosen, held, live, voted);
                        let base = chosen && (live || !held) && voted == young;
                        assert_eq!(desk.base(NOW, &timing).is_some(), base, "{case:?}");
                        let left = (chosen && held && live).then(|| Span::from_secs(9));
                        assert_eq!(desk.held_for(NOW), left, "{case:?}");
                    }
                }
            }
        }
        let rest = Desk::new("k".into(), 0);
        assert_eq!((rest.base(NOW, &timing), rest.held_for(NOW), rest.crowd()), (None, None, 0));
    }
}
