//! A release and the next grant in one write, and what becomes of both where that fails.

use super::*;

/// A key that somebody holds, whose release was just sent with the grant for the first of two that wait.
struct Handing {
    room: Room,
    /// The ballot of the lock that is released.
    before: Ballot,
    release: Origin,
    heir: Origin,
    next: Origin,
    round: u64,
    ballot: Ballot,
    entry: Entry,
}

impl Handing {
    fn new() -> Self {
        Self::after(ms(10), LEASE, LEASE)
    }

    fn with_patience(release: Span, heir: Span) -> Self {
        Self::after(ms(10), release, heir)
    }

    fn after(pause: Span, release: Span, heir: Span) -> Self {
        let (mut room, _, before) = Room::locked();
        let heir = room.ask(lock(2, LEASE), heir);
        let next = room.ask(lock(3, LEASE), LEASE);
        room.pass(pause);
        room.sent();
        let release = room.ask(release_of(1), release);
        let sent = room.sent();
        let [Sent::Accept(to, round, ballot, entry)] = &sent[..] else { panic!("{sent:?}") };
        assert!(to.iter().eq([0, 1]), "one write, and nothing else");
        let (round, ballot, entry) = (*round, *ballot, entry.clone());
        Self { room, before, release, heir, next, round, ballot, entry }
    }

    fn accepted(&mut self) {
        for from in [0, 1] {
            self.room.hear(from, self.round, &Answer::Accepted { ballot: self.ballot });
        }
    }

    /// One master refuses, so that the write cannot be chosen any more, and a vote finds this.
    fn refused(&mut self, found: Option<&Accepted>) {
        let (ballot, counter) = (self.ballot, self.ballot.counter + 5);
        self.room.hear(1, self.round, &Answer::NotAccepted { ballot, counter });
        self.voted(found);
    }

    /// The vote that was just sent finds this.
    fn voted(&mut self, found: Option<&Accepted>) {
        let (round, ballot) = self.room.vote();
        for from in [0, 2] {
            self.room.hear(from, round, &promise(ballot, found.cloned()));
        }
    }

    /// The write that was just sent is accepted, and what it says is this.
    fn written(&mut self, to: &[usize]) -> (Ballot, Entry) {
        let (round, ballot, entry) = self.room.write(to);
        for &from in to {
            self.room.hear(from, round, &Answer::Accepted { ballot });
        }
        (ballot, entry)
    }

    /// The write, as one master holds it.
    fn found(&self) -> Option<Accepted> {
        let (ballot, entry) = (self.ballot, self.entry.clone());
        Some(Accepted { ballot, entry, remaining: LEASE })
    }
}

fn release_of(chain: u64) -> Action {
    Action::Release { id: OpId { chain: (chain, 0), step: 1 }, owner: Owner::default() }
}

/// The token of what was done, once.
fn token(outcome: Option<&Outcome>) -> Option<u64> {
    match outcome {
        Some(Outcome::Done(Done { token, repeated: false, .. })) => Some(token.0),
        _ => None,
    }
}

#[test]
fn a_release_and_the_next_grant_share_a_write() {
    let mut handing = Handing::new();
    assert_eq!(handing.entry.last_op().chain, (2, 0), "the first that came");
    handing.accepted();
    let Handing { mut room, before, release, heir, next, ballot, .. } = handing;
    assert_eq!(token(room.told(release).as_ref()), Some(before.counter));
    let told = room.told(heir);
    let Some(Outcome::Done(Done { waited, valid_for, .. })) = &told else { panic!("{told:?}") };
    assert_eq!((token(told.as_ref()), waited), (Some(ballot.counter), &ms(10)));
    let believed = room.coordinator.timing.max_clock_drift.believed(LEASE.plus(*waited));
    assert_eq!(*valid_for, Some(believed), "counted from when it was asked for");
    assert_eq!((room.sent(), room.told(next)), (Vec::new(), None), "the next one waits");
    room.ask(release_of(2), LEASE);
    assert_eq!(room.write(&[0, 1]).2.last_op().chain, (3, 0));
}

#[test]
fn a_write_of_two_that_took_effect_did_so_for_both() {
    let mut handing = Handing::new();
    let found = handing.found();
    handing.refused(found.as_ref());
    assert_eq!(handing.written(&[0, 2]).1, handing.entry, "what is there is written again");
    assert_eq!(token(handing.room.told(handing.release).as_ref()), Some(handing.before.counter));
    assert_eq!(handing.room.told(handing.heir), None);
    // By the heir itself, with its whole lease.
    assert_eq!(handing.written(&[0, 2]).1, handing.entry);
    assert_eq!(token(handing.room.told(handing.heir).as_ref()), Some(handing.ballot.counter));
    assert_eq!((handing.room.sent(), handing.room.told(handing.next)), (Vec::new(), None));
}

#[test]
fn an_heir_has_as_long_as_the_release() {
    let op_timeout = Timing::default().op_timeout;
    let apart = || {
        // It came so long before that little would be left of a time of its own.
        let mut handing = Handing::after(op_timeout.minus(ms(1_500)), LEASE, LEASE);
        let found = handing.found();
        handing.refused(found.as_ref());
        handing.written(&[0, 2]);
        handing
    };
    let mut handing = apart();
    handing.room.pass(op_timeout.minus(ms(1_600)));
    let found = handing.found();
    handing.voted(found.as_ref());
    handing.written(&[0, 2]);
    assert_eq!(token(handing.room.told(handing.heir).as_ref()), Some(handing.ballot.counter));
    let mut handing = apart();
    handing.room.pass(op_timeout.plus(ms(2)));
    assert_eq!(handing.room.told(handing.heir), Some(Outcome::Unknown));
}

#[test]
fn a_write_of_two_that_never_took_effect_is_followed_by_one_of_each() {
    let mut handing = Handing::new();
    handing.room.ask(lock(4, Span::ZERO), LEASE);
    let Some(mut old) = held_by(1, handing.before.counter) else { panic!("somebody's") };
    old.ballot = handing.before;
    handing.refused(Some(&old));
    assert_eq!(handing.written(&[0, 2]).1.held(), None, "it is released");
    assert_eq!(token(handing.room.told(handing.release).as_ref()), Some(handing.before.counter));
    let (ballot, entry) = handing.written(&[0, 2]);
    assert_eq!(entry.last_op().chain, (2, 0), "the heir stays the first");
    assert_eq!(token(handing.room.told(handing.heir).as_ref()), Some(ballot.counter));
}

#[test]
fn where_nobody_can_tell_neither_of_two_is_told_anything() {
    let mut handing = Handing::new();
    let other = held(handing.ballot.counter + 3);
    handing.refused(other.as_ref());
    assert_eq!(handing.room.told(handing.release), Some(Outcome::Unknown));
    let (round, ballot) = handing.room.vote();
    for from in [0, 1] {
        handing.room.hear(from, round, &promise(ballot, other.clone()));
    }
    assert_eq!(handing.room.told(handing.heir), Some(Outcome::Unknown));
}

#[test]
fn an_heir_that_was_not_yet_tried_again_may_have_got_the_key() {
    let mut handing = Handing::with_patience(LEASE, ms(200));
    let (ballot, counter) = (handing.ballot, handing.ballot.counter + 5);
    handing.room.hear(1, handing.round, &Answer::NotAccepted { ballot, counter });
    handing.room.vote();
    // It stands in the queue behind the release, which waits for promises. A home that moves does not take it along.
    let moved = handing.room.with(|coordinator, scene| coordinator.take_back(scene.now, |_| true));
    assert_eq!(moved.len(), 1, "only the one that was never tried");
    handing.room.pass(ms(300));
    assert_eq!(handing.room.told(handing.heir), Some(Outcome::Unknown));
}

#[test]
fn whoever_loses_patience_leaves_the_other_alone() {
    let mut handing = Handing::with_patience(ms(100), LEASE);
    handing.room.pass(ms(150));
    assert_eq!(handing.room.told(handing.release), Some(Outcome::Unknown));
    handing.accepted();
    assert_eq!(token(handing.room.told(handing.heir).as_ref()), Some(handing.ballot.counter));
    assert_eq!(handing.room.told(handing.next), None);

    let mut handing = Handing::with_patience(LEASE, ms(100));
    handing.room.pass(ms(150));
    assert_eq!(handing.room.told(handing.heir), Some(Outcome::Unknown));
    handing.accepted();
    assert_eq!(token(handing.room.told(handing.release).as_ref()), Some(handing.before.counter));
    assert_eq!(handing.room.told(handing.next), None, "somebody may hold it");
}

#[test]
fn what_is_granted_to_nobody_is_given_up() {
    let mut handing = Handing::new();
    let heir = handing.heir;
    handing.room.with(|coordinator, scene| coordinator.cancel(scene, heir));
    assert_eq!(handing.room.told(heir), None, "it is on its way");
    handing.accepted();
    assert_eq!(token(handing.room.told(handing.release).as_ref()), Some(handing.before.counter));
    assert_eq!(handing.room.told(heir), Some(Outcome::Unknown));
    assert_eq!(handing.room.write(&[0, 1]).2.held(), None);
}

#[test]
fn another_epoch_parts_the_two_and_both_vote_in_it() {
    let mut handing = Handing::new();
    handing.room.with(Coordinator::begin_again);
    handing.accepted();
    assert_eq!(handing.room.told(handing.release), None, "what the old masters say is too late");
    let (round, ballot) = handing.room.vote();
    for from in [0, 1] {
        handing.room.hear(from, round, &promise(ballot, handing.found()));
    }
    handing.written(&[0, 1]);
    assert_eq!(token(handing.room.told(handing.release).as_ref()), Some(handing.before.counter));
    handing.written(&[0, 1]);
    assert_eq!(token(handing.room.told(handing.heir).as_ref()), Some(handing.ballot.counter));
}

#[test]
fn a_lock_whose_chain_has_gone_on_inherits_nothing() {
    // Its caller releases the key from somebody, as a later step, and under the lock's very name.
    for step in [1, 0] {
        let (mut room, ..) = Room::locked();
        let waits = room.ask(lock(2, LEASE), LEASE);
        let id = OpId { chain: (2, 0), step };
        room.ask(Action::Release { id, owner: Owner::default() }, LEASE);
        let (round, ballot, entry) = room.write(&[0, 1]);
        assert_eq!((entry.last_op(), entry.held()), (id, None));
        for from in [0, 1] {
            room.hear(from, round, &Answer::Accepted { ballot });
        }
        let told = room.told(waits);
        assert!(!matches!(told, Some(Outcome::Done(Done { repeated: false, .. }))), "{told:?}");
    }
}

#[test]
fn a_lock_that_has_the_key_already_does_not_wait_for_it() {
    let (mut room, ..) = Room::locked();
    // Sent a second time, while its first sending holds the key.
    let again = room.ask(lock(1, LEASE), LEASE);
    let (.., entry) = room.write(&[0, 1]);
    assert_eq!((entry.last_op().chain, room.told(again)), ((1, 0), None));
}

#[test]
fn a_lock_that_has_sent_an_accept_is_the_next_in_turn() {
    let mut handing = Handing::new();
    let (ballot, counter) = (handing.ballot, handing.ballot.counter + 5);
    handing.room.hear(1, handing.round, &Answer::NotAccepted { ballot, counter });
    // The granted lease ends at a master while the release votes again, and those that wait are woken.
    handing.room.with(|coordinator, _| coordinator.wake(b"k"));
    let found = handing.found();
    handing.voted(found.as_ref());
    handing.written(&[0, 2]);
    assert_eq!(token(handing.room.told(handing.release).as_ref()), Some(handing.before.counter));
    assert_eq!(handing.written(&[0, 2]).1, handing.entry, "before the lock that was woken");
    assert_eq!(token(handing.room.told(handing.heir).as_ref()), Some(handing.ballot.counter));
    assert_eq!(handing.room.told(handing.next), None);
}

#[test]
fn a_chosen_write_says_nothing_of_an_accept_that_its_vote_did_not_rule_out() {
    let mut handing = Handing::new();
    // Another sending of the release took effect elsewhere, above the write of the two.
    let ballot = Ballot { counter: handing.ballot.counter + 3, proposer: BOOT + 1 };
    let (last_op, token) = (OpId { chain: (1, 0), step: 1 }, Token(handing.before.counter));
    let mark = Accepted { ballot, entry: Entry::Free { last_op, token }, remaining: Span::ZERO };
    handing.refused(Some(&mark));
    let (ballot, entry) = handing.written(&[0, 2]);
    let told = handing.room.told(handing.release);
    assert!(matches!(told, Some(Outcome::Done(Done { repeated: true, .. }))), "{told:?}");
    assert_eq!(handing.room.told(handing.heir), None);
    handing.voted(Some(&Accepted { ballot, entry, remaining: Span::ZERO }));
    assert_eq!(handing.room.told(handing.heir), Some(Outcome::Unknown));
}

#[test]
fn a_cancelled_lock_whose_accept_was_ruled_out_was_certainly_not_granted() {
    let mut handing = Handing::new();
    let heir = handing.heir;
    handing.room.with(|coordinator, scene| coordinator.cancel(scene, heir));
    let Some(mut old) = held_by(1, handing.before.counter) else { panic!("somebody's") };
    old.ballot = handing.before;
    handing.refused(Some(&old));
    assert_eq!(handing.room.told(heir), None, "nothing is known yet");
    handing.written(&[0, 2]);
    assert_eq!(handing.room.told(heir), Some(Outcome::NotDone(NotDone::Cancelled)));
}
