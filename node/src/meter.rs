//! How much processor time strangers may take: a purse that fills steadily, and out of which each step of their handshakes
//! is paid. Whoever comes when it is empty waits.
//!
//! What is counted is the time that a handshake really took of this thread, so nothing has to be guessed of how dear one
//! is on this machine. Quiet times are saved up to a bound: when another node went down, all of its clients come at
//! once, and they are to be let in as fast as this machine can.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;

use leasehold_core::{Instant, Span};

use crate::clock::Clock;

/// A quarter of a processor goes into the purse.
const PART: u64 = 4;
/// The most that is saved, as time of this thread: some thousand handshakes over TLS.
const SAVED: Span = Span::from_secs(2);
/// Whoever waits, waits for so much longer than it must: there is enough in the purse then for several.
const REST: Span = Span::from_millis(10);

/// Whose turn it is with a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The other end was asked, and has not answered.
    Theirs,
    /// Something is to be done, and there is nothing in the purse for it.
    Ours,
}

/// A purse of processor time.
#[derive(Debug)]
pub(crate) struct Meter {
    clock: Clock,
    /// When all that was taken will have been paid for. Before now: something is left.
    paid: Mutex<Instant>,
}

impl Meter {
    pub(crate) fn new(clock: Clock) -> Self {
        // Whatever this clock shows, the purse is full at first.
        Self { clock, paid: Mutex::new(Instant::from_micros(0)) }
    }

    /// When there is something in the purse again, if there is nothing.
    fn empty(&self) -> Option<Instant> {
        let paid = *self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        (paid > self.clock.now()).then_some(paid)
    }

    fn pay(&self, taken: Span) {
        let now = self.clock.now();
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let saved = now.since(*paid).min(SAVED.times(PART));
        let owed = paid.since(now);
        // All that was saved and not taken, or the debt.
        let taken = taken.times(PART);
        *paid = match saved.minus(taken) {
            left if left.is_zero() => now.after(owed).after(taken.minus(saved)),
            left => Instant::from_micros(now.as_micros().saturating_sub(left.as_micros())),
        };
    }

    /// Does `work` when there is something in the purse for it, and pays for every step. `now` is told whose turn it is whenever that
    /// changes, and that it is not done yet.
    pub(crate) async fn paced<T>(&self, work: impl Future<Output = T>, now: impl Fn(Turn)) -> T {
        let mut work = pin!(work);
        loop {
            while let Some(paid) = self.empty() {
                now(Turn::Ours);
                self.clock.sleep_until(paid.after(REST)).await;
            }
            let step = poll_fn(|context| {
                // Something came for it, and it has to wait.
                if self.empty().is_some() {
                    return Poll::Ready(None);
                }
                let before = self.clock.worked();
                let polled = work.as_mut().poll(context);
                self.pay(self.clock.worked().minus(before));
                if polled.is_pending() {
                    now(Turn::Theirs);
                }
                polled.map(Some)
            });
            if let Some(output) = step.await {
                return output;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_goes_first_and_then_a_quarter() {
        let clock = Clock::system();
        let meter = Meter::new(clock);
        assert_eq!(meter.empty(), None);
        meter.pay(SAVED.minus(Span::from_secs(1)));
        assert_eq!(meter.empty(), None, "half of it is left");
        meter.pay(Span::from_secs(1_000));
        let debt = meter.empty().unwrap().since(clock.now());
        let most = Span::from_secs(999).times(PART);
        // Some time goes by while this runs.
        assert!(debt <= most && debt > most.minus(Span::from_secs(600)), "{debt}");
        meter.pay(Span::from_secs(1_000));
        let more = meter.empty().unwrap().since(clock.now());
        assert!(more > debt && more <= most.plus(Span::from_secs(1_000).times(PART)), "{more}");
    }

    #[tokio::test]
    async fn who_comes_when_nothing_is_left_waits_and_is_served() {
        let meter = Meter::new(Clock::system());
        meter.pay(SAVED.plus(Span::from_millis(50)));
        let waited = std::cell::Cell::new(0);
        let before = Clock::system().now();
        let waits = |turn| {
            assert_eq!(turn, Turn::Ours);
            waited.set(waited.get() + 1);
        };
        let said = meter.paced(async { "hello" }, waits).await;
        assert_eq!((said, waited.get()), ("hello", 1));
        assert!(Clock::system().now().since(before) > Span::from_millis(100));
    }
}
