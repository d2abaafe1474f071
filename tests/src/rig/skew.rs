//! Clocks that the rig bends, and how to get back from what they showed to true time.
//!
//! True time is this machine's `CLOCK_BOOTTIME` in microseconds. The clock of a process is a line with bends: each says
//! from when on it shows what, and how fast it runs. A bend is announced before it begins, so that all readings of a
//! process, before and after, are known for certain.

use serde::{Deserialize, Serialize};

/// From when on a clock shows what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bend {
    /// True time from which on this holds.
    pub from: i64,
    /// What the clock shows then.
    pub shows: i64,
    /// By how many parts per million it is fast.
    pub ppm: i64,
}

/// A clock; without bends it is right.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skew {
    bends: Vec<Bend>,
}

impl Skew {
    /// Lets the clock run at another rate from `from` on, and jump by `jump` there. Returns the bend.
    pub fn bend(&mut self, from: u64, jump: i64, ppm: i64) -> Bend {
        let shows = wide(self.shows(from)).saturating_add(jump);
        let bend = Bend { from: wide(from), shows, ppm };
        self.bends.push(bend);
        bend
    }

    /// All bends so far.
    #[must_use]
    pub fn bends(&self) -> &[Bend] {
        &self.bends
    }

    /// What the clock shows at `now`.
    #[must_use]
    pub fn shows(&self, now: u64) -> u64 {
        let now = wide(now);
        let bend = self.bends.iter().rev().find(|bend| bend.from <= now);
        narrow(bend.map_or(now, |bend| {
            let since = now - bend.from;
            bend.shows + since + scaled(since, bend.ppm)
        }))
    }

    /// The first true time at which the clock showed `shown` or more.
    #[must_use]
    pub fn when(&self, shown: u64) -> u64 {
        let shown = wide(shown);
        let mut end = i64::MAX;
        for bend in self.bends.iter().rev() {
            if shown >= bend.shows {
                let since = i128::from(shown - bend.shows) * 1_000_000;
                let since = since.div_ceil_by(i128::from(1_000_000 + bend.ppm));
                return narrow(bend.from.saturating_add(since).min(end));
            }
            end = bend.from;
        }
        narrow(shown.min(end))
    }
}

trait DivCeilBy {
    fn div_ceil_by(self, by: Self) -> i64;
}

impl DivCeilBy for i128 {
    fn div_ceil_by(self, by: Self) -> i64 {
        i64::try_from((self + by - 1) / by).unwrap_or(i64::MAX)
    }
}

/// Rounded down, as readings are: a clock shows a microsecond from when it has passed.
fn scaled(span: i64, ppm: i64) -> i64 {
    let parts = i128::from(span) * i128::from(ppm);
    i64::try_from(parts.div_euclid(1_000_000)).unwrap_or(0)
}

fn wide(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}

fn narrow(time: i64) -> u64 {
    u64::try_from(time).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_without_bends_is_right() {
        let skew = Skew::default();
        assert_eq!((skew.shows(77), skew.when(77)), (77, 77));
    }

    #[test]
    fn readings_lead_back_to_true_time() {
        let mut skew = Skew::default();
        skew.bend(1_000_000, 0, 20_000);
        skew.bend(3_000_000, 500_000, -20_000);
        assert_eq!(skew.shows(2_000_000), 2_020_000);
        // One that jumped over a reading showed more than it from the jump on.
        assert_eq!(skew.when(3_100_000), 3_000_000);
        for time in [0, 999_999, 1_000_000, 2_345_678, 2_999_999, 3_000_000, 9_876_543] {
            let back = skew.when(skew.shows(time));
            assert!(back <= time && time - back <= 1, "{time} became {back}");
        }
    }
}
