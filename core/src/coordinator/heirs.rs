//! A release and the next grant in one write (protocol, section 11).
//!
//! Where a lock waits for a key that is being released, the register goes from one owner to the next at one ballot: nobody
//! finds it free in between. The lock is the *heir* of the release's write. Both take effect with that write or neither does, and
//! the entry names the heir's operation only, so that a release that has to vote again looks for that one.
//!
//! Invariant: a write has an heir only until it is chosen, and only while the task on its desk is the release.

use super::{Coordinator, Phase, Place, Scene};
use crate::ballot::Ballot;
use crate::decide::{Job, Past, Pending, Plan, Seen, Verdict, decide, id_of};
use crate::entry::Entry;
use crate::faults::Rule;
use crate::request::{Action, NotDone, Outcome};
use crate::round::Votes;
use crate::slab::Slot;
use crate::time::Span;

impl Coordinator {
    /// What a release writes at `ballot`: its mark, or the entry of the first lock that waits for the key, which is told with it.
    pub(super) fn bequeath(
        &mut self,
        scene: &Scene<'_>,
        (desk, release): (Slot, Slot),
        ballot: Ballot,
        (mark, keep, verdict): (Entry, Span, &Verdict),
    ) -> (Entry, Span, Option<Slot>) {
        let task = &self.tasks[release];
        let releases = matches!(task.job, Job::Act(Action::Release { .. }))
            && (verdict.is_effect() || Rule::Bequest.is_out());
        let first = self.desks[desk].parked.front().copied();
        let first = first.filter(|&heir| self.waits(heir, scene.now));
        let (true, None, Some(heir)) = (releases, task.past.sent_from, first) else {
            return (mark, keep, None);
        };
        let seen = Seen {
            best: Some((ballot, &mark)),
            remaining: Span::ZERO,
            unanimous: false,
            chosen: true,
            floor: Ballot::ZERO,
            clock: scene.clock.shows(scene.now),
        };
        let plan = decide(&self.tasks[heir].job, &seen, ballot, Past::default());
        let Plan::Write { entry, keep: kept, verdict } = plan else { return (mark, keep, None) };
        if !verdict.is_effect() {
            return (mark, keep, None);
        }
        self.tasks[release].past.heir = Some((entry.last_op(), mark.token()));
        let until = self.tasks[release].until;
        self.desks[desk].parked.pop_front();
        let task = &mut self.tasks[heir];
        task.place = Place::Work(desk);
        task.begun = true;
        task.until = until;
        if !Rule::HeirSent.is_out() {
            task.past.sent_from = Some(ballot);
        }
        task.first_accept = Some(scene.now);
        let first_end = until.min(task.give_up);
        self.task_timers.set(heir, first_end);
        (entry, kept, Some(heir))
    }

    /// The heir of the write that is under way on this desk.
    pub(super) fn heir(&self, desk: Slot) -> Option<Slot> {
        let Phase::Write(write) = &self.desks[desk].phase else { return None };
        write.heir
    }

    /// The same; it is none any more.
    pub(super) fn take_heir(&mut self, desk: Slot) -> Option<Slot> {
        let Phase::Write(write) = &mut self.desks[desk].phase else { return None };
        write.heir.take()
    }

    /// Answers the heir of a write that was chosen.
    pub(super) fn grant(
        &mut self,
        scene: &mut Scene<'_>,
        desk: Slot,
        heir: Slot,
        (sent, accepted): (Votes, Votes),
    ) {
        let Some(verdict) = self.inheritance(desk, heir) else { return };
        self.desks[desk].task = Some(heir);
        let count = |votes: Votes| u8::try_from(votes.count()).unwrap_or(u8::MAX);
        self.conclude(scene, desk, verdict, (count(sent), count(accepted)));
    }

    /// What the heir is told once the write on this desk is chosen.
    fn inheritance(&self, desk: Slot, heir: Slot) -> Option<Verdict> {
        let Phase::Write(write) = &self.desks[desk].phase else { return None };
        let Job::Act(Action::Lock { lease, .. }) = self.tasks[heir].job else { return None };
        Some(Verdict::Done { token: write.entry.token(), lease: Some(lease), repeated: false })
    }

    /// One of the two that share a write has ended, and the other goes on alone. Whether that was so.
    pub(super) fn outlives(&mut self, desk: Slot, ended: Slot) -> bool {
        let Some(heir) = self.take_heir(desk) else { return false };
        if heir != ended {
            let verdict = self.inheritance(desk, heir);
            let place = &mut self.desks[desk];
            place.task = Some(heir);
            if let Phase::Write(write) = &mut place.phase {
                write.verdict = verdict.map(Pending::from);
            }
        }
        true
    }

    /// The write that an heir had a part in is given up. The heir is the next in turn, and finds out what became of it.
    pub(super) fn part_from_heir(&mut self, desk: Slot) {
        if let Some(heir) = self.take_heir(desk) {
            self.tally.handoffs_split += 1;
            self.tasks[heir].place = Place::Queue(desk);
            self.desks[desk].queue.push_front(heir);
        }
    }

    /// The write on this desk was chosen, and its vote found nothing as high as the accept that
    /// the first task in the queue has sent: that accept takes no effect any more, and the task
    /// applies afresh.
    pub(super) fn preclude_next(&mut self, scene: &mut Scene<'_>, desk: Slot) {
        let Some(&next) = self.desks[desk].queue.front() else { return };
        let task = &mut self.tasks[next];
        task.past.sent_from = None;
        task.first_accept = None;
        if task.cancelled {
            self.end(scene, next, Outcome::NotDone(NotDone::Cancelled));
        }
    }

    /// Whether this entry is what the task wrote.
    pub(super) fn is_of(&self, task: Slot, entry: &Entry) -> bool {
        id_of(&self.tasks[task].job) == Some(entry.last_op())
    }
}
