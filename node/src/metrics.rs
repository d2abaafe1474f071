//! What a node did for its clients, counted where it happens.
//!
//! Every number has its place from the start: counting is an addition to an atomic, without a lock, an allocation or the
//! name of anything. Names and labels come in when somebody looks (`http/exposition.rs`).

use std::sync::atomic::{AtomicU64, Ordering};

use leasehold_core::{Action, Limit, NotDone, Outcome, Span, Spread};

use crate::counters::Counter;

/// What clients ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Acquire a key.
    Lock,
    /// Let a lease end later.
    Extend,
    /// Replace a value.
    Update,
    /// Give a key up.
    Release,
    /// Read by quorum.
    Get,
    /// Wait until a key is held or released.
    Wait,
    /// Read what the node knows by itself.
    GetLocal,
    /// List what is held.
    List,
    /// Show who waits.
    Waiters,
    /// Watch what changes.
    Watch,
    /// Show how the node is.
    Status,
    /// Found the cluster.
    Init,
    /// Change the members.
    Members,
}

impl Op {
    /// All of them, each at the place of its number.
    pub const ALL: [Self; 13] = [
        Self::Lock,
        Self::Extend,
        Self::Update,
        Self::Release,
        Self::Get,
        Self::Wait,
        Self::GetLocal,
        Self::List,
        Self::Waiters,
        Self::Watch,
        Self::Status,
        Self::Init,
        Self::Members,
    ];

    /// What an operation on a key is.
    #[must_use]
    pub const fn of(action: &Action) -> Self {
        match action {
            Action::Lock { .. } => Self::Lock,
            Action::Extend { .. } => Self::Extend,
            Action::Update { .. } => Self::Update,
            Action::Release { .. } => Self::Release,
            Action::Read => Self::Get,
            Action::WaitHeld | Action::WaitReleased => Self::Wait,
        }
    }

    /// Its label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Extend => "extend",
            Self::Update => "update",
            Self::Release => "release",
            Self::Get => "get",
            Self::Wait => "wait",
            Self::GetLocal => "get_local",
            Self::List => "list",
            Self::Waiters => "waiters",
            Self::Watch => "watch",
            Self::Status => "status",
            Self::Init => "init",
            Self::Members => "members",
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It did what was asked.
    Done,
    /// Its condition did not hold.
    Refused,
    /// It certainly changed nothing.
    NotDone,
    /// Nobody can tell.
    Unknown,
    /// Its caller's time was over.
    TimedOut,
    /// It made no sense.
    Invalid,
    /// Its caller lacks the right.
    NotAllowed,
}

impl Ending {
    /// All of them, each at the place of its number.
    pub const ALL: [Self; 7] = [
        Self::Done,
        Self::Refused,
        Self::NotDone,
        Self::Unknown,
        Self::TimedOut,
        Self::Invalid,
        Self::NotAllowed,
    ];

    /// How an outcome is counted.
    #[must_use]
    pub const fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Done(_)
            | Outcome::Found(_)
            | Outcome::Woken(_)
            | Outcome::Founded(_)
            | Outcome::Configured { .. } => Self::Done,
            Outcome::Refused(_) => Self::Refused,
            Outcome::NotDone(NotDone::TimedOut) => Self::TimedOut,
            Outcome::NotDone(NotDone::Invalid(_)) => Self::Invalid,
            Outcome::NotDone(
                NotDone::NoQuorum
                | NotDone::Cancelled
                | NotDone::Draining
                | NotDone::NotFounded
                | NotDone::Limit(_)
                | NotDone::Unreachable(_)
                | NotDone::Changing
                | NotDone::NotActive,
            ) => Self::NotDone,
            Outcome::Unknown => Self::Unknown,
        }
    }

    /// Its label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::NotDone => "not_done",
            Self::Unknown => "unknown",
            Self::TimedOut => "timed_out",
            Self::Invalid => "invalid",
            Self::NotAllowed => "not_allowed",
        }
    }
}

/// How long things took, in microseconds, by the bounds of [`Spread::SPANS`].
#[derive(Debug, Default)]
pub struct Times {
    counts: [AtomicU64; Spread::MOST + 1],
    sum: AtomicU64,
}

impl Times {
    pub(crate) fn add(&self, took: Span) {
        let micros = took.as_micros();
        let place = Spread::SPANS.partition_point(|bound| *bound < micros);
        if let Some(count) = self.counts.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(micros, Ordering::Relaxed);
    }

    /// The bounds, and how many were above the one before and at most this one; last those above all, as `u64::MAX`.
    pub fn counts(&self) -> impl Iterator<Item = (u64, u64)> {
        let bounds = Spread::SPANS.iter().copied().chain([u64::MAX]);
        bounds.zip(self.counts.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// All of it, added up, in microseconds.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }
}

/// What a node did for its clients.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: [[Counter; Ending::ALL.len()]; Op::ALL.len()],
    times: [Times; Op::ALL.len()],
    /// Leases that this node's clients acquired.
    pub granted: Counter,
    /// Extensions of its clients.
    pub extended: Counter,
    /// Releases of its clients.
    pub released: Counter,
    /// Leases that ended by themselves in this node's records.
    pub expired: Counter,
    limits: [Counter; LIMITS.len()],
}

/// The limits, each at the place of its number, and their labels.
pub(crate) const LIMITS: [(Limit, &str); 7] = [
    (Limit::Records, "records"),
    (Limit::WaitersPerKey, "waiters_per_key"),
    (Limit::Operations, "operations"),
    (Limit::OperationsPerClient, "requests_per_connection"),
    (Limit::Waiters, "waiters"),
    (Limit::Masters, "masters"),
    (Limit::Replicas, "replicas"),
];

impl Metrics {
    /// A request was answered, so long after it came.
    #[expect(clippy::indexing_slicing, reason = "there is a place for every operation")]
    pub(crate) fn answered(&self, op: Op, outcome: &Outcome, took: Span) {
        self.ended(op, Ending::of(outcome));
        self.times[op as usize].add(took);
        match outcome {
            Outcome::Done(_) => match op {
                Op::Lock => self.granted.add(1),
                Op::Extend => self.extended.add(1),
                Op::Release => self.released.add(1),
                Op::Update
                | Op::Get
                | Op::Wait
                | Op::GetLocal
                | Op::List
                | Op::Waiters
                | Op::Watch
                | Op::Status
                | Op::Init
                | Op::Members => {}
            },
            Outcome::NotDone(NotDone::Limit(limit)) => {
                if let Some(place) = LIMITS.iter().position(|(other, _)| other == limit) {
                    self.limits[place].add(1);
                }
            }
            Outcome::Found(_)
            | Outcome::Woken(_)
            | Outcome::Refused(_)
            | Outcome::NotDone(_)
            | Outcome::Unknown
            | Outcome::Founded(_)
            | Outcome::Configured { .. } => {}
        }
    }

    /// A request ended that the core had no part in.
    #[expect(clippy::indexing_slicing, reason = "there is a place for every operation and ending")]
    pub(crate) fn ended(&self, op: Op, ending: Ending) {
        self.requests[op as usize][ending as usize].add(1);
    }

    /// How many requests of a kind ended in a way.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "there is a place for every operation and ending")]
    pub fn requests(&self, op: Op, ending: Ending) -> u64 {
        self.requests[op as usize][ending as usize].count()
    }

    /// How long requests of a kind took.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "there is a place for every operation")]
    pub const fn times(&self, op: Op) -> &Times {
        &self.times[op as usize]
    }

    /// How often each limit was the answer, with the limit's label.
    pub fn limits(&self) -> impl Iterator<Item = (&'static str, u64)> {
        LIMITS.iter().zip(&self.limits).map(|((_, label), count)| (*label, count.count()))
    }
}

#[cfg(test)]
mod tests {
    use leasehold_core::Done;

    use super::*;

    #[test]
    fn every_kind_has_a_place_of_its_own() {
        for (place, op) in Op::ALL.into_iter().enumerate() {
            assert_eq!(op as usize, place);
        }
        for (place, ending) in Ending::ALL.into_iter().enumerate() {
            assert_eq!(ending as usize, place);
        }
    }

    #[test]
    fn an_answer_counts_once_in_each_place() {
        let metrics = Metrics::default();
        metrics.answered(Op::Extend, &Outcome::Done(Done::default()), Span::from_micros(101));
        let limit = Outcome::NotDone(NotDone::Limit(Limit::Operations));
        metrics.answered(Op::Lock, &limit, Span::from_micros(u64::MAX));
        assert_eq!(metrics.requests(Op::Extend, Ending::Done), 1);
        assert_eq!(metrics.requests(Op::Lock, Ending::NotDone), 1);
        assert_eq!((metrics.granted.count(), metrics.extended.count()), (0, 1));
        let limits: Vec<_> = metrics.limits().filter(|(_, count)| *count > 0).collect();
        assert_eq!(limits, [("operations", 1)]);
        let counted = |op| metrics.times(op).counts().find(|(_, count)| *count > 0);
        assert_eq!(counted(Op::Extend), Some((250, 1)));
        assert_eq!(counted(Op::Lock), Some((u64::MAX, 1)));
    }
}
