//! Dice that forget nothing: every decision is a hash of seed, stream and index.
//!
//! A generator that is threaded through a run makes every later draw depend on every earlier one, so that taking
//! one fault out of a failing run changes all the rest. Here the fate of the 17th message from node 1 to node 2
//! is `hash(seed, (link, 1, 2), 17)`, whatever else happens; that is what makes runs shrinkable.
//!
//! The mixer is the finaliser of splitmix64 (Steele, Lea, Flood, 2014). Integers only: the same on every machine.

/// Where a decision belongs. Each stream numbers its decisions by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// What the seed contains.
    Scenario,
    /// The scheduled faults.
    Faults,
    /// The rates of a clock; nodes first, then clients.
    Clock(usize),
    /// Wall clock, proposer and seeds of a node's boots.
    Boot(usize),
    /// The disk of a node.
    Disk(usize),
    /// Messages from one node to another.
    Link(usize, usize),
    /// What travels between a client and a node, either way.
    ClientLink(usize, usize),
    /// How long hints about links take.
    Hint(usize, usize),
    /// What a client does next.
    Client(usize),
    /// The operator who founds the cluster.
    Operator,
    /// What the operator changes.
    Change,
    /// Restart times within a fault.
    Restart(usize),
    /// The chains of a scripted client's locks.
    Chain(usize),
}

impl Stream {
    fn code(self) -> u64 {
        let (tag, a, b) = match self {
            Self::Scenario => (1, 0, 0),
            Self::Faults => (2, 0, 0),
            Self::Clock(a) => (3, a, 0),
            Self::Boot(a) => (4, a, 0),
            Self::Disk(a) => (5, a, 0),
            Self::Link(a, b) => (6, a, b),
            Self::ClientLink(a, b) => (7, a, b),
            Self::Hint(a, b) => (8, a, b),
            Self::Client(a) => (9, a, 0),
            Self::Operator => (10, 0, 0),
            Self::Restart(a) => (11, a, 0),
            Self::Change => (12, 0, 0),
            Self::Chain(a) => (13, a, 0),
        };
        (tag << 56) | (wide(a) << 28) | wide(b)
    }
}

/// `n` as a number of fixed width; no count here comes near the end of it.
#[must_use]
pub fn wide(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// Scrambles 64 bits, one to one.
#[must_use]
pub const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// All dice of one seed.
#[derive(Clone, Copy, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The dice of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(mix(seed ^ 0x6c65_6173_6568_6f6c))
    }

    /// The dice for decision `index` of `stream`.
    #[must_use]
    pub fn roll(self, stream: Stream, index: u64) -> Roll {
        Roll(mix(mix(self.0 ^ stream.code()).wrapping_add(index)))
    }
}

/// The draws of one decision, in a fixed order.
#[derive(Clone, Debug)]
pub struct Roll(u64);

impl Roll {
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `n`; zero if there is none.
    pub fn below(&mut self, n: u64) -> u64 {
        u64::try_from((u128::from(self.bits()) * u128::from(n)) >> 64).unwrap_or(0)
    }

    /// An index below `n`; zero if there is none.
    pub fn index(&mut self, n: usize) -> usize {
        usize::try_from(self.below(wide(n))).unwrap_or(0)
    }

    /// A number between `low` and `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low.saturating_add(self.below(high.saturating_sub(low).saturating_add(1)))
    }

    /// True once in a million for each of `ppm`.
    pub fn chance(&mut self, ppm: u64) -> bool {
        self.below(1_000_000) < ppm
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// A number between `low` and `high` of which each doubling is about equally likely.
    pub fn magnitude(&mut self, low: u64, high: u64) -> u64 {
        let low = low.max(1);
        let doublings = (high.max(low) / low).ilog2();
        let floor = low << self.below(u64::from(doublings) + 1);
        floor.saturating_add(self.below(floor)).min(high.max(low))
    }

    /// One of the items, by weight; the first if all weights are zero.
    pub fn weighted<T: Copy>(&mut self, items: &[(u64, T)]) -> Option<T> {
        let total = items.iter().map(|(weight, _)| weight).sum();
        let mut place = self.below(total);
        for (weight, item) in items {
            if place < *weight {
                return Some(*item);
            }
            place -= weight;
        }
        items.first().map(|(_, item)| *item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_do_not_depend_on_each_other() {
        let dice = Dice::new(7);
        let alone = dice.roll(Stream::Link(1, 2), 17).bits();
        let mut other = dice.roll(Stream::Link(1, 2), 16);
        let _: u64 = (0..9).map(|_| other.bits() >> 8).sum();
        assert_eq!(dice.roll(Stream::Link(1, 2), 17).bits(), alone);
        assert_ne!(dice.roll(Stream::Link(2, 1), 17).bits(), alone);
        assert_ne!(Dice::new(8).roll(Stream::Link(1, 2), 17).bits(), alone);
    }

    #[test]
    fn draws_stay_within_bounds() {
        let mut roll = Dice::new(1).roll(Stream::Scenario, 0);
        for _ in 0..10_000 {
            assert!((5..=9).contains(&roll.between(5, 9)));
            assert!((100..=70_000).contains(&roll.magnitude(100, 70_000)));
            assert!(roll.below(3) < 3);
        }
        assert_eq!(roll.below(0), 0);
        assert_eq!(roll.weighted(&[(0, 'a'), (3, 'b')]), Some('b'));
    }
}
