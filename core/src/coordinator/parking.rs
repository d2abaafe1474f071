//! Locks that wait at their key's home for the key to become free (protocol, section 11).
//!
//! First come, first served: whoever is woken and finds the key held goes back to the front.

use super::{Coordinator, Place};
use crate::decide::{Job, Past};
use crate::faults::Rule;
use crate::request::Action;
use crate::slab::Slot;
use crate::time::{Instant, Span};

impl Coordinator {
    /// Whether the task is a lock that is ready to wait for the key.
    pub(super) fn waits(&self, slot: Slot, now: Instant) -> bool {
        match &self.tasks[slot].job {
            Job::Act(Action::Lock { wait, .. }) => now < self.tasks[slot].arrived.after(*wait),
            Job::Act(_) | Job::Settle | Job::GiveUp { .. } => false,
        }
    }

    pub(super) fn park(&mut self, slot: Slot, desk: Slot, now: Instant, first: bool) {
        let task = &mut self.tasks[slot];
        let Job::Act(Action::Lock { wait, .. }) = task.job else { return };
        let end = task.arrived.after(wait).min(task.give_up);
        task.place = Place::Parked(desk);
        task.begun = false;
        task.tries = 0;
        task.past = Past::default();
        task.first_accept = None;
        self.task_timers.set(slot, end);
        let place = &mut self.desks[desk];
        if first {
            place.parked.push_front(slot);
        } else {
            place.parked.push_back(slot);
        }
        let again = place.unpark_at.unwrap_or(now);
        self.desk_timers.set_sooner(desk, again);
    }

    /// When to try for a key that is held for so long, in case that nothing is heard of its release.
    pub(super) fn look_again(&self, now: Instant, held_for: Span) -> Instant {
        now.after(held_for.min(self.timing.op_timeout))
    }

    /// The key may be free: lets the first of those that wait for it try.
    pub(crate) fn wake(&mut self, key: &[u8]) {
        if self.queueing == 0 {
            return;
        }
        if let Some(desk) = self.desks.find(key)
            && self.heir(desk).is_none()
        {
            self.unpark(desk);
        }
    }

    pub(super) fn unpark(&mut self, desk: Slot) {
        let place = &mut self.desks[desk];
        place.unpark_at = None;
        if let Some(slot) = place.parked.pop_front() {
            // A lock whose accept may have taken effect came first, and its fate must stay visible.
            let first = place.queue.front().map(|&first| &self.tasks[first].past);
            let behind = first.is_some_and(|past| past.sent_from.is_some());
            let behind = behind && !Rule::HeirPast.is_out();
            place.queue.insert(usize::from(behind), slot);
            let task = &mut self.tasks[slot];
            task.place = Place::Queue(desk);
            self.task_timers.set(slot, task.give_up);
            self.make_ready(desk);
        }
    }

    /// After a task ended: the next one that waits is tried at once, unless the key is known to be held.
    pub(super) fn unpark_unless_held(&mut self, desk: Slot, now: Instant) {
        let place = &self.desks[desk];
        if place.parked.is_empty() || !place.queue.is_empty() {
            return;
        }
        match place.held_for(now) {
            Some(held_for) => {
                let again = self.look_again(now, held_for);
                self.desks[desk].unpark_at = Some(again);
                self.desk_timers.set_sooner(desk, again);
            }
            None => self.unpark(desk),
        }
    }
}
