//! What calls return.

use std::time::Duration;

use leasehold_core::{Bytes, Done, Holder as WireHolder, NodeId, Status, Token};

use crate::clock::Instant;
use crate::error::Cause;
use crate::labels::{self, Labels};

/// Who holds a key, as the nodes that answered know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// What the owner wrote.
    pub value: Bytes,
    /// The owner's description of itself; empty if it is none that this client understands.
    pub labels: Labels,
    /// The fencing token of the ownership.
    pub token: Token,
    /// How much of the lease was left at least when the node answered.
    pub remaining: Duration,
    /// How long the key stays taken after that, unless it is released.
    pub delay: Duration,
}

impl From<WireHolder> for Holder {
    fn from(holder: WireHolder) -> Self {
        Self {
            labels: labels::decode(&holder.meta).unwrap_or_default(),
            value: holder.value,
            token: holder.token,
            remaining: holder.remaining.into(),
            delay: holder.delay.into(),
        }
    }
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
