//! Waiting for what comes next: first by looking again for a moment, then asleep.
//!
//! A thread that sleeps is woken by whoever sends to it. Where the processor went to sleep as well, that takes tens of
//! microseconds, several times as long as what it is woken for, and a lock takes up to six of such wakings one after the other. So
//! while things come in quick succession the driver stays awake for `node.idle_poll`, and offers the processor to others between
//! two looks. When they come further apart it sleeps at once, so a quiet node costs nothing. It sleeps as well where
//! others keep the processor awake: there is nothing to gain, who is woken finds more to do at once, and who offers the processor to one
//! that computes gets it back much later.

use std::future::pending;
use std::mem::replace;
use std::thread;

use leasehold_core::{Instant, Span};
use tokio::sync::mpsc;
use tokio::task::yield_now;

use super::stopping::Stopping;
use super::{Arrived, BATCH, Driver, Inputs};
use crate::clock::Clock;

/// Of how many waits the mean is taken, about.
const WEIGHT: u64 = 8;
/// A wait counts as no longer than this many times the time for which the driver stays awake: the mean is to come down soon.
const LONGEST: u64 = 4;
/// Whoever has the processor for longer between two looks has more to do than to send a message. The thread that waits need not
/// keep such a processor awake.
const TAKEN: Span = Span::from_micros(100);
/// For so many times as long the driver does not offer it again, so that hardly any time is lost in this way.
const ASLEEP: u64 = 100;

/// Whether it pays to stay awake.
#[derive(Clone, Copy, Debug)]
pub(super) struct Idle {
    /// For how long, at most.
    most: Span,
    /// How long the last waits took in the mean, in microseconds.
    mean: u64,
    /// It does not before this.
    asleep: Instant,
}

impl Idle {
    pub(super) const fn new(now: Instant, most: Span) -> Self {
        // In a simulation no time passes while somebody is awake.
        let most = if cfg!(madsim) { Span::ZERO } else { most };
        Self { most, mean: most.as_micros(), asleep: now }
    }

    fn pays(&self, now: Instant) -> bool {
        self.mean < self.most.as_micros() && self.asleep <= now
    }

    fn waited(&mut self, span: Span) {
        let span = span.as_micros().min(self.most.as_micros().saturating_mul(LONGEST));
        self.mean = self.mean.saturating_mul(WEIGHT - 1).saturating_add(span) / WEIGHT;
    }

    /// A look at `now` follows one at `before`.
    fn looked(&mut self, before: Instant, now: Instant) {
        let taken = now.since(before);
        if taken > TAKEN {
            self.asleep = now.after(taken.times(ASLEEP));
        }
    }
}

impl Inputs {
    /// Takes what is there. Says whether there was anything.
    fn take(&mut self, arrived: &mut Arrived) -> bool {
        drain(&mut self.control, &mut arrived.control);
        drain(&mut self.peers, &mut arrived.peers);
        drain(&mut self.clients, &mut arrived.clients);
        !(arrived.control.is_empty() && arrived.peers.is_empty() && arrived.clients.is_empty())
    }
}

fn drain<T>(channel: &mut mpsc::Receiver<T>, into: &mut Vec<T>) {
    while into.len() < BATCH
        && let Ok(arrival) = channel.try_recv()
    {
        into.push(arrival);
    }
}

/// Lets those have their turn who want this processor, then those who read from sockets on this thread.
async fn give_way() {
    thread::yield_now();
    yield_now().await;
}

impl Driver {
    /// Waits until there is something to do, and takes what is there.
    pub(super) async fn wait(&mut self, inputs: &mut Inputs, arrived: &mut Arrived) {
        // What is there already needs no timer.
        if inputs.take(arrived) {
            return;
        }
        let clock = self.parts.clock;
        let (began, due) = (clock.now(), self.due());
        if !self.look_again(inputs, arrived, began, due).await {
            sleep(clock, inputs, arrived, due).await;
            inputs.take(arrived);
        }
        self.idle.waited(clock.now().since(began));
    }

    /// When the driver has to do something though nothing came.
    fn due(&self) -> Option<Instant> {
        let deadlines = [
            Some(self.parts.links.deadline()),
            self.parts.core.deadline(),
            self.parts.founding.deadline(),
            self.amending.deadline(),
            self.stopping.as_ref().map(Stopping::deadline),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Looks until something has come, while that pays. Says whether it has.
    async fn look_again(
        &mut self,
        inputs: &mut Inputs,
        arrived: &mut Arrived,
        began: Instant,
        due: Option<Instant>,
    ) -> bool {
        let mut until = began.after(self.idle.most);
        if let Some(due) = due {
            until = until.min(due);
        }
        let (mut last, mut found) = (began, false);
        while last < until && self.idle.pays(last) {
            give_way().await;
            let now = self.parts.clock.now();
            self.idle.looked(last, now);
            // What comes first is seldom alone, and all of a batch leaves in the same writes: so it looks once more.
            if inputs.take(arrived) && replace(&mut found, true) {
                break;
            }
            if now < last {
                // Such a clock does not tell how long this takes.
                break;
            }
            last = now;
        }
        found
    }
}

/// Sleeps until something has come or is due.
async fn sleep(clock: Clock, inputs: &mut Inputs, arrived: &mut Arrived, due: Option<Instant>) {
    let due = async {
        match due {
            // Who reads from sockets works on the same thread, and must have its turn between two of the core.
            Some(at) if at <= clock.now() => yield_now().await,
            Some(at) => clock.sleep_until(at).await,
            None => pending().await,
        }
    };
    let taken = tokio::select! {
        biased;
        taken = inputs.control.recv_many(&mut arrived.control, BATCH) => taken,
        taken = inputs.peers.recv_many(&mut arrived.peers, BATCH) => taken,
        taken = inputs.clients.recv_many(&mut arrived.clients, BATCH) => taken,
        () = due => 1,
    };
    // One that is closed is always ready, and the driver would go round and round.
    debug_assert!(taken > 0, "the server keeps a sender of each channel until the driver ends");
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Span = Span::from_micros(200);

    fn after(waits: &[u64]) -> Idle {
        let mut idle = Idle::new(Instant::from_micros(1), MOST);
        for wait in waits {
            idle.waited(Span::from_micros(*wait));
        }
        idle
    }

    #[test]
    fn it_pays_to_stay_awake_while_things_come_in_quick_succession() {
        let now = Instant::from_micros(1);
        assert!(!after(&[]).pays(now));
        assert!(after(&[20]).pays(now));
        assert!(!after(&[20, 100_000]).pays(now));
        assert!(!after(&[1_000; 50]).pays(now));
        // However long the silence was, it is soon forgotten.
        let mut waits = vec![60_000_000; 50];
        waits.extend([20; 20]);
        assert!(after(&waits).pays(now));
    }

    #[test]
    fn without_time_to_stay_awake_the_driver_sleeps() {
        let mut idle = Idle::new(Instant::from_micros(1), Span::ZERO);
        idle.waited(Span::ZERO);
        assert!(!idle.pays(Instant::from_micros(1)));
    }

    #[test]
    fn where_somebody_else_computes_it_sleeps_for_a_while() {
        let mut idle = after(&[20]);
        let before = Instant::from_micros(1_000);
        let now = before.after(TAKEN);
        idle.looked(before, now);
        assert!(idle.pays(now));
        let now = before.after(Span::from_millis(3));
        idle.looked(before, now);
        assert!(!idle.pays(now.after(Span::from_millis(299))));
        assert!(idle.pays(now.after(Span::from_millis(300))));
    }
}
