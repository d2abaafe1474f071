//! Requests on their way to a key's home (protocol, section 5.6).
//!
//! The forwarding side remembers whom to answer. The home's side sees to it that a duplicated or late forward is
//! not taken for a new request: a client that sends again knows of it, a network that delivers twice does not
//! tell. What is left out is like loss. Names are forgotten in a crash; so a forward names the home's boot, too.

use alloc::collections::{BTreeMap, BTreeSet};
use core::hash::{Hash, Hasher};

use hashbrown::HashMap;

use crate::ballot::Ballot;
use crate::hash::Numbers;
use crate::members::NodeId;
use crate::request::{Action, KeyRequest, NotDone, Outcome, Ticket};
use crate::slab::{Slab, Slot};
use crate::time::{Instant, Span};
use crate::timers::Wheel;

/// How many names of forwards the home remembers per sender.
const REMEMBERED: usize = 4_096;

/// A request of a client of this node that another node works on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Relayed {
    pub(crate) ticket: Ticket,
    pub(crate) home: NodeId,
    pub(crate) name: Ballot,
    pub(crate) request: KeyRequest,
    pub(crate) give_up: Instant,
}

impl Relayed {
    /// Whether it may have taken effect without an answer.
    pub(crate) const fn writes(&self) -> bool {
        writes(&self.request)
    }

    /// What the caller is told when no answer will come, for this reason.
    pub(crate) const fn lost(&self, reason: NotDone) -> Outcome {
        lost(&self.request, reason)
    }
}

const fn writes(request: &KeyRequest) -> bool {
    match request.action {
        Action::Read | Action::WaitHeld | Action::WaitReleased => false,
        Action::Lock { .. }
        | Action::Extend { .. }
        | Action::Update { .. }
        | Action::Release { .. } => true,
    }
}

/// The answer to a request whose fate nobody knows; for this reason not done, if it only reads.
pub(crate) const fn lost(request: &KeyRequest, reason: NotDone) -> Outcome {
    if writes(request) { Outcome::Unknown } else { Outcome::NotDone(reason) }
}

/// The names of one sender's forwards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Names {
    recent: BTreeSet<Ballot>,
    /// All up to this one were seen, or count as seen.
    seen_to: Option<Ballot>,
}

#[derive(Clone, Debug)]
pub(crate) struct Relays {
    relayed: Slab<Relayed>,
    timers: Wheel,
    by_name: HashMap<u64, Slot, Numbers>,
    by_ticket: HashMap<Ticket, Slot, Numbers>,
    names: BTreeMap<NodeId, Names>,
    /// How many of the relayed are locks that queue for their key.
    queueing: usize,
}

impl Hash for Relays {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { relayed, timers, names, by_name: _, by_ticket: _, queueing: _ } = self;
        (relayed, timers, names).hash(state);
    }
}

impl Relays {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            relayed: Slab::new(),
            timers: Wheel::new(now),
            by_name: HashMap::with_hasher(Numbers),
            by_ticket: HashMap::with_hasher(Numbers),
            names: BTreeMap::new(),
            queueing: 0,
        }
    }

    /// Remembers a request that is forwarded now.
    pub(crate) fn add(&mut self, relayed: Relayed) {
        let (name, ticket, give_up) = (relayed.name, relayed.ticket, relayed.give_up);
        self.queueing += usize::from(relayed.request.action.queues());
        let slot = self.relayed.insert(relayed);
        self.timers.set(slot, give_up);
        self.by_name.insert(name.counter, slot);
        self.by_ticket.insert(ticket, slot);
    }

    /// Takes the request that `home` has answered.
    pub(crate) fn answered(&mut self, home: NodeId, name: Ballot) -> Option<Relayed> {
        let slot = *self.by_name.get(&name.counter)?;
        let relayed = self.relayed.get(slot)?;
        if relayed.home == home && relayed.name == name { self.remove(slot) } else { None }
    }

    /// Takes the request of this ticket.
    pub(crate) fn cancel(&mut self, ticket: Ticket) -> Option<Relayed> {
        self.by_ticket.get(&ticket).copied().and_then(|slot| self.remove(slot))
    }

    /// Takes a request whose patience is at its end.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Relayed> {
        let slot = self.timers.pop(now)?;
        self.remove(slot)
    }

    /// Takes a request that was sent to this home, if there is one.
    pub(crate) fn pop_of(&mut self, home: NodeId) -> Option<Relayed> {
        let slot = self.relayed.iter().find(|(_, relayed)| relayed.home == home)?.0;
        self.remove(slot)
    }

    fn remove(&mut self, slot: Slot) -> Option<Relayed> {
        let relayed = self.relayed.remove(slot)?;
        self.queueing -= usize::from(relayed.request.action.queues());
        self.timers.clear(slot);
        self.by_name.remove(&relayed.name.counter);
        self.by_ticket.remove(&relayed.ticket);
        Some(relayed)
    }

    /// Whether a forward of this name from `sender` is a new one.
    pub(crate) fn is_new(&mut self, sender: NodeId, name: Ballot) -> bool {
        let names = self.names.entry(sender).or_default();
        if names.seen_to >= Some(name) || !names.recent.insert(name) {
            return false;
        }
        if names.recent.len() > REMEMBERED {
            names.seen_to = names.recent.pop_first();
        }
        true
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.timers.deadline()
    }

    pub(crate) const fn queueing(&self) -> usize {
        self.queueing
    }

    pub(crate) fn len(&self) -> usize {
        self.relayed.len()
    }
}

/// The patience that a forwarded request takes along: a little less, so that the home's answer comes in time.
pub(crate) const fn patience_at_home(patience: Span) -> Span {
    patience.minus(patience.split(16))
}
