//! How long an ownership has lasted (protocol, section 4).
//!
//! It travels as a span beside the entry, and each node counts on from what it was told. No wall clock is read for it, no
//! token says it, and nothing is decided by it: it is for people.
//!
//! Invariant: at one node the age of an ownership never goes back. What is told is as old as the message that tells it, so of
//! two ages of one ownership the greater one is nearer to the truth.

use core::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

use crate::time::{Instant, Span};

/// How long an ownership had lasted when this was said.
///
/// Two states that differ in nothing else go on alike, so it has no part in their hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Age(pub Span);

impl Age {
    /// An ownership that begins.
    pub const ZERO: Self = Self(Span::ZERO);

    /// The age once `span` more has passed.
    #[must_use]
    pub const fn after(self, span: Span) -> Self {
        Self(self.0.plus(span))
    }

    /// The age before `span` of it had passed.
    #[must_use]
    pub const fn before(self, span: Span) -> Self {
        Self(self.0.minus(span))
    }
}

impl Hash for Age {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// An age that counts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Aging {
    age: Age,
    at: Instant,
}

impl Aging {
    /// What was told `at`.
    pub(crate) const fn new(age: Age, at: Instant) -> Self {
        Self { age, at }
    }

    pub(crate) const fn now(self, now: Instant) -> Age {
        self.age.after(now.since(self.at))
    }

    /// Takes another word for it, which came `now`, if that is more.
    pub(crate) fn told(&mut self, now: Instant, age: Age) {
        if age > self.now(now) {
            *self = Self { age, at: now };
        }
    }
}

impl Hash for Aging {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// An age in six bytes, for which a record has room: up to nine years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShortAge([u8; 6]);

impl ShortAge {
    pub(crate) const ZERO: Self = Self([0; 6]);
    const MOST: u64 = (1 << 48) - 1;
}

impl From<Age> for ShortAge {
    fn from(Age(span): Age) -> Self {
        let [a, b, c, d, e, f, _, _] = span.as_micros().min(Self::MOST).to_le_bytes();
        Self([a, b, c, d, e, f])
    }
}

impl From<ShortAge> for Age {
    fn from(ShortAge([a, b, c, d, e, f]): ShortAge) -> Self {
        Self(Span::from_micros(u64::from_le_bytes([a, b, c, d, e, f, 0, 0])))
    }
}

impl Hash for ShortAge {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_fits_six_bytes_for_nine_years() {
        let years = |years: u64| Age(Span::from_secs(years * 365 * 86_400));
        let back = |age: Age| Age::from(ShortAge::from(age));
        for age in [Age::ZERO, Age(Span::from_micros(1)), Age(Span::from_secs(5_003)), years(8)] {
            assert_eq!(back(age), age);
        }
        assert!(back(Age(Span::MAX)) > years(8), "what is longer stays long");
    }

    #[test]
    fn of_two_words_the_greater_counts_and_time_goes_on() {
        let (start, second) = (Instant::from_micros(5), Span::from_secs(1));
        let mut aging = Aging::new(Age(second), start);
        let later = start.after(second);
        assert_eq!(aging.now(later), Age(second.times(2)));
        aging.told(later, Age(second));
        assert_eq!(aging.now(later), Age(second.times(2)), "it does not go back");
        aging.told(later, Age(second.times(9)));
        assert_eq!(aging.now(later.after(second)), Age(second.times(10)));
    }
}
