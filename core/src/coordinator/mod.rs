//! The coordinator: takes requests about keys through votes and writes to an answer (protocol, section 5).
//!
//! Every request is a *task*. A read first asks a quorum and is usually answered from that. Everything else
//! goes through the key's *desk*, which works on one task at a time while the others queue; locks that wait for a
//! held key are parked there. After a write was chosen, the desk remembers it for a while: the next task of the key
//! can start from there and needs one round trip instead of two.
//!
//! Invariants: a desk works on one task, at one ballot, at a time; every task is answered exactly once; nothing is
//! sent or counted for a task after its `op_timeout`.

#![expect(clippy::indexing_slicing, reason = "slots are kept only while their things are there")]

mod answers;
mod desk;
mod heirs;
mod jitter;
mod parking;
mod rounds;
#[cfg(test)]
mod tests;
mod timers;
mod turns;
mod waiting;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use hashbrown::HashMap;

use self::jitter::Jitter;
use self::turns::Turns;
use crate::ballot::Ballot;
use crate::bytes::Key;
use crate::clock::Clock;
use crate::decide::{Job, Past, Verdict, id_of};
use crate::faults::Rule;
use crate::feed::Feeder;
use crate::hash::{Numbers, Seeded};
use crate::members::NodeId;
use crate::message::{Ask, Tell};
use crate::request::{Action, Done, KeyRequest, Limit, NotDone, Outcome, Refusal, Ticket};
use crate::round::{Base, Summary, Vote, Votes, Write};
use crate::settings::{Settings, Timing};
use crate::slab::{Keyed, Shelf, Slab, Slot};
use crate::tally::Tally;
use crate::time::{Instant, Span};
use crate::timers::Wheel;

/// Who waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Origin {
    /// A client of this node.
    Client(Ticket),
    /// A node that forwarded its client's request.
    Node(NodeId, Ballot),
    /// Nobody: the node's own housekeeping.
    Own,
}

/// A request on its way to an answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Task {
    origin: Origin,
    key: Key,
    job: Job,
    arrived: Instant,
    give_up: Instant,
    /// When `op_timeout` ends; set once the task leaves the queue.
    until: Instant,
    /// Whether `op_timeout` runs already: a task that settles something first stays one operation.
    begun: bool,
    place: Place,
    tries: u32,
    past: Past,
    /// When it sent the first accept that carries its own effect.
    first_accept: Option<Instant>,
    /// The caller is gone.
    cancelled: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    /// In its desk's queue.
    Queue(Slot),
    /// On its desk.
    Work(Slot),
    /// Waits at its desk for the key to become free.
    Parked(Slot),
    /// A read that asks around. In a box, since most tasks are none and all are moved.
    Query(Box<Query>),
}

/// A read's question to the masters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Query {
    round: u64,
    answered: Votes,
    summary: Summary,
    resend_at: Instant,
}

/// Where the operations of one key are worked on.
#[derive(Clone, Debug, Hash)]
struct Desk {
    key: Key,
    /// The key's hash.
    hash: u32,
    /// The task being worked on. A write may go on without one after its task's patience ended.
    task: Option<Slot>,
    phase: Phase,
    queue: VecDeque<Slot>,
    parked: VecDeque<Slot>,
    /// When the first parked task is tried again at the latest.
    unpark_at: Option<Instant>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Rest,
    /// Before another vote.
    Pause(Instant),
    Vote(Vote),
    Write(Write),
}

impl Keyed for Desk {
    fn key(&self) -> &Key {
        &self.key
    }
}

/// What the coordinator needs to know of its node while it works.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) now: Instant,
    pub(crate) clock: &'a mut Clock,
    /// How many masters there are.
    pub(crate) masters: usize,
    pub(crate) quorum: usize,
    /// What goes out to masters.
    pub(crate) post: &'a mut Vec<Post>,
    /// What was chosen, for replicas.
    pub(crate) facts: &'a mut Feeder,
    /// Answers to give.
    pub(crate) answers: &'a mut VecDeque<(Origin, Outcome)>,
}

/// What goes out to several masters, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Post {
    /// With the hash of the key that it is about.
    Ask {
        to: Votes,
        round: u64,
        ask: Ask,
        hash: u32,
    },
    Tell {
        to: Votes,
        tell: Tell,
    },
}

impl Scene<'_> {
    fn ask(&mut self, to: Votes, round: u64, ask: Ask, hash: u32) {
        self.post.push(Post::Ask { to, round, ask, hash });
    }

    /// Tells all masters.
    fn tell(&mut self, tell: Tell) {
        self.post.push(Post::Tell { to: Votes::all(self.masters), tell });
    }
}

/// All operations that this node coordinates.
#[derive(Clone, Debug)]
pub(crate) struct Coordinator {
    timing: Timing,
    /// How many may wait at one desk.
    per_key: usize,
    /// How many desks there may be before keys that were released go early.
    resting: usize,
    desks: Shelf<Desk>,
    desk_timers: Wheel,
    tasks: Slab<Task>,
    task_timers: Wheel,
    by_origin: HashMap<Origin, Slot, Numbers>,
    turns: Turns,
    /// Desks with something to start.
    ready: VecDeque<Slot>,
    /// How many tasks are locks that queue for their key.
    queueing: usize,
    jitter: Jitter,
    tally: Tally,
}

/// What it works on. The indices follow from that.
impl Hash for Coordinator {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { desks, desk_timers, tasks, task_timers, turns, ready, jitter, .. } = self;
        (desks, desk_timers, tasks, task_timers, turns, ready, jitter).hash(state);
    }
}

impl Coordinator {
    pub(crate) fn new(settings: &Settings, seed: (u64, u64), now: Instant) -> Self {
        Self {
            timing: settings.timing,
            per_key: usize::try_from(settings.limits.waiters_per_key).unwrap_or(usize::MAX),
            resting: rounds::resting(&settings.limits),
            desks: Shelf::new(Seeded(seed)),
            desk_timers: Wheel::new(now),
            tasks: Slab::new(),
            task_timers: Wheel::new(now),
            by_origin: HashMap::with_hasher(Numbers),
            turns: Turns::new(),
            ready: VecDeque::new(),
            queueing: 0,
            jitter: Jitter(seed.0 ^ seed.1.rotate_left(32)),
            tally: Tally::new(),
        }
    }

    /// Takes a request on, unless its key's queue is full.
    pub(crate) fn submit(
        &mut self,
        scene: &mut Scene<'_>,
        origin: Origin,
        key: Key,
        job: Job,
        patience: Span,
    ) {
        let now = scene.now;
        let mut task = Task {
            origin,
            key,
            arrived: now,
            give_up: now.after(patience),
            until: now.after(self.timing.op_timeout),
            begun: false,
            place: Place::Queue(0),
            tries: 0,
            past: Past::default(),
            first_accept: None,
            cancelled: false,
            job,
        };
        if matches!(task.job, Job::Act(Action::Read)) {
            return self.query(scene, task);
        }
        let desk = self.desk(&task.key);
        if origin != Origin::Own && self.desks[desk].crowd() >= self.per_key {
            let outcome = Outcome::NotDone(NotDone::Limit(Limit::WaitersPerKey));
            return scene.answers.push_back((origin, outcome));
        }
        task.place = Place::Queue(desk);
        let slot = self.admit(task);
        // Behind those that wait already, without asking the masters for what this desk knows.
        if self.waits(slot, now) && !self.desks[desk].parked.is_empty() {
            return self.park(slot, desk, now, false);
        }
        self.desks[desk].queue.push_back(slot);
        self.make_ready(desk);
    }

    /// Reads early where the desks of keys of these hashes stand.
    pub(crate) fn foresee(&self, hashes: &[u32]) {
        if self.desks.is_far() {
            self.desks.foresee(hashes, |_, _| {});
        }
    }

    /// The desk of a key, a new one if there is none.
    fn desk(&mut self, key: &Key) -> Slot {
        let hash = self.desks.hash(key);
        let found = self.desks.find_hashed(key, hash);
        found.unwrap_or_else(|| self.desks.insert(hash, Desk::new(key.clone(), hash)))
    }

    /// Starts a housekeeping task, unless the key is being worked on anyway.
    pub(crate) fn settle(&mut self, scene: &mut Scene<'_>, key: Key) {
        let busy = self.desks.find(&key).is_some_and(|desk| {
            let desk = &self.desks[desk];
            desk.task.is_some() || desk.crowd() > 0
        });
        if !busy {
            self.submit(scene, Origin::Own, key, Job::Settle, self.timing.op_timeout);
        }
    }

    /// What it has counted since the start.
    pub(crate) const fn tally(&self) -> &Tally {
        &self.tally
    }

    fn admit(&mut self, task: Task) -> Slot {
        let (origin, give_up) = (task.origin, task.give_up);
        self.queueing += usize::from(task.job.queues());
        let slot = self.tasks.insert(task);
        self.task_timers.set(slot, give_up);
        if origin != Origin::Own {
            self.by_origin.insert(origin, slot);
        }
        slot
    }

    fn make_ready(&mut self, desk: Slot) {
        let place = &self.desks[desk];
        if place.task.is_none() && !place.queue.is_empty() {
            self.ready.push_back(desk);
        }
    }

    /// A desk that can start its next task, with its key and the key's hash and, if it may go on from a chosen write, what
    /// that is built on.
    pub(crate) fn next_ready(&mut self, now: Instant) -> Option<(Slot, (&Key, u32), Option<Base>)> {
        while let Some(slot) = self.ready.pop_front() {
            if self.desks.get(slot).is_some_and(|d| d.task.is_none() && !d.queue.is_empty()) {
                let desk = &self.desks[slot];
                let first = desk.queue.front().map(|&task| &self.tasks[task].job);
                let settles = matches!(first, Some(Job::Settle));
                // What is to be settled must reach all masters, not only those of the last write.
                let base = desk.base(now, &self.timing).filter(|_| !settles);
                return Some((slot, (&desk.key, desk.hash), base.map(|write| write.base)));
            }
        }
        None
    }

    /// Starts the next task of a desk; in one round trip if `short`, which the caller has seen to be allowed.
    pub(crate) fn start(&mut self, scene: &mut Scene<'_>, desk: Slot, short: bool) {
        let Some(slot) = self.desks[desk].queue.pop_front() else { return };
        let task = &mut self.tasks[slot];
        task.place = Place::Work(desk);
        if !core::mem::replace(&mut task.begun, true) {
            task.until = scene.now.after(self.timing.op_timeout);
        }
        let first_end = task.until.min(task.give_up);
        self.task_timers.set(slot, first_end);
        self.desks[desk].task = Some(slot);
        if short {
            self.go_on(scene, desk, slot);
        } else {
            self.vote(scene, desk);
        }
    }

    /// The caller of this request is gone.
    pub(crate) fn cancel(&mut self, scene: &mut Scene<'_>, origin: Origin) {
        let Some(&slot) = self.by_origin.get(&origin) else { return };
        self.tasks[slot].cancelled = true;
        let task = &self.tasks[slot];
        if task.past.sent_from.is_none() {
            self.end(scene, slot, Outcome::NotDone(NotDone::Cancelled));
        }
    }

    /// Everybody who came over the link to `peer` is gone.
    pub(crate) fn cancel_from(&mut self, scene: &mut Scene<'_>, peer: NodeId) {
        let of_peer = |origin: Origin| matches!(origin, Origin::Node(node, _) if node == peer);
        let gone: Vec<Origin> =
            self.tasks.iter().map(|(_, task)| task.origin).filter(|&o| of_peer(o)).collect();
        for origin in gone {
            self.cancel(scene, origin);
        }
    }

    /// Takes back everything that has not been started and whose key satisfies `leaves`, first come first, each with
    /// what is left of its caller's patience.
    pub(crate) fn take_back(
        &mut self,
        now: Instant,
        leaves: impl Fn(&Key) -> bool,
    ) -> Vec<(Origin, KeyRequest)> {
        let idle = |task: &Task| {
            let waits = matches!(task.place, Place::Queue(_) | Place::Parked(_));
            waits && task.past.sent_from.is_none()
        };
        let mut leaving: Vec<(Instant, Slot)> = self
            .tasks
            .iter()
            .filter(|(_, task)| idle(task) && task.origin != Origin::Own && leaves(&task.key))
            .map(|(slot, task)| (task.arrived, slot))
            .collect();
        leaving.sort_unstable();
        leaving.into_iter().filter_map(|(_, slot)| self.withdraw(slot, now)).collect()
    }

    fn withdraw(&mut self, slot: Slot, now: Instant) -> Option<(Origin, KeyRequest)> {
        let task = self.tasks.get(slot)?;
        let Job::Act(mut action) = task.job.clone() else { return None };
        if let Action::Lock { wait, .. } = &mut action {
            *wait = wait.minus(now.since(task.arrived));
        }
        let request =
            KeyRequest { key: task.key.clone(), patience: task.give_up.since(now), action };
        let origin = task.origin;
        self.remove(slot);
        Some((origin, request))
    }

    /// Ends a task with this outcome, wherever it is, and lets its desk go on.
    fn end(&mut self, scene: &mut Scene<'_>, slot: Slot, outcome: Outcome) {
        let Some((origin, desk)) = self.remove(slot) else { return };
        if origin != Origin::Own {
            scene.answers.push_back((origin, outcome));
        }
        if let Some(desk) = desk {
            if self.outlives(desk, slot) {
                return;
            }
            self.desks[desk].task = None;
            self.leave_vote(scene, desk);
            self.make_ready(desk);
            self.unpark_unless_held(desk, scene.now);
            self.tidy(desk);
        }
    }

    /// Takes a task out of wherever it waits. Who sent it, and the desk that it was on.
    fn remove(&mut self, slot: Slot) -> Option<(Origin, Option<Slot>)> {
        let task = self.tasks.get(slot)?;
        let origin = task.origin;
        self.queueing -= usize::from(task.job.queues());
        self.task_timers.clear(slot);
        if origin != Origin::Own {
            self.by_origin.remove(&origin);
        }
        let mut on_desk = None;
        match &task.place {
            Place::Query(query) => {
                self.turns.end(query.round);
            }
            &Place::Queue(desk) => {
                self.desks[desk].queue.retain(|&other| other != slot);
                self.tidy(desk);
            }
            &Place::Parked(desk) => {
                self.desks[desk].parked.retain(|&other| other != slot);
                self.tidy(desk);
            }
            &Place::Work(desk) => on_desk = Some(desk),
        }
        self.tasks.clear(slot);
        Some((origin, on_desk))
    }

    /// Ends the task on a desk with what was decided, or parks it if it is ready to wait for the key.
    fn conclude(&mut self, scene: &mut Scene<'_>, desk: Slot, verdict: Verdict, votes: (u8, u8)) {
        let Some(slot) = self.desks[desk].task else { return };
        if let Verdict::Refused(Refusal::Held(holder)) = &verdict
            && self.waits(slot, scene.now)
            && !self.tasks[slot].cancelled
        {
            let held_for = holder.remaining.plus(holder.delay);
            self.desks[desk].task = None;
            self.desks[desk].unpark_at = Some(self.look_again(scene.now, held_for));
            self.park(slot, desk, scene.now, true);
            self.make_ready(desk);
            return;
        }
        let task = &self.tasks[slot];
        let lock = matches!(task.job, Job::Act(Action::Lock { .. }));
        let unwanted = task.cancelled && lock;
        let (key, id) = (task.key.clone(), id_of(&task.job));
        if let (true, Verdict::Done { token, repeated: false, .. }, Some(id)) =
            (unwanted, &verdict, id)
        {
            // Whoever may still hear the answer must not believe in what is given up now.
            let job = Job::GiveUp { id, token: *token };
            self.end(scene, slot, Outcome::Unknown);
            return self.submit(scene, Origin::Own, key, job, self.timing.op_timeout);
        }
        let outcome = self.outcome(scene, task, verdict, votes);
        self.end(scene, slot, outcome);
    }

    fn outcome(
        &self,
        scene: &Scene<'_>,
        task: &Task,
        verdict: Verdict,
        (votes, commits): (u8, u8),
    ) -> Outcome {
        match verdict {
            Verdict::Done { token, lease, repeated } => {
                let until =
                    task.first_accept.map(|at| if Rule::Waited.is_out() { scene.now } else { at });
                let waited = match (&task.job, until) {
                    (Job::Act(Action::Lock { .. }), Some(at)) => at.since(task.arrived),
                    _ => Span::ZERO,
                };
                let believed = |lease: Span| self.timing.max_clock_drift.believed(lease);
                let valid_for = lease.map(|lease| believed(lease.plus(waited)));
                let quorum = u8::try_from(scene.quorum).unwrap_or(u8::MAX);
                Outcome::Done(Done { token, valid_for, waited, repeated, quorum, votes, commits })
            }
            Verdict::Found(holder) => Outcome::Found(holder),
            Verdict::Refused(refusal) => Outcome::Refused(refusal),
            Verdict::Unknown => Outcome::Unknown,
        }
    }

    /// Clears a desk away that has nothing on it.
    fn tidy(&mut self, desk: Slot) {
        let place = &self.desks[desk];
        if place.task.is_none() && place.crowd() == 0 && place.phase == Phase::Rest {
            self.desk_timers.clear(desk);
            self.desks.remove(desk);
        }
    }

    /// Operations under way, with those that queue.
    pub(crate) fn operations(&self) -> usize {
        self.tasks.len()
    }

    /// Panics if an invariant is broken.
    pub(crate) fn check(&self) {
        let queueing = self.tasks.iter().filter(|(_, task)| task.job.queues()).count();
        assert_eq!(queueing, self.queueing, "locks that queue are counted");
        for (slot, desk) in self.desks.iter() {
            let places = desk.task.iter().chain(&desk.queue).chain(&desk.parked);
            for &task in places {
                let at = match self.tasks[task].place {
                    Place::Queue(at) | Place::Work(at) | Place::Parked(at) => Some(at),
                    Place::Query(_) => None,
                };
                assert_eq!(at, Some(slot), "a task is where its desk says");
            }
            let idle = matches!(desk.phase, Phase::Rest | Phase::Write(_));
            assert!(desk.task.is_some() || idle, "votes and pauses have a task");
            let used = desk.task.is_some() || desk.crowd() > 0 || desk.phase != Phase::Rest;
            assert!(used, "a desk with nothing on it is cleared away");
            let sent = |&&task: &&Slot| self.tasks[task].past.sent_from.is_some();
            let later = desk.queue.iter().skip(1).find(sent).filter(|_| !Rule::HeirPast.is_out());
            assert_eq!(later, None, "a task that has sent an accept is the next in turn");
            assert_eq!(desk.parked.iter().find(sent), None, "a parked task has sent no accept");
            if let Phase::Write(Write { heir: Some(heir), chosen, .. }) = desk.phase {
                let place = &self.tasks[heir].place;
                assert!(!chosen && desk.task.is_some_and(|task| task != heir), "an heir waits");
                assert_eq!(*place, Place::Work(slot), "an heir is where its desk says");
            }
        }
        let with_caller = self.tasks.iter().filter(|(_, task)| task.origin != Origin::Own).count();
        assert_eq!(with_caller, self.by_origin.len(), "every caller's task is found");
    }
}
