//! The protocol's rules that the simulator can take out, one at a time, to see that it notices.
//!
//! Only a build with `--cfg leasehold_faults` knows the switch. In every other build [`Rule::is_out`] is the
//! constant `false`.

/// A rule that a test build can take out. Each names the section of the protocol it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// 4: a key without a record is promised to the floor.
    Floor,
    /// 5.5: an accept raises the promise to the next ballot.
    ImpliedPromise,
    /// 5.2: an extension never shortens.
    NeverShorter,
    /// 5.2: a read is answered without writing only from unanimous answers.
    Unanimity,
    /// 6: a client believes less than the whole lease.
    Belief,
    /// 5.3: an accept needs the master's own promise.
    OwnPromise,
    /// 5.2: a retry says "outcome unknown" where nobody can tell.
    RetryUnknown,
    /// 5.2: a retry finds its own write by `last_op`.
    RetryLastOp,
    /// 5.2: a retry looks at the floor where there is no record.
    RetryFloor,
    /// 5.2: a retry compares with the lowest ballot at which it sent an accept.
    RetryLowest,
    /// 5.2: a refusal from answers that are not unanimous is written first.
    WriteBack,
    /// 5.2: free by expiry is settled by a write before anybody is told.
    SettleExpired,
    /// 5.2: what an extension is built on is chosen before the extension is sent.
    SettleBeforeExtend,
    /// 5.5: an update on the short path writes what is left of the lease, not of the belief.
    UpdateLease,
    /// 5.5: an implied promise is as old as the vote it descends from.
    ImpliedAge,
    /// 7: a record is forgotten by agreement only after all masters accepted the mark.
    ForgetAll,
    /// 7: forgetting by age waits the whole horizon.
    Horizon,
    /// 7: age is counted from the later of promise and accept.
    AgeFromPromise,
    /// 8: a restarted node does not vote.
    Joining,
    /// 8.3: a restarted node without helpers waits the horizon.
    Aged,
    /// 4: a master promises nothing above the ceiling that is on disk.
    Ceiling,
    /// 5.3: nothing is counted after the operation's timeout.
    OpTimeout,
    /// 8.2: a restarted node waits until its old operations are over before it asks for snapshots.
    Quiesce,
    /// 8.2: so many snapshots that every quorum this node was in had one of them.
    Sources,
    /// 8.2: all snapshots of a sync are asked for within its timeout.
    Freshness,
    /// 8.2: the ceiling is raised to all that was taken over.
    CeilingAfterSync,
    /// 9: a master of a new epoch takes over what was agreed before it votes.
    EpochSync,
    /// 9: a node that lost its votes of an epoch is no source for the next one.
    ActiveIn,
    /// 5.2: a later step of the same chain means that the question is out of date.
    Chains,
    /// 6: what a lock waited is counted up to its first accept, not to its answer.
    Waited,
    /// 11: masters keep an entry for its lease and its delay.
    LockDelay,
    /// 11: only a release that takes effect leaves the key to whoever waits for it.
    Bequest,
    /// 11: a lock that shares the write of a release has sent an accept.
    HeirSent,
    /// 11: such a lock is the next in turn, and only a write decided in knowledge of its accept shows that it had no effect.
    HeirPast,
    /// 5.6: a forward that was on its way for longer than an operation lasts is refused.
    ForwardAge,
    /// 2: the horizon outlasts the time between the snapshots of one sync, too.
    SyncInHorizon,
    /// 6: the clock is read after the message was received. The driver's duty; switched in the simulator.
    ClockAfterReceive,
}

impl Rule {
    /// All of them, with the words of the kill list.
    pub const ALL: &[(Self, &str)] = &[
        (Self::Floor, "floor"),
        (Self::ImpliedPromise, "implied-promise"),
        (Self::NeverShorter, "never-shorter"),
        (Self::Unanimity, "unanimity"),
        (Self::Belief, "belief"),
        (Self::OwnPromise, "own-promise"),
        (Self::RetryUnknown, "retry-unknown"),
        (Self::RetryLastOp, "retry-last-op"),
        (Self::RetryFloor, "retry-floor"),
        (Self::RetryLowest, "retry-lowest"),
        (Self::WriteBack, "write-back"),
        (Self::SettleExpired, "settle-expired"),
        (Self::SettleBeforeExtend, "settle-before-extend"),
        (Self::UpdateLease, "update-lease"),
        (Self::ImpliedAge, "implied-age"),
        (Self::ForgetAll, "forget-all"),
        (Self::Horizon, "horizon"),
        (Self::AgeFromPromise, "age-from-promise"),
        (Self::Joining, "joining"),
        (Self::Aged, "aged"),
        (Self::Ceiling, "ceiling"),
        (Self::OpTimeout, "op-timeout"),
        (Self::Quiesce, "quiesce"),
        (Self::Sources, "sources"),
        (Self::Freshness, "freshness"),
        (Self::CeilingAfterSync, "ceiling-after-sync"),
        (Self::EpochSync, "epoch-sync"),
        (Self::ActiveIn, "active-in"),
        (Self::Chains, "chains"),
        (Self::Waited, "waited"),
        (Self::LockDelay, "lock-delay"),
        (Self::Bequest, "bequest"),
        (Self::HeirSent, "heir-sent"),
        (Self::HeirPast, "heir-past"),
        (Self::ForwardAge, "forward-age"),
        (Self::SyncInHorizon, "sync-in-horizon"),
        (Self::ClockAfterReceive, "clock-after-receive"),
    ];

    /// Whether the rule is taken out in this process.
    #[cfg(not(leasehold_faults))]
    #[inline]
    #[must_use]
    pub const fn is_out(self) -> bool {
        false
    }

    /// Whether the rule is taken out in this process.
    #[cfg(leasehold_faults)]
    #[must_use]
    pub fn is_out(self) -> bool {
        let place = Self::ALL.iter().position(|(rule, _)| *rule == self);
        place == OUT.load(core::sync::atomic::Ordering::Relaxed).checked_sub(1)
    }

    /// Takes the rule out for the rest of this process, instead of any other.
    #[cfg(leasehold_faults)]
    pub fn take_out(self) {
        let place = Self::ALL.iter().position(|(rule, _)| *rule == self);
        OUT.store(place.map_or(0, |p| p + 1), core::sync::atomic::Ordering::Relaxed);
    }
}

/// One more than the place of the rule that is out; zero for none.
#[cfg(leasehold_faults)]
static OUT: core::sync::atomic::AtomicUsize = core::sync::atomic::AtomicUsize::new(0);
