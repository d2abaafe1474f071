//! What calls return.

use std::time::Duration;

use leasehold_core::{
    Bytes, Done, Epoch, Holder as WireHolder, NodeId, Status, Token, Waiter as WireWaiter,
    Waiting as WireWaiting, Wants,
};

use crate::clock::Instant;
use crate::error::Cause;
use crate::labels::{self, Labels};

/// Who holds a key, as the nodes that answered know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// What the owner wrote.
    pub value: Bytes,
    /// The owner's description of itself, with the `client_address` that its node added; empty if it is none that this
    /// client understands.
    pub labels: Labels,
    /// The fencing token of the ownership.
    pub token: Token,
    /// How much of the lease was left at least when the node answered.
    pub remaining: Duration,
    /// How long the key stays taken after that, unless it is released.
    pub delay: Duration,
    /// How long ago the key was acquired; about right, as wall clocks are.
    pub age: Duration,
}

impl From<WireHolder> for Holder {
    fn from(holder: WireHolder) -> Self {
        Self {
            labels: labels::decode(&holder.meta).unwrap_or_default(),
            value: holder.value,
            token: holder.token,
            remaining: holder.remaining.into(),
            delay: holder.delay.into(),
            age: holder.age.into(),
        }
    }
}

/// A change of the members that was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amended {
    /// The epoch in which the cluster has the members that were asked for.
    pub epoch: Epoch,
    /// Whether a quorum of the masters votes already. Until then the next change has to wait.
    pub complete: bool,
}

/// How the masters took part in an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Votes {
    /// Accepts that were needed.
    pub quorum: u8,
    /// Masters that voted for the operation.
    pub votes: u8,
    /// Masters that had accepted when the answer was given.
    pub commits: u8,
}

impl From<&Done> for Votes {
    fn from(done: &Done) -> Self {
        Self { quorum: done.quorum, votes: done.votes, commits: done.commits }
    }
}

/// A lease that now ends later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extended {
    /// The fencing token of the ownership.
    pub token: Token,
    /// Until when the owner may believe in it, on this process' clock ([`clock::now`](crate::clock::now)).
    pub valid_until: Instant,
    /// How the masters took part.
    pub votes: Votes,
}

/// A value that was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Updated {
    /// The fencing token of the ownership.
    pub token: Token,
    /// How the masters took part.
    pub votes: Votes,
}

/// A key that was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Released {
    /// The fencing token of the ownership that ended, if the cluster still knew it.
    pub token: Option<Token>,
    /// Whether this release ended it. If not, an earlier sending of it went unanswered and now the ownership is
    /// gone: the release ended it, or it had ended by itself.
    pub confirmed: bool,
    /// How the masters took part.
    pub votes: Votes,
}

/// Somebody who waits for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// What for.
    pub wants: Wants,
    /// What a lock would write; empty for other waits.
    pub value: Bytes,
    /// How the owner to be describes itself; empty for other waits.
    pub labels: Labels,
    /// How long it has been waiting where it waits now.
    pub age: Duration,
    /// How much longer it is ready to.
    pub left: Duration,
}

impl From<WireWaiter> for Waiter {
    fn from(waiter: WireWaiter) -> Self {
        Self {
            wants: waiter.wants,
            labels: labels::decode(&waiter.meta).unwrap_or_default(),
            value: waiter.value,
            age: waiter.age.into(),
            left: waiter.left.into(),
        }
    }
}

/// Who waits for a key at one node: locks queue at the key's home, other waits are where their clients are connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// How many wait.
    pub all: u64,
    /// The first of them: locks in the order in which they will be served, then waits in the order in which they
    /// came.
    pub first: Vec<Waiter>,
}

impl From<WireWaiting> for Waiting {
    fn from(waiting: WireWaiting) -> Self {
        Self { all: waiting.all, first: waiting.first.into_iter().map(Into::into).collect() }
    }
}

/// Who waits at one node, or why it could not be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingReport {
    /// The node, if it is a known member.
    pub id: Option<NodeId>,
    /// Its name, if it is known.
    pub name: Option<String>,
    /// Where clients reach it.
    pub address: String,
    /// Who waits there.
    pub waiting: Result<Waiting, Cause>,
}

/// One node, or why it could not be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeReport {
    /// The node, if it is a known member or could be asked.
    pub id: Option<NodeId>,
    /// Its name, if it is known.
    pub name: Option<String>,
    /// Where clients reach it.
    pub address: String,
    /// What it says of itself and its peers.
    pub status: Result<Status, Cause>,
}
