//! What outcomes, reasons and states are called where programs read them: in JSON, over HTTP and on the command line.

use leasehold_client::{ClusterId, Doubt, Error, NodeId, Reason, Refusal, Standing, Wants};

/// The `outcome` and the `reason` of an error.
#[must_use]
pub const fn of_error(error: &Error) -> (&'static str, Option<&'static str>) {
    match error {
        Error::Refused(refusal) => (
            "refused",
            Some(match refusal {
                Refusal::Held(_) => "held",
                Refusal::NotHeld => "not_held",
                Refusal::AlreadyFounded { .. } => "already_founded",
                Refusal::Declined(_) => "declined",
            }),
        ),
        Error::NotDone(reason) => ("not_done", Some(of_reason(reason))),
        Error::Unknown(doubt) => (
            "unknown",
            Some(match doubt {
                Doubt::Unanswered => "unanswered",
                Doubt::Undecided => "undecided",
                Doubt::Overtaken => "overtaken",
                Doubt::Unconfirmed => "unconfirmed",
                Doubt::Nonsense => "nonsense",
            }),
        ),
        Error::NotAllowed(_) => ("not_allowed", None),
        Error::Unreachable(_) => ("unreachable", None),
        Error::TimedOut => ("timed_out", None),
        Error::Invalid(_) => ("invalid", None),
    }
}

/// The `reason` of what was not done.
#[must_use]
pub const fn of_reason(reason: &Reason) -> &'static str {
    match reason {
        Reason::NoQuorum => "no_quorum",
        Reason::TooLate => "too_late",
        Reason::Unanswered => "unanswered",
        Reason::Cancelled => "cancelled",
        Reason::Draining => "draining",
        Reason::NotFounded => "not_founded",
        Reason::RecordsFull => "records_full",
        Reason::QueueFull => "queue_full",
        Reason::WaitersFull => "waiters_full",
        Reason::Busy => "busy",
        Reason::TooManyCalls => "too_many_calls",
        Reason::TooManyMasters => "too_many_masters",
        Reason::TooManyReplicas => "too_many_replicas",
        Reason::RecordsReplaced => "records_replaced",
        Reason::Changing => "changing",
        Reason::NotActive => "not_active",
        Reason::Nonsense => "nonsense",
        Reason::MastersMissing(_) => "masters_missing",
        Reason::MasterUnreachable(_) => "master_unreachable",
    }
}

/// How a standing is called.
#[must_use]
pub const fn of_standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Unknown => "unknown",
        Standing::Fresh => "fresh",
        Standing::Joining => "joining",
        Standing::Active => "active",
        Standing::Replica => "replica",
        Standing::Outside => "outside",
        Standing::Draining => "draining",
    }
}

/// How what is waited for is called.
#[must_use]
pub const fn of_wants(wants: Wants) -> &'static str {
    match wants {
        Wants::Lock => "lock",
        Wants::Held => "held",
        Wants::Released => "released",
    }
}

/// How a node's identity is written.
#[must_use]
pub fn of_node(node: NodeId) -> String {
    format!("{:016x}", node.0)
}

/// How a cluster's identity is written.
#[must_use]
pub fn of_cluster(cluster: ClusterId) -> String {
    format!("{:016x}{:016x}", cluster.0, cluster.1)
}
