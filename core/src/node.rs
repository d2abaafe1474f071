//! A node: routes what comes through the door to the roles, and what they say to the driver or to each other.

mod epochs;
mod reading;
mod route;
#[cfg(test)]
mod tests;
mod validate;
mod voting;

pub use reading::View;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use crate::acceptor::Acceptor;
use crate::ballot::Ballot;
use crate::clock::Clock;
use crate::coordinator::{Coordinator, Origin, Post, Scene};
use crate::disk::Disk;
use crate::effect::{Boot, Effect, Effects, Event, Input};
use crate::faults::Rule;
use crate::feed::{Feeder, Senders};
use crate::founding::Founding;
use crate::members::{Epoch, NodeId};
use crate::membership::Membership;
use crate::message::{Body, Change, Message, Presence, Relay, Tell};
use crate::peers::{Peers, STANDING_EVERY};
use crate::rates::Rates;
use crate::relay::Relays;
use crate::request::{NotDone, Outcome, Request, Standing};
use crate::round::Votes;
use crate::settings::Settings;
use crate::slab::Slot;
use crate::sync::Sync;
use crate::time::Instant;
use crate::waiters::Waiters;

/// How many keys a node asks to be settled in a second at most.
const SETTLED_PER_SECOND: usize = 1_024;

/// Records that time has something to do with and that one input works off at most; the rest are for the next one. A tick comes
/// when a driver has nothing else to hand in, and works off more. A message that comes while a million leases end waits
/// for few of them.
const BEFORE_INPUT: usize = 16;
const AT_A_TICK: usize = 256;

/// One node of the cluster: everything the protocol needs to remember, and nothing else.
#[derive(Clone, Debug)]
pub struct Node {
    settings: Settings,
    seed: (u64, u64),
    now: Instant,
    clock: Clock,
    disk: Disk,
    peers: Peers,
    rates: Rates,
    sync: Sync,
    founding: Founding,
    membership: Membership,
    acceptor: Acceptor,
    /// What a joining master or a replica takes over, until it has enough.
    staging: Option<Acceptor>,
    /// Where the records of a fenced master itself go on being taken over, once those of others have been.
    copying: Option<Slot>,
    /// What a replica knows. It never becomes part of an acceptor.
    learned: Acceptor,
    senders: Senders,
    feeder: Feeder,
    coordinator: Coordinator,
    relays: Relays,
    waiters: Waiters,
    draining: bool,
    /// When to tell the others how this node is.
    tell_at: Instant,
    /// What was last told.
    told: Standing,
    /// From the coordinator to masters; and room for more of it while that is worked off.
    post: Vec<Post>,
    spare_post: Vec<Post>,
    /// From the coordinator to those who asked.
    answers: VecDeque<(Origin, Outcome)>,
    /// What changed in the records, on its way to those who watch; empty between inputs.
    events: Vec<Event>,
}

/// What a node's later answers depend on: two nodes of the same hash, told the same from now on, answer the same. Left
/// out are the settings, the last reading of the clock (the next one counts), and what the clocks of others look like.
/// It is for those who search all states, and has no meaning across versions.
impl Hash for Node {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self {
            settings: _,
            seed: _,
            spare_post: _,
            now: _,
            rates: _,
            clock,
            disk,
            peers,
            sync,
            founding,
            membership,
            acceptor,
            staging,
            copying,
            learned,
            senders,
            feeder,
            coordinator,
            relays,
            waiters,
            draining,
            tell_at,
            told,
            post,
            answers,
            events,
        } = self;
        (clock, disk, peers, sync, founding, membership).hash(state);
        (acceptor, staging, copying, learned, senders, feeder).hash(state);
        (coordinator, relays, waiters, draining, tell_at, told).hash(state);
        (post, answers, events).hash(state);
    }
}

/// The first of two times, of which there may be one only.
fn earlier(one: Instant, other: Option<Instant>) -> Instant {
    other.map_or(one, |other| one.min(other))
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
        let peers = Peers::new(boot.file.id, settings.timing.max_clock_drift);
        let limits = &settings.limits;
        let in_force = boot.file.config.clone().filter(|_| sync.is_founded());
        let in_force = boot.file.cluster.zip(in_force);
        let mut node = Self {
            clock: Clock::new(boot.wall_clock, boot.proposer, now),
            acceptor: Acceptor::new(&settings, boot.seed, floor, now),
            coordinator: Coordinator::new(&settings, boot.seed, now),
            relays: Relays::new(now),
            waiters: Waiters::new(limits.waiters_per_key, boot.seed, now),
            told: sync.standing(),
            disk: Disk::new(boot.file),
            draining: false,
            tell_at: now.after(STANDING_EVERY),
            post: Vec::new(),
            spare_post: Vec::new(),
            answers: VecDeque::new(),
            events: Vec::new(),
            founding: Founding::new(peers.me),
            rates: Rates::new(settings.timing.max_clock_drift),
            membership: Membership::new(peers.me),
            staging: None,
            copying: None,
            learned: Acceptor::new(&settings, boot.seed, Ballot::ZERO, now),
            senders: Senders::default(),
            feeder: Feeder::new(boot.proposer, now),
            seed: boot.seed,
            settings,
            now,
            peers,
            sync,
        };
        if let Some((cluster, config)) = in_force {
            node.configure(cluster, config);
        }
        node
    }

    /// Takes one input, and appends to `out` what is to be done about it. `now` never goes backwards; a driver
    /// reads it after it received the input.
    pub fn handle(&mut self, now: Instant, input: Input, out: &mut Effects) {
        self.now = self.now.max(now);
        let most = if matches!(input, Input::Tick) { AT_A_TICK } else { BEFORE_INPUT };
        self.expire(most, out);
        match input {
            Input::Tick => {}
            // Votes are most of all input, and are looked at where they lie.
            Input::Message {
                from,
                message: Message { epoch, counter, body: Body::Ask { round, ref ask } },
            } => {
                if self.hear(from, epoch, counter, out) {
                    self.asked(from, round, ask, out);
                }
            }
            Input::Message {
                from,
                message: Message { epoch, counter, body: Body::Answer { round, ref answer } },
            } => {
                if self.hear(from, epoch, counter, out) {
                    self.answered(from, round, answer);
                }
            }
            Input::Message { from, message } => self.message(from, message, out),
            Input::Request { ticket, request: Request::Key(request) } => {
                self.request(ticket, request, out);
            }
            Input::Request { ticket, request: Request::Init { cluster, config } } => {
                self.init(ticket, cluster, config, out);
            }
            Input::Request {
                ticket,
                request: Request::Members { patience, masters, replicas },
            } => {
                self.members(ticket, patience, (masters, replicas), out);
            }
            Input::Cancel(ticket) => self.cancel(ticket, out),
            Input::Link { peer, up } => self.link(peer, up, out),
            Input::Drain => {
                self.draining = true;
                self.move_homes(out);
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
        if self.peers.place().is_some() {
            self.raise_ceiling();
        }
        self.disk.flush(out);
    }

    /// When to call [`Node::handle`] with [`Input::Tick`] at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let raise = self.peers.place().map(|_| self.clock.when(self.disk.raise_at()));
        // Asked after every input, so it is a row of comparisons and not a list that is walked.
        let first = earlier(self.tell_at, self.acceptor.deadline());
        let first = earlier(first, self.coordinator.deadline());
        let first = earlier(first, self.relays.deadline());
        let first = earlier(first, self.waiters.deadline());
        let first = earlier(first, self.sync.deadline());
        let first = earlier(first, self.copying.map(|_| self.now));
        let first = earlier(first, self.feeder.deadline());
        let first = earlier(first, self.learned.deadline());
        let first = earlier(first, self.founding.deadline());
        let first = earlier(first, self.membership.deadline());
        Some(earlier(first, raise))
    }

    /// Panics if a promise that this node keeps to itself is broken. For simulations: walks all records.
    ///
    /// # Panics
    ///
    /// When an invariant is broken.
    pub fn check(&self) {
        let unchecked = Rule::Ceiling.is_out() || Rule::CeilingAfterSync.is_out();
        self.acceptor.check(if unchecked { u64::MAX } else { self.disk.ceiling() });
        self.learned.check(u64::MAX);
        self.coordinator.check();
        self.disk.check();
        assert!(self.post.is_empty() && self.answers.is_empty(), "nothing is left lying about");
    }

    fn standing(&self) -> Standing {
        let standing = self.sync.standing();
        if standing == Standing::Active && self.draining { Standing::Draining } else { standing }
    }

    const fn boot(&self) -> u64 {
        self.clock.proposer()
    }

    /// What every node says of itself, every second and whenever it changes.
    fn presence(&self) -> Presence {
        let elapsed = self.clock.elapsed(self.now);
        Presence { standing: self.standing(), boot: self.boot(), elapsed }
    }

    /// What time does, before anything else sees the state.
    fn expire(&mut self, most: usize, out: &mut Effects) {
        let now = self.now;
        let events = &mut self.events;
        // What a master that does not vote keeps may have been extended by others since.
        let votes = self.sync.is_active();
        if self.acceptor.is_due(now) || self.learned.is_due(now) {
            self.acceptor.tick(now, most, |event| events.extend(votes.then_some(event)));
            self.learned.tick(now, most, |event| events.push(event));
            self.tell_events(out);
        }
        if self.founding.deadline().is_some_and(|at| now >= at) {
            self.found(out, Founding::tick);
        }
        if self.membership.deadline().is_some_and(|at| now >= at) {
            self.change(out, Membership::tick);
        }
        if self.sync.deadline().is_some_and(|at| now >= at) {
            self.join(out);
        }
        self.take_over_own();
        if self.coordinator.is_due(now) {
            self.coordinate(Coordinator::tick);
        }
        if let Some((replicas, batch)) = self.feeder.tick(now) {
            for replica in replicas {
                self.deliver(replica, Body::Feed(batch.clone()), out);
            }
        }
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
                self.send(peer, Body::Standing(self.presence()), out);
            }
            self.reap(out);
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
                self.send(peer, Body::Standing(self.presence()), out);
            }
        }
    }

    fn message(&mut self, from: NodeId, message: Message, out: &mut Effects) {
        let Message { epoch, counter, body } = message;
        // Who hands a configuration over need not be told that this node is behind.
        let adopts = matches!(body, Body::Change(Change::Adopt { .. }));
        let current = if adopts && epoch > self.peers.epoch() {
            self.note(from, epoch, counter)
        } else {
            self.hear(from, epoch, counter, out)
        };
        match body {
            Body::Found(step) => self.found(out, |founding, desk| founding.take(desk, from, step)),
            Body::Standing(presence) => self.on_standing(from, presence, epoch, out),
            Body::Change(step @ Change::Adopt { .. }) => self.on_change(from, step, out),
            Body::Relay(relay) => self.relay(from, relay, out),
            // Taken above.
            Body::Ask { .. } | Body::Answer { .. } => {}
            // What is about votes of another epoch counts for nothing in this one.
            Body::Tell(_) | Body::Snapshot(_) | Body::Change(_) | Body::Feed(_) if !current => {}
            Body::Feed(feed) => self.on_feed(from, feed, out),
            Body::Change(step) => self.on_change(from, step, out),
            Body::Snapshot(snapshot) => self.snapshot(from, snapshot, out),
            Body::Tell(tell) => self.tell(tell),
        }
    }

    /// Takes note that `from` said something. Whether it is of the epoch in force.
    fn note(&mut self, from: NodeId, epoch: Epoch, counter: u64) -> bool {
        self.clock.observe(counter);
        self.peers.heard(from, self.now);
        epoch == self.peers.epoch()
    }

    /// The same. Whoever is behind is told of the newer configuration; whoever is ahead is told that this node is behind.
    fn hear(&mut self, from: NodeId, epoch: Epoch, counter: u64, out: &mut Effects) -> bool {
        let current = self.note(from, epoch, counter);
        if let Some((cluster, config)) = self.peers.config().filter(|_| !current) {
            let body = if epoch < config.epoch {
                Body::Change(Change::Adopt { cluster, config: config.clone() })
            } else {
                Body::Standing(self.presence())
            };
            self.send(from, body, out);
        }
        current
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

    #[inline]
    fn tell_events(&mut self, out: &mut Effects) {
        if !self.events.is_empty() {
            self.tell_all_events(out);
        }
    }

    fn tell_all_events(&mut self, out: &mut Effects) {
        let mut events = core::mem::take(&mut self.events);
        for event in events.drain(..) {
            self.changed(event, out);
        }
        self.events = events;
    }

    /// A local record changed: wakes who waits for that.
    fn changed(&mut self, event: Event, out: &mut Effects) {
        self.wake(&event, out);
        if let Event::Released { key, .. } | Event::Expired { key, .. } = &event {
            self.coordinator.wake(key);
        }
        out.push(Effect::Event(event));
    }

    fn wake(&mut self, event: &Event, out: &mut Effects) {
        let (key, held) = match event {
            Event::Held { key, .. } => (key, true),
            Event::Released { key, .. } | Event::Expired { key, .. } => (key, false),
            Event::Standing(_) | Event::Configured(_) | Event::ClockRate { .. } => return,
        };
        if self.waiters.len() > 0 {
            // Where one owner follows another in one write, the end of the first is what some wait for.
            let holder = if held { self.holder(self.now, key) } else { None };
            for ticket in self.waiters.wake(key, held) {
                out.push(Effect::Reply { ticket, outcome: Outcome::Woken(holder.clone()) });
            }
        }
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
            facts: &mut self.feeder,
            answers: &mut self.answers,
        };
        work(&mut self.coordinator, &mut scene);
    }

    /// Works until nothing is left to do here. A vote of this node's own is taken on the spot.
    fn run(&mut self, out: &mut Effects) {
        loop {
            if !self.post.is_empty() {
                let spare = core::mem::take(&mut self.spare_post);
                let mut posts = core::mem::replace(&mut self.post, spare);
                for post in &posts {
                    match post {
                        Post::Ask { to, round, ask, hash } => {
                            self.send_ask(*to, *round, (ask, *hash), out);
                        }
                        Post::Tell { to, tell } => self.send_tell(*to, tell, out),
                    }
                }
                posts.clear();
                self.spare_post = posts;
            } else if let Some((desk, (key, hash), from)) = self.coordinator.next_ready(self.now) {
                // Without a vote only if this node, being a master, would honour it, too, and enough of those who would
                // are there.
                let voter = self.peers.place().is_some();
                let short = from.is_some_and(|base| {
                    self.peers.may_be_quorum(base.sent)
                        && (!voter || self.acceptor.implied_by(key, hash, base.ballot))
                });
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

    fn send_tell(&mut self, to: Votes, tell: &Tell, out: &mut Effects) {
        for place in to.iter() {
            if Some(place) == self.peers.place() {
                self.tell(tell.clone());
            } else if let Some(master) = self.peers.master_at(place) {
                self.send(master, Body::Tell(tell.clone()), out);
            }
        }
    }

    #[inline]
    fn send(&self, to: NodeId, body: Body, out: &mut Effects) {
        let message = Message { epoch: self.peers.epoch(), counter: self.clock.highest(), body };
        out.push(Effect::Send { to, message });
    }
}
