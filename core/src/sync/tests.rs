//! From a start to a vote, with a test in the place of everybody else.

use alloc::format;

use super::*;
use crate::members::ClusterId;

const NOW: Instant = Instant::from_micros(5_000_000);
const NONCE: Ballot = Ballot { counter: 77, proposer: 1 };

fn timing() -> Timing {
    Timing::default()
}

fn member(id: u64) -> Member {
    Member { id: NodeId(id), name: format!("n{id}"), ..Member::default() }
}

fn config(epoch: u64, masters: &[u64], replicas: &[u64], before: &[u64]) -> Config {
    Config {
        epoch: Epoch(epoch),
        masters: masters.iter().copied().map(member).collect(),
        replicas: replicas.iter().copied().map(member).collect(),
        before: before.iter().copied().map(NodeId).collect(),
    }
}

/// The file of node 1.
fn file(config: Config, active_in: Option<u64>) -> NodeFile {
    NodeFile {
        cluster: Some(ClusterId(1, 2)),
        config: Some(config),
        active_in: active_in.map(Epoch),
        ..NodeFile::new("n1".into(), NodeId(1))
    }
}

/// Node 1, a file of it, and a clock.
struct One {
    sync: Sync,
    file: NodeFile,
    now: Instant,
    nonces: u64,
}

impl One {
    fn new(config: Config, active_in: Option<u64>) -> Self {
        let file = file(config, active_in);
        Self { sync: Sync::new(&file, &timing(), NOW), file, now: NOW, nonces: 0 }
    }

    /// A master of three that voted in the first epoch and adopts this configuration, as the one whose votes stay if so.
    fn adopting(config: Config, voted: Option<u64>) -> Self {
        let old = self::config(1, &[1, 2, 3], &[], &[]);
        let mut one = Self::new(old.clone(), Some(1));
        one.sync.state = State::Active;
        one.file = file(config, voted);
        one.sync.adopted(one.now, Some(&old), &one.file);
        one
    }

    fn tick(&mut self) -> Vec<Step> {
        let nonces = &mut self.nonces;
        self.sync.tick(self.now, &self.file, || {
            *nonces += 1;
            Ballot { counter: NONCE.counter + *nonces - 1, proposer: 1 }
        })
    }

    fn pass(&mut self, span: Span) -> Vec<Step> {
        self.now = self.now.after(span);
        self.tick()
    }

    /// Begins an attempt, at all others of the old and the new epoch.
    fn begin(&mut self) -> Vec<NodeId> {
        match &self.tick()[..] {
            [Step::Begin { nonce, from }] if *nonce == self.nonce() => from.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// The nonce of the attempt under way.
    fn nonce(&self) -> Ballot {
        Ballot { counter: NONCE.counter + self.nonces - 1, proposer: 1 }
    }

    fn part(
        &mut self,
        from: u64,
        source: Source,
        cursor: u32,
        next: Option<u32>,
    ) -> (bool, Vec<Step>) {
        let head = PartHead { nonce: self.nonce(), cursor, boot: 9, source, next };
        self.sync.part(self.now, NodeId(from), head, &self.file)
    }

    /// The only part of this node's snapshot.
    fn whole(&mut self, from: u64, source: Source) -> Vec<Step> {
        let (wanted, steps) = self.part(from, source, 0, None);
        assert!(wanted);
        steps
    }

    fn ask(&self, from: u64, cursor: u32) -> Step {
        Step::Ask { nonce: self.nonce(), from: NodeId(from), cursor }
    }

    fn source(&self) -> Option<Source> {
        self.sync.source(self.now, &self.file)
    }
}

fn finish(with_own: bool) -> Vec<Step> {
    Vec::from([Step::Finish { with_own }])
}

fn first() -> Config {
    config(1, &[1, 2, 3], &[], &[])
}

/// A restarted master of three that has begun an attempt.
fn restarted() -> One {
    let mut one = One::new(first(), Some(1));
    assert_eq!(one.sync.standing(), Standing::Joining);
    one.now = one.now.after(timing().quiesce());
    assert_eq!(one.begin(), [NodeId(2), NodeId(3)]);
    one
}

#[test]
fn a_restarted_master_waits_until_its_votes_are_over_and_asks_then() {
    let mut one = One::new(first(), Some(1));
    let quiet = timing().quiesce();
    assert_eq!(one.sync.deadline(), Some(NOW.after(quiet)));
    assert_eq!(one.pass(quiet.minus(Span::from_micros(1))), []);
    assert!(matches!(one.pass(Span::from_micros(1))[..], [Step::Begin { .. }]));
    assert_eq!(one.sync.active_in(one.now), Some(timing().horizon().minus(quiet)));
}

#[test]
fn without_help_it_votes_when_the_horizon_has_passed_and_not_before() {
    let mut one = One::new(first(), Some(1));
    one.now = NOW.after(timing().horizon().minus(Span::from_micros(1)));
    assert!(matches!(one.tick()[..], [Step::Begin { .. }]));
    assert!(!one.sync.is_active());
    assert_eq!(one.sync.deadline(), Some(NOW.after(timing().horizon())));
    assert_eq!(one.pass(Span::from_micros(1)), [Step::Aged]);
    assert!(one.sync.is_active());
    assert_eq!((one.sync.deadline(), one.sync.active_in(one.now)), (None, None));
}

#[test]
fn two_others_of_three_that_vote_are_enough_and_one_is_not() {
    let mut one = restarted();
    assert_eq!(one.whole(2, Source::Active), []);
    assert_eq!(one.whole(3, Source::Active), finish(false));
    // Only the disk is waited for now, or the horizon.
    assert_eq!(one.sync.deadline(), Some(NOW.after(timing().horizon())));
    assert_eq!(one.pass(timing().sync_timeout), []);
    assert_eq!(one.sync.met(NodeId(3), true), None);
    one.sync.synced();
    assert!(one.sync.is_active() && !one.sync.has_fenced_records());
    // What is fenced says nothing of this epoch.
    let mut one = restarted();
    assert_eq!(one.whole(2, Source::Fenced), []);
    assert_eq!(one.whole(3, Source::Active), []);
    // Until it votes again.
    assert_eq!(one.sync.met(NodeId(2), false), None);
    assert_eq!(one.sync.met(NodeId(2), true), Some(one.ask(2, 0)));
    assert_eq!(one.sync.met(NodeId(3), true), None, "it was asked");
    assert_eq!(one.whole(2, Source::Active), finish(false));
}

#[test]
fn an_attempt_is_as_short_as_the_horizon_allows_for() {
    let mut one = restarted();
    assert_eq!(one.whole(2, Source::Active), []);
    let timeout = timing().sync_timeout;
    one.now = one.now.after(timeout.minus(Span::from_micros(1)));
    let mut late = One { sync: one.sync.clone(), file: one.file.clone(), ..one };
    assert_eq!(one.whole(3, Source::Active), finish(false));
    late.now = late.now.after(Span::from_micros(1));
    assert_eq!(late.part(3, Source::Active, 0, None), (false, Vec::new()));
    // From the start, with another nonce. What answers the attempt before is of no use.
    let before = late.nonce();
    assert_eq!(late.begin(), [NodeId(2), NodeId(3)]);
    assert_ne!(before, late.nonce());
    let head = PartHead { nonce: before, cursor: 0, boot: 9, source: Source::Active, next: None };
    assert_eq!(late.sync.part(late.now, NodeId(3), head, &late.file), (false, Vec::new()));
    assert_eq!(late.whole(3, Source::Active), []);
    assert_eq!(late.whole(2, Source::Active), finish(false));
}

#[test]
fn what_did_not_come_is_asked_for_again_where_it_ended() {
    let mut one = restarted();
    assert_eq!(one.part(2, Source::Active, 0, Some(5)), (true, Vec::from([one.ask(2, 5)])));
    assert_eq!(one.sync.deadline(), Some(one.now.after(ASK_AGAIN)));
    assert_eq!(one.pass(ASK_AGAIN.minus(Span::from_micros(1))), []);
    assert_eq!(one.pass(Span::from_micros(1)), [one.ask(2, 5), one.ask(3, 0)]);
    assert_eq!(one.tick(), [], "once");
    assert_eq!(one.whole(3, Source::Active), []);
    assert_eq!(one.pass(ASK_AGAIN), [one.ask(2, 5)]);
    // A part that was there already is no part again, and one that is not expected neither.
    assert_eq!(one.part(2, Source::Active, 0, Some(5)), (false, Vec::new()));
    assert_eq!(one.part(2, Source::Active, 3, None), (false, Vec::from([one.ask(2, 5)])));
    assert_eq!(one.part(2, Source::Active, 5, None), (true, finish(false)));
    assert_eq!(one.part(2, Source::Active, 5, None), (false, Vec::new()));
}

#[test]
fn all_parts_are_of_one_boot_and_one_role() {
    for (boot, source) in [(10, Source::Active), (9, Source::Fenced)] {
        let mut one = restarted();
        assert!(one.part(2, Source::Active, 0, Some(5)).0);
        let head = PartHead { nonce: one.nonce(), cursor: 5, boot, source, next: None };
        let again = Vec::from([one.ask(2, 0)]);
        assert_eq!(one.sync.part(one.now, NodeId(2), head, &one.file), (false, again));
    }
}

#[test]
fn where_the_masters_are_others_one_that_votes_is_enough_or_a_quorum_of_those_before() {
    let newcomer = || {
        let mut one = One::new(config(2, &[1, 5, 6], &[], &[2, 3, 4]), None);
        assert_eq!(one.sync.active_in(one.now), None, "age alone does not help");
        assert_eq!(one.begin(), [2, 3, 4, 5, 6].map(NodeId));
        one
    };
    assert_eq!(newcomer().whole(5, Source::Active), finish(false));
    let mut one = newcomer();
    assert_eq!(one.whole(2, Source::Fenced), []);
    assert_eq!(one.whole(5, Source::Fenced), [], "it was no master before");
    assert_eq!(one.whole(3, Source::Active), [], "and this one is none now");
    assert_eq!(one.whole(4, Source::Fenced), finish(false));
    // Where the masters stay the same, those that vote took over nothing: it takes as many as after a restart. A node
    // that never voted was in none of their quorums.
    let same = config(2, &[1, 2, 3], &[], &[1, 2, 3]);
    let mut one = One::new(same.clone(), Some(1));
    one.begin();
    assert_eq!(one.whole(2, Source::Active), []);
    assert_eq!(one.whole(3, Source::Active), finish(false));
    let mut one = One::new(same, None);
    one.begin();
    assert_eq!(one.whole(2, Source::Active), finish(false));
}

#[test]
fn a_fenced_master_counts_itself_if_it_has_lost_no_vote() {
    let next = || config(2, &[1, 5, 6], &[], &[1, 2, 3]);
    let mut one = One::adopting(next(), Some(1));
    assert!(!one.sync.is_active() && one.sync.has_fenced_records());
    assert_eq!(one.source(), Some(Source::Fenced));
    assert_eq!(one.begin(), [2, 3, 5, 6].map(NodeId));
    assert_eq!(one.whole(2, Source::Fenced), finish(true));
    // Restarted in between, it has lost what it voted, until the horizon has passed.
    let mut one = One::new(next(), Some(1));
    assert_eq!((one.source(), one.sync.has_fenced_records()), (None, false));
    one.begin();
    assert_eq!(one.whole(2, Source::Fenced), []);
    assert_eq!(one.whole(3, Source::Fenced), finish(false));
    let mut one = One::new(next(), Some(1));
    one.now = NOW.after(timing().horizon().minus(Span::from_micros(1)));
    assert_eq!(one.source(), None);
    one.now = NOW.after(timing().horizon());
    assert_eq!(one.source(), Some(Source::Fenced));
    // One that never voted in the epoch before, or only long before, has lost nothing of it.
    assert_eq!(One::new(next(), None).source(), Some(Source::Fenced));
    let later = config(4, &[1, 5, 6], &[], &[1, 2, 3]);
    assert_eq!(One::new(later.clone(), Some(2)).source(), Some(Source::Fenced));
    assert_eq!(One::new(later, Some(3)).source(), None);
    // Who was no master before is no source for that, and who is fresh for nothing.
    assert_eq!(One::new(config(2, &[1, 5, 6], &[], &[2, 3, 4]), None).source(), None);
    let fresh = One::new(first(), None);
    assert_eq!((fresh.source(), fresh.sync.is_founded()), (None, false));
    // The only master of the epoch before is a quorum of it.
    let old = config(1, &[1], &[], &[]);
    let mut alone = One::new(old.clone(), Some(1));
    alone.sync.state = State::Active;
    alone.file = file(config(2, &[1, 5, 6], &[], &[1]), Some(1));
    alone.sync.adopted(NOW, Some(&old), &alone.file);
    let steps = alone.tick();
    assert!(matches!(steps[..], [Step::Begin { .. }, Step::Finish { with_own: true }]));
}

#[test]
fn a_new_epoch_ends_a_vote_unless_the_masters_stay_and_the_disk_says_so() {
    let same = |epoch| config(epoch, &[1, 2, 3], &[4], &[1, 2, 3]);
    let stays = One::adopting(same(2), Some(2));
    assert!(stays.sync.is_active() && !stays.sync.has_fenced_records());
    // Who did not vote has no votes to be fenced.
    let mut joining = One::new(first(), Some(1));
    joining.file = file(config(2, &[1, 5, 6], &[], &[1, 2, 3]), Some(1));
    joining.sync.adopted(NOW, Some(&first()), &joining.file);
    assert!(!joining.sync.has_fenced_records() && joining.source().is_none());
    // It missed an epoch, or the file says that it did not vote in this one.
    assert!(!One::adopting(same(3), Some(3)).sync.is_active());
    assert!(!One::adopting(same(2), Some(1)).sync.is_active());
    // Its records are those of the epoch before only if the masters were the same all the time.
    assert!(One::adopting(same(3), Some(1)).sync.has_fenced_records());
    for (epoch, before) in [(4, [1, 2, 3]), (3, [1, 2, 4])] {
        let one = One::adopting(config(epoch, &[1, 5, 6], &[], &before), Some(1));
        assert!(!one.sync.has_fenced_records());
    }
    // What it had is gone from now on, and not since its boot.
    let mut one = One::new(first(), Some(1));
    one.sync.state = State::Active;
    one.now = NOW.after(Span::from_secs(60));
    one.file = file(config(4, &[1, 5, 6], &[], &[1, 2, 4]), Some(3));
    one.sync.adopted(one.now, Some(&first()), &one.file);
    one.now = one.now.after(timing().horizon().minus(Span::from_micros(1)));
    assert_eq!(one.source(), None);
    one.now = one.now.after(Span::from_micros(1));
    assert_eq!(one.source(), Some(Source::Fenced));
}

#[test]
fn who_is_no_master_any_more_keeps_what_it_has_until_it_is_told() {
    for replicas in [&[1][..], &[]] {
        let mut one = One::adopting(config(2, &[4, 5, 6], replicas, &[1, 2, 3]), Some(1));
        assert_eq!(one.sync.learns(), !replicas.is_empty());
        assert_eq!(one.source(), Some(Source::Fenced));
        one.now = one.now.after(Span::from_secs(20));
        assert!(one.sync.let_go(one.now) && !one.sync.let_go(one.now));
        assert_eq!(one.source(), None);
        one.now = one.now.after(timing().horizon().minus(Span::from_micros(1)));
        assert_eq!(one.source(), None);
    }
    let mut one = One::adopting(config(2, &[1, 5, 6], &[], &[1, 2, 3]), Some(1));
    assert!(!one.sync.let_go(one.now), "it joins, and may need it itself");
}

#[test]
fn a_replica_takes_over_from_a_quorum_and_again_after_a_gap() {
    let mut one = One::new(config(1, &[2, 3, 4], &[1], &[]), None);
    assert_eq!((one.sync.standing(), one.source()), (Standing::Replica, None));
    assert_eq!(one.begin(), [2, 3, 4].map(NodeId));
    assert_eq!(one.whole(2, Source::Fenced), [], "who does not vote knows nothing new");
    assert_eq!(one.whole(3, Source::Active), []);
    // A gap meanwhile takes another round.
    one.sync.behind(one.now);
    assert_eq!(one.whole(4, Source::Active), [Step::CaughtUp]);
    assert_eq!(one.sync.deadline(), Some(one.now));
    one.begin();
    assert_eq!(one.whole(2, Source::Active), []);
    assert_eq!(one.whole(3, Source::Active), [Step::CaughtUp]);
    assert_eq!((one.sync.deadline(), one.tick()), (None, Vec::new()));
    // And a gap later.
    one.now = one.now.after(Span::from_secs(5));
    one.sync.behind(one.now);
    assert_eq!(one.sync.deadline(), Some(one.now));
    one.begin();
}
