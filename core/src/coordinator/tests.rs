//! A coordinator alone in a room: the test is all the masters and the clock.

mod heirs;

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::*;
use crate::ballot::Token;
use crate::bytes::Bytes;
use crate::entry::{Entry, Held, OpId};
use crate::message::{Accepted, Answer};
use crate::request::Owner;

const START: Instant = Instant::from_micros(5_000_000);
const LEASE: Span = Span::from_secs(30);
/// What tells this boot from others.
const BOOT: u64 = 7;

/// A coordinator that is no master, of masters that are numbered from 0 on.
struct Room {
    coordinator: Coordinator,
    clock: Clock,
    facts: Feeder,
    post: Vec<Post>,
    answers: VecDeque<(Origin, Outcome)>,
    now: Instant,
    masters: usize,
    last: u64,
}

/// What was sent to which masters.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sent {
    Prepare(Votes, u64, Ballot),
    Accept(Votes, u64, Ballot, Entry),
    Query(Votes, u64),
    Abort(Ballot),
    Forget(Ballot),
}

impl Room {
    fn new(masters: usize) -> Self {
        Self {
            coordinator: Coordinator::new(&Settings::default(), (3, 4), START),
            clock: Clock::new(1_000, BOOT, START),
            facts: Feeder::new(BOOT, START),
            post: Vec::new(),
            answers: VecDeque::new(),
            now: START,
            masters,
            last: 0,
        }
    }

    fn with<T>(&mut self, work: impl FnOnce(&mut Coordinator, &mut Scene<'_>) -> T) -> T {
        let Self { coordinator, clock, facts, post, answers, now, masters, .. } = self;
        let mut scene = Scene {
            now: *now,
            clock,
            masters: *masters,
            quorum: *masters / 2 + 1,
            post,
            facts,
            answers,
        };
        let done = work(coordinator, &mut scene);
        while let Some((desk, _, base)) = coordinator.next_ready(scene.now) {
            let short = base.is_some();
            coordinator.start(&mut scene, desk, short);
        }
        coordinator.check();
        done
    }

    /// A client asks for this, and has that much patience.
    fn ask(&mut self, action: Action, patience: Span) -> Origin {
        self.last += 1;
        let origin = Origin::Client(Ticket(self.last));
        self.with(|coordinator, scene| {
            coordinator.submit(scene, origin, "k".into(), Job::Act(action), patience);
        });
        origin
    }

    fn hear(&mut self, from: usize, round: u64, answer: &Answer) {
        self.with(|coordinator, scene| coordinator.answer(scene, from, round, answer));
    }

    fn pass(&mut self, span: Span) {
        self.now = self.now.after(span);
        self.with(Coordinator::tick);
    }

    /// What was sent since the last look.
    fn sent(&mut self) -> Vec<Sent> {
        let sent = |post| match post {
            Post::Ask { to, round, ask: Ask::Prepare { ballot, .. }, .. } => {
                Sent::Prepare(to, round, ballot)
            }
            Post::Ask { to, round, ask: Ask::Accept { ballot, entry, .. }, .. } => {
                Sent::Accept(to, round, ballot, entry)
            }
            Post::Ask { to, round, ask: Ask::Query { .. }, .. } => Sent::Query(to, round),
            Post::Tell { tell: Tell::Abort { ballot, .. }, .. } => Sent::Abort(ballot),
            Post::Tell { tell: Tell::Forget { ballot, .. }, .. } => Sent::Forget(ballot),
            Post::Tell { tell: Tell::Settle { .. }, .. } => panic!("only masters ask for that"),
        };
        self.post.drain(..).map(sent).collect()
    }

    /// The round and ballot of the vote that was just sent to all masters.
    fn vote(&mut self) -> (u64, Ballot) {
        let sent = self.sent();
        let all = Votes::all(self.masters);
        match sent[..] {
            [.., Sent::Prepare(to, round, ballot)] if to == all => (round, ballot),
            _ => panic!("no vote: {sent:?}"),
        }
    }

    /// The round, ballot and entry of the write that was just sent to these.
    fn write(&mut self, to: &[usize]) -> (u64, Ballot, Entry) {
        let sent = self.sent();
        match &sent[..] {
            [.., Sent::Accept(all, round, ballot, entry)] if all.iter().eq(to.iter().copied()) => {
                (*round, *ballot, entry.clone())
            }
            _ => panic!("no write to {to:?}: {sent:?}"),
        }
    }

    fn told(&mut self, origin: Origin) -> Option<Outcome> {
        let place = self.answers.iter().position(|(to, _)| *to == origin)?;
        self.answers.remove(place).map(|(_, outcome)| outcome)
    }

    /// A lock that masters 0 and 1 of three have accepted and that is chosen.
    fn locked() -> (Self, u64, Ballot) {
        let mut room = Self::new(3);
        let owner = room.ask(lock(1, Span::ZERO), LEASE);
        let (round, ballot) = room.vote();
        for from in [0, 1] {
            room.hear(from, round, &promise(ballot, None));
        }
        room.write(&[0, 1]);
        for from in [0, 1] {
            room.hear(from, round, &Answer::Accepted { ballot });
        }
        assert!(matches!(room.told(owner), Some(Outcome::Done(done)) if !done.repeated));
        (room, round, ballot)
    }
}

fn lock(chain: u64, wait: Span) -> Action {
    let id = OpId { chain: (chain, 0), step: 0 };
    let (value, meta) = (Bytes::from("me"), Bytes::EMPTY);
    Action::Lock { id, value, meta, lease: LEASE, delay: Span::ZERO, wait }
}

fn extend(step: u32) -> Action {
    let id = OpId { chain: (1, 0), step };
    Action::Extend { id, owner: Owner::default(), lease: LEASE }
}

fn promise(ballot: Ballot, accepted: Option<Accepted>) -> Answer {
    Answer::Promise { ballot, accepted, floor: Ballot::ZERO }
}

fn has(accepted: Option<Accepted>) -> Answer {
    Answer::Has { boot: BOOT, accepted }
}

/// The first step of a chain, done at another coordinator.
fn held_by(chain: u64, counter: u64) -> Option<Accepted> {
    let entry = Entry::Held(Held {
        value: "me".into(),
        meta: Bytes::EMPTY,
        lease: LEASE,
        delay: Span::ZERO,
        token: Token(counter),
        last_op: OpId { chain: (chain, 0), step: 0 },
    });
    Some(Accepted { ballot: Ballot { counter, proposer: 2 }, entry, remaining: LEASE })
}

/// Somebody else's lock.
fn held(counter: u64) -> Option<Accepted> {
    held_by(9, counter)
}

/// The operation that an entry carries.
const fn step(entry: &Entry) -> u32 {
    entry.last_op().step
}

const fn ms(millis: u64) -> Span {
    Span::from_millis(millis)
}

fn nobody() -> Option<Outcome> {
    Some(Outcome::Found(None))
}

#[test]
fn what_was_said_to_another_boot_answers_no_read() {
    let mut room = Room::new(3);
    let reader = room.ask(Action::Read, LEASE);
    let [Sent::Query(_, round)] = room.sent()[..] else { panic!("one question") };
    // Rounds are numbered anew at every boot, so the number may be the same.
    for from in 0..3 {
        room.hear(from, round, &Answer::Has { boot: BOOT + 1, accepted: held(500) });
    }
    assert_eq!(room.told(reader), None);
    room.hear(0, round, &has(None));
    // Each master counts once, with what it said first.
    room.hear(0, round, &has(held(500)));
    assert_eq!(room.told(reader), None);
    room.hear(2, round, &has(None));
    assert_eq!(room.told(reader), nobody());
}

#[test]
fn what_the_masters_of_another_epoch_said_answers_no_read() {
    let mut room = Room::new(3);
    let reader = room.ask(Action::Read, LEASE);
    let [Sent::Query(_, before)] = room.sent()[..] else { panic!("one question") };
    room.hear(0, before, &has(None));
    room.with(Coordinator::begin_again);
    let sent = room.sent();
    let [Sent::Query(to, round)] = sent[..] else { panic!("asked anew: {sent:?}") };
    assert_eq!((to, room.told(reader)), (Votes::all(3), None));
    room.hear(1, before, &has(None));
    room.hear(1, round, &has(None));
    assert_eq!(room.told(reader), None, "one of the new masters has answered");
    room.hear(0, round, &has(None));
    assert_eq!(room.told(reader), nobody());
}

#[test]
fn after_one_refusal_nobody_waits_long_for_the_silent_ones() {
    // A vote: one master took 10 ms to refuse, so the others have twice that.
    let mut room = Room::new(3);
    room.ask(lock(1, Span::ZERO), LEASE);
    let (round, ballot) = room.vote();
    room.pass(ms(10));
    room.hear(0, round, &Answer::NotPromised { ballot, counter: 2_000_000 });
    room.pass(ms(20));
    assert_eq!(room.sent(), []);
    room.pass(ms(3));
    let (round, again) = room.vote();
    assert!(again.counter > 2_000_000, "above what was in the way: {again:?}");
    for from in [0, 1] {
        room.hear(from, round, &promise(again, None));
    }
    // A write, in the same way.
    room.write(&[0, 1]);
    room.pass(ms(10));
    room.hear(1, round, &Answer::Accepted { ballot: again });
    room.hear(2, round, &promise(again, None));
    room.write(&[2]);
    room.hear(0, round, &Answer::NotAccepted { ballot: again, counter: 3_000_000 });
    room.pass(ms(20));
    assert_eq!(room.sent(), []);
    // The second time after a pause, and still long before anything would have been sent once more.
    room.pass(ms(3));
    room.pass(ms(50));
    room.vote();
}

#[test]
fn nothing_is_sent_after_the_operation_timed_out() {
    let mut room = Room::new(3);
    let owner = room.ask(lock(1, Span::ZERO), LEASE);
    let (round, ballot) = room.vote();
    let timeout = Settings::default().timing.op_timeout;
    room.pass(timeout.minus(ms(1_000)));
    // Somebody else is in the way until the last moment.
    for from in [0, 1] {
        room.hear(from, round, &Answer::NotPromised { ballot, counter: 5_000_000 });
    }
    let (round, ballot) = room.vote();
    for from in [0, 1] {
        room.hear(from, round, &promise(ballot, None));
    }
    room.write(&[0, 1]);
    for from in [0, 1] {
        room.hear(from, round, &Answer::Accepted { ballot });
    }
    assert!(matches!(room.told(owner), Some(Outcome::Done(_))));
    room.pass(ms(1_001));
    room.sent();
    // The write is where the next operation goes on from. The late promise has no part in it.
    room.hear(2, round, &promise(ballot, None));
    assert_eq!(room.sent(), []);
    room.ask(extend(1), LEASE);
    room.write(&[0, 1]);
}

#[test]
fn a_late_promise_gets_the_write_once() {
    let (mut room, round, ballot) = Room::locked();
    room.hear(2, round, &promise(ballot, None));
    room.write(&[2]);
    room.hear(2, round, &promise(ballot, None));
    assert_eq!(room.sent(), []);
}

#[test]
fn only_what_was_chosen_leads_on_without_a_vote() {
    let mut room = Room::new(3);
    let owner = room.ask(lock(1, Span::ZERO), ms(500));
    let (round, ballot) = room.vote();
    for from in [0, 1] {
        room.hear(from, round, &promise(ballot, None));
    }
    room.write(&[0, 1]);
    room.hear(0, round, &Answer::Accepted { ballot });
    room.pass(ms(501));
    assert_eq!(room.told(owner), Some(Outcome::Unknown));
    room.sent();
    // The write goes on, but nobody knows what will come of it.
    room.ask(extend(1), LEASE);
    let (_, later) = room.vote();
    assert!(later > ballot.next(), "what the accept implied counts as used");
}

#[test]
fn an_empty_desk_is_cleared_away_once_its_last_write_is_of_no_use() {
    let (mut room, ..) = Room::locked();
    assert_eq!(room.coordinator.desks.iter().count(), 1);
    for _ in 0..100 {
        room.pass(ms(100));
    }
    assert_eq!((room.coordinator.desks.iter().count(), room.coordinator.deadline()), (0, None));
}

#[test]
fn what_an_extension_is_built_on_is_chosen_and_then_it_goes_on_by_itself() {
    let mut room = Room::new(3);
    let owner = room.ask(extend(1), LEASE);
    let (round, ballot) = room.vote();
    room.hear(0, round, &promise(ballot, held_by(1, 500)));
    room.hear(1, round, &promise(ballot, None));
    let (round, settled, entry) = room.write(&[0, 1]);
    assert_eq!((settled, step(&entry)), (ballot, 0), "as it was");
    for from in [0, 1] {
        room.hear(from, round, &Answer::Accepted { ballot });
    }
    assert_eq!(room.told(owner), None);
    let (round, extended, entry) = room.write(&[0, 1]);
    assert_eq!((extended, step(&entry)), (ballot.next(), 1), "in one round trip");
    for from in [0, 1] {
        room.hear(from, round, &Answer::Accepted { ballot: extended });
    }
    assert!(matches!(room.told(owner), Some(Outcome::Done(done)) if done.valid_for.is_some()));
}

#[test]
fn whose_effect_another_sending_had_never_believes_in_it() {
    let mut room = Room::new(3);
    let owner = room.ask(lock(1, Span::ZERO), LEASE);
    let (round, first) = room.vote();
    for from in [0, 1] {
        room.hear(from, round, &promise(first, None));
    }
    room.write(&[0, 1]);
    // A sending of this very lock at another node comes in between, and lies at one master.
    let theirs = first.counter + 5;
    for from in [0, 1] {
        room.hear(from, round, &Answer::NotAccepted { ballot: first, counter: theirs });
    }
    let (round, ballot) = room.vote();
    assert!(ballot.counter > theirs);
    room.hear(0, round, &promise(ballot, held_by(1, theirs)));
    room.hear(1, round, &promise(ballot, None));
    room.write(&[0, 1]);
    room.hear(0, round, &Answer::Accepted { ballot });
    room.hear(1, round, &Answer::NotAccepted { ballot, counter: 3_000_000 });
    // Now it lies there at this coordinator's own ballot, above its own accept, and is the other one's all the same.
    room.pass(ms(3));
    room.pass(ms(50));
    let (round, again) = room.vote();
    let Some(Accepted { entry, remaining, .. }) = held_by(1, theirs) else { return };
    room.hear(0, round, &promise(again, Some(Accepted { ballot, entry, remaining })));
    room.hear(2, round, &promise(again, None));
    room.write(&[0, 2]);
    for from in [0, 2] {
        room.hear(from, round, &Answer::Accepted { ballot: again });
    }
    let told = room.told(owner);
    assert!(
        matches!(told, Some(Outcome::Done(done)) if done.repeated && done.valid_for.is_none()),
        "{told:?}"
    );
}

#[test]
fn another_epoch_begins_with_a_vote_of_its_masters() {
    // What is under way is voted on again.
    let mut room = Room::new(3);
    let owner = room.ask(lock(1, Span::ZERO), LEASE);
    let (before, ballot) = room.vote();
    room.hear(0, before, &promise(ballot, None));
    room.with(Coordinator::begin_again);
    let (round, again) = room.vote();
    room.hear(1, before, &promise(ballot, None));
    room.hear(1, round, &promise(again, None));
    assert_eq!(room.sent(), [], "one of the new masters has promised");
    room.hear(0, round, &promise(again, None));
    room.write(&[0, 1]);
    room.with(Coordinator::begin_again);
    let (_, third) = room.vote();
    room.hear(0, round, &Answer::Accepted { ballot: again });
    room.hear(1, round, &Answer::Accepted { ballot: again });
    assert_eq!(room.told(owner), None, "accepts of the epoch before");
    assert!(third > again.next());
    // What was chosen leads on to nothing.
    let (mut room, _, ballot) = Room::locked();
    room.with(Coordinator::begin_again);
    assert_eq!(room.coordinator.desks.iter().count(), 0);
    room.ask(extend(1), LEASE);
    assert!(room.vote().1 > ballot.next());
}

#[test]
fn the_first_that_waits_is_tried_when_the_key_may_be_free() {
    let (mut room, ..) = Room::locked();
    let waiter = room.ask(lock(2, LEASE), LEASE);
    assert_eq!((room.sent(), room.told(waiter)), (Vec::new(), None), "this desk knows the holder");
    // Somebody says so.
    room.with(|coordinator, _| coordinator.wake(b"k"));
    assert_eq!(room.sent(), [], "it still knows better");
    // It is released here.
    let id = OpId { chain: (1, 0), step: 1 };
    let owner = room.ask(Action::Release { id, owner: Owner::default() }, LEASE);
    let (round, ballot, entry) = room.write(&[0, 1]);
    assert_eq!(entry.last_op().chain, (2, 0), "without anybody's word");
    for from in [0, 1] {
        room.hear(from, round, &Answer::Accepted { ballot });
    }
    assert!(matches!(room.told(owner), Some(Outcome::Done(_))));
    assert!(matches!(room.told(waiter), Some(Outcome::Done(_))));
}

#[test]
fn who_waits_for_another_nodes_lock_tries_when_that_is_said_to_be_over() {
    let mut room = Room::new(3);
    let waiter = room.ask(lock(2, LEASE), LEASE);
    let (round, ballot) = room.vote();
    for from in [0, 1] {
        room.hear(from, round, &promise(ballot, held(500)));
    }
    assert_eq!((room.sent(), room.told(waiter)), (Vec::from([Sent::Abort(ballot)]), None));
    room.with(|coordinator, _| coordinator.wake(b"other"));
    assert_eq!(room.sent(), []);
    room.with(|coordinator, _| coordinator.wake(b"k"));
    room.vote();
}

#[test]
fn a_read_asks_those_again_that_have_not_answered() {
    let mut room = Room::new(3);
    let reader = room.ask(Action::Read, LEASE);
    let [Sent::Query(to, round)] = room.sent()[..] else { panic!("one question") };
    assert_eq!(to, Votes::all(3));
    room.hear(1, round, &has(None));
    for _ in 0..2 {
        room.pass(ms(240));
        assert_eq!(room.sent(), []);
        room.pass(ms(12));
        assert_eq!(room.sent(), [Sent::Query(Votes::all(3).without(Votes::one(1)), round)]);
    }
    room.hear(0, round, &has(None));
    assert_eq!(room.told(reader), nobody());
    // One that nobody answers has an end.
    let reader = room.ask(Action::Read, LEASE);
    for _ in 0..60 {
        room.pass(ms(100));
    }
    assert_eq!(room.told(reader), Some(Outcome::NotDone(NotDone::NoQuorum)));
    let sent = room.sent().len();
    assert!((15..=20).contains(&sent), "{sent}");
}
