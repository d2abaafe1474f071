//! The way of a request: to a wait on the local record, to the key's home, or to the coordinator here.

use super::{Node, validate};
use crate::bytes::Key;
use crate::coordinator::Origin;
use crate::decide::Job;
use crate::effect::{Effect, Effects};
use crate::faults::Rule;
use crate::members::NodeId;
use crate::message::{Body, Relay};
use crate::relay::{self, Relayed, patience_at_home};
use crate::request::{Action, KeyRequest, Limit, NotDone, Outcome, Refusal, Standing, Ticket};

impl Node {
    pub(super) fn request(&mut self, ticket: Ticket, request: KeyRequest, out: &mut Effects) {
        let refused = if let Some(invalid) = validate::fault(&request, &self.settings) {
            Some(NotDone::Invalid(invalid))
        } else if !self.sync.is_founded() {
            Some(NotDone::NotFounded)
        } else {
            None
        };
        if let Some(reason) = refused {
            out.push(Effect::Reply { ticket, outcome: Outcome::NotDone(reason) });
            return;
        }
        match request.action {
            Action::WaitHeld => self.wait(ticket, request, true, out),
            Action::WaitReleased => self.wait(ticket, request, false, out),
            Action::Lock { .. }
            | Action::Extend { .. }
            | Action::Update { .. }
            | Action::Release { .. }
            | Action::Read => self.route(ticket, request, out),
        }
    }

    fn wait(&mut self, ticket: Ticket, request: KeyRequest, held: bool, out: &mut Effects) {
        let outcome = match self.holder(self.now, &request.key) {
            Some(holder) if held => Outcome::Woken(Some(holder)),
            None if !held => Outcome::Refused(Refusal::NotHeld),
            Some(_) | None => {
                let limit = self.no_room(true).or_else(|| {
                    let times = (self.now, self.now.after(request.patience));
                    let waits = self.waiters.wait(ticket, request.key, held, times);
                    (!waits).then_some(Limit::WaitersPerKey)
                });
                match limit {
                    Some(limit) => Outcome::NotDone(NotDone::Limit(limit)),
                    None => return,
                }
            }
        };
        out.push(Effect::Reply { ticket, outcome });
    }

    /// The limit that another operation would exceed, if one would. Locks that queue and waits on the local record
    /// count as waiters, the rest as operations.
    fn no_room(&self, waits: bool) -> Option<Limit> {
        let limits = &self.settings.limits;
        let full = |count: usize, limit| u32::try_from(count).map_or(true, |count| count >= limit);
        let queueing = self.coordinator.queueing() + self.relays.queueing();
        if waits {
            full(queueing + self.waiters.len(), limits.waiters).then_some(Limit::Waiters)
        } else {
            let operations = self.coordinator.operations() + self.relays.len() - queueing;
            full(operations, limits.operations).then_some(Limit::Operations)
        }
    }

    /// To the key's home, or to the coordinator here.
    fn route(&mut self, ticket: Ticket, mut request: KeyRequest, out: &mut Effects) {
        if let Some(limit) = self.no_room(request.action.queues()) {
            let outcome = Outcome::NotDone(NotDone::Limit(limit));
            out.push(Effect::Reply { ticket, outcome });
            return;
        }
        match self.home(&request.key) {
            Some(home) if home != self.peers.me => {
                let name = self.clock.fresh(self.now);
                let give_up = self.now.after(request.patience);
                self.relays.add(Relayed { ticket, home, name, request: request.clone(), give_up });
                request.patience = patience_at_home(request.patience);
                let boot = self.peers.boot_of(home);
                let sent_at = self.peers.running_at_least(home, self.now);
                self.send(home, Body::Relay(Relay::Forward { name, boot, sent_at, request }), out);
            }
            Some(_) | None => self.submit(Origin::Client(ticket), request),
        }
    }

    fn submit(&mut self, origin: Origin, request: KeyRequest) {
        let KeyRequest { key, patience, action } = request;
        self.coordinate(|coordinator, scene| {
            coordinator.submit(scene, origin, key, Job::Act(action), patience);
        });
    }

    pub(super) fn home(&self, key: &[u8]) -> Option<NodeId> {
        self.peers.home(key, self.standing() == Standing::Active)
    }

    pub(super) fn relay(&mut self, from: NodeId, relay: Relay, out: &mut Effects) {
        match relay {
            Relay::Forward { name, boot, sent_at, request } => {
                if boot != self.boot() {
                    // An earlier boot may have taken it. What only reads may find another way.
                    let outcome = relay::lost(&request, NotDone::Draining);
                    return self.send(from, Body::Relay(Relay::Answered { name, outcome }), out);
                }
                if !self.relays.is_new(from, name) {
                    return;
                }
                // Too late. It was on its way for no longer than this, so where its sender still waits, it finds another.
                let age = self.clock.elapsed(self.now).minus(sent_at);
                let late = age > self.settings.timing.op_timeout && !Rule::ForwardAge.is_out();
                let refused = self.draining || late;
                let invalid = validate::fault(&request, &self.settings).map(NotDone::Invalid);
                let draining = refused.then_some(NotDone::Draining);
                let founding = (!self.sync.is_founded()).then_some(NotDone::NotFounded);
                let full = || self.no_room(request.action.queues()).map(NotDone::Limit);
                match invalid.or(draining).or(founding).or_else(full) {
                    None => self.submit(Origin::Node(from, name), request),
                    Some(reason) => {
                        let outcome = Outcome::NotDone(reason);
                        self.send(from, Body::Relay(Relay::Answered { name, outcome }), out);
                    }
                }
            }
            Relay::Cancel { name } => self.coordinate(|coordinator, scene| {
                coordinator.cancel(scene, Origin::Node(from, name));
            }),
            Relay::Answered { name, outcome } => {
                let Some(relayed) = self.relays.answered(from, name) else { return };
                if outcome == Outcome::NotDone(NotDone::Draining) {
                    return self.reroute(relayed, out);
                }
                out.push(Effect::Reply { ticket: relayed.ticket, outcome });
            }
        }
    }

    /// The home certainly did nothing: tries the next one, in what is left of the caller's patience.
    fn reroute(&mut self, relayed: Relayed, out: &mut Effects) {
        let epoch = self.peers.epoch();
        self.peers.says(relayed.home, Standing::Draining, epoch);
        let patience = relayed.give_up.since(self.now);
        self.route(relayed.ticket, KeyRequest { patience, ..relayed.request }, out);
    }

    /// Homes may have moved: what waits here for a key whose home is elsewhere goes there.
    pub(super) fn move_homes(&mut self, out: &mut Effects) {
        let (peers, serves) = (&self.peers, self.standing() == Standing::Active);
        let leaves = |key: &Key| peers.home(key, serves).is_some_and(|home| home != peers.me);
        for (origin, request) in self.coordinator.take_back(self.now, leaves) {
            match origin {
                Origin::Client(ticket) => self.route(ticket, request, out),
                Origin::Node(node, name) => {
                    let outcome = Outcome::NotDone(NotDone::Draining);
                    self.send(node, Body::Relay(Relay::Answered { name, outcome }), out);
                }
                Origin::Own => {}
            }
        }
    }

    pub(super) fn cancel(&mut self, ticket: Ticket, out: &mut Effects) {
        let cancelled = Outcome::NotDone(NotDone::Cancelled);
        if let Some(relayed) = self.relays.cancel(ticket) {
            self.send(relayed.home, Body::Relay(Relay::Cancel { name: relayed.name }), out);
            let outcome = relayed.lost(NotDone::Cancelled);
            out.push(Effect::Reply { ticket, outcome });
        } else if self.waiters.cancel(ticket) {
            out.push(Effect::Reply { ticket, outcome: cancelled });
        } else {
            self.coordinate(|coordinator, scene| {
                coordinator.cancel(scene, Origin::Client(ticket));
            });
            self.found(out, |founding, desk| founding.cancel(desk, ticket));
            self.change(out, |membership, scene| membership.cancel(scene, ticket));
        }
    }

    pub(super) fn link(&mut self, peer: NodeId, up: bool, out: &mut Effects) {
        if !self.peers.link(peer, up) {
            return;
        }
        if up {
            return self.send(peer, Body::Standing(self.presence()), out);
        }
        if self.senders.lost(peer) {
            self.sync.behind(self.now);
        }
        self.coordinate(|coordinator, scene| coordinator.cancel_from(scene, peer));
        self.move_homes(out);
        while let Some(relayed) = self.relays.pop_of(peer) {
            if relayed.writes() {
                out.push(Effect::Reply { ticket: relayed.ticket, outcome: Outcome::Unknown });
            } else {
                self.reroute(relayed, out);
            }
        }
    }
}
