//! Who waits at a key's home.

use super::{Coordinator, Task};
use crate::decide::Job;
use crate::request::Action;
use crate::slab::Slot;
use crate::time::Instant;
use crate::view::{Waiter, Wants};

impl Job {
    /// Whether this is a lock that queues for its key.
    pub(super) const fn queues(&self) -> bool {
        match self {
            Self::Act(action) => action.queues(),
            Self::Settle | Self::GiveUp { .. } => false,
        }
    }
}

impl Coordinator {
    /// How many locks queue for their keys here.
    pub(crate) const fn queueing(&self) -> usize {
        self.queueing
    }

    /// The locks that queue for `key`, in the order in which they are served.
    pub(crate) fn waiting(&self, now: Instant, key: &[u8]) -> impl Iterator<Item = Waiter> {
        let desk = self.desks.find(key).map(|desk| &self.desks[desk]);
        let slots = desk.into_iter().flat_map(|d| d.task.iter().chain(&d.queue).chain(&d.parked));
        slots.filter_map(move |&slot: &Slot| self.tasks[slot].waiter(now))
    }
}

impl Task {
    /// How this looks to others, if it is a lock that queues.
    fn waiter(&self, now: Instant) -> Option<Waiter> {
        match &self.job {
            Job::Act(Action::Lock { value, meta, wait, .. }) if !wait.is_zero() => {
                let until = self.arrived.after(*wait).min(self.give_up);
                Some(Waiter {
                    wants: Wants::Lock,
                    value: value.clone(),
                    meta: meta.clone(),
                    age: now.since(self.arrived),
                    left: until.since(now),
                })
            }
            Job::Act(_) | Job::Settle | Job::GiveUp { .. } => None,
        }
    }
}
