//! What was measured.
//!
//! Latencies go into histograms of three significant digits, one for each kind of call, and one for the second that
//! runs. Each thread has a tally of its own, so that nobody waits for another's.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

/// Latencies up to here are told apart, in microseconds; longer ones count as this.
const LONGEST: u64 = 3_600_000_000;

/// The kinds of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Acquire,
    Release,
    Update,
    Extend,
    Read,
    LocalRead,
}

impl Kind {
    /// What it is called.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Acquire => "acquire",
            Self::Release => "release",
            Self::Update => "update",
            Self::Extend => "extend",
            Self::Read => "read",
            Self::LocalRead => "local_read",
        }
    }
}

/// Latencies in microseconds.
#[derive(Clone, Debug)]
pub(super) struct Latencies(pub(super) Histogram<u64>);

impl Default for Latencies {
    #[expect(
        clippy::expect_used,
        reason = "three digits of an hour are within what a histogram can do"
    )]
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST, 3).expect("bounds that make sense"))
    }
}

impl Latencies {
    pub(super) fn add(&mut self, micros: u64) {
        self.0.saturating_record(micros.max(1));
    }

    pub(super) fn merge(&mut self, other: &Self) {
        // Of the same bounds, which is all that adding asks for.
        self.0.add(&other.0).unwrap_or_default();
    }

    /// The latency that this share of all calls does not exceed.
    pub(super) fn quantile(&self, share: f64) -> u64 {
        self.0.value_at_quantile(share)
    }
}

/// One second of the measurement.
#[derive(Clone, Debug, Default)]
pub(super) struct Second {
    /// Calls that ended well in it.
    pub(super) done: u64,
    pub(super) latencies: Latencies,
}

/// What one thread has measured.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Calls that ended well while it was measured.
    pub(super) done: u64,
    pub(super) kinds: BTreeMap<Kind, Latencies>,
    /// Calls that did not end well, by why; a refusal is the cluster's decision, but no operation done.
    pub(super) errors: BTreeMap<&'static str, u64>,
    /// Acquisitions by worker, for fairness.
    pub(super) acquired: BTreeMap<u32, u64>,
    /// The second that runs.
    pub(super) second: Second,
}

impl Tally {
    /// A call that was to begin while it was measured ended well; `in_time` if the end was, too.
    pub(super) fn done(&mut self, kind: Kind, worker: u32, micros: u64, in_time: bool) {
        self.kinds.entry(kind).or_default().add(micros);
        if in_time {
            self.done += 1;
            self.second.done += 1;
            self.second.latencies.add(micros);
            if kind == Kind::Acquire {
                *self.acquired.entry(worker).or_default() += 1;
            }
        }
    }

    /// A call did not end well.
    pub(super) fn failed(&mut self, why: &'static str) {
        *self.errors.entry(why).or_default() += 1;
    }

    /// Adds another thread's.
    pub(super) fn merge(&mut self, other: &Self) {
        self.done += other.done;
        for (kind, latencies) in &other.kinds {
            self.kinds.entry(*kind).or_default().merge(latencies);
        }
        for (why, count) in &other.errors {
            *self.errors.entry(why).or_default() += count;
        }
        for (worker, count) in &other.acquired {
            *self.acquired.entry(*worker).or_default() += count;
        }
    }
}

/// Jain's index of fairness (Jain, Chiu and Hawe, 1984): 1 if all got the same, 1/n if one got everything.
#[expect(clippy::cast_precision_loss, reason = "a share of so many need not be exact")]
pub(super) fn jain(counts: &[u64]) -> Option<f64> {
    let sum: f64 = counts.iter().map(|count| *count as f64).sum();
    let squares: f64 = counts.iter().map(|count| (*count as f64).powi(2)).sum();
    (squares > 0.0).then(|| sum * sum / (counts.len() as f64 * squares))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jain_is_one_if_all_got_the_same_and_a_share_if_one_got_all() {
        assert_eq!(jain(&[7, 7, 7, 7]), Some(1.0));
        assert_eq!(jain(&[7, 0, 0, 0]), Some(0.25));
        assert_eq!(jain(&[0, 0]), None);
        assert_eq!(jain(&[]), None);
    }

    #[test]
    fn what_ends_too_late_counts_for_latency_only() {
        let mut tally = Tally::default();
        tally.done(Kind::Acquire, 3, 10, true);
        tally.done(Kind::Acquire, 3, 5_000, false);
        let mut all = Tally::default();
        all.merge(&tally);
        assert_eq!((all.done, all.acquired[&3]), (1, 1));
        assert_eq!(all.kinds[&Kind::Acquire].0.len(), 2);
        // To three digits.
        assert!(all.kinds[&Kind::Acquire].quantile(1.0).abs_diff(5_000) <= 5);
    }

    #[test]
    fn a_latency_beyond_all_bounds_is_kept_as_the_longest() {
        let mut latencies = Latencies::default();
        latencies.add(u64::MAX);
        assert!(latencies.quantile(0.5) >= LONGEST);
    }
}
