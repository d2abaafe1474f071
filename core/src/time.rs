//! Time as the core sees it: readings of this node's own clock, and spans between them.
//!
//! An [`Instant`] is a reading of one process' clock and means nothing elsewhere, so it has no encoding. Only
//! [`Span`]s cross the wire.

use core::fmt;
use core::time::Duration;

use serde::{Deserialize, Serialize};

/// A reading of the local monotonic clock, in microseconds since an arbitrary start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The reading `micros` microseconds after the clock's arbitrary start.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the clock's arbitrary start.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// This reading plus `span`, or the last representable one.
    #[must_use]
    pub const fn after(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// The span since `earlier`, zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

/// A length of time in microseconds. Arithmetic saturates.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Span(u64);

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// Longer than any clock runs.
    pub const MAX: Self = Self(u64::MAX);

    /// `micros` microseconds.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// `millis` milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// `secs` seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Whole microseconds.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Whole milliseconds, rounded down.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000
    }

    /// Whether this is no time at all.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, or [`Span::MAX`].
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left of this span after `other`, zero if nothing is.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// This span `factor` times, or [`Span::MAX`].
    #[must_use]
    pub const fn times(self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor))
    }

    /// This span divided by `parts`, rounded down; a division by zero counts as one by one.
    #[must_use]
    pub const fn split(self, parts: u64) -> Self {
        Self(self.0 / if parts == 0 { 1 } else { parts })
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        Self::from_micros(span.0)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&Duration::from(*self), f)
    }
}

/// How far a clock's rate may be from true time, in parts per million (protocol, section 1).
///
/// Over a true interval `d` a clock advances between `d(1 - ρ)` and `d(1 + ρ)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Drift(u32);

impl Drift {
    /// The bound that is used where nothing else is said: 1000 ppm.
    pub const DEFAULT: Self = Self(1_000);
    /// The widest bound that can be asked for: 10 %.
    pub const MAX: Self = Self(100_000);

    /// A bound of `ppm` parts per million, at most [`Drift::MAX`].
    #[must_use]
    pub const fn from_ppm(ppm: u32) -> Self {
        Self(if ppm > Self::MAX.0 { Self::MAX.0 } else { ppm })
    }

    /// Parts per million.
    #[must_use]
    pub const fn ppm(self) -> u32 {
        self.0
    }

    /// The longest span on one clock that is over before `span` is on any other: `span·(1-ρ)/(1+ρ)`,
    /// rounded down. What a client may believe of a lease that masters keep for `span`.
    #[must_use]
    pub fn believed(self, span: Span) -> Span {
        let (slow, fast) = (1_000_000 - u128::from(self.0), 1_000_000 + u128::from(self.0));
        Span(u64::try_from(u128::from(span.0) * slow / fast).unwrap_or(u64::MAX))
    }

    /// The shortest span on one clock in which `span` has passed on every other: `span·(1+ρ)/(1-ρ)`,
    /// rounded up.
    #[must_use]
    pub fn outlasting(self, span: Span) -> Span {
        let (slow, fast) = (1_000_000 - u128::from(self.0), 1_000_000 + u128::from(self.0));
        Span(u64::try_from((u128::from(span.0) * fast).div_ceil(slow)).unwrap_or(u64::MAX))
    }
}

impl Default for Drift {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn belief_ends_before_and_waiting_outlasts() {
        let drift = Drift::DEFAULT;
        let lease = Span::from_secs(30);
        // 30 s · 0.999 / 1.001 = 29.940 059 9… s, rounded down.
        assert_eq!(drift.believed(lease), Span::from_micros(29_940_059));
        // 30 s · 1.001 / 0.999 = 30.060 060 06… s, rounded up.
        assert_eq!(drift.outlasting(lease), Span::from_micros(30_060_061));
    }

    #[test]
    fn spans_saturate() {
        assert_eq!(Span::MAX.plus(Span::from_secs(1)), Span::MAX);
        assert_eq!(Span::from_secs(1).minus(Span::from_secs(2)), Span::ZERO);
        assert_eq!(Drift::MAX.outlasting(Span::MAX), Span::MAX);
        assert_eq!(Instant::from_micros(5).since(Instant::from_micros(9)), Span::ZERO);
    }
}
