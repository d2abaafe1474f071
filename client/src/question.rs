//! What a call asks a node, independent of the connection over which it does.

use leasehold_core::wire::ClientItem;
use leasehold_core::{
    Action, Address, Amendment, Bytes, Cursor, Delivery, Holder, Instant, Key, KeyRequest, OpId,
    Outcome, Owner, Page, Span, Status, Token, Waiting,
};

use crate::identity;

/// What is left of a call's time for the answer to travel: the node's patience ends this much before the caller's
/// deadline, so that its "certainly not done" arrives instead of our "unknown".
const TRAVEL: Span = Span::from_millis(500);

/// A question that can be put to any node, and put again with the same identity.
#[derive(Clone, Debug)]
pub(crate) enum Question {
    /// About one key, for the cluster.
    Key {
        /// The key.
        key: Key,
        /// What is to be done. A lock's `wait` is filled in at each sending.
        action: Action,
        /// Until when the node may take its time.
        patience: Instant,
        /// Until when a lock may queue.
        wait: Option<Instant>,
    },
    /// What one node's own record says.
    Local(Key),
    /// What one node knows of itself and its peers.
    Status,
    /// A page of what is held by one node's own records.
    List {
        /// What the keys start with.
        prefix: Bytes,
        /// Where the page starts.
        from: Cursor,
        /// How many to show at most.
        most: u32,
    },
    /// Who waits for a key at one node.
    Waiting(Key),
    /// Declare a new cluster.
    Init {
        /// Until when the node may take its time.
        patience: Instant,
    },
    /// Let the cluster have other members.
    Amend {
        /// Until when the node may take its time.
        patience: Instant,
        /// Which.
        amendment: Amendment,
    },
}

/// An answer to a [`Question`].
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// To [`Question::Key`], [`Question::Init`] and [`Question::Amend`].
    Outcome(Outcome),
    /// To [`Question::Local`].
    Local(Option<Holder>),
    /// To [`Question::Status`].
    Status(Box<Status>),
    /// To [`Question::List`]; none if the cursor is of other records.
    Page(Option<Page>),
    /// To [`Question::Waiting`].
    Waiting(Waiting),
    /// Where the connection's mailboxes are.
    Hosted(Address),
    /// What became of a piece of mail.
    Posted(Delivery),
    /// To [`Question::Init`] and [`Question::Amend`]: nothing was done, for want of these nodes.
    Unmet(Vec<String>),
    /// To anything: nothing was done, because the caller lacks the right.
    NotAllowed(String),
    /// To [`Question::Amend`]: nothing was done, because it makes no sense as things are.
    Declined(String),
}

/// A lock whose answer nobody awaits any more: should it be granted, it is released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Orphan {
    /// The key.
    pub(crate) key: Key,
    /// The last step of the chain that was sent.
    pub(crate) id: OpId,
    /// After how long there is nothing to give back any more.
    pub(crate) lease: Span,
    /// The ownership that the caller has all the same, from another sending.
    pub(crate) kept: Option<Token>,
}

/// Until when a node may take its time for what is to be over by `deadline`.
fn patience(now: Instant, deadline: Instant) -> Instant {
    let left = deadline.since(now);
    now.after(left.minus(TRAVEL.min(left.split(8))))
}

impl Question {
    /// An operation that is to be over by `deadline`.
    pub(crate) fn within(key: Key, action: Action, now: Instant, deadline: Instant) -> Self {
        Self::Key { key, action, patience: patience(now, deadline), wait: None }
    }

    /// The founding of a cluster, to be over by `deadline`.
    pub(crate) fn init(now: Instant, deadline: Instant) -> Self {
        Self::Init { patience: patience(now, deadline) }
    }

    /// A change of the members, to be over by `deadline`.
    pub(crate) fn amend(amendment: Amendment, now: Instant, deadline: Instant) -> Self {
        Self::Amend { patience: patience(now, deadline), amendment }
    }

    /// The same, for a lock that may queue until then.
    pub(crate) fn waiting_until(mut self, until: Option<Instant>) -> Self {
        if let Self::Key { wait, .. } = &mut self {
            *wait = until;
        }
        self
    }

    /// The item that asks this over a connection, as of `now`.
    pub(crate) fn item(&self, call: u64, now: Instant) -> ClientItem {
        match self {
            Self::Key { key, action, patience, wait } => {
                let mut action = action.clone();
                if let (Action::Lock { wait, .. }, Some(until)) = (&mut action, wait) {
                    *wait = until.since(now);
                }
                let request =
                    KeyRequest { key: key.clone(), patience: patience.since(now), action };
                ClientItem::Request { call, request }
            }
            Self::Local(key) => ClientItem::LocalRead { call, key: key.clone() },
            Self::Status => ClientItem::Status { call },
            Self::List { prefix, from, most } => {
                ClientItem::List { call, prefix: prefix.clone(), from: *from, most: *most }
            }
            Self::Waiting(key) => ClientItem::Waiting { call, key: key.clone() },
            Self::Init { patience } => ClientItem::Init { call, patience: patience.since(now) },
            Self::Amend { patience, amendment } => ClientItem::Amend {
                call,
                patience: patience.since(now),
                amendment: amendment.clone(),
            },
        }
    }

    /// The key whose home should be asked first.
    pub(crate) fn home_of(&self) -> Option<&Key> {
        match self {
            Self::Key { key, .. } => Some(key),
            Self::Local(_)
            | Self::Status
            | Self::List { .. }
            | Self::Waiting(_)
            | Self::Init { .. }
            | Self::Amend { .. } => None,
        }
    }

    /// Whether an unanswered sending may have changed something.
    pub(crate) const fn changes(&self) -> bool {
        match self {
            Self::Key { action, .. } => match action {
                Action::Lock { .. }
                | Action::Extend { .. }
                | Action::Update { .. }
                | Action::Release { .. } => true,
                Action::Read | Action::WaitHeld | Action::WaitReleased => false,
            },
            Self::Init { .. } | Self::Amend { .. } => true,
            Self::Local(_) | Self::Status | Self::List { .. } | Self::Waiting(_) => false,
        }
    }

    /// Whether it may be sent again while nobody knows what became of an earlier sending. An operation on a key
    /// carries an identity for that. But a release of whoever holds the key might hit whoever came next, and a second
    /// `init` would only learn that there is a cluster by now.
    pub(crate) fn repeats(&self) -> bool {
        match self {
            Self::Key { action: Action::Release { owner, .. }, .. } => *owner != Owner::default(),
            Self::Key { .. }
            | Self::Local(_)
            | Self::Status
            | Self::List { .. }
            | Self::Waiting(_) => true,
            Self::Init { .. } | Self::Amend { .. } => false,
        }
    }

    /// Whether another node may be asked the same beside one that is only quiet, and may do it late. A lock that it grants
    /// then is given back. What names an ownership by its token finds that one or nothing, and a step of its owner's
    /// chain gives way to later steps. But what goes by the value alone might hit whoever came next, and an update
    /// that is no step of a chain might undo a later one.
    pub(crate) const fn asks_beside(&self) -> bool {
        match self {
            Self::Key { action, .. } => match action {
                Action::Lock { .. } | Action::Read | Action::WaitHeld | Action::WaitReleased => {
                    true
                }
                Action::Extend { owner, .. } | Action::Release { owner, .. } => {
                    owner.token.is_some()
                }
                Action::Update { id, owner, .. } => owner.token.is_some() && id.step > 0,
            },
            Self::Local(_) | Self::Status | Self::List { .. } | Self::Waiting(_) => true,
            Self::Init { .. } | Self::Amend { .. } => false,
        }
    }

    /// Whether this waits for something to come about, so that running out of time is an answer.
    pub(crate) const fn waits(&self) -> bool {
        match self {
            Self::Key { action, wait, .. } => match action {
                Action::Lock { .. } => wait.is_some(),
                Action::WaitHeld | Action::WaitReleased => true,
                Action::Extend { .. }
                | Action::Update { .. }
                | Action::Release { .. }
                | Action::Read => false,
            },
            Self::Local(_)
            | Self::Status
            | Self::List { .. }
            | Self::Waiting(_)
            | Self::Init { .. }
            | Self::Amend { .. } => false,
        }
    }

    /// How long past now a node may take without being suspect, beside what a coordinator needs.
    pub(crate) fn waiting(&self, now: Instant) -> Span {
        match self {
            Self::Key { action, patience, wait, .. } => match action {
                Action::Lock { .. } => wait.map_or(Span::ZERO, |until| until.since(now)),
                Action::WaitHeld | Action::WaitReleased => patience.since(now),
                Action::Extend { .. }
                | Action::Update { .. }
                | Action::Release { .. }
                | Action::Read => Span::ZERO,
            },
            Self::Init { patience } | Self::Amend { patience, .. } => patience.since(now),
            Self::Local(_) | Self::Status | Self::List { .. } | Self::Waiting(_) => Span::ZERO,
        }
    }

    /// What to clean up if the answer comes when nobody awaits it any more.
    pub(crate) fn orphan(&self) -> Option<Orphan> {
        match self {
            Self::Key { key, action: Action::Lock { id, lease, delay, .. }, .. } => {
                let lease = lease.plus(*delay);
                Some(Orphan { key: key.clone(), id: *id, lease, kept: None })
            }
            Self::Key { .. }
            | Self::Local(_)
            | Self::Status
            | Self::List { .. }
            | Self::Waiting(_)
            | Self::Init { .. }
            | Self::Amend { .. } => None,
        }
    }
}

impl Orphan {
    /// The step that releases it. The caller of one that is kept goes on with the chain.
    pub(crate) fn release_id(&self) -> OpId {
        if self.kept.is_some() { identity::new_chain() } else { identity::next_step(self.id) }
    }
}
