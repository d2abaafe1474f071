//! The clocks of a node: the monotonic one that clients use, too, and the wall clock.
//!
//! A value rather than functions, so that a simulation can give every node a clock of its own.

use std::future::Future;
#[cfg(not(madsim))]
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use leasehold_client::clock;
use leasehold_core::{Instant, Span};

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
        clock::now()
    }

    /// The wall clock in microseconds since the Unix epoch; wrong ones cost retries, never safety.
    #[must_use]
    #[cfg(not(madsim))]
    #[expect(clippy::disallowed_methods, reason = "this is the place that reads clocks")]
    pub fn wall(self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        u64::try_from(since.as_micros()).unwrap_or(0)
    }

    /// The wall clock of a simulated machine.
    #[must_use]
    #[cfg(madsim)]
    pub fn wall(self) -> u64 {
        clock::simulated::wall()
    }

    /// The processor time that this thread has had so far.
    #[must_use]
    #[cfg(not(madsim))]
    pub(crate) fn worked(self) -> Span {
        use rustix::time::{ClockId, clock_gettime};
        let time = clock_gettime(ClockId::ThreadCPUTime);
        let seconds = Span::from_secs(u64::try_from(time.tv_sec).unwrap_or(0));
        seconds.plus(Span::from_micros(u64::try_from(time.tv_nsec / 1_000).unwrap_or(0)))
    }

    /// In a simulation, work takes no time.
    #[must_use]
    #[cfg(madsim)]
    pub(crate) fn worked(self) -> Span {
        Span::ZERO
    }

    /// Waits until this clock shows `at`.
    pub async fn sleep_until(self, at: Instant) {
        clock::sleep_until(at).await;
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
