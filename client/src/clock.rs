//! The one place where this crate reads a clock.
//!
//! Beliefs about leases are measured on a clock that keeps counting while the machine sleeps: `CLOCK_BOOTTIME` on
//! Linux, `CLOCK_MONOTONIC` on macOS, which counts through sleep there. Timers of tokio stand still in suspend,
//! so whoever waits for a reading looks at the clock again at least once a second.

#[cfg(madsim)]
pub mod simulated;

use std::time::Duration;

pub use leasehold_core::Instant;
use leasehold_core::Span;

#[cfg(not(madsim))]
use self::machine::reading;
#[cfg(madsim)]
use self::simulated::reading;

/// The longest time for which a sleeper relies on tokio's timers alone.
const LONGEST_NAP: Span = Span::from_secs(1);

/// Reads this machine's clock, which counts through suspend and is not set by anybody.
///
/// ```
/// let earlier = leasehold_client::clock::now();
/// assert!(leasehold_client::clock::now() >= earlier);
/// ```
#[must_use]
pub fn now() -> Instant {
    reading()
}

/// Returns once [`now`] has reached `when`; after a suspend, at most a second late.
pub async fn sleep_until(when: Instant) {
    loop {
        let left = when.since(now());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(Duration::from(left.min(LONGEST_NAP))).await;
    }
}

#[cfg(not(madsim))]
mod machine {
    use leasehold_core::Instant;
    use rustix::time::{ClockId, clock_gettime};

    #[cfg(any(target_os = "linux", target_os = "android"))]
    const CLOCK: ClockId = ClockId::Boottime;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const CLOCK: ClockId = ClockId::Monotonic;

    pub(super) fn reading() -> Instant {
        let time = clock_gettime(CLOCK);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let micros = u64::try_from(time.tv_nsec / 1_000).unwrap_or(0);
        Instant::from_micros(seconds.saturating_mul(1_000_000).saturating_add(micros))
    }
}
