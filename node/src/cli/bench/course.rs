//! The course of a load: what all workers have in common, whichever thread they are on.
//!
//! Time goes through *setting up*, *warming up*, *measuring* and *over*. A call belongs to the measurement if it was to
//! begin within it; it counts for throughput if it also ended within it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use leasehold_client::clock::Instant;
use leasehold_core::Span;
use tokio::sync::watch;

/// Not known yet.
const NEVER: u64 = u64::MAX;

#[derive(Debug)]
pub(super) struct Course {
    /// Workers that have set up.
    ready: AtomicU32,
    /// Keys that were acquired to set up.
    pub(super) prepared: AtomicU64,
    started: watch::Sender<Option<Instant>>,
    begin: AtomicU64,
    end: AtomicU64,
    over: AtomicBool,
    /// Operations that may still be begun in the measurement.
    left: AtomicU64,
    /// Operations of an open loop that were begun, or are to be.
    turns: AtomicU64,
    /// Operations of the measurement that are over, and how many there are to be.
    settled: AtomicU64,
    ops: Option<u64>,
}

impl Course {
    pub(super) fn new(ops: Option<u64>) -> Self {
        Self {
            ready: AtomicU32::new(0),
            prepared: AtomicU64::new(0),
            started: watch::Sender::new(None),
            begin: AtomicU64::new(NEVER),
            end: AtomicU64::new(NEVER),
            over: AtomicBool::new(false),
            left: AtomicU64::new(ops.unwrap_or(NEVER)),
            turns: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            ops,
        }
    }

    /// A worker has set up; returns when all may start, and at what time that was.
    pub(super) async fn start_line(&self) -> Option<Instant> {
        let mut started = self.started.subscribe();
        self.ready.fetch_add(1, Ordering::Relaxed);
        // The course outlives its workers.
        started.wait_for(Option::is_some).await.ok().and_then(|at| *at)
    }

    pub(super) fn ready(&self) -> u32 {
        self.ready.load(Ordering::Relaxed)
    }

    /// All may start.
    pub(super) fn start(&self, now: Instant) {
        self.started.send_replace(Some(now));
    }

    /// From now on it is measured.
    pub(super) fn measure(&self, now: Instant) {
        self.begin.store(now.as_micros(), Ordering::Relaxed);
    }

    /// Nothing is begun any more.
    pub(super) fn finish(&self, now: Instant) {
        self.end.fetch_min(now.as_micros(), Ordering::Relaxed);
        self.over.store(true, Ordering::Relaxed);
        // Who is still setting up learns it at the start.
        self.started.send_if_modified(|at| at.is_none() && at.replace(now).is_none());
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Whether a call that was to begin at `at` belongs to the measurement.
    pub(super) fn measures(&self, at: Instant) -> bool {
        at.as_micros() >= self.begin.load(Ordering::Relaxed) && !self.is_past(at)
    }

    /// Whether the measurement was over by then.
    pub(super) fn is_past(&self, at: Instant) -> bool {
        at.as_micros() >= self.end.load(Ordering::Relaxed)
    }

    /// For how long it was measured.
    pub(super) fn measured(&self, now: Instant) -> Span {
        let begin = self.begin.load(Ordering::Relaxed);
        let end = self.end.load(Ordering::Relaxed).min(now.as_micros());
        Span::from_micros(end.saturating_sub(begin))
    }

    /// Whether another operation may be begun, one that belongs to the measurement or not. Of those that do there may be
    /// a bounded number.
    pub(super) fn takes_another(&self, measured: bool) -> bool {
        if !measured || self.ops.is_none() {
            return !self.is_over();
        }
        let less = |left: u64| left.checked_sub(1);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    /// An operation of the measurement is over.
    pub(super) fn settle(&self) {
        self.settled.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether all of a bounded number of operations are over.
    pub(super) fn is_settled(&self) -> bool {
        self.ops.is_some_and(|ops| self.settled.load(Ordering::Relaxed) >= ops)
    }

    /// The next turn of an open loop, from zero.
    pub(super) fn turn(&self) -> u64 {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }

    /// Turns that were taken.
    pub(super) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }
}
