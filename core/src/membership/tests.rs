//! A change of the members at one master, with a test in the place of all others.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test names only what it looks for")]

use alloc::format;

use super::*;
use crate::effect::Effects;
use crate::members::{ClusterId, NodeFile};

const NOW: Instant = Instant::from_micros(5_000_000);
const TICKET: Ticket = Ticket(1);
const PATIENCE: Span = Span::from_secs(10);

fn member(id: u64) -> Member {
    Member { id: NodeId(id), name: format!("n{id}"), ..Member::default() }
}

fn members(ids: &[u64]) -> Vec<Member> {
    ids.iter().copied().map(member).collect()
}

const fn at(counter: u64) -> Ballot {
    Ballot { counter, proposer: 5 }
}

/// The configuration after the first with these masters.
fn next(masters: &[u64]) -> Config {
    let before = [1, 2, 3].map(NodeId).to_vec();
    Config { epoch: Epoch(2), masters: members(masters), replicas: Vec::new(), before }
}

/// Node 1, a master of three, and what it said.
struct One {
    membership: Membership,
    disk: Disk,
    clock: Clock,
    post: Vec<(NodeId, Body)>,
    answers: Vec<(Ticket, Outcome)>,
    now: Instant,
    active: bool,
    voting: usize,
}

impl One {
    fn new() -> Self {
        let config = Config {
            epoch: Epoch(1),
            masters: members(&[1, 2, 3]),
            replicas: Vec::new(),
            before: Vec::new(),
        };
        let file = NodeFile {
            cluster: Some(ClusterId(1, 2)),
            config: Some(config),
            ..NodeFile::new("n1".into(), NodeId(1))
        };
        Self {
            membership: Membership::new(NodeId(1)),
            disk: Disk::new(file),
            clock: Clock::new(1_000, 7, NOW),
            post: Vec::new(),
            answers: Vec::new(),
            now: NOW,
            active: true,
            voting: 3,
        }
    }

    fn with<T>(&mut self, work: impl FnOnce(&mut Membership, &mut Scene<'_>) -> T) -> T {
        let Self { membership, disk, clock, post, answers, now, active, voting } = self;
        let (now, active, voting) = (*now, *active, *voting);
        work(membership, &mut Scene { now, disk, post, answers, active, clock, voting })
    }

    fn request(&mut self, masters: &[u64], missing: Option<u64>) {
        let wanted = (members(masters), Vec::new());
        self.with(|membership, scene| {
            membership.request(scene, TICKET, PATIENCE, wanted, missing.map(NodeId));
        });
    }

    fn take(&mut self, from: u64, step: Change) -> Option<Config> {
        self.with(|membership, scene| membership.take(scene, NodeId(from), step))
    }

    fn pass(&mut self, span: Span) {
        self.now = self.now.after(span);
        self.with(|membership, scene| membership.tick(scene));
    }

    /// To whom the present step goes, and what it is.
    fn asked(&mut self) -> (Vec<u64>, Option<Change>) {
        let sent: Vec<_> = core::mem::take(&mut self.post);
        let to = sent.iter().map(|(to, _)| to.0).collect();
        let step = sent.into_iter().next_back().map(|(_, body)| match body {
            Body::Change(step) => step,
            other => panic!("{other:?}"),
        });
        (to, step)
    }

    /// Begins a change, and its first ballot.
    fn prepared(masters: &[u64]) -> (Self, Ballot) {
        let mut one = Self::new();
        one.request(masters, None);
        let (to, Some(Change::Prepare { ballot })) = one.asked() else { panic!("no vote") };
        assert_eq!(to, [1, 2, 3]);
        (one, ballot)
    }

    /// Takes it to the write.
    fn accepting(masters: &[u64]) -> (Self, Ballot) {
        let (mut one, ballot) = Self::prepared(masters);
        for from in [1, 2] {
            one.take(from, Change::Promise { ballot, accepted: None });
        }
        let (to, step) = one.asked();
        assert_eq!((to, step), (Vec::from([1, 2, 3]), accept(ballot, masters)));
        (one, ballot)
    }

    /// Puts the next configuration into force.
    fn adopt(&mut self, config: Config) {
        self.disk.change(|file| file.config = Some(config), None);
        self.with(|membership, scene| membership.adopted(scene));
    }

    fn told(&mut self) -> Vec<Outcome> {
        self.answers.drain(..).map(|(_, outcome)| outcome).collect()
    }

    /// What is said once the file is on disk, and not before.
    fn said(&mut self) -> Option<Change> {
        assert_eq!(self.post, [], "nothing is said before it is on disk");
        let mut out = Effects::new();
        self.disk.flush(&mut out);
        let mark = out.iter().find_map(|effect| match effect {
            crate::effect::Effect::Persist(mark, _) => Some(*mark),
            _ => None,
        })?;
        match self.disk.due(mark)? {
            Then::Send(_, body) => match *body {
                Body::Change(step) => Some(step),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }
}

fn accept(ballot: Ballot, masters: &[u64]) -> Option<Change> {
    Some(Change::Accept { ballot, config: next(masters) })
}

fn not_done(reason: NotDone) -> Vec<Outcome> {
    Vec::from([Outcome::NotDone(reason)])
}

#[test]
fn a_change_that_cannot_be_is_refused_with_the_reason() {
    let invalid = NotDone::Invalid(crate::request::Invalid::Config);
    let mut one = One::new();
    one.request(&[], None);
    assert_eq!(one.told(), not_done(invalid));
    one.request(&[1, 2, 4], Some(4));
    assert_eq!(one.told(), not_done(NotDone::Unreachable(NodeId(4))));
    one.active = false;
    one.request(&[1, 2, 4], None);
    assert_eq!(one.told(), not_done(NotDone::NotActive));
    one.active = true;
    assert!(!one.membership.is_changing() && one.membership.deadline().is_none());
    one.request(&[1, 2, 4], None);
    assert!(one.membership.is_changing());
    one.request(&[1, 2, 5], None);
    assert_eq!(one.told(), not_done(NotDone::Changing));
    let mut unfounded = One::new();
    unfounded.disk.change(|file| file.config = None, None);
    unfounded.request(&[1, 2, 4], None);
    assert_eq!(unfounded.told(), not_done(NotDone::NotFounded));
}

#[test]
fn what_is_so_already_is_complete_once_a_quorum_votes() {
    let done = |complete| Vec::from([Outcome::Configured { epoch: Epoch(1), complete }]);
    // In any order, and whoever is not there.
    let mut one = One::new();
    one.request(&[3, 1, 2], Some(3));
    assert_eq!((one.told(), one.membership.is_changing()), (done(true), false));
    one.voting = 1;
    one.request(&[1, 2, 3], None);
    assert_eq!((one.told(), one.post.len()), (Vec::new(), 0));
    one.voting = 2;
    one.pass(ASK_AGAIN);
    assert_eq!(one.told(), done(true));
    one.voting = 1;
    one.request(&[1, 2, 3], None);
    one.pass(PATIENCE);
    assert_eq!(one.told(), done(false));
}

#[test]
fn a_master_says_what_it_voted_once_that_is_on_disk() {
    let mut one = One::new();
    let config = next(&[1, 2, 4]);
    one.take(2, Change::Prepare { ballot: at(50) });
    assert_eq!(one.said(), Some(Change::Promise { ballot: at(50), accepted: None }));
    one.take(2, Change::Accept { ballot: at(50), config: config.clone() });
    assert_eq!(one.said(), Some(Change::Accepted { ballot: at(50) }));
    // Once more, as messages come twice.
    one.take(2, Change::Accept { ballot: at(50), config: config.clone() });
    assert_eq!(one.said(), Some(Change::Accepted { ballot: at(50) }));
    let accepted = Some((at(50), config.clone()));
    for counter in [50, 60] {
        one.take(3, Change::Prepare { ballot: at(counter) });
        let promise = Change::Promise { ballot: at(counter), accepted: accepted.clone() };
        assert_eq!(one.said(), Some(promise));
    }
    // What is below the promise is refused, and changes nothing.
    for step in [
        Change::Prepare { ballot: at(59) },
        Change::Accept { ballot: at(59), config: next(&[1, 2, 5]) },
    ] {
        one.take(2, step);
        let refused = Change::Refused { ballot: at(59), counter: 60 };
        assert_eq!(one.asked(), (Vec::from([2]), Some(refused)));
    }
    assert_eq!((one.said(), &one.disk.file().vote.accepted), (None, &accepted));
    // Who does not vote has no say, and no epoch is left out.
    let later = Config { epoch: Epoch(3), ..next(&[1, 2, 5]) };
    let none = Config { masters: Vec::new(), ..next(&[]) };
    for config in [later, none] {
        one.take(2, Change::Accept { ballot: at(70), config });
        assert_eq!((one.said(), one.post.len()), (None, 0));
    }
    one.active = false;
    one.take(2, Change::Prepare { ballot: at(70) });
    one.take(2, Change::Accept { ballot: at(70), config });
    assert_eq!((one.said(), one.post.len()), (None, 0));
}

#[test]
fn a_quorum_of_the_masters_promises_and_each_counts_once() {
    let (mut one, ballot) = One::prepared(&[1, 2, 4]);
    let promise = |ballot| Change::Promise { ballot, accepted: None };
    one.take(1, promise(ballot));
    one.take(1, promise(ballot));
    one.take(4, promise(ballot));
    one.take(2, promise(ballot.next()));
    assert_eq!(one.asked(), (Vec::new(), None));
    // Those that have not are asked again.
    one.pass(ASK_AGAIN.minus(Span::from_micros(1)));
    assert_eq!(one.asked(), (Vec::new(), None));
    one.pass(Span::from_micros(1));
    assert_eq!(one.asked(), (Vec::from([2, 3]), Some(Change::Prepare { ballot })));
    one.take(3, promise(ballot));
    assert_eq!(one.asked().1, accept(ballot, &[1, 2, 4]));
}

#[test]
fn a_proposer_finishes_what_the_highest_ballot_accepted() {
    let (low, high) = ((at(40), next(&[1, 2, 5])), (at(41), next(&[1, 2, 6])));
    for theirs in [[low.clone(), high.clone()], [high, low]] {
        let (mut one, ballot) = One::prepared(&[1, 2, 4]);
        for (from, accepted) in [2, 3].into_iter().zip(theirs) {
            one.take(from, Change::Promise { ballot, accepted: Some(accepted) });
        }
        assert_eq!(one.asked().1, accept(ballot, &[1, 2, 6]));
    }
}

#[test]
fn a_quorum_of_the_masters_accepts_and_each_counts_once() {
    let (mut one, ballot) = One::accepting(&[1, 2, 4]);
    let accepted = |ballot| Change::Accepted { ballot };
    for (from, ballot) in [(2, ballot), (2, ballot), (4, ballot), (3, ballot.next())] {
        assert_eq!(one.take(from, accepted(ballot)), None);
    }
    one.pass(ASK_AGAIN);
    assert_eq!(one.asked(), (Vec::from([1, 3]), accept(ballot, &[1, 2, 4])));
    assert_eq!(one.take(3, accepted(ballot)), Some(next(&[1, 2, 4])));
    let adopt = Change::Adopt { cluster: ClusterId(1, 2), config: next(&[1, 2, 4]) };
    assert_eq!(one.take(3, adopt), Some(next(&[1, 2, 4])), "as chosen as any");
}

#[test]
fn who_lost_pauses_and_votes_again_above_what_was_in_the_way() {
    let (mut one, ballot) = One::prepared(&[1, 2, 4]);
    one.take(2, Change::Refused { ballot: ballot.next(), counter: 3_000_000 });
    one.pass(Span::from_millis(30));
    assert_eq!(one.asked(), (Vec::new(), None), "that was another ballot");
    one.take(2, Change::Refused { ballot, counter: 4_000_000 });
    // By the proposer, 7 here.
    one.pass(Span::from_millis(26));
    assert_eq!(one.asked(), (Vec::new(), None));
    one.active = false;
    one.pass(Span::from_millis(1));
    assert_eq!(one.asked(), (Vec::new(), None), "who does not vote does not propose");
    one.active = true;
    one.pass(ASK_AGAIN);
    let (_, Some(Change::Prepare { ballot: again })) = one.asked() else { panic!("no vote") };
    assert!(again.counter > 4_000_000);
    // A write that is refused begins again as well.
    let (mut one, ballot) = One::accepting(&[1, 2, 4]);
    one.take(2, Change::Refused { ballot, counter: 4_000_000 });
    one.pass(Span::from_millis(27));
    assert!(matches!(one.asked().1, Some(Change::Prepare { .. })));
}

#[test]
fn who_runs_out_of_patience_is_told_what_is_known() {
    let moment = Span::from_micros(1);
    let (mut one, _) = One::prepared(&[1, 2, 4]);
    assert_eq!(one.membership.deadline(), Some(NOW.after(ASK_AGAIN)));
    one.pass(PATIENCE.minus(moment));
    assert_eq!(one.told(), []);
    assert_eq!(one.membership.deadline(), Some(NOW.after(PATIENCE)));
    one.pass(moment);
    assert_eq!((one.told(), one.membership.is_changing()), (not_done(NotDone::NoQuorum), false));
    let (mut one, _) = One::accepting(&[1, 2, 4]);
    one.pass(PATIENCE);
    assert_eq!(one.told(), [Outcome::Unknown]);
    // A caller that goes away hears the same, and another's change is none of its business.
    let (mut one, _) = One::accepting(&[1, 2, 4]);
    one.with(|membership, scene| membership.cancel(scene, Ticket(2)));
    assert_eq!((one.told(), one.membership.is_changing()), (Vec::new(), true));
    one.with(|membership, scene| membership.cancel(scene, TICKET));
    assert_eq!((one.told(), one.membership.is_changing()), (Vec::from([Outcome::Unknown]), false));
}

#[test]
fn a_change_is_complete_when_a_quorum_of_the_new_masters_votes() {
    let (mut one, _) = One::accepting(&[1, 2, 4, 5, 6]);
    one.voting = 2;
    one.adopt(next(&[1, 2, 4, 5, 6]));
    assert_eq!(one.told(), []);
    one.voting = 3;
    one.with(|membership, scene| membership.complete(scene));
    assert_eq!(one.told(), [Outcome::Configured { epoch: Epoch(2), complete: true }]);
    // Another change was first: this one follows it, and nothing of it was sent yet.
    let (mut one, ballot) = One::accepting(&[1, 2, 4]);
    one.adopt(next(&[1, 2, 3, 9]));
    assert_eq!((one.told(), one.asked()), (Vec::new(), (Vec::new(), None)));
    one.take(2, Change::Accepted { ballot });
    one.pass(ASK_AGAIN);
    let (to, step) = one.asked();
    assert_eq!(to, [1, 2, 3, 9]);
    assert!(matches!(step, Some(Change::Prepare { ballot: again }) if again > ballot));
    one.pass(PATIENCE);
    assert_eq!(one.told(), not_done(NotDone::NoQuorum));
}
