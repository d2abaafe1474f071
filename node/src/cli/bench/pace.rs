//! When operations begin.
//!
//! In a *closed* loop a worker begins with the next operation when the last one is done: a slow answer keeps those
//! away that would have waited behind it. In an *open* loop operations are to begin at fixed times. What is late
//! to begin, because all workers are busy, waits for a worker, and its latency counts from when it was to begin, so that
//! no waiting is left out. A thread of its own keeps the time, since a runtime's timers are good for a millisecond only.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use leasehold_client::clock::{self, Instant};
use leasehold_core::Span;
use tokio::sync::{OnceCell, Semaphore};

use super::course::Course;
use super::worker::Load;

/// Turns that come closer together are given at once. A sleeping thread wakes about so late anyway.
const STEP: Duration = Duration::from_micros(50);
/// The end of a load is seen so soon.
const LONGEST: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Pace {
    /// Operations a second, in an open loop.
    rate: Option<u64>,
    start: OnceCell<Instant>,
    due: Semaphore,
}

impl Pace {
    pub(super) fn new(rate: Option<u64>) -> Self {
        Self { rate, start: OnceCell::new(), due: Semaphore::new(0) }
    }

    /// Waits for the turn of another operation; `None` when the load is over. Says when it was to begin, if that is not
    /// now.
    pub(super) async fn turn(&self, course: &Course) -> Option<Option<Instant>> {
        let Some(rate) = self.rate else { return Some(None) };
        self.due.acquire().await.ok()?.forget();
        Some(Some(self.start.get()?.after(after(course.turn(), rate))))
    }

    /// Turns that were due at `now`.
    pub(super) fn due(&self, now: Instant) -> u64 {
        let (Some(rate), Some(start)) = (self.rate, self.start.get()) else { return 0 };
        let due = u128::from(now.since(*start).as_micros()) * u128::from(rate) / 1_000_000;
        u64::try_from(due).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Wakes all who wait for a turn that will not come.
    pub(super) fn end(&self) {
        self.due.close();
    }
}

/// When turn `turn` is, after the start.
fn after(turn: u64, rate: u64) -> Span {
    let micros = u128::from(turn) * 1_000_000 / u128::from(rate.max(1));
    Span::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

/// Gives out the turns of an open loop, from `start`, until the load is over.
pub(super) fn keep(load: &Arc<Load>, start: Instant) {
    let pace = &load.pace;
    let Some(rate) = pace.rate else { return };
    // Only ever started once.
    drop(pace.start.set(start));
    let load = Arc::clone(load);
    thread::spawn(move || {
        let mut given = 0;
        while !load.course.is_over() {
            let now = clock::now();
            let due = load.pace.due(now);
            let more = usize::try_from(due.saturating_sub(given)).unwrap_or(usize::MAX);
            let room = Semaphore::MAX_PERMITS - load.pace.due.available_permits();
            load.pace.due.add_permits(more.min(room));
            given = due;
            let next = start.after(after(given, rate));
            thread::park_timeout(Duration::from(next.since(clock::now())).clamp(STEP, LONGEST));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_of_an_open_loop_are_at_fixed_times_however_late_they_are_taken() {
        let (pace, course) = (Pace::new(Some(1_000)), Course::new(None));
        let start = clock::now();
        pace.start.set(start).unwrap();
        pace.due.add_permits(3);
        for turn in 0..3 {
            let at = pace.turn(&course).await.unwrap().unwrap();
            assert_eq!(at, start.after(Span::from_millis(turn)));
        }
        assert_eq!(pace.due(start.after(Span::from_millis(9))), 10);
        pace.end();
        assert_eq!(pace.turn(&course).await, None);
    }

    #[tokio::test]
    async fn a_closed_loop_never_waits() {
        let pace = Pace::new(None);
        assert_eq!(pace.turn(&Course::new(None)).await, Some(None));
    }
}
