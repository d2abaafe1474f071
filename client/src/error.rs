//! What can go wrong, told apart by what it means for the caller.

use std::fmt;
use std::time::Duration;

use leasehold_core::wire::Malformed;
use leasehold_core::{ClusterId, Invalid, Limit, NodeId, Refusal as WireRefusal};

use crate::answer::Holder;

/// Why a call did not do what it was asked for.
///
/// The variants answer the question that matters with leases: *did it take effect?*
///
/// ```
/// use leasehold_client::Error;
/// fn retry(error: &Error) -> bool {
///     match error {
///         Error::NotDone(_) | Error::Unreachable(_) | Error::TimedOut => true, // certainly nothing happened
///         Error::Unknown(_) => false,                                          // look before you leap
///         Error::Refused(_) | Error::NotAllowed(_) | Error::Invalid(_) => false,
///     }
/// }
/// # assert!(retry(&Error::TimedOut));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The cluster decided against it: the operation's condition does not hold. Nothing changed.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// It certainly did not take effect, and never will.
    #[error("not done: {0}")]
    NotDone(Reason),
    /// It took effect at one point in time, or never will, and nobody can tell which.
    #[error("outcome unknown: {0}")]
    Unknown(Doubt),
    /// The caller lacks the right to do this. Nothing changed.
    #[error("not allowed: {0}")]
    NotAllowed(String),
    /// No node could be reached, so nothing was even sent.
    #[error("no node could be reached ({0})")]
    Unreachable(Unreachable),
    /// The time to wait for something ended before it came about. Nothing changed.
    #[error("timed out waiting")]
    TimedOut,
    /// The request itself is not acceptable. Nothing changed.
    #[error("invalid request: {0}")]
    Invalid(Fault),
}

/// Why an operation's condition does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The key is held, for a lock, or held by another than the expected owner.
    Held(Holder),
    /// The key is not held, or not held any more.
    NotHeld,
    /// What was asked for makes no sense as things are, and why.
    Declined(String),
    /// There is a cluster already; `init` is for new ones.
    AlreadyFounded {
        /// The node that says so.
        by: NodeId,
        /// The cluster it belongs to.
        cluster: ClusterId,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held(holder) => write!(
                f,
                "held by {} with token {} for another {:?}",
                holder.value, holder.token, holder.remaining
            ),
            Self::NotHeld => f.write_str("not held"),
            Self::Declined(why) => f.write_str(why),
            Self::AlreadyFounded { by, cluster } => write!(
                f,
                "node {:016x} already belongs to cluster {:016x}{:016x}",
                by.0, cluster.0, cluster.1
            ),
        }
    }
}

impl From<WireRefusal> for Refusal {
    fn from(refusal: WireRefusal) -> Self {
        match refusal {
            WireRefusal::Held(holder) => Self::Held(holder.into()),
            WireRefusal::NotHeld => Self::NotHeld,
            WireRefusal::AlreadyFounded { by, cluster } => Self::AlreadyFounded { by, cluster },
        }
    }
}

/// Why nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// No quorum of masters answered in time.
    #[error("no quorum of masters answered in time")]
    NoQuorum,
    /// The deadline passed before the cluster began with it.
    #[error("the deadline passed before the cluster began with it")]
    TooLate,
    /// A node was connected but did not answer in time; what was asked changes nothing.
    #[error("no node answered in time")]
    Unanswered,
    /// The request was taken back.
    #[error("the request was taken back")]
    Cancelled,
    /// The only node that could be reached is shutting down.
    #[error("the node is shutting down")]
    Draining,
    /// The cluster was never initialised.
    #[error("the cluster was never initialised")]
    NotFounded,
    /// Another change of the members is under way.
    #[error("another change of the members is under way")]
    Changing,
    /// Only a master can found a cluster, and only one that votes can change its members.
    #[error("only a master can found a cluster, and only one that votes can change its members")]
    NotActive,
    /// Masters keep as many keys as they may.
    #[error("the masters keep as many keys as they may")]
    RecordsFull,
    /// The key's queue is full, or as many wait for its record as may.
    #[error("the key's queue is full")]
    QueueFull,
    /// The node has as many waiters, of all keys, as it may.
    #[error("the node has as many waiters as it may")]
    WaitersFull,
    /// The node has as many operations under way as it may.
    #[error("the node has as many operations under way as it may")]
    Busy,
    /// This client has as many operations under way at the node as it may.
    #[error("this client has as many operations under way at the node as it may")]
    TooManyCalls,
    /// The configuration names more masters than the node was told to allow.
    #[error("these are more masters than the node's limit allows")]
    TooManyMasters,
    /// The configuration names more replicas than the node was told to allow.
    #[error("these are more replicas than the node's limit allows")]
    TooManyReplicas,
    /// The node's records were replaced by newer ones while they were listed.
    #[error("the node took over other records while they were listed")]
    RecordsReplaced,
    /// A node answered something that fits no question like this.
    #[error("the node gave an answer that does not fit the question")]
    Nonsense,
    /// The node that was asked has not met these nodes, which are to be members.
    #[error("not every node could be reached; missing: {}", .0.join(", "))]
    MastersMissing(Vec<String>),
    /// `init` lost this master on the way.
    #[error("master {:016x} could not be reached", .0.0)]
    MasterUnreachable(NodeId),
}

impl From<Limit> for Reason {
    fn from(limit: Limit) -> Self {
        match limit {
            Limit::Records => Self::RecordsFull,
            Limit::WaitersPerKey => Self::QueueFull,
            Limit::Operations => Self::Busy,
            Limit::OperationsPerClient => Self::TooManyCalls,
            Limit::Waiters => Self::WaitersFull,
            Limit::Masters => Self::TooManyMasters,
            Limit::Replicas => Self::TooManyReplicas,
        }
    }
}

/// Why nobody can tell what became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// It was sent, and the deadline passed without an answer.
    #[error("it was sent, and no answer came in time")]
    Unanswered,
    /// The cluster itself could not tell.
    #[error("the cluster could not tell whether it took effect")]
    Undecided,
    /// An earlier sending went unanswered, and what the cluster says now fits both.
    #[error("an earlier sending went unanswered, and the key has changed since")]
    Overtaken,
    /// A lock took effect, and until when it may be believed could not be found out. It is being released.
    #[error("it took effect, but until when could not be confirmed; it is being released")]
    Unconfirmed,
    /// The answer was none to this question.
    #[error("the node gave an answer that does not fit the question")]
    Nonsense,
}

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The key is empty.
    #[error("the key is empty")]
    KeyEmpty,
    /// The key is longer than this many bytes.
    #[error("the key is longer than {0} bytes")]
    KeyTooLong(u32),
    /// The value is longer than this many bytes.
    #[error("the value is longer than {0} bytes")]
    ValueTooLong(u32),
    /// The labels take more than this many bytes.
    #[error("the labels take more than {0} bytes")]
    LabelsTooLong(u32),
    /// The lease is shorter than the shortest allowed.
    #[error("the lease is shorter than {0:?}")]
    LeaseTooShort(Duration),
    /// The lease and the delay together are longer than this.
    #[error("the lease and the delay together are longer than {0:?}")]
    LeaseTooLong(Duration),
    /// The configuration names no master, too many members, one twice, or one with too long a name or address.
    #[error(
        "the configuration names no master, too many members, one twice, or one with too long a name or address"
    )]
    Configuration,
    /// The request as a whole is larger than a node takes.
    #[error("the request is larger than a node takes")]
    TooLarge,
    /// No endpoint was given.
    #[error("no endpoint was given")]
    NoEndpoint,
}

impl From<Invalid> for Fault {
    fn from(invalid: Invalid) -> Self {
        match invalid {
            Invalid::KeyEmpty => Self::KeyEmpty,
            Invalid::KeyTooLong(most) => Self::KeyTooLong(most),
            Invalid::ValueTooLong(most) => Self::ValueTooLong(most),
            Invalid::MetaTooLong(most) => Self::LabelsTooLong(most),
            Invalid::LeaseTooShort(least) => Self::LeaseTooShort(least.into()),
            Invalid::LeaseTooLong(most) => Self::LeaseTooLong(most.into()),
            Invalid::Config => Self::Configuration,
        }
    }
}

/// Every address that was tried, and why it failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unreachable(pub Vec<(String, Cause)>);

impl From<Unreachable> for Error {
    /// Where a node was there and did not let this client in, that is what counts.
    fn from(unreachable: Unreachable) -> Self {
        let stranger = unreachable.0.iter().find_map(|(_, cause)| match cause {
            Cause::NotAllowed(why) => Some(why.clone()),
            Cause::Connect(_)
            | Cause::Tls(_)
            | Cause::TimedOut
            | Cause::Refused(_)
            | Cause::Version(_)
            | Cause::Broken(_)
            | Cause::Closed
            | Cause::Silent
            | Cause::Malformed(_)
            | Cause::Unwelcoming => None,
        });
        stranger.map_or(Self::Unreachable(unreachable), Self::NotAllowed)
    }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (address, cause)) in self.0.iter().enumerate() {
            let separator = if place == 0 { "" } else { "; " };
            write!(f, "{separator}{address}: {cause}")?;
        }
        Ok(())
    }
}

/// Why there is no connection to an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The connection could not be made.
    #[error("{0}")]
    Connect(String),
    /// TLS could not be agreed on: another authority, another name, or no TLS at the other end.
    #[error("no TLS: {0}")]
    Tls(String),
    /// It was not made in time.
    #[error("no answer in time")]
    TimedOut,
    /// The node did not accept this client, and why.
    #[error("the node refused this client: {0}")]
    Refused(String),
    /// The node does not know this client's credential, or wants one, and why.
    #[error("not allowed: {0}")]
    NotAllowed(String),
    /// The node chose a protocol version that this client does not speak.
    #[error("the node speaks protocol version {0}, which this client does not")]
    Version(u16),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The node closed the connection.
    #[error("the node closed the connection")]
    Closed,
    /// No sign of life came for too long.
    #[error("the node fell silent")]
    Silent,
    /// The node sent bytes that make no sense. It may not be a Leasehold node, or this may not be its client port.
    #[error("not a Leasehold client port, or a broken node: {0}")]
    Malformed(Malformed),
    /// The node said something else where it should have welcomed the client.
    #[error("the node did not answer the greeting")]
    Unwelcoming,
}
