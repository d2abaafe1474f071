//! The clocks, and the only place that reads them.
//!
//! The core lives on a clock that keeps counting while the machine sleeps, because leases do: on Linux that is
//! `CLOCK_BOOTTIME`. Tokio's timers stand still during suspend, so [`Clock::sleep_until`] looks at the clock again
//! at least once a second.

use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use leasehold_core::{Instant, Span};
use rustix::time::{ClockId, clock_gettime};

#[cfg(any(target_os = "linux", target_os = "android"))]
const BOOT_CLOCK: ClockId = ClockId::Boottime;
/// Counts through sleep on macOS; the closest there is elsewhere.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const BOOT_CLOCK: ClockId = ClockId::Monotonic;

/// The longest that a timer is trusted without a look at the clock.
const TRUSTED: Span = Span::from_secs(1);

/// This node's clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock(());

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub const fn system() -> Self {
        Self(())
    }

    /// The monotonic clock. Read it after receiving what it is to be compared with.
    #[must_use]
    pub fn now(self) -> Instant {
        let time = clock_gettime(BOOT_CLOCK);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
        Instant::from_micros(seconds.saturating_mul(1_000_000).saturating_add(nanos / 1_000))
    }

    /// The wall clock in microseconds since the Unix epoch; wrong ones cost retries, never safety.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the place that reads clocks")]
    pub fn wall(self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        u64::try_from(since.as_micros()).unwrap_or(0)
    }

    /// Waits until this clock shows `at`.
    pub async fn sleep_until(self, at: Instant) {
        loop {
            let left = at.since(self.now());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(TRUSTED).into()).await;
        }
    }

    /// Waits for `span`.
    pub async fn sleep(self, span: Span) {
        self.sleep_until(self.now().after(span)).await;
    }

    /// The output of `work`, or `None` if it takes longer than `span`.
    pub async fn limit<T>(self, span: Span, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            output = work => Some(output),
            () = self.sleep(span) => None,
        }
    }
}
