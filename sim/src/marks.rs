//! Marks: what a run came across, counted, so that a campaign can say what it was worth.

macro_rules! marks {
    ($($name:ident $text:literal,)*) => {
        /// Something worth counting.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mark { $(#[doc = $text] $name,)* }

        impl Mark {
            /// All marks with the names they are reported under.
            pub const ALL: &[(Self, &'static str)] = &[$((Self::$name, $text),)*];
        }
    };
}

marks! {
    Operations "operations",
    Sendings "sendings",
    Done "done",
    Refused "refused",
    NotDone "not_done",
    Unknown "unknown",
    Repeated "repeated",
    AppliedAgain "applied_again",
    Unanswered "unanswered",
    Acquired "acquired",
    Extended "extended",
    Released "released",
    Reads "reads",
    HeldByOther "refused_for_another",
    Expired "expired",
    Crashes "crashes",
    Restarts "restarts",
    Pauses "pauses",
    Cuts "cuts",
    Vanished "vanished",
    Cancelled "cancelled",
    Prepares "prepares",
    Accepts "accepts",
    Queries "queries",
    ShortPath "short_path",
    NotPromised "not_promised",
    NotAccepted "not_accepted",
    Aborts "aborts",
    Forgets "forgets",
    Settles "settles",
    Forwards "forwards",
    Joining "joining",
    SnapshotsAsked "snapshots_asked",
    SnapshotParts "snapshot_parts",
    ChangePrepares "change_prepares",
    ChangeAccepts "change_accepts",
    Batches "batches",
    ChangesAsked "changes_asked",
    ChangesDone "changes_done",
    ChangesIncomplete "changes_incomplete",
    ChangesNotDone "changes_not_done",
    ChangesUnknown "changes_unknown",
    FilesGone "files_gone",
    ToTheGone "to_the_gone",
    Adoptions "adoptions",
    Rejoined "rejoined_by_snapshot",
    Aged "rejoined_by_age",
    Newcomers "newcomers_voting",
    Woken "woken",
    WaitsJudged "waits_judged",
    Queued "locks_queued",
    Granted "granted_after_a_lease",
    HandoffsSplit "handoffs_split",
    ReplicasJudged "replicas_judged",
    Lost "messages_lost",
    Doubled "messages_doubled",
    Late "messages_late",
    WireTrips "wire_trips",
    Overflowed "messages_overflowed",
    Strays "messages_older_than_horizon",
    FileWrites "file_writes",
    FilesLost "file_writes_lost",
    FilesFailed "file_writes_failed",
    FilesTorn "file_writes_torn",
    FilesSkipped "file_writes_skipped",
    FullRecords "full_of_records",
    FullOperations "full_of_operations",
    FullWaiters "full_of_waiters",
    FullQueue "full_queue_of_a_key",
    ByOthers "votes_by_non_masters",
    ShortPathRefused "short_path_refused",
    DeadSettled "dead_leases_settled",
    OutOfContract "seeds_out_of_contract",
    OverlapsBeyond "overlaps_out_of_contract",
    Excused "excused_out_of_contract",
    Overslept "beliefs_overslept",
    RunTwice "runs_repeated",
    SecondOpinions "second_opinions",
    MinorityJudged "probes_judged_without_a_minority",
    BeliefsJudged "beliefs_judged",
    TokensJudged "tokens_judged",
    OrdersJudged "operations_ordered",
    OrdersGivenUp "orders_given_up",
    RepeatsJudged "repeats_judged",
    AnswersJudged "answers_judged",
    StatesChecked "states_checked",
    ProbesJudged "probes_judged",
    RecordsJudged "records_judged",
}

/// How often each mark was met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts([u64; Mark::ALL.len()]);

impl Mark {
    /// The name it is reported under.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.get(Counts::place(self)).map_or("", |(_, name)| name)
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self([0; Mark::ALL.len()])
    }
}

impl Counts {
    #[expect(clippy::as_conversions, reason = "marks are numbered from zero; this is a hot path")]
    const fn place(mark: Mark) -> usize {
        mark as usize
    }

    /// Meets `mark` once more.
    pub fn meet(&mut self, mark: Mark) {
        self.add(mark, 1);
    }

    /// Meets `mark` so many times more.
    pub fn add(&mut self, mark: Mark, times: u64) {
        self.0[Self::place(mark)] += times;
    }

    /// How often `mark` was met.
    #[must_use]
    pub fn of(&self, mark: Mark) -> u64 {
        self.0[Self::place(mark)]
    }

    /// Adds what another run met.
    pub fn absorb(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum += more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mark_has_its_own_count() {
        let mut counts = Counts::default();
        for (mark, _) in Mark::ALL {
            counts.meet(*mark);
        }
        assert!(Mark::ALL.iter().all(|(mark, _)| counts.of(*mark) == 1));
    }
}
