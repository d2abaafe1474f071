//! What was asked, what was answered, and what was believed, all in true time.
//!
//! An operation here is one *sending* of a request to one node. Its answer is noted when a node gives it, even if it
//! never reaches the client: the checkers know more than anybody in the run.

use leasehold_core::{Bytes, Done, Holder, OpId, Outcome, Owner, Refusal, Span, Token};

/// The place of a sending in [`History::ops`].
pub type OpIndex = usize;

/// What one sending asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Acquire the key.
    Lock {
        /// What it shall hold.
        value: Bytes,
        /// The owner's description, different for every operation.
        meta: Bytes,
    },
    /// Keep the key longer.
    Extend {
        /// Who must hold it.
        owner: Owner,
    },
    /// Change the value.
    Update {
        /// Who must hold it.
        owner: Owner,
        /// The new value.
        value: Bytes,
    },
    /// Give the key up.
    Release {
        /// Who must hold it.
        owner: Owner,
    },
    /// Read by quorum.
    Read,
}

impl Call {
    /// Who must hold the key for the operation to apply; nobody in particular for locks and reads.
    #[must_use]
    pub const fn owner(&self) -> Option<&Owner> {
        match self {
            Self::Extend { owner } | Self::Update { owner, .. } | Self::Release { owner } => {
                Some(owner)
            }
            Self::Lock { .. } | Self::Read => None,
        }
    }
}

/// What is known about a sending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was not answered, or "outcome unknown": it took effect at one time after it was sent, or never.
    Unknown,
    /// It certainly changed nothing and says nothing about the key.
    Nothing,
    /// It took effect.
    Done {
        /// The ownership it was about.
        token: Token,
        /// Whether an earlier sending had taken effect.
        repeated: bool,
    },
    /// It found the key held: a read, or a refusal.
    Held {
        /// The ownership.
        token: Token,
        /// Its value.
        value: Bytes,
        /// Its owner's description.
        meta: Bytes,
    },
    /// It found the key free, or for an operation with an owner, not held by them.
    Free,
}

impl Verdict {
    /// What an answer says.
    #[must_use]
    pub fn of(outcome: &Outcome) -> Self {
        let held = |holder: &Holder| Self::Held {
            token: holder.token,
            value: holder.value.clone(),
            meta: holder.meta.clone(),
        };
        match outcome {
            Outcome::Done(Done { token, repeated, .. }) => {
                Self::Done { token: *token, repeated: *repeated }
            }
            Outcome::Found(Some(holder)) | Outcome::Refused(Refusal::Held(holder)) => held(holder),
            Outcome::Found(None) | Outcome::Refused(Refusal::NotHeld) => Self::Free,
            Outcome::Unknown => Self::Unknown,
            Outcome::NotDone(_)
            | Outcome::Woken(_)
            | Outcome::Founded(_)
            | Outcome::Configured { .. }
            | Outcome::Refused(Refusal::AlreadyFounded { .. }) => Self::Nothing,
        }
    }
}

/// One sending.
#[derive(Clone, Debug)]
pub struct Op {
    /// The number of the key.
    pub key: usize,
    /// The number of the client.
    pub client: usize,
    /// The operation's identity; reads have none.
    pub id: OpId,
    /// What it asks for.
    pub call: Call,
    /// True time at which it was sent.
    pub invoked: u64,
    /// True time at which it was answered, if it was.
    pub answered: Option<u64>,
    /// What the answer says.
    pub verdict: Verdict,
    /// For how long nobody else may have the key after the lease ended by itself.
    pub delay: Span,
    /// Whether it waits for what the node itself knows of the key: held, or not. No judge looks at that.
    pub local: Option<bool>,
    /// True time before which a lease that this acquires or extends cannot end by itself.
    pub bound: u64,
    /// Whether somebody was told, before it was answered, that nobody waits for it.
    pub cancelled: bool,
}

/// A stretch of true time in which a client believes that it owns a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Belief {
    /// The number of the key.
    pub key: usize,
    /// The number of the client.
    pub client: usize,
    /// The acquisition.
    pub token: Token,
    /// When it begins.
    pub from: u64,
    /// When it is over.
    pub until: u64,
}

/// What happened in a run, as seen from outside.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// All sendings, in the order in which they were sent.
    pub ops: Vec<Op>,
    /// All beliefs, in the order in which they began.
    pub beliefs: Vec<Belief>,
}

impl History {
    /// An empty history with room for most runs.
    #[must_use]
    pub fn roomy() -> Self {
        Self { ops: Vec::with_capacity(256), beliefs: Vec::with_capacity(128) }
    }

    /// A client learns at `now` that it may believe until `until`.
    pub fn believe(&mut self, belief: Belief) {
        if belief.until <= belief.from {
            return;
        }
        let same = |b: &&mut Belief| {
            (b.key, b.client, b.token) == (belief.key, belief.client, belief.token)
        };
        match self.beliefs.iter_mut().rev().find(same) {
            Some(last) if last.until >= belief.from => last.until = last.until.max(belief.until),
            _ => self.beliefs.push(belief),
        }
    }

    /// A client that slept acts on what it believed when it fell asleep. Returns how many beliefs that makes too long.
    pub fn oversleep(&mut self, client: usize, slept: (u64, u64)) -> u64 {
        let (from, until) = slept;
        let mut overslept = 0;
        for belief in self.beliefs.iter_mut().filter(|belief| belief.client == client) {
            if belief.from <= from && (from..until).contains(&belief.until) {
                belief.until = until;
                overslept += 1;
            }
        }
        overslept
    }

    /// A client gives up, at `now`, whatever it believes about `token`.
    pub fn disbelieve(&mut self, key: usize, client: usize, token: Token, now: u64) {
        for belief in &mut self.beliefs {
            if (belief.key, belief.client, belief.token) == (key, client, token) {
                belief.until = belief.until.min(now);
            }
        }
    }
}
