//! How a node comes to vote: founding, taking over from others, and the way from one epoch to the next.

use alloc::vec::Vec;

use super::{Node, validate};
use crate::acceptor::Acceptor;
use crate::ballot::{Ballot, Token};
use crate::coordinator::Coordinator;
use crate::disk::Then;
use crate::effect::{Effect, Effects, Event};
use crate::faults::Rule;
use crate::feed::Senders;
use crate::founding::{self, Founding};
use crate::members::{ClusterId, Config, Epoch, Member, NodeFile, NodeId};
use crate::membership::{self, Membership};
use crate::message::{Body, Change, Copied, Feed, Found, Presence, Snapshot};
use crate::request::{NotDone, Outcome, Standing, Ticket};
use crate::sync::{PartHead, Step};
use crate::time::Span;

impl Node {
    /// Runs the founding, and carries out what it says.
    pub(super) fn found(
        &mut self,
        out: &mut Effects,
        work: impl FnOnce(&mut Founding, &mut founding::Desk<'_>),
    ) {
        let (mut post, mut answers) = (Vec::new(), Vec::new());
        let mut desk = founding::Desk {
            now: self.now,
            founded: self.sync.is_founded(),
            disk: &mut self.disk,
            post: &mut post,
            answers: &mut answers,
        };
        work(&mut self.founding, &mut desk);
        self.carry_out(post, answers, out);
    }

    /// Runs the membership, and carries out what it says.
    pub(super) fn change<T>(
        &mut self,
        out: &mut Effects,
        work: impl FnOnce(&mut Membership, &mut membership::Scene<'_>) -> T,
    ) -> T {
        let (mut post, mut answers) = (Vec::new(), Vec::new());
        let active = self.sync.is_active();
        let mut scene = membership::Scene {
            now: self.now,
            clock: &mut self.clock,
            voting: self.peers.voting(active),
            disk: &mut self.disk,
            post: &mut post,
            answers: &mut answers,
            active,
        };
        let result = work(&mut self.membership, &mut scene);
        self.carry_out(post, answers, out);
        result
    }

    fn carry_out(
        &mut self,
        post: Vec<(NodeId, Body)>,
        answers: Vec<(Ticket, Outcome)>,
        out: &mut Effects,
    ) {
        for (to, body) in post {
            self.deliver(to, body, out);
        }
        for (ticket, outcome) in answers {
            out.push(Effect::Reply { ticket, outcome });
        }
    }

    /// To a peer, or, for a step of a founding or of a change and for what a replica learns, to this node itself.
    pub(super) fn deliver(&mut self, to: NodeId, body: Body, out: &mut Effects) {
        if to != self.peers.me {
            return self.send(to, body, out);
        }
        match body {
            Body::Found(step) => self.found(out, |founding, desk| founding.take(desk, to, step)),
            Body::Change(step) => self.on_change(to, step, out),
            Body::Feed(feed) => self.on_feed(to, feed, out),
            Body::Ask { .. }
            | Body::Answer { .. }
            | Body::Tell(_)
            | Body::Relay(_)
            | Body::Standing(_)
            | Body::Snapshot(_) => {}
        }
    }

    /// What may happen now that the node file is on disk.
    pub(super) fn then(&mut self, then: Then, out: &mut Effects) {
        match then {
            Then::Send(to, body) => self.deliver(to, *body, out),
            Then::Activate(from) => {
                let file = self.disk.file();
                if let (Some(cluster), Some(config)) = (file.cluster, file.config.clone()) {
                    if !self.sync.is_founded() {
                        self.configure(cluster, config);
                        self.sync.activated();
                    }
                    self.raise_ceiling();
                    self.deliver(from, Body::Found(Found::Activated { cluster }), out);
                }
            }
            Then::Synced(epoch) => {
                if let Some(staging) = self.staging.take_if(|_| epoch == self.peers.epoch()) {
                    self.acceptor = staging;
                    self.sync.synced();
                    self.tell_waiters(out);
                }
            }
            Then::Adopt => self.adopt(out),
        }
    }

    pub(super) fn configure(&mut self, cluster: ClusterId, config: Config) {
        self.feeder.configure(config.replicas.iter().map(|member| member.id));
        self.peers.configure(cluster, config);
        self.rates.keep(|peer| self.peers.is_member(peer));
    }

    /// Records that are none yet.
    fn empty(&self, floor: Ballot) -> Acceptor {
        Acceptor::new(&self.settings, self.seed, floor, self.now)
    }

    pub(super) fn raise_ceiling(&mut self) {
        self.disk.keep_above(self.clock.reading(self.now).max(self.clock.highest()));
    }

    /// An operator declares a new cluster.
    pub(super) fn init(
        &mut self,
        ticket: Ticket,
        cluster: ClusterId,
        config: Config,
        out: &mut Effects,
    ) {
        let limits = &self.settings.limits;
        let (masters, replicas) = (config.masters.len(), config.replicas.len());
        if let Some(limit) = validate::too_many(masters, replicas, limits) {
            let outcome = Outcome::NotDone(NotDone::Limit(limit));
            out.push(Effect::Reply { ticket, outcome });
            return;
        }
        let peers = self.peers.clone();
        let standing = |node| peers.standing_of(node);
        self.found(out, |founding, desk| founding.init(desk, ticket, cluster, config, standing));
    }

    /// An operator wants these members.
    pub(super) fn members(
        &mut self,
        ticket: Ticket,
        patience: Span,
        members: (Vec<Member>, Vec<Member>),
        out: &mut Effects,
    ) {
        let limits = &self.settings.limits;
        if let Some(limit) = validate::too_many(members.0.len(), members.1.len(), limits) {
            let outcome = Outcome::NotDone(NotDone::Limit(limit));
            out.push(Effect::Reply { ticket, outcome });
            return;
        }
        let missing = members.0.iter().map(|member| member.id).find(|&id| !self.peers.is_up(id));
        self.change(out, |membership, scene| {
            membership.request(scene, ticket, patience, members, missing);
        });
    }

    /// A step of a change of this epoch, or the outcome of one.
    pub(super) fn on_change(&mut self, from: NodeId, step: Change, out: &mut Effects) {
        if let Change::Adopt { cluster, config } = step {
            return self.learn(cluster, config, out);
        }
        let chosen = self.change(out, |membership, scene| membership.take(scene, from, step));
        if let (Some(config), Some(cluster)) = (chosen, self.disk.file().cluster) {
            self.learn(cluster, config, out);
        }
    }

    /// A configuration was chosen: takes it into force, unless a newer one is, as soon as it is on disk.
    fn learn(&mut self, cluster: ClusterId, config: Config, out: &mut Effects) {
        let file = self.disk.file();
        let known = file.config.as_ref().map_or(Epoch(0), |known| known.epoch);
        let founded = self.sync.is_founded();
        // A master that missed all of the epoch before is named as one of those who are taken over from. Without votes to lose,
        // it is as good a source as any.
        let (me, missed) = (self.peers.me, config.before.contains(&self.peers.me));
        let named = missed || config.members().any(|member| member.id == me);
        let stranger = (founded && file.cluster != Some(cluster)) || (!founded && !named);
        // How the first masters begin to vote is the founding's business.
        let first = config.epoch == Epoch(1) && config.master(self.peers.me).is_some();
        if stranger || first || !config.well_formed() || (founded && config.epoch <= known) {
            return;
        }
        // A vote in one epoch matters as long as the masters stay the same: some of them never take over anything.
        let voted = file.config.as_ref().is_some_and(|old| {
            file.active_in == Some(old.epoch) && config.follows(old) && old.epoch < config.epoch
        });
        let epoch = config.epoch;
        let voted_in = if config.has_new_masters() { epoch.0.saturating_sub(1) } else { epoch.0 };
        let change = |file: &mut NodeFile| {
            file.cluster = Some(cluster);
            file.config = Some(config);
            file.vote = crate::members::ConfigVote::default();
            if voted {
                file.active_in = Some(Epoch(voted_in));
            }
        };
        self.disk.change(change, Some(Then::Adopt));
        self.disk.flush(out);
    }

    /// Takes the node file's configuration into force.
    fn adopt(&mut self, out: &mut Effects) {
        let file = self.disk.file();
        let (Some(cluster), Some(config)) = (file.cluster, file.config.clone()) else { return };
        if self.sync.is_founded() && config.epoch <= self.peers.epoch() {
            return;
        }
        let old = self.peers.config().map(|(_, old)| old.clone());
        self.configure(cluster, config.clone());
        self.learned = self.empty(Ballot::ZERO);
        self.senders = Senders::default();
        self.sync.adopted(self.now, old.as_ref(), self.disk.file());
        if !self.sync.is_active() && !self.sync.has_fenced_records() {
            self.acceptor = self.empty(self.acceptor.floor());
        }
        self.drop_staging();
        self.tell_at = self.now;
        self.raise_ceiling();
        out.push(Effect::Event(Event::Configured(config.epoch)));
        let mut others: Vec<NodeId> = config.members().map(|member| member.id).collect();
        others.extend(old.iter().flat_map(|old| old.members().map(|member| member.id)));
        others.sort_unstable();
        others.dedup();
        for other in others.into_iter().filter(|&other| other != self.peers.me) {
            let adopt = Change::Adopt { cluster, config: config.clone() };
            self.send(other, Body::Change(adopt), out);
        }
        self.coordinate(Coordinator::begin_again);
        self.change(out, Membership::adopted);
        self.join(out);
    }

    /// What a joining master does next.
    pub(super) fn join(&mut self, out: &mut Effects) {
        let (now, clock) = (self.now, &mut self.clock);
        let steps = self.sync.tick(now, self.disk.file(), || clock.fresh(now));
        self.take_steps(steps, out);
    }

    fn take_steps(&mut self, steps: Vec<Step>, out: &mut Effects) {
        for step in steps {
            match step {
                Step::Begin { nonce, from } => {
                    let floor = self.acceptor.floor();
                    self.staging = Some(Acceptor::new(&self.settings, self.seed, floor, self.now));
                    for source in from {
                        let ask = Snapshot::Ask { nonce, cursor: 0 };
                        self.send(source, Body::Snapshot(ask), out);
                    }
                }
                Step::Ask { nonce, from, cursor } => {
                    self.send(from, Body::Snapshot(Snapshot::Ask { nonce, cursor }), out);
                }
                Step::Finish { with_own: true } => self.copying = Some(0),
                Step::Finish { with_own: false } => self.finish_sync(),
                Step::CaughtUp => self.catch_up(out),
                // What was taken over may still wait for the disk, and must not replace what is voted from now on.
                Step::Aged => self.drop_staging(),
            }
        }
    }

    fn drop_staging(&mut self) {
        self.staging = None;
        self.copying = None;
    }

    /// Takes over a part of this node's own records, which are those of a fenced master: a part at a time, so that the
    /// node goes on doing everything else.
    pub(super) fn take_over_own(&mut self) {
        let Some(cursor) = self.copying else { return };
        let (copies, floor, next) = self.acceptor.export(self.now, cursor);
        self.take_over(copies, floor);
        self.copying = next;
        if next.is_none() {
            self.finish_sync();
        }
    }

    /// Enough was taken over: it is voted on once the ceiling above it is on disk.
    fn finish_sync(&mut self) {
        let Some(staging) = &self.staging else { return };
        let highest = staging.highest();
        let epoch = self.peers.epoch();
        let raise = !Rule::CeilingAfterSync.is_out();
        if raise {
            self.clock.observe(highest);
        }
        let change = |file: &mut NodeFile| {
            if raise {
                file.ceiling = file.ceiling.max(highest);
            }
            file.active_in = Some(epoch);
        };
        self.disk.change(change, Some(Then::Synced(epoch)));
    }

    pub(super) fn snapshot(&mut self, from: NodeId, snapshot: Snapshot, out: &mut Effects) {
        match snapshot {
            Snapshot::Ask { nonce, cursor } => {
                let Some(source) = self.sync.source(self.now, self.disk.file()) else { return };
                let kept = self.sync.is_active() || self.sync.has_fenced_records();
                let (copies, floor, next) = if kept {
                    self.acceptor.export(self.now, cursor)
                } else {
                    (Vec::new(), self.acceptor.floor(), None)
                };
                let boot = self.clock.proposer();
                let part = Snapshot::Part { nonce, cursor, boot, source, copies, floor, next };
                self.send(from, Body::Snapshot(part), out);
            }
            Snapshot::Part { nonce, cursor, boot, source, copies, floor, next } => {
                let head = PartHead { nonce, cursor, boot, source, next };
                let (wanted, steps) = self.sync.part(self.now, from, head, self.disk.file());
                if wanted {
                    self.take_over(copies, floor);
                }
                self.take_steps(steps, out);
            }
        }
    }

    fn take_over(&mut self, copies: Vec<Copied>, floor: Ballot) {
        if let Some(staging) = &mut self.staging {
            for copied in copies {
                staging.absorb(self.now, copied, |_| {});
            }
            staging.raise_floor(floor);
        }
    }

    /// A replica puts what it took over in the place of all it knew.
    fn catch_up(&mut self, out: &mut Effects) {
        let Some(staging) = self.staging.take() else { return };
        self.learned = staging;
        self.tell_waiters(out);
    }

    /// Tells those who wait what is known now, after all records were replaced.
    fn tell_waiters(&mut self, out: &mut Effects) {
        for key in self.waiters.keys() {
            let view = self.peek(self.now, &key);
            let event = match view.filter(|view| view.entry.held().is_some()) {
                Some(view) => Event::Held { key, token: view.entry.token() },
                None => Event::Released { key, token: Token::default() },
            };
            self.wake(&event, out);
        }
    }

    /// Changes that another node has coordinated, or a replica's word that they came.
    pub(super) fn on_feed(&mut self, from: NodeId, feed: Feed, out: &mut Effects) {
        match feed {
            Feed::Batch { boot, number, facts } => {
                if !self.sync.learns() {
                    return;
                }
                // Of its own changes it misses none.
                let known = from == self.peers.me;
                if !known && !self.senders.batch(from, boot, number, facts.is_empty()) {
                    self.sync.behind(self.now);
                }
                let mut told = Vec::new();
                for fact in facts {
                    if let Some(staging) = &mut self.staging {
                        staging.absorb(self.now, fact.clone(), |_| {});
                    }
                    self.learned.absorb(self.now, fact, |event| told.push(event));
                    told.drain(..).for_each(|event| self.changed(event, out));
                }
                self.deliver(from, Body::Feed(Feed::Got { boot, number }), out);
            }
            Feed::Got { boot, number } => self.feeder.acknowledged(from, boot, number),
        }
    }

    /// A peer says how it is, and in which epoch.
    pub(super) fn on_standing(
        &mut self,
        from: NodeId,
        Presence { standing, boot, elapsed }: Presence,
        epoch: Epoch,
        out: &mut Effects,
    ) {
        self.peers.booted(from, boot, elapsed, self.now);
        if self.peers.is_member(from) {
            let event = self.rates.heard(self.now, from, boot, elapsed);
            out.extend(event.map(Effect::Event));
        }
        if !self.peers.says(from, standing, epoch) {
            return;
        }
        if epoch == self.peers.epoch() && self.peers.place_of(from).is_some() {
            let step = self.sync.met(from, standing == Standing::Active);
            self.take_steps(step.into_iter().collect(), out);
        }
        self.change(out, Membership::complete);
        let (_, quorum) = self.peers.quorum();
        if self.peers.voting(self.sync.is_active()) >= quorum && self.sync.let_go(self.now) {
            // The new masters have all that matters.
            self.acceptor = self.empty(self.acceptor.floor());
        }
        self.move_homes(out);
    }
}
