//! What a desk knows of its key without asking.

use alloc::collections::VecDeque;

use super::{Desk, Phase};
use crate::bytes::Key;
use crate::round::Write;
use crate::settings::Timing;
use crate::time::{Instant, Span};

impl Desk {
    pub(super) const fn new(key: Key) -> Self {
        Self {
            key,
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
