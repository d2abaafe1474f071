//! What clients ask, and what they are told.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::ballot::Token;
use crate::bytes::{Bytes, Key};
use crate::entry::OpId;
use crate::members::{ClusterId, Config, Epoch, Member, NodeId};
use crate::time::Span;
use crate::view::{Heard, Trouble};

/// Names a request of this node's clients until it is answered. The driver chooses it and never twice at one boot.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Ticket(pub u64);

/// A request of a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Request {
    /// Something about one key.
    Key(KeyRequest),
    /// Declare a new cluster of these members; the driver has met every one of them.
    Init {
        /// The identity to give the cluster, random.
        cluster: ClusterId,
        /// Its first configuration, of epoch 1.
        config: Config,
    },
    /// Let the cluster consist of these members from the next epoch on; the driver has met every one of them.
    Members {
        /// How long the caller waits for the change to be complete.
        patience: Span,
        /// The nodes that vote.
        masters: Vec<Member>,
        /// The nodes that only learn.
        replicas: Vec<Member>,
    },
}

/// A request about one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyRequest {
    /// The key.
    pub key: Key,
    /// How long the caller waits for the answer.
    pub patience: Span,
    /// What is to be done.
    pub action: Action,
}

/// What is to be done with a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Action {
    /// Acquire the key if it is free.
    Lock {
        /// Step 0 of a new chain.
        id: OpId,
        /// What the key shall hold.
        value: Bytes,
        /// The owner's description of itself.
        meta: Bytes,
        /// How long the key is held unless extended.
        lease: Span,
        /// How long nobody else may take the key after the lease ended by itself.
        delay: Span,
        /// How long to queue for a key that is held; zero tries once.
        wait: Span,
    },
    /// Let the lease end no sooner than `lease` from now.
    Extend {
        /// The next step of the holder's chain.
        id: OpId,
        /// Who must hold the key.
        owner: Owner,
        /// The new lease; an extension never shortens.
        lease: Span,
    },
    /// Replace the value; the lease ends when it would have ended.
    Update {
        /// The next step of the holder's chain.
        id: OpId,
        /// Who must hold the key.
        owner: Owner,
        /// The new value.
        value: Bytes,
        /// The new description; without one the old stays.
        meta: Option<Bytes>,
    },
    /// Give the key up.
    Release {
        /// The next step of the holder's chain, or step 0 of a new one for a stranger's release.
        id: OpId,
        /// Who must hold the key.
        owner: Owner,
    },
    /// Read by quorum.
    Read,
    /// Wait until the key is held, as far as this node knows.
    WaitHeld,
    /// Wait until the key is free, as far as this node knows. A key that is not held is refused.
    WaitReleased,
}

impl Action {
    /// Whether this is a lock that is ready to queue for its key.
    #[must_use]
    pub const fn queues(&self) -> bool {
        match self {
            Self::Lock { wait, .. } => !wait.is_zero(),
            Self::Extend { .. }
            | Self::Update { .. }
            | Self::Release { .. }
            | Self::Read
            | Self::WaitHeld
            | Self::WaitReleased => false,
        }
    }
}

/// Who must hold the key for an operation to apply. What is not given is not checked; nothing given means anybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// The value that must be there.
    pub value: Option<Bytes>,
    /// The acquisition that must be the current one.
    pub token: Option<Token>,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// A lock, extension, update or release took effect.
    Done(Done),
    /// What a read found: the holder, or nobody.
    Found(Option<Holder>),
    /// A wait is over: the key is held, or (`None`) was released.
    Woken(Option<Holder>),
    /// The operation's condition does not hold. It changed nothing.
    Refused(Refusal),
    /// The operation certainly changed nothing and never will.
    NotDone(NotDone),
    /// Nobody can tell whether the operation took effect. It did so at one point in time, or never will.
    Unknown,
    /// The new cluster is running under this identity.
    Founded(ClusterId),
    /// The cluster consists of the members that were asked for.
    Configured {
        /// Since this epoch.
        epoch: Epoch,
        /// Whether a quorum of the masters votes already. Until then the next change has to wait.
        complete: bool,
    },
}

/// An operation that took effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Done {
    /// The fencing token of the ownership that was acquired, kept or given up.
    pub token: Token,
    /// What the caller may believe: from its clock before it sent this request, for this long. `None` where the
    /// answer gives no new belief: updates, releases, and answers marked `repeated`.
    pub valid_for: Option<Span>,
    /// How long a lock waited in its queue. Already part of `valid_for`.
    pub waited: Span,
    /// An earlier sending of the same operation had taken effect already.
    pub repeated: bool,
    /// Accepts that were needed.
    pub quorum: u8,
    /// Masters that voted for the operation.
    pub votes: u8,
    /// Masters that had accepted when the answer was given.
    pub commits: u8,
}

/// Who holds a key, as the masters that answered know it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Holder {
    /// What the owner wrote.
    pub value: Bytes,
    /// The owner's description of itself.
    pub meta: Bytes,
    /// The fencing token of the ownership.
    pub token: Token,
    /// How much of the lease is left at least.
    pub remaining: Span,
    /// How long the key stays taken after that, unless it is released.
    pub delay: Span,
    /// How long ago the key was acquired, by the hybrid clock of the node that answers: about right, as wall clocks
    /// are.
    pub age: Span,
}

/// Why an operation's condition does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Refusal {
    /// The key is held, for a lock, or held by another than the expected owner, for the rest.
    Held(Holder),
    /// The key is not held, or not held any more.
    NotHeld,
    /// A node was active already: this is no new cluster.
    AlreadyFounded {
        /// Who says so.
        by: NodeId,
        /// The cluster it belongs to.
        cluster: ClusterId,
    },
}

/// Why nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NotDone {
    /// No quorum of masters answered in time.
    NoQuorum,
    /// The caller's patience ended, or a wait timed out.
    TimedOut,
    /// The caller went away or asked to stop.
    Cancelled,
    /// The node is shutting down; another one takes the request.
    Draining,
    /// The cluster was never initialised; `leasehold init` does that.
    NotFounded,
    /// A limit was reached.
    Limit(Limit),
    /// The request itself is not acceptable.
    Invalid(Invalid),
    /// `init`, or a change of the members, could not reach this master; it may be repeated.
    Unreachable(NodeId),
    /// Another change of the members is under way.
    Changing,
    /// Only a master can found a cluster, and only one that votes can change its members; this node is not one.
    NotActive,
}

/// A limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Limit {
    /// Masters keep as many keys as they may.
    Records,
    /// The key's queue is full, or as many wait for its record as may.
    WaitersPerKey,
    /// The node has as many operations under way as it may.
    Operations,
    /// The client has as many operations under way at the node as it may.
    OperationsPerClient,
    /// The node has as many waiters, of all keys, as it may.
    Waiters,
    /// The configuration that was asked for names more masters than it may.
    Masters,
    /// The configuration that was asked for names more replicas than it may.
    Replicas,
}

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Invalid {
    /// The key is empty.
    KeyEmpty,
    /// The key is longer than this many bytes.
    KeyTooLong(u32),
    /// The value is longer than this many bytes.
    ValueTooLong(u32),
    /// The description is longer than this many bytes.
    MetaTooLong(u32),
    /// The lease is shorter than the shortest allowed.
    LeaseTooShort(Span),
    /// The lease and the delay together are longer than this.
    LeaseTooLong(Span),
    /// The configuration names no master, too many, or a member twice, or leaves this node out.
    Config,
}

/// A peer's or an own state, as `status` and topology pushes show it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Standing {
    /// Not heard of.
    #[default]
    Unknown,
    /// Never initialised.
    Fresh,
    /// Restarted; does not vote yet.
    Joining,
    /// Votes.
    Active,
    /// Learns only.
    Replica,
    /// Not a member of the configuration in force.
    Outside,
    /// Shutting down: votes, but is nobody's home.
    Draining,
}

/// A node's view of itself and its peers, for `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Status {
    /// The node that answers.
    pub id: NodeId,
    /// Its standing.
    pub standing: Standing,
    /// Until a joining node votes, if it waits for time to pass.
    pub active_in: Option<Span>,
    /// How long it has been running.
    pub uptime: Span,
    /// The cluster's identity.
    pub cluster: Option<ClusterId>,
    /// The epoch in force here.
    pub epoch: Epoch,
    /// Whether this node leads a change of the members that is not complete.
    pub changing: bool,
    /// The members and what this node knows of them; of itself, too.
    pub members: Vec<Peer>,
    /// How it hears the other members; of one that was not heard there is nothing.
    pub heard: Vec<(NodeId, Heard)>,
    /// How far each replica is behind what the answering node has coordinated.
    pub lags: Vec<(NodeId, Lag)>,
    /// Live leases in the local records.
    pub leases: u64,
    /// All local records.
    pub records: u64,
    /// Operations under way, with those that queue.
    pub operations: u64,
    /// Of these, locks that wait for their key here, its home.
    pub queued: u64,
    /// Waiters on local records.
    pub waiters: u64,
    /// Records that went since the start because all masters agreed.
    pub forgotten_by_agreement: u64,
    /// Records that went since the start because nothing of them can matter any more.
    pub forgotten_by_age: u64,
    /// What went wrong at this node lately, the newest first; the driver's to fill in.
    pub troubles: Vec<Trouble>,
}

/// A member as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Peer {
    /// The member.
    pub member: Member,
    /// Whether it votes.
    pub master: bool,
    /// What it last said of itself.
    pub standing: Standing,
    /// Whether the link to it is up.
    pub up: bool,
}

/// How far a replica is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lag {
    /// Changes that it has not acknowledged.
    pub entries: u64,
    /// Since when the oldest of them is on its way.
    pub time: Span,
}
