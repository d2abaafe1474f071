//! Who the members are: founding a cluster, changing its members, and telling others of it.

use leasehold_core::wire::{NodeItem, Topology};
use leasehold_core::{
    Amendment, Config, Epoch, Input, Instant, Member, NodeId, NotDone, Outcome, Peer, Request,
    Span, Standing, Status, Ticket,
};
use tracing::{debug, info};

use super::Driver;
use crate::amending::{Members, Unclear, Wanted, work_out};
use crate::founding::Ready;
use crate::handshake::Known;
use crate::trouble;

impl Driver {
    /// Somebody wants a new cluster.
    pub(super) fn init(&mut self, now: Instant, ticket: Ticket, patience: Span) {
        let status = self.parts.core.status(now);
        if status.cluster.is_some() {
            // Begun before, or done: the core knows which, and with whom.
            let (masters, replicas): (Vec<Peer>, Vec<Peer>) =
                status.members.into_iter().partition(|peer| peer.master);
            let members = |peers: Vec<Peer>| peers.into_iter().map(|peer| peer.member).collect();
            let (masters, replicas) = (members(masters), members(replicas));
            self.begin(
                now,
                ticket,
                Config { epoch: Epoch(1), masters, replicas, before: Vec::new() },
            );
        } else if self.parts.founding.is_master() {
            self.parts.founding.ask(now, ticket, patience);
        } else {
            let outcome = Outcome::NotDone(NotDone::NotActive);
            self.parts.desk.reply(ticket, outcome);
        }
    }

    /// Goes on with what [`Driver::init`] began.
    pub(super) fn found(&mut self, now: Instant) {
        if self.parts.founding.is_idle() {
            return;
        }
        match self.parts.founding.ready(&self.parts.links) {
            Ready::Yes(config) => {
                for ticket in self.parts.founding.take_all() {
                    self.begin(now, ticket, config.clone());
                }
            }
            Ready::Missing(masters) => {
                for ticket in self.parts.founding.take_expired(now) {
                    self.parts.desk.unmet(ticket, masters.clone());
                }
            }
        }
    }

    pub(super) fn begin(&mut self, now: Instant, ticket: Ticket, config: Config) {
        let cluster = (self.parts.fresh_cluster)();
        let request = Request::Init { cluster, config };
        self.handle(now, Input::Request { ticket, request });
    }

    /// The core's view; before there is a configuration, with the configured nodes as the links know them.
    pub(super) fn status(&self, now: Instant) -> Status {
        let mut status = self.parts.core.status(now);
        status.id = self.parts.peers.identity().member.id;
        status.troubles = trouble::lately(now);
        if status.members.is_empty() {
            let own = self.parts.peers.identity().member.clone();
            let master = self.parts.founding.is_master();
            status.members.push(Peer { member: own, master, standing: status.standing, up: true });
            for (known, master) in &self.parts.configured {
                let met = self.parts.links.met(&known.name);
                let unmet = || Member {
                    id: NodeId::default(),
                    name: known.name.clone(),
                    peer: known.address.clone(),
                    client: String::new(),
                    http: String::new(),
                };
                status.members.push(Peer {
                    member: met.cloned().unwrap_or_else(unmet),
                    master: *master,
                    standing: Standing::Unknown,
                    up: met.is_some(),
                });
            }
        }
        status
    }

    /// Tells clients, handshakes and links who the members are, if that changed.
    pub(super) fn look_around(&mut self, now: Instant) {
        let status = self.status(now);
        let Status { id, cluster, epoch, members, .. } = status;
        let topology = Topology { cluster, node: id, epoch, members };
        if topology == self.topology {
            return;
        }
        self.parts.desk.push_all(&NodeItem::Topology(topology.clone()));
        self.topology = topology;
        self.introduce();
    }

    /// Tells handshakes and links whom to expect: the members and their guests, or whom the configuration file names.
    fn introduce(&mut self) {
        let Topology { cluster, node, epoch, members } = &self.topology;
        let founded = *epoch > Epoch::default();
        let mut known: Vec<Known> = if founded {
            let others = members.iter().filter(|peer| peer.member.id != *node);
            let known = |peer: &Peer| Known {
                name: peer.member.name.clone(),
                address: peer.member.peer.clone(),
                id: Some(peer.member.id),
            };
            others.map(known).collect()
        } else {
            self.parts.configured.iter().map(|(known, _)| known.clone()).collect()
        };
        let guests = &self.amending.guests;
        known.retain(|member| guests.iter().all(|guest| guest.name != member.name));
        known.extend_from_slice(guests);
        {
            let mut identity = self.parts.peers.identity();
            identity.cluster = *cluster;
            identity.known.clone_from(&known);
        }
        self.parts.links.keep(&known);
        debug!(?epoch, founded, clients = self.parts.desk.connections(), "the topology changed");
    }

    /// Somebody wants other members.
    pub(super) fn amend(
        &mut self,
        now: Instant,
        ticket: Ticket,
        patience: Span,
        amendment: Amendment,
    ) {
        let status = self.parts.core.status(now);
        let refusal = if status.members.is_empty() {
            Some(NotDone::NotFounded)
        } else if status.standing != Standing::Active {
            Some(NotDone::NotActive)
        } else {
            None
        };
        match refusal {
            Some(reason) => self.parts.desk.reply(ticket, Outcome::NotDone(reason)),
            None => {
                info!(?amendment, "an operator wants other members");
                self.amending.ask(now, ticket, patience, amendment);
            }
        }
    }

    /// Goes on with what [`Driver::amend`] began: hands changes to the core whose nodes were met, and gives up others.
    pub(super) fn go_on_amending(&mut self, now: Instant) {
        if self.amending.wanted.is_empty() && self.amending.guests.is_empty() {
            return;
        }
        let status = self.parts.core.status(now);
        let (mut guests, mut kept) = (Vec::new(), Vec::new());
        for wanted in std::mem::take(&mut self.amending.wanted) {
            kept.extend(self.try_amending(now, &status, wanted, &mut guests));
        }
        self.amending.wanted.extend(kept);
        if guests != self.amending.guests {
            self.amending.guests = guests;
            self.introduce();
        }
    }

    /// What is left to do of a change.
    fn try_amending(
        &mut self,
        now: Instant,
        status: &Status,
        mut wanted: Wanted,
        guests: &mut Vec<Known>,
    ) -> Option<Wanted> {
        if let Some((_, members)) = &wanted.begun {
            // The core will answer. Until then they are let in.
            guests.extend(newcomers(status, members));
            return Some(wanted);
        }
        if status.standing != Standing::Active {
            // This node has to vote again first, and its operator may lose patience.
            if wanted.give_up <= now {
                self.parts.desk.reply(wanted.ticket, Outcome::NotDone(NotDone::NotActive));
                return None;
            }
            return Some(wanted);
        }
        let links = &self.parts.links;
        match work_out(&wanted.amendment, &status.members, |name| links.met(name).cloned()) {
            Ok(members) => {
                guests.extend(newcomers(status, &members));
                let patience = wanted.give_up.since(now);
                let (masters, replicas) = members.clone();
                wanted.begun = Some((status.epoch, members));
                let ticket = wanted.ticket;
                let request = Request::Members { patience, masters, replicas };
                self.handle(now, Input::Request { ticket, request });
            }
            Err(Unclear::Declined(why)) => {
                self.parts.desk.decline(wanted.ticket, why);
                return None;
            }
            Err(Unclear::Guests(missing)) if wanted.meet_by <= now => {
                let names = missing.into_iter().map(|candidate| candidate.name).collect();
                self.parts.desk.unmet(wanted.ticket, names);
                return None;
            }
            Err(Unclear::Guests(missing)) => {
                let knocks = self.parts.peers.knocks();
                guests.extend(missing.into_iter().filter_map(|candidate| {
                    let knocked = || knocks.address(now, &candidate.name);
                    let address = candidate.peer.clone().or_else(knocked)?;
                    Some(Known { name: candidate.name, address, id: None })
                }));
            }
        }
        Some(wanted)
    }

    /// The core has answered a request; a change that came too late is worked out again instead.
    pub(super) fn answer(&mut self, now: Instant, ticket: Ticket, outcome: Outcome) {
        let Some(place) = self.amending.wanted.iter().position(|wanted| wanted.ticket == ticket)
        else {
            return self.parts.desk.reply(ticket, outcome);
        };
        let mut wanted = self.amending.wanted.swap_remove(place);
        let certain = matches!(outcome, Outcome::NotDone(_));
        if wanted.again && certain && now < wanted.give_up {
            (wanted.begun, wanted.again) = (None, false);
            wanted.meet_by = wanted.meet_by.max(now);
            self.amending.wanted.push(wanted);
            return;
        }
        if let Outcome::NotDone(NotDone::Unreachable(node)) = outcome
            && let Some((_, (masters, replicas))) = &wanted.begun
            && let Some(member) = masters.iter().chain(replicas).find(|member| member.id == node)
        {
            if now < wanted.meet_by {
                // A member that was taken in just now is linked in a moment.
                wanted.begun = None;
                self.amending.wanted.push(wanted);
                return;
            }
            return self.parts.desk.unmet(ticket, vec![member.name.clone()]);
        }
        self.parts.desk.reply(ticket, outcome);
    }

    /// Another configuration is in force: takes back from the core what was said about the one before.
    pub(super) fn configured(&mut self, now: Instant, epoch: Epoch) {
        info!(epoch = epoch.0, "a new configuration is in force");
        self.stale = true;
        let members = self.parts.core.status(now).members;
        for ticket in self.amending.overtaken(epoch, &members) {
            self.handle(now, Input::Cancel(ticket));
        }
    }
}

/// Those of the members-to-be who are none yet.
fn newcomers(status: &Status, (masters, replicas): &Members) -> impl Iterator<Item = Known> {
    let member = |new: &Member| status.members.iter().any(|peer| peer.member == *new);
    masters.iter().chain(replicas).filter(move |new| !member(new)).map(|new| Known {
        name: new.name.clone(),
        address: new.peer.clone(),
        id: Some(new.id),
    })
}
