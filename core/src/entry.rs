//! What a register holds: an owner with a lease, or the mark that a release leaves.

use serde::{Deserialize, Serialize};

use crate::ballot::Token;
use crate::bytes::Bytes;
use crate::time::Span;

/// The identity of an operation, chosen by the client that sends it (protocol, section 5.2).
///
/// A lock is step 0 of a new chain; the later operations of the same holder count on, one at a time.
/// The same id is used again only to send the same operation again.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct OpId {
    /// Random, new for every lock: two halves of 128 bits.
    pub chain: (u64, u64),
    /// The place in the chain.
    pub step: u32,
}

impl OpId {
    /// Whether `other` is a later step of the same chain.
    #[must_use]
    pub fn is_before(self, other: Self) -> bool {
        self.chain == other.chain && self.step < other.step
    }
}

/// What was agreed for a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Entry {
    /// Somebody owns the key, for as long as the masters keep this.
    Held(Held),
    /// Nobody owns the key. The mark keeps what is needed to answer operations that come late.
    Free {
        /// The operation that freed it, or the last one of the dead entry that this replaces.
        last_op: OpId,
        /// The token of the ownership that ended.
        token: Token,
    },
}

/// An ownership.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Held {
    /// What the owner wrote.
    pub value: Bytes,
    /// The owner's description of itself, opaque to the core; updates keep it unless they give another.
    pub meta: Bytes,
    /// The lease that was asked for last.
    pub lease: Span,
    /// How long the key stays taken after the lease ended by itself.
    pub delay: Span,
    /// The counter of the ballot that acquired the key.
    pub token: Token,
    /// The last operation that changed this.
    pub last_op: OpId,
}

impl Entry {
    /// The last operation that changed this entry.
    #[must_use]
    pub const fn last_op(&self) -> OpId {
        match self {
            Self::Held(held) => held.last_op,
            Self::Free { last_op, .. } => *last_op,
        }
    }

    /// The token of the ownership that this is, or was.
    #[must_use]
    pub const fn token(&self) -> Token {
        match self {
            Self::Held(held) => held.token,
            Self::Free { token, .. } => *token,
        }
    }

    /// The mark that stands for this entry once nobody owns it any more.
    #[must_use]
    pub const fn freed(&self) -> Self {
        Self::Free { last_op: self.last_op(), token: self.token() }
    }

    /// The ownership, if this is one.
    #[must_use]
    pub const fn held(&self) -> Option<&Held> {
        match self {
            Self::Held(held) => Some(held),
            Self::Free { .. } => None,
        }
    }
}
