//! From a task on a desk to votes and writes, and on to the next.

use alloc::vec::Vec;

use super::turns::Turn;
use super::{Coordinator, Desk, Phase, Place, Scene};
use crate::ballot::Ballot;
use crate::decide::{Job, Past, Pending, Plan, Seen, Verdict, decide, never_applied};
use crate::entry::Entry;
use crate::faults::Rule;
use crate::feed::Fact;
use crate::message::{Ask, Tell};
use crate::request::{Action, Limit, NotDone, Outcome};
use crate::round::{Base, Summary, Vote, Votes, Write};
use crate::settings::{Limits, Timing};
use crate::slab::Slot;
use crate::tally::Tally;
use crate::time::{Instant, Span};

/// The longest pause after the first retry; it doubles with each.
const FIRST_PAUSE: Span = Span::from_millis(4);
/// How often the pause doubles at most.
const DOUBLINGS: u32 = 7;
/// How long a key that was released stays cheap to lock again where many keys are under way.
pub(super) const FORGET_AFTER: Span = Span::from_millis(500);
/// Keys that may rest for longer at their home, if the masters have room for a multiple of them.
const RESTING: usize = 100_000;
/// Records for each of them.
const ROOM: usize = 16;

/// How many desks there may be before keys that were released go early.
pub(super) fn resting(limits: &Limits) -> usize {
    RESTING.min(usize::try_from(limits.records).unwrap_or(usize::MAX) / ROOM)
}

impl Coordinator {
    /// How long to wait for an answer before a message is sent again.
    pub(super) fn resend_after(&self) -> Span {
        self.timing.op_timeout.split(20)
    }

    /// Starts a vote for the task on this desk.
    pub(super) fn vote(&mut self, scene: &mut Scene<'_>, desk: Slot) {
        self.end_round(desk);
        let ballot = scene.clock.fresh(scene.now);
        let round = self.turns.begin(Turn::Desk(desk));
        let resend_at = scene.now.after(self.resend_after());
        let place = &mut self.desks[desk];
        place.phase = Phase::Vote(Vote {
            round,
            ballot,
            at: scene.now,
            promised: Votes::default(),
            summary: Summary::new(),
            denied: Votes::default(),
            full: Votes::default(),
            resend_at,
        });
        let prepare = Ask::Prepare { key: place.key.clone(), ballot };
        scene.ask(Votes::all(scene.masters), round, prepare, place.hash);
        self.desk_timers.set_sooner(desk, resend_at);
    }

    /// Goes on from the desk's last write, without a vote.
    pub(super) fn go_on(&mut self, scene: &mut Scene<'_>, desk: Slot, slot: Slot) {
        let Some(base) = self.desks[desk].base(scene.now, &self.timing) else {
            return self.vote(scene, desk);
        };
        let mut remaining = base.left(scene.now);
        if Rule::UpdateLease.is_out() {
            let elapsed = scene.now.since(base.at);
            remaining = self.timing.max_clock_drift.believed(base.keep).minus(elapsed);
        }
        let seen = Seen {
            best: Some((base.base.ballot, &base.entry)),
            remaining,
            unanimous: false,
            chosen: true,
            floor: Ballot::ZERO,
            clock: scene.clock.shows(scene.now),
        };
        let Base { vote_at, sent, .. } = base.base;
        let ballot = base.base.ballot.next();
        let (own, held) = (self.is_of(slot, &base.entry), base.entry.held().is_some());
        if !own && self.tasks[slot].past.sent_from.is_some() {
            if !Rule::HeirPast.is_out() {
                // Its own accept may have been chosen before this write was decided. A vote tells
                // as much as can be known.
                return self.vote(scene, desk);
            }
            self.tasks[slot].past = Past::default();
        }
        if self.waits(slot, scene.now) && held && !own {
            // It would only learn that the key is held, which this desk knows.
            let held_for = self.desks[desk].held_for(scene.now).unwrap_or_default();
            self.desks[desk].task = None;
            self.desks[desk].unpark_at = Some(self.look_again(scene.now, held_for));
            self.park(slot, desk, scene.now, true);
            return self.make_ready(desk);
        }
        let past = self.tasks[slot].past;
        match decide(&self.tasks[slot].job, &seen, ballot, past) {
            Plan::Answer(verdict) => self.conclude(scene, desk, verdict, (0, 0)),
            Plan::Write { entry, keep, verdict } => {
                count_margin(&mut self.tally, &self.tasks[slot].job, &seen, &verdict);
                let (entry, keep, heir) =
                    self.bequeath(scene, (desk, slot), ballot, (entry, keep, &verdict));
                self.end_round(desk);
                let round = self.turns.begin(Turn::Desk(desk));
                let base = Base { round, ballot, vote_at, sent, voted: false };
                let write = self.new_write(scene, slot, base, (entry, keep), Some(verdict));
                self.write(scene, desk, slot, Write { heir, ..write });
            }
            // Nothing chosen has to be settled; a vote would show it.
            Plan::Settle { .. } => self.vote(scene, desk),
        }
    }

    /// A quorum has promised: decides, and writes or answers.
    pub(super) fn promised(&mut self, scene: &mut Scene<'_>, desk: Slot) {
        let Phase::Vote(vote) = &self.desks[desk].phase else { return };
        let Some(slot) = self.desks[desk].task else { return };
        let seen = vote.summary.seen(scene.now, scene.clock.shows(scene.now));
        let Vote { round, ballot, at: vote_at, promised: sent, .. } = *vote;
        let sent_from =
            self.desks[desk].queue.front().and_then(|&next| self.tasks[next].past.sent_from);
        let precludes_next = sent_from.is_some_and(|from| never_applied(&seen, from));
        self.tally.prepared(scene.now.since(vote_at));
        let task = &self.tasks[slot];
        match decide(&task.job, &seen, ballot, task.past) {
            Plan::Answer(verdict) => {
                let votes = u8::try_from(sent.count()).unwrap_or(u8::MAX);
                self.leave_vote(scene, desk);
                self.conclude(scene, desk, verdict, (votes, 0));
            }
            Plan::Write { entry, keep, verdict } => {
                count_margin(&mut self.tally, &task.job, &seen, &verdict);
                let (entry, keep, heir) =
                    self.bequeath(scene, (desk, slot), ballot, (entry, keep, &verdict));
                let base = Base { round, ballot, vote_at, sent, voted: true };
                let write = self.new_write(scene, slot, base, (entry, keep), Some(verdict));
                self.write(scene, desk, slot, Write { heir, precludes_next, ..write });
            }
            Plan::Settle { entry, keep } => {
                let base = Base { round, ballot, vote_at, sent, voted: true };
                let write = self.new_write(scene, slot, base, (entry, keep), None);
                self.write(scene, desk, slot, write);
            }
        }
    }

    fn new_write(
        &self,
        scene: &Scene<'_>,
        slot: Slot,
        base: Base,
        (entry, keep): (Entry, Span),
        verdict: Option<Verdict>,
    ) -> Write {
        Write {
            base,
            entry,
            keep,
            at: scene.now,
            until: self.tasks[slot].until,
            accepted: Votes::default(),
            refused: Votes::default(),
            verdict: verdict.map(Pending::from),
            heir: None,
            precludes_next: false,
            chosen: false,
            forget_at: None,
            resend_at: scene.now.after(self.resend_after()),
        }
    }

    /// Sends a write to the masters that promised it.
    fn write(&mut self, scene: &mut Scene<'_>, desk: Slot, slot: Slot, write: Write) {
        // What an accept at this ballot implies counts as used.
        scene.clock.observe(write.base.ballot.next().counter);
        let task = &mut self.tasks[slot];
        let past = &mut task.past;
        if write.verdict.as_ref().is_some_and(Pending::is_effect) {
            task.first_accept.get_or_insert(scene.now);
            let lowest = past.sent_from.map_or(write.base.ballot, |from| {
                if Rule::RetryLowest.is_out() {
                    write.base.ballot
                } else {
                    from.min(write.base.ballot)
                }
            });
            past.sent_from = Some(lowest);
        }
        past.repeated |= matches!(write.verdict, Some(Pending::Done { repeated: true, .. }));
        let place = &mut self.desks[desk];
        scene.ask(write.base.sent, write.base.round, write.accept(&place.key), place.hash);
        self.desk_timers.set_sooner(desk, write.resend_at);
        place.phase = Phase::Write(write);
    }

    /// The vote cannot reach a quorum, or the write cannot: votes again, at once the first time.
    pub(super) fn again(&mut self, scene: &mut Scene<'_>, desk: Slot) {
        let Some(slot) = self.desks[desk].task else {
            self.clear_phase(desk);
            return self.tidy(desk);
        };
        let task = &mut self.tasks[slot];
        task.tries += 1;
        if task.tries == 1 {
            return self.vote(scene, desk);
        }
        let doubled = FIRST_PAUSE.times(1 << task.tries.min(DOUBLINGS));
        self.clear_phase(desk);
        let until = scene.now.after(self.jitter.pause(doubled));
        self.desks[desk].phase = Phase::Pause(until);
        self.desk_timers.set_sooner(desk, until);
    }

    /// Masters without room make a quorum impossible.
    pub(super) fn no_room(&mut self, scene: &mut Scene<'_>, desk: Slot) {
        let Some(slot) = self.desks[desk].task else { return };
        let outcome = match self.tasks[slot].past.sent_from {
            None => Outcome::NotDone(NotDone::Limit(Limit::Records)),
            Some(_) => Outcome::Unknown,
        };
        self.end(scene, slot, outcome);
    }

    /// A quorum accepted: answers the task, if its caller still waits, or goes on with it.
    pub(super) fn chosen(&mut self, scene: &mut Scene<'_>, desk: Slot) {
        let Phase::Write(write) = &self.desks[desk].phase else { return };
        let (verdict, sent, accepted) = (write.verdict.clone(), write.base.sent, write.accepted);
        let precludes = write.precludes_next;
        self.tally.accepted(scene.now.since(write.at));
        if scene.facts.has_replicas() {
            let fact = Fact {
                key: self.desks[desk].key.clone(),
                ballot: write.base.ballot,
                entry: write.entry.clone(),
                expires_at: write.at.after(write.keep),
            };
            scene.facts.add(scene.now, fact);
        }
        let Some(verdict) = verdict else { return self.settled(scene, desk) };
        if precludes {
            self.preclude_next(scene, desk);
        }
        let count = |votes: Votes| u8::try_from(votes.count()).unwrap_or(u8::MAX);
        let heir = self.take_heir(desk);
        self.conclude(scene, desk, verdict.into(), (count(sent), count(accepted)));
        if let Some(heir) = heir {
            self.grant(scene, desk, heir, (sent, accepted));
        }
    }

    /// What the task on this desk is built on was chosen: it is the next one again, in what is left of its time.
    fn settled(&mut self, scene: &mut Scene<'_>, desk: Slot) {
        let Some(slot) = self.desks[desk].task else { return };
        let task = &mut self.tasks[slot];
        if task.cancelled {
            return self.end(scene, slot, Outcome::NotDone(NotDone::Cancelled));
        }
        // What was chosen does not carry the operation and is above all that did: none of that takes effect any more.
        task.past.sent_from = None;
        task.place = Place::Queue(desk);
        let place = &mut self.desks[desk];
        place.task = None;
        place.queue.push_front(slot);
        self.make_ready(desk);
    }

    /// Ends a vote that will not write: the masters close their promises.
    pub(super) fn leave_vote(&mut self, scene: &mut Scene<'_>, desk: Slot) {
        let place = &self.desks[desk];
        match &place.phase {
            Phase::Vote(vote) => {
                scene.tell(Tell::Abort { key: place.key.clone(), ballot: vote.ballot });
                self.clear_phase(desk);
            }
            Phase::Pause(_) => self.clear_phase(desk),
            Phase::Rest | Phase::Write(_) => {}
        }
    }

    /// Another epoch is in force: what is under way starts again with a vote, and no chosen write leads on.
    pub(crate) fn begin_again(&mut self, scene: &mut Scene<'_>) {
        let desks: Vec<Slot> = self.desks.iter().map(|(desk, _)| desk).collect();
        for desk in desks {
            match (self.desks[desk].task, &self.desks[desk].phase) {
                (_, Phase::Rest | Phase::Pause(_)) => {}
                (Some(_), Phase::Vote(_) | Phase::Write(_)) => self.vote(scene, desk),
                (None, Phase::Vote(_) | Phase::Write(_)) => {
                    self.clear_phase(desk);
                    self.tidy(desk);
                }
            }
        }
        let tasks: Vec<Slot> = self.tasks.iter().map(|(slot, _)| slot).collect();
        for slot in tasks {
            self.query_anew(scene, slot);
        }
    }

    /// Forgets the desk's round; answers to it no longer count.
    pub(super) fn clear_phase(&mut self, desk: Slot) {
        self.end_round(desk);
        self.desks[desk].phase = Phase::Rest;
    }

    /// The same where the next phase begins at once.
    fn end_round(&mut self, desk: Slot) {
        self.part_from_heir(desk);
        if let Some((round, _)) = self.desks[desk].round() {
            self.turns.end(round);
        }
    }
}

/// Counts what is left of a lease that this extends.
fn count_margin(tally: &mut Tally, job: &Job, seen: &Seen<'_>, verdict: &Verdict) {
    if let Job::Act(Action::Extend { .. }) = job
        && verdict.is_effect()
        && let Some(held) = seen.best.and_then(|(_, entry)| entry.held())
    {
        tally.renewed(seen.remaining.minus(held.delay), held.lease);
    }
}

impl Write {
    pub(super) fn accept(&self, key: &crate::bytes::Key) -> Ask {
        let (key, ballot, entry) = (key.clone(), self.base.ballot, self.entry.clone());
        Ask::Accept { key, ballot, entry, keep: self.keep }
    }

    /// Whether it can no longer be chosen.
    pub(super) fn is_hopeless(&self, quorum: usize) -> bool {
        !self.chosen && self.base.sent.without(self.refused.without(self.accepted)).count() < quorum
    }

    /// Whether there are masters that it can never reach: they promised no ballot that it goes on from.
    pub(super) fn lacks(&self, masters: usize) -> bool {
        !self.base.voted && self.base.sent.count() < masters
    }

    /// Whether nothing more is to come.
    pub(super) fn is_complete(&self, masters: usize) -> bool {
        self.chosen && self.accepted.count() == masters
    }

    /// Whether the masters may forget the key: all of them hold the mark.
    pub(super) fn is_settled(&self, masters: usize) -> bool {
        let all = self.is_complete(masters) || (self.chosen && Rule::ForgetAll.is_out());
        all && self.entry.held().is_none()
    }

    /// Until when it is of use: to be completed, or to start from.
    pub(super) fn useful_until(&self, timing: &Timing, masters: usize) -> Instant {
        let base_until = if self.chosen { self.base_until(timing) } else { self.until };
        if self.is_complete(masters) { base_until } else { base_until.max(self.until) }
    }
}

impl Desk {
    /// The round under way, and its ballot.
    pub(super) const fn round(&self) -> Option<(u64, Ballot)> {
        match &self.phase {
            Phase::Vote(vote) => Some((vote.round, vote.ballot)),
            Phase::Write(write) => Some((write.base.round, write.base.ballot)),
            Phase::Rest | Phase::Pause(_) => None,
        }
    }
}
