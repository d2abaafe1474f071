//! What time does to tasks and desks.

use super::{Coordinator, Phase, Place, Scene};
use crate::message::{Ask, Tell};
use crate::request::{NotDone, Outcome};
use crate::round::{Base, Votes};
use crate::slab::Slot;
use crate::time::Instant;

impl Coordinator {
    /// Works off what became due.
    pub(crate) fn tick(&mut self, scene: &mut Scene<'_>) {
        while let Some(slot) = self.task_timers.pop(scene.now) {
            if self.tasks.get(slot).is_some() {
                self.task_due(scene, slot);
            }
        }
        while let Some(desk) = self.desk_timers.pop(scene.now) {
            if self.desks.get(desk).is_some() {
                self.desk_due(scene, desk);
            }
        }
    }

    /// Whether time has something to do here.
    #[inline]
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        self.task_timers.is_due(now) || self.desk_timers.is_due(now)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match (self.task_timers.deadline(), self.desk_timers.deadline()) {
            (Some(task), Some(desk)) => Some(task.min(desk)),
            (only, None) | (None, only) => only,
        }
    }

    fn task_due(&mut self, scene: &mut Scene<'_>, slot: Slot) {
        let task = &self.tasks[slot];
        let outcome = match &task.place {
            Place::Parked(_) => Outcome::NotDone(NotDone::TimedOut),
            Place::Query(_) if scene.now < task.until.min(task.give_up) => {
                return self.query_again(scene, slot);
            }
            Place::Query(_) => Outcome::NotDone(NotDone::NoQuorum),
            Place::Queue(_) | Place::Work(_) if task.past.sent_from.is_none() => {
                Outcome::NotDone(NotDone::NoQuorum)
            }
            Place::Queue(_) | Place::Work(_) => Outcome::Unknown,
        };
        self.end(scene, slot, outcome);
    }

    /// Sends again, ends pauses, forgets, and wakes those that wait; then sets the desk's next timer.
    fn desk_due(&mut self, scene: &mut Scene<'_>, desk: Slot) {
        let now = scene.now;
        if self.desks[desk].unpark_at.is_some_and(|at| at <= now) {
            self.unpark(desk);
        }
        match &self.desks[desk].phase {
            Phase::Rest => {}
            Phase::Pause(until) if now >= *until => self.vote(scene, desk),
            Phase::Pause(_) => {}
            // Somebody promised more: waiting for the rest would not make this ballot win.
            Phase::Vote(vote) if now >= vote.resend_at && vote.denied.count() > 0 => {
                self.again(scene, desk);
            }
            Phase::Vote(vote) if now >= vote.resend_at => self.prepare_again(scene, desk),
            Phase::Vote(_) => {}
            Phase::Write(write)
                if now >= write.resend_at && !write.chosen && write.refused.count() > 0 =>
            {
                self.again(scene, desk);
            }
            // Those that promised along are not enough any more. Others are asked by a vote only.
            Phase::Write(write)
                if now >= write.resend_at && !write.chosen && write.lacks(scene.masters) =>
            {
                self.again(scene, desk);
            }
            Phase::Write(_) => self.write_due(scene, desk),
        }
        // A round that nobody waits for any more ends with its desk.
        if self.desks.get(desk).is_none() {
            return;
        }
        if let Some(due) = self.desk_deadline(desk) {
            self.desk_timers.set_sooner(desk, due);
        }
        self.tidy(desk);
    }

    fn desk_deadline(&self, desk: Slot) -> Option<Instant> {
        let place = &self.desks[desk];
        let phase = match &place.phase {
            Phase::Rest => None,
            Phase::Pause(until) => Some(*until),
            Phase::Vote(vote) => Some(vote.resend_at),
            Phase::Write(write) => {
                Some(write.forget_at.map_or(write.resend_at, |at| at.min(write.resend_at)))
            }
        };
        [phase, place.unpark_at].into_iter().flatten().min()
    }

    fn prepare_again(&mut self, scene: &mut Scene<'_>, desk: Slot) {
        let resend_at = scene.now.after(self.resend_after());
        let place = &mut self.desks[desk];
        let Phase::Vote(vote) = &mut place.phase else { return };
        vote.resend_at = resend_at;
        let missing = Votes::all(scene.masters).without(vote.promised).without(vote.denied);
        let prepare = Ask::Prepare { key: place.key.clone(), ballot: vote.ballot };
        scene.ask(missing, vote.round, prepare, place.hash);
    }

    fn write_due(&mut self, scene: &mut Scene<'_>, desk: Slot) {
        let (now, resend_after) = (scene.now, self.resend_after());
        let place = &mut self.desks[desk];
        let Phase::Write(write) = &mut place.phase else { return };
        // Before it is of no use any more, or nobody will tell the masters.
        let over = now >= write.useful_until(&self.timing, scene.masters);
        let forget = write.forget_at.is_some_and(|at| over || now >= at);
        if forget && place.task.is_none() && place.queue.is_empty() {
            scene.tell(Tell::Forget { key: place.key.clone(), ballot: write.base.ballot });
            return self.clear_phase(desk);
        }
        let useful_until = write.useful_until(&self.timing, scene.masters);
        if now >= useful_until {
            return self.clear_phase(desk);
        }
        if now < write.resend_at {
            return;
        }
        if now >= write.until || write.is_complete(scene.masters) {
            write.resend_at = useful_until;
            return;
        }
        // Less and less often: most that is missing now is missing for long.
        write.resend_at = now.after(resend_after.plus(now.since(write.at)));
        let Base { round, ballot, sent, voted, .. } = write.base;
        let behind = sent.without(write.accepted).without(write.refused);
        let accept = write.accept(&place.key);
        scene.ask(behind, round, accept, place.hash);
        if voted {
            let missing = Votes::all(scene.masters).without(sent);
            let prepare = Ask::Prepare { key: place.key.clone(), ballot };
            scene.ask(missing, round, prepare, place.hash);
        }
    }
}
