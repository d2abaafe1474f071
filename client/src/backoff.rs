//! Growing, jittered pauses between attempts.

use std::time::Duration;

use leasehold_core::hash;

/// The shortest pause is drawn from half of this to all of it.
const FIRST: Duration = Duration::from_millis(40);
/// No pause is longer.
const LONGEST: Duration = Duration::from_secs(3);

/// Pauses that double from [`FIRST`] to [`LONGEST`], each drawn from its upper half, so that clients that lost
/// the same node do not come back together.
#[derive(Debug)]
pub(crate) struct Backoff {
    seed: (u64, u64),
    drawn: u64,
    ceiling: Duration,
}

impl Backoff {
    pub(crate) const fn new(seed: (u64, u64)) -> Self {
        Self { seed, drawn: 0, ceiling: FIRST }
    }

    /// Back to short pauses, after a success.
    pub(crate) const fn reset(&mut self) {
        self.ceiling = FIRST;
    }

    /// How long to pause now.
    pub(crate) fn pause(&mut self) -> Duration {
        self.drawn += 1;
        let half = self.ceiling / 2;
        let spread = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).saturating_add(1);
        let jitter = hash::keyed(self.seed, &[&self.drawn.to_le_bytes()]) % spread;
        self.ceiling = (self.ceiling * 2).min(LONGEST);
        half + Duration::from_micros(jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_start_anew() {
        let mut backoff = Backoff::new((1, 2));
        let pauses: Vec<Duration> = (0..20).map(|_| backoff.pause()).collect();
        assert!(pauses[0] <= FIRST && pauses[0] >= FIRST / 2);
        assert!(pauses[19] <= LONGEST && pauses[19] >= LONGEST / 2);
        backoff.reset();
        assert!(backoff.pause() <= FIRST);
    }

    #[test]
    fn two_clients_do_not_pause_alike() {
        let of = |seed| {
            let mut backoff = Backoff::new(seed);
            (0..8).map(|_| backoff.pause()).collect::<Vec<_>>()
        };
        assert_ne!(of((1, 2)), of((3, 4)));
    }
}
