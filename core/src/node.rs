//! A node: routes what comes through the door to the roles, and what they say to the driver or to each other.

mod route;
mod validate;

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::acceptor::Acceptor;
use crate::ballot::Ballot;
use crate::clock::Clock;
use crate::coordinator::{Coordinator, Origin, Scene};
use crate::decide::describe;
use crate::disk::{Disk, Then};
use crate::effect::{Boot, Effect, Effects, Event, Input};
use crate::entry::Entry;
use crate::faults::Rule;
use crate::members::NodeId;
use crate::message::{Answer, Ask, Body, Message, Relay, Tell};
use crate::peers::{Peers, STANDING_EVERY};
use crate::relay::Relays;
use crate::request::{NotDone, Outcome, Request, Standing, Status};
use crate::settings::Settings;
use crate::sync::{Desk, Sync};
use crate::time::{Instant, Span};
use crate::waiters::Waiters;

/// How many keys a node asks to be settled in a second at most.
const SETTLED_PER_SECOND: usize = 1_024;

/// One node of the cluster: everything the protocol needs to remember, and nothing else.
#[derive(Clone, Debug)]
pub struct Node {
    settings: Settings,
    now: Instant,
    clock: Clock,
    disk: Disk,
    peers: Peers,
    sync: Sync,
    acceptor: Acceptor,
    coordinator: Coordinator,
    relays: Relays,
    waiters: Waiters,
    draining: bool,
    /// When to tell the others how this node is.
    tell_at: Instant,
    /// What was last told.
    told: Standing,
    /// From the coordinator to masters, by place.
    post: VecDeque<(usize, Body)>,
    /// From the coordinator to those who asked.
    answers: VecDeque<(Origin, Outcome)>,
}

/// A local record, as it stands here and now: it may be stale, or not agreed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View<'a> {
    /// What was accepted here.
    pub entry: &'a Entry,
    /// How much longer this node keeps it; zero if it is dead or free.
    pub remaining: Span,
}

impl Node {
    /// A node that has just started, `now` by its own clock.
    #[must_use]
    pub fn new(settings: Settings, boot: Boot, now: Instant) -> Self {
        let floor = if Rule::Ceiling.is_out() {
            Ballot::ZERO
        } else {
            Ballot { counter: boot.file.ceiling, proposer: u64::MAX }
        };
        let sync = Sync::new(&boot.file, &settings.timing, now);
        let mut peers = Peers::new(boot.file.id);
        if let (true, Some(cluster), Some(config)) =
            (sync.is_founded(), boot.file.cluster, &boot.file.config)
        {
            peers.configure(cluster, config.clone());
        }
        let limits = &settings.limits;
        Self {
            clock: Clock::new(boot.wall_clock, boot.proposer, now),
            acceptor: Acceptor::new(&settings, boot.seed, floor, now),
            coordinator: Coordinator::new(&settings, boot.seed, now),
            relays: Relays::new(boot.seed, now),
            waiters: Waiters::new(limits.waiters_per_key, boot.seed, now),
            told: sync.standing(),
            disk: Disk::new(boot.file),
            draining: false,
            tell_at: now.after(STANDING_EVERY),
            post: VecDeque::new(),
            answers: VecDeque::new(),
            settings,
            now,
            peers,
            sync,
        }
    }

    /// Takes one input, and appends to `out` what is to be done about it. `now` never goes backwards; a driver
    /// reads it after it received the input.
    pub fn handle(&mut self, now: Instant, input: Input, out: &mut Effects) {
        self.now = self.now.max(now);
        self.expire(out);
        match input {
            Input::Tick => {}
            Input::Message { from, message } => self.message(from, message, out),
            Input::Request { ticket, request: Request::Key(request) } => {
                self.request(ticket, request, out);
            }
            Input::Request { ticket, request: Request::Init { cluster, config } } => {
                let peers = self.peers.clone();
                let standing = |node| peers.standing_of(node);
                self.found(out, |sync, desk| sync.init(desk, ticket, cluster, config, standing));
            }
            Input::Cancel(ticket) => self.cancel(ticket, out),
            Input::Link { peer, up } => self.link(peer, up, out),
            Input::Drain => {
                self.draining = true;
                self.coordinate(Coordinator::hand_back);
            }
            Input::Persisted(mark) => {
                self.disk.persisted(mark);
                while let Some(then) = self.disk.due(mark) {
                    self.then(then, out);
                }
            }
        }
        self.run(out);
        self.tell_standing(out);
        self.disk.flush(out);
    }

    /// When to call [`Node::handle`] with [`Input::Tick`] at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let raise = self.peers.place().map(|_| self.clock.when(self.disk.raise_at()));
        let roles = [
            self.acceptor.deadline(),
            self.coordinator.deadline(),
            self.relays.deadline(),
            self.waiters.deadline(),
            self.sync.deadline(),
            raise,
            Some(self.tell_at),
        ];
        roles.into_iter().flatten().min()
    }

    /// The local record of `key`, if one is held here: the local read.
    #[must_use]
    pub fn peek(&self, now: Instant, key: &[u8]) -> Option<View<'_>> {
        let (entry, remaining) = self.acceptor.entry(now.max(self.now), key)?;
        (!remaining.is_zero()).then_some(View { entry, remaining })
    }

    /// What this node knows of itself and its peers.
    #[must_use]
    pub fn status(&self, now: Instant) -> Status {
        Status {
            id: self.peers.me,
            standing: self.standing(),
            active_in: self.sync.active_in(now),
            cluster: self.disk.file().cluster,
            epoch: self.peers.epoch(),
            members: self.peers.list(self.standing()),
            leases: self.acceptor.leases().try_into().unwrap_or(u64::MAX),
            records: self.acceptor.records().try_into().unwrap_or(u64::MAX),
            operations: (self.coordinator.operations() + self.relays.len())
                .try_into()
                .unwrap_or(u64::MAX),
            waiters: self.waiters.len().try_into().unwrap_or(u64::MAX),
        }
    }

    /// Records of any kind kept here, promises alone included.
    #[must_use]
    pub fn records(&self) -> usize {
        self.acceptor.records()
    }

    /// Records that went: by agreement of all masters, and by age.
    #[must_use]
    pub const fn forgotten(&self) -> (u64, u64) {
        let forgotten = self.acceptor.forgotten();
        (forgotten.by_agreement, forgotten.by_age)
    }

    /// Panics if a promise that this node keeps to itself is broken. For simulations: walks all records.
    ///
    /// # Panics
    ///
    /// When an invariant is broken.
    pub fn check(&self) {
        self.acceptor.check(if Rule::Ceiling.is_out() { u64::MAX } else { self.disk.ceiling() });
        self.coordinator.check();
        self.disk.check();
        assert!(self.post.is_empty() && self.answers.is_empty(), "nothing is left lying about");
    }

    fn standing(&self) -> Standing {
        let standing = self.sync.standing();
        if standing == Standing::Active && self.draining { Standing::Draining } else { standing }
    }

    /// What time does, before anything else sees the state.
    fn expire(&mut self, out: &mut Effects) {
        let now = self.now;
        let mut events = Vec::new();
        self.acceptor.tick(now, |event| events.push(event));
        for event in events {
            self.changed(event, out);
        }
        let mut active = false;
        self.found(out, |sync, desk| active = sync.tick(desk));
        self.coordinate(Coordinator::tick);
        while let Some(relayed) = self.relays.pop(now) {
            self.send(relayed.home, Body::Relay(Relay::Cancel { name: relayed.name }), out);
            out.push(Effect::Reply {
                ticket: relayed.ticket,
                outcome: relayed.lost(NotDone::NoQuorum),
            });
        }
        while let Some(ticket) = self.waiters.pop(now) {
            out.push(Effect::Reply { ticket, outcome: Outcome::NotDone(NotDone::TimedOut) });
        }
        if now >= self.tell_at {
            self.tell_at = now.after(STANDING_EVERY);
            for peer in self.peers.linked() {
                self.send(peer, Body::Standing(self.standing()), out);
            }
            self.reap(out);
        }
        if self.peers.place().is_some() {
            self.disk.keep_above(self.clock.reading(now).max(self.clock.highest()));
        }
    }

    /// Asks the homes of keys that nobody holds any more to settle them.
    fn reap(&mut self, out: &mut Effects) {
        if !self.sync.is_active() || !self.acceptor.has_stale() || !self.peers.all_vote(self.now) {
            return;
        }
        for _ in 0..SETTLED_PER_SECOND {
            let Some((key, token)) = self.acceptor.next_stale() else { break };
            match self.home(&key) {
                Some(home) if home != self.peers.me => {
                    self.send(home, Body::Tell(Tell::Settle { key, token }), out);
                }
                Some(_) => self.coordinate(|coordinator, scene| coordinator.settle(scene, key)),
                None => {}
            }
        }
    }

    /// Tells everybody when this node's standing changed.
    fn tell_standing(&mut self, out: &mut Effects) {
        let standing = self.standing();
        if core::mem::replace(&mut self.told, standing) != standing {
            out.push(Effect::Event(Event::Standing(standing)));
            for peer in self.peers.linked() {
                self.send(peer, Body::Standing(standing), out);
            }
        }
    }

    fn message(&mut self, from: NodeId, message: Message, out: &mut Effects) {
        self.clock.observe(message.counter);
        self.peers.heard(from, self.now);
        let current = message.epoch == self.peers.epoch();
        match message.body {
            Body::Found(step) => self.found(out, |sync, desk| sync.take(desk, from, step)),
            Body::Standing(standing) => self.peers.says(from, standing),
            Body::Relay(relay) => self.relay(from, relay, out),
            // A vote of another epoch counts for nothing in this one.
            Body::Ask(_) | Body::Answer(_) | Body::Tell(_) if !current => {}
            Body::Ask(ask) => {
                if let Some(answer) = self.ask(ask, out) {
                    self.send(from, Body::Answer(answer), out);
                }
            }
            Body::Answer(answer) => {
                if let Some(place) = self.peers.place_of(from) {
                    self.coordinate(|coordinator, scene| coordinator.answer(scene, place, answer));
                }
            }
            Body::Tell(tell) => self.tell(tell),
        }
    }

    /// A coordinator asks this master. Above the ceiling nothing is answered, like loss.
    fn ask(&mut self, ask: Ask, out: &mut Effects) -> Option<Answer> {
        if !self.sync.is_active() {
            return Some(Answer::Joining);
        }
        let now = self.now;
        let ceiling = if Rule::Ceiling.is_out() { u64::MAX } else { self.disk.ceiling() };
        match ask {
            Ask::Prepare { key, ballot } if ballot.counter <= ceiling => {
                Some(self.acceptor.prepare(now, &key, ballot))
            }
            // What it implies, one more, is under the ceiling as well.
            Ask::Accept { key, ballot, entry, keep } if ballot.counter < ceiling => {
                let keep = keep.min(self.settings.timing.max_lease);
                let mut events = Vec::new();
                let tell = |event| events.push(event);
                let answer = self.acceptor.accept(now, &key, ballot, (entry, keep), tell);
                for event in events {
                    self.changed(event, out);
                }
                Some(answer)
            }
            Ask::Prepare { ballot, .. } | Ask::Accept { ballot, .. } => {
                self.clock.observe(ballot.counter);
                None
            }
            Ask::Query { key, round } => {
                Some(Answer::Has { round, accepted: self.acceptor.accepted(now, &key) })
            }
        }
    }

    fn tell(&mut self, tell: Tell) {
        if !self.sync.is_active() {
            return;
        }
        match tell {
            Tell::Abort { key, ballot } => self.acceptor.abort(&key, ballot),
            Tell::Forget { key, ballot } => self.acceptor.forget(self.now, &key, ballot),
            Tell::Settle { key, .. } => {
                if self.home(&key) == Some(self.peers.me) {
                    self.coordinate(|coordinator, scene| coordinator.settle(scene, key));
                }
            }
        }
    }

    /// A local record changed: wakes who waits for that.
    fn changed(&mut self, event: Event, out: &mut Effects) {
        let (key, held) = match &event {
            Event::Held { key, .. } => (key, true),
            Event::Released { key, .. } | Event::Expired { key, .. } => (key, false),
            Event::Standing(_) => return,
        };
        if self.waiters.len() > 0 {
            let view = self.peek(self.now, key);
            let holder = view.and_then(|view| Some(describe(view.entry.held()?, view.remaining)));
            for ticket in self.waiters.wake(key, held) {
                out.push(Effect::Reply { ticket, outcome: Outcome::Woken(holder.clone()) });
            }
        }
        if !held {
            self.coordinator.wake(key);
        }
        out.push(Effect::Event(event));
    }

    /// Runs the coordinator, and remembers what it says.
    fn coordinate(&mut self, work: impl FnOnce(&mut Coordinator, &mut Scene<'_>)) {
        let (masters, quorum) = self.peers.quorum();
        let mut scene = Scene {
            now: self.now,
            clock: &mut self.clock,
            masters,
            quorum,
            post: &mut self.post,
            answers: &mut self.answers,
        };
        work(&mut self.coordinator, &mut scene);
    }

    /// Runs the founding, and carries out what it says.
    fn found(&mut self, out: &mut Effects, work: impl FnOnce(&mut Sync, &mut Desk<'_>)) {
        let (mut post, mut answers) = (Vec::new(), Vec::new());
        let (now, disk) = (self.now, &mut self.disk);
        let mut desk = Desk { now, disk, post: &mut post, answers: &mut answers };
        work(&mut self.sync, &mut desk);
        for (to, body) in post {
            self.deliver(to, body, out);
        }
        for (ticket, outcome) in answers {
            out.push(Effect::Reply { ticket, outcome });
        }
    }

    fn then(&mut self, then: Then, out: &mut Effects) {
        match then {
            Then::Send(to, body) => self.deliver(to, body, out),
            Then::Activate(from) => {
                let file = self.disk.file();
                if let (Some(cluster), Some(config)) = (file.cluster, file.config.clone()) {
                    self.peers.configure(cluster, config);
                    self.sync.activated();
                    self.disk.keep_above(self.clock.reading(self.now).max(self.clock.highest()));
                    let done = crate::message::Found::Activated { cluster };
                    self.deliver(from, Body::Found(done), out);
                }
            }
        }
    }

    /// Works until nothing is left to do here. A vote of this node's own is taken on the spot.
    fn run(&mut self, out: &mut Effects) {
        loop {
            if let Some((place, body)) = self.post.pop_front() {
                if Some(place) == self.peers.place() {
                    self.vote_here(place, body, out);
                } else if let Some(master) = self.peers.master_at(place) {
                    self.send(master, body, out);
                }
            } else if let Some((desk, key, from)) = self.coordinator.next_ready(self.now) {
                // Without a vote only if this node, being a master, would honour it, too.
                let voter = self.peers.place().is_some();
                let short = from.is_some_and(|b| !voter || self.acceptor.implied_by(key, b));
                self.coordinate(|coordinator, scene| coordinator.start(scene, desk, short));
            } else if let Some((origin, outcome)) = self.answers.pop_front() {
                match origin {
                    Origin::Client(ticket) => out.push(Effect::Reply { ticket, outcome }),
                    Origin::Node(node, name) => {
                        self.send(node, Body::Relay(Relay::Answered { name, outcome }), out);
                    }
                    Origin::Own => {}
                }
            } else {
                break;
            }
        }
    }

    fn vote_here(&mut self, place: usize, body: Body, out: &mut Effects) {
        match body {
            Body::Ask(ask) => {
                if let Some(answer) = self.ask(ask, out) {
                    self.coordinate(|coordinator, scene| coordinator.answer(scene, place, answer));
                }
            }
            Body::Tell(tell) => self.tell(tell),
            Body::Answer(_) | Body::Relay(_) | Body::Found(_) | Body::Standing(_) => {}
        }
    }

    /// To a peer, or, for a founding's own steps, to this node itself.
    fn deliver(&mut self, to: NodeId, body: Body, out: &mut Effects) {
        if to != self.peers.me {
            self.send(to, body, out);
        } else if let Body::Found(step) = body {
            self.found(out, |sync, desk| sync.take(desk, to, step));
        }
    }

    fn send(&self, to: NodeId, body: Body, out: &mut Effects) {
        let message = Message { epoch: self.peers.epoch(), counter: self.clock.highest(), body };
        out.push(Effect::Send { to, message });
    }
}
