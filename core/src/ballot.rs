//! Ballots: the order in which coordinators take turns on a key, and the fencing tokens drawn from it.

use serde::{Deserialize, Serialize};

/// Counters at or above this value are malformed: 2^53, so that every language's numbers hold them.
pub const COUNTER_END: u64 = 1 << 53;

/// A coordinator's turn on a key. Ordered by counter; the proposer only tells two equal counters apart.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Ballot {
    /// Microseconds of a hybrid clock: never decreasing at a node, close to wall time in a healthy cluster.
    pub counter: u64,
    /// Drawn at random by every node at every boot.
    pub proposer: u64,
}

impl Ballot {
    /// The ballot below every other.
    pub const ZERO: Self = Self { counter: 0, proposer: 0 };

    /// The ballot that an accept at this one promises along with it: one higher, same proposer.
    #[must_use]
    pub const fn next(self) -> Self {
        Self { counter: self.counter.saturating_add(1), proposer: self.proposer }
    }

    /// Whether a peer may have sent this ballot.
    #[must_use]
    pub const fn well_formed(self) -> bool {
        self.counter < COUNTER_END
    }
}

/// A fencing token: the counter of the ballot that acquired the key. Greater for every later acquisition.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Token(pub u64);

impl core::fmt::Display for Token {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}
