//! Time that does not pass as it should: a process that stood still, a wall clock that was set, a clock that went back.
//!
//! None of it endangers a lease. Whether one is over is always asked of the monotonic clock, which counts through suspend,
//! at the moment when it matters; wall clocks only choose where ballots start at a boot. But an operator wants to know:
//! a node that stands still is no good home, and clients see it as late answers.

use leasehold_core::{Instant, Span};
use tracing::{info, warn};

use super::Driver;

/// The driver never waits that long by itself: it beats ten times a second.
const PAUSE: Span = Span::from_secs(1);
/// A wall clock that differs by less is being adjusted as it should.
const JUMP: u64 = 1_000_000;

/// What the clocks last showed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    latest: Instant,
    /// By how much the wall clock is ahead of the monotonic one, in microseconds.
    ahead: u64,
    /// Whether the monotonic clock went back, and has not caught up with what it showed.
    behind: bool,
}

impl Clocks {
    pub(super) const fn new(now: Instant, wall: u64) -> Self {
        Self { latest: now, ahead: wall.wrapping_sub(now.as_micros()), behind: false }
    }
}

impl Driver {
    /// Compares the clocks with what they showed before. Returns a time that is never before that.
    pub(super) fn steady(&mut self, now: Instant) -> Instant {
        let wall = self.parts.clock.wall();
        let counters = &self.parts.counters;
        let Clocks { latest, ahead, behind } = self.clocks;
        if now < latest {
            // Until it has caught up, every reading is one of before.
            if !behind {
                counters.clock_went_back.add(1);
                warn!(
                    "the monotonic clock went back by {}; it is taken to stand still for so long",
                    latest.since(now)
                );
            }
            self.clocks.behind = true;
            return latest;
        }
        let gap = now.since(latest);
        if gap > PAUSE {
            counters.pauses.add(1);
            warn!(
                "this process stood still for {gap}: leases and links that ended meanwhile have ended"
            );
        }
        self.clocks = Clocks::new(now, wall);
        let jump = self.clocks.ahead.wrapping_sub(ahead).cast_signed();
        if jump.unsigned_abs() > JUMP {
            counters.wall_clock_jumps.add(1);
            info!("the wall clock jumped by {jump} µs; leases do not depend on it");
        }
        now
    }
}
