//! What masters answer, and what follows from it.

use alloc::boxed::Box;

use super::rounds::FORGET_AFTER;
use super::turns::Turn;
use super::{Coordinator, Phase, Place, Query, Scene, Task};
use crate::ballot::Ballot;
use crate::decide::{Past, Plan, decide};
use crate::faults::Rule;
use crate::message::{Accepted, Answer, Ask};
use crate::round::{Summary, Votes};
use crate::slab::Slot;
use crate::time::{Instant, Span};

impl Coordinator {
    /// Takes the answer of the master at place `from`. Answers count only in the phase they belong to.
    pub(crate) fn answer(
        &mut self,
        scene: &mut Scene<'_>,
        from: usize,
        round: u64,
        answer: &Answer,
    ) {
        self.tally.answered(answer);
        match *answer {
            Answer::Promise { ballot, ref accepted, floor } => {
                let Some(desk) = self.desk_of(round, ballot) else { return };
                self.on_promise(scene, desk, from, (accepted.as_ref(), floor));
            }
            Answer::NotPromised { ballot, counter } => {
                scene.clock.observe(counter);
                let Some(desk) = self.desk_of(round, ballot) else { return };
                self.on_not_promised(scene, desk, from, false);
            }
            Answer::Full { ballot } => {
                let Some(desk) = self.desk_of(round, ballot) else { return };
                self.on_not_promised(scene, desk, from, true);
            }
            Answer::Accepted { ballot } => {
                let Some(desk) = self.desk_of(round, ballot) else { return };
                self.on_accepted(scene, desk, from);
            }
            Answer::NotAccepted { ballot, counter } => {
                scene.clock.observe(counter);
                let Some(desk) = self.desk_of(round, ballot) else { return };
                self.on_not_accepted(scene, desk, from);
            }
            Answer::Has { boot, ref accepted } if boot == scene.clock.proposer() => {
                self.on_has(scene, from, round, accepted.as_ref());
            }
            Answer::Has { .. } | Answer::Joining => {}
        }
    }

    /// The desk of this round, if it is at exactly this ballot: no round of another key, and none of another boot.
    fn desk_of(&self, round: u64, ballot: Ballot) -> Option<Slot> {
        let Some(Turn::Desk(desk)) = self.turns.find(round) else { return None };
        let current = self.desks.get(desk).and_then(super::Desk::round);
        (current == Some((round, ballot))).then_some(desk)
    }

    fn on_promise(
        &mut self,
        scene: &mut Scene<'_>,
        desk: Slot,
        from: usize,
        (accepted, floor): (Option<&Accepted>, Ballot),
    ) {
        let place = &mut self.desks[desk];
        match &mut place.phase {
            Phase::Vote(vote) => {
                if !vote.promised.has(from) {
                    vote.promised.add(from);
                    vote.summary.add(scene.now, accepted, floor);
                    if vote.promised.count() >= scene.quorum {
                        self.promised(scene, desk);
                    }
                }
            }
            // A late promise gets the accept, too, so that all masters come to agree.
            Phase::Write(write) if !write.base.sent.has(from) && scene.now < write.until => {
                write.base.sent.add(from);
                let accept = write.accept(&place.key);
                scene.ask(Votes::one(from), write.base.round, accept, place.hash);
            }
            Phase::Write(_) | Phase::Rest | Phase::Pause(_) => {}
        }
    }

    fn on_not_promised(&mut self, scene: &mut Scene<'_>, desk: Slot, from: usize, full: bool) {
        let Phase::Vote(vote) = &mut self.desks[desk].phase else { return };
        if full {
            vote.full.add(from);
        } else {
            vote.denied.add(from);
        }
        let against = vote.denied.without(vote.promised).count();
        let no_room = vote.full.without(vote.denied).without(vote.promised).count();
        let spare = scene.masters - scene.quorum;
        if against > spare {
            self.again(scene, desk);
        } else if against + no_room > spare {
            self.no_room(scene, desk);
        } else if against > 0 {
            // The others may still make a quorum. If they take much longer than this one did, a higher ballot will.
            let at = vote.resend_at.min(grace(vote.at, scene.now));
            vote.resend_at = at;
            self.desk_timers.set_sooner(desk, at);
        }
    }

    fn on_accepted(&mut self, scene: &mut Scene<'_>, desk: Slot, from: usize) {
        let crowded = self.desks.len() > self.resting;
        let Phase::Write(write) = &mut self.desks[desk].phase else { return };
        if scene.now >= write.until && !Rule::OpTimeout.is_out() {
            return;
        }
        write.accepted.add(from);
        let first = !write.chosen && write.accepted.count() >= scene.quorum;
        write.chosen |= first;
        if write.is_settled(scene.masters) && write.forget_at.is_none() {
            // Where there is room, the key stays cheap to lock for as long as the masters' promises allow.
            let soon = scene.now.after(FORGET_AFTER);
            let forget_at =
                if crowded { soon } else { write.useful_until(&self.timing, scene.masters) };
            write.forget_at = Some(forget_at);
            self.desk_timers.set_sooner(desk, forget_at);
        }
        if first {
            self.chosen(scene, desk);
        }
    }

    fn on_not_accepted(&mut self, scene: &mut Scene<'_>, desk: Slot, from: usize) {
        let Phase::Write(write) = &mut self.desks[desk].phase else { return };
        write.refused.add(from);
        if write.is_hopeless(scene.quorum) {
            self.again(scene, desk);
        } else if !write.chosen {
            let at = write.resend_at.min(grace(write.at, scene.now));
            write.resend_at = at;
            self.desk_timers.set_sooner(desk, at);
        }
    }

    /// Asks the masters what they hold.
    pub(super) fn query(&mut self, scene: &mut Scene<'_>, task: Task) {
        let ask = Ask::Query { key: task.key.clone(), boot: scene.clock.proposer() };
        let hash = self.desks.hash(&task.key);
        let resend_at = scene.now.after(self.resend_after());
        let first_end = task.until.min(task.give_up).min(resend_at);
        let summary = Summary::new();
        let query = Query { round: 0, answered: Votes::default(), summary, resend_at };
        let slot = self.admit(Task { place: Place::Query(Box::new(query)), ..task });
        self.task_timers.set(slot, first_end);
        let round = self.turns.begin(Turn::Query(slot));
        if let Place::Query(query) = &mut self.tasks[slot].place {
            query.round = round;
        }
        scene.ask(Votes::all(scene.masters), round, ask, hash);
    }

    /// Asks all over again, if this task is a question.
    pub(super) fn query_anew(&mut self, scene: &mut Scene<'_>, slot: Slot) {
        let Place::Query(query) = &mut self.tasks[slot].place else { return };
        self.turns.end(query.round);
        query.answered = Votes::default();
        query.summary = Summary::new();
        let round = self.turns.begin(Turn::Query(slot));
        if let Place::Query(query) = &mut self.tasks[slot].place {
            query.round = round;
        }
        self.query_again(scene, slot);
    }

    fn on_has(
        &mut self,
        scene: &mut Scene<'_>,
        from: usize,
        round: u64,
        accepted: Option<&Accepted>,
    ) {
        let Some(Turn::Query(slot)) = self.turns.find(round) else { return };
        let task = &mut self.tasks[slot];
        let Place::Query(query) = &mut task.place else { return };
        if query.round != round || query.answered.has(from) {
            return;
        }
        query.answered.add(from);
        query.summary.add(scene.now, accepted, Ballot::ZERO);
        if query.answered.count() < scene.quorum {
            return;
        }
        let mut seen = query.summary.seen(scene.now, scene.clock.shows(scene.now));
        self.tally.queried(scene.now.since(task.arrived));
        seen.unanimous |= Rule::Unanimity.is_out();
        match decide(&task.job, &seen, Ballot::ZERO, Past::default()) {
            Plan::Answer(verdict) => {
                let outcome = self.outcome(scene, &self.tasks[slot], verdict, (0, 0));
                self.end(scene, slot, outcome);
            }
            Plan::Write { .. } | Plan::Settle { .. } => self.read_by_vote(slot, round),
        }
    }

    /// What the masters hold is not the same everywhere: the read goes to its desk and settles it.
    fn read_by_vote(&mut self, slot: Slot, round: u64) {
        self.turns.end(round);
        let task = &mut self.tasks[slot];
        let (key, give_up) = (task.key.clone(), task.give_up);
        let desk = self.desk(&key);
        self.tasks[slot].place = Place::Queue(desk);
        self.task_timers.set(slot, give_up);
        self.desks[desk].queue.push_back(slot);
        self.make_ready(desk);
    }

    /// Asks again those that have not answered a query.
    pub(super) fn query_again(&mut self, scene: &mut Scene<'_>, slot: Slot) {
        let resend_after = self.resend_after();
        let task = &mut self.tasks[slot];
        let Place::Query(query) = &mut task.place else { return };
        query.resend_at = scene.now.after(resend_after);
        let due = query.resend_at.min(task.until).min(task.give_up);
        let missing = Votes::all(scene.masters).without(query.answered);
        let ask = Ask::Query { key: task.key.clone(), boot: scene.clock.proposer() };
        scene.ask(missing, query.round, ask, self.desks.hash(&task.key));
        self.task_timers.set(slot, due);
    }
}

/// Until when to wait for the answers of others, after one refused.
fn grace(asked_at: Instant, now: Instant) -> Instant {
    now.after(now.since(asked_at).times(2).plus(Span::from_millis(1)))
}
