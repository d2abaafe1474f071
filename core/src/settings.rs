//! What an operator may set: the constants of the protocol and the limits.

use serde::{Deserialize, Serialize};

use crate::faults::Rule;
use crate::time::{Drift, Span};

/// The shortest lease that may be asked for.
pub const MIN_LEASE: Span = Span::from_millis(100);

/// The constants of the protocol (section 2). All nodes of a cluster agree on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Timing {
    /// Longest lease, lock-delay included, that may be asked for.
    pub max_lease: Span,
    /// Longest life of one operation at its coordinator.
    pub op_timeout: Span,
    /// How long a promise can be turned into an accept.
    pub promise_timeout: Span,
    /// Longest time over which the snapshots of one sync may be asked for.
    pub sync_timeout: Span,
    /// ρ, the bound on every clock's drift.
    pub max_clock_drift: Drift,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            max_lease: Span::from_secs(300),
            op_timeout: Span::from_secs(5),
            promise_timeout: Span::from_secs(5),
            sync_timeout: Span::from_secs(60),
            max_clock_drift: Drift::DEFAULT,
        }
    }
}

impl Timing {
    /// `Q`: how long after a restart every operation this node voted in before is over.
    #[must_use]
    pub fn quiesce(&self) -> Span {
        self.max_clock_drift.outlasting(self.op_timeout.plus(self.promise_timeout))
    }

    /// `H`: no vote older than this can still matter anywhere.
    #[must_use]
    pub fn horizon(&self) -> Span {
        let sum = self.max_lease.plus(self.op_timeout).plus(self.promise_timeout);
        let sync = if Rule::SyncInHorizon.is_out() { Span::ZERO } else { self.sync_timeout };
        self.max_clock_drift.outlasting(sum.plus(sync))
    }
}

/// How much a node takes on. Reaching a limit is an answer to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of a key: 1 KiB. A path or a name of a few hundred bytes fits; every message about the key carries it.
    pub key: u32,
    /// Bytes of a value: 64 KiB. Enough for an address book, too little to use the store for data: each master keeps
    /// it in memory, and each write sends it to all of them.
    pub value: u32,
    /// Bytes of an owner's description, with what the node adds to it: 1 KiB. It is for people who look at who holds
    /// a key.
    pub meta: u32,
    /// Records a master keeps before it refuses new keys: 8 million, a few GiB with small keys and values. What is
    /// held goes on, with extensions and releases.
    pub records: u32,
    /// Operations and waiters that one key may have in its queue at its home, and waits on its record at any node:
    /// 10,000. At a thousand grants a second the last one of such a queue waits for ten seconds.
    pub waiters_per_key: u32,
    /// Locks that queue and waits on local records, in all, that a node has: 200,000, about 100 MB with small values.
    pub waiters: u32,
    /// Operations in all that a node has under way, beside those that wait: 200,000. At a hundred thousand a second
    /// they are two seconds of work, and more would only end as late.
    pub operations: u32,
    /// About how many bytes of records a part of a snapshot carries: 128 KiB. Small enough that the sender answers
    /// others in between, large enough that a million records take a thousand parts.
    pub snapshot_part: u32,
    /// Masters that an operator may ask for at this node: 15, all that is possible ([`Config::MAX_MASTERS`]).
    ///
    /// [`Config::MAX_MASTERS`]: crate::Config::MAX_MASTERS
    pub masters: u32,
    /// Replicas that an operator may ask for at this node: 32, because every coordinator tells each of them every
    /// change. More are possible ([`Config::MAX_REPLICAS`]).
    ///
    /// [`Config::MAX_REPLICAS`]: crate::Config::MAX_REPLICAS
    pub replicas: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            key: 1 << 10,
            value: 64 << 10,
            meta: 1 << 10,
            records: 8_000_000,
            waiters_per_key: 10_000,
            waiters: 200_000,
            operations: 200_000,
            snapshot_part: 128 << 10,
            masters: 15,
            replicas: 32,
        }
    }
}

/// What a [`Node`](crate::Node) is told when it is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Settings {
    /// The constants that all nodes share.
    pub timing: Timing,
    /// This node's own limits.
    pub limits: Limits,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_section_2() {
        let timing = Timing::default();
        assert_eq!(timing.quiesce().as_millis() / 1_000, 10);
        assert_eq!(timing.horizon().as_millis().div_ceil(1_000), 371);
    }
}
