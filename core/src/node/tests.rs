//! One node at a time: what it shows, and its limits.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test names only what it looks for")]

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

use super::Node;
use crate::effect::{Boot, Effect, Effects, Event, Input};
use crate::entry::{Entry, Held, OpId};
use crate::members::{ClusterId, Config, Epoch, Member, NodeFile, NodeId};
use crate::message::{Accepted, Body, Copied, Feed, Message, Presence, Relay, Snapshot, Source};
use crate::request::{
    Action, Holder, Invalid, KeyRequest, Limit, NotDone, Outcome, Owner, Request, Standing, Ticket,
};
use crate::settings::{Limits, Settings};
use crate::time::{Instant, Span};
use crate::view::{Cursor, Heard, Wants};
use crate::{Ballot, Bytes, Key, Token};

const CLUSTER: ClusterId = ClusterId(1, 2);
const WALL: u64 = 1_700_000_000_000_000;

fn member(id: u64) -> Member {
    Member { id: NodeId(id), name: format!("n{id}"), ..Member::default() }
}

/// Masters from 1, then replicas.
fn config(masters: u64, replicas: u64) -> Config {
    Config {
        epoch: Epoch(1),
        masters: (1..=masters).map(member).collect(),
        replicas: (masters + 1..=masters + replicas).map(member).collect(),
        before: Vec::new(),
    }
}

/// Node 1 with a disk that writes at once, and what it said.
struct Solo {
    node: Node,
    now: Instant,
    last: u64,
    replies: BTreeMap<Ticket, Outcome>,
    sent: Vec<(NodeId, Body)>,
    events: Vec<Event>,
}

impl Solo {
    fn new(limits: Limits, file: NodeFile) -> Self {
        let settings = Settings { limits, ..Settings::default() };
        let now = Instant::from_micros(5_000_000);
        // Different for every boot, as a driver draws it.
        let proposer = if file.config.is_some() { 8 } else { 7 };
        let boot = Boot { wall_clock: WALL, proposer, seed: (3, 4), file };
        let node = Node::new(settings, boot, now);
        let (replies, sent, events) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { node, now, last: 0, replies, sent, events }
    }

    /// The only master of a cluster.
    fn alone(limits: Limits) -> Self {
        let mut solo = Self::new(limits, NodeFile::new("n1".into(), NodeId(1)));
        let init = Request::Init { cluster: CLUSTER, config: config(1, 0) };
        assert_eq!(solo.ask(init), Some(Outcome::Founded(CLUSTER)));
        solo
    }

    /// One of three masters, the others not there: nothing that needs them comes to an end.
    fn lonely(limits: Limits) -> Self {
        let file = NodeFile {
            cluster: Some(CLUSTER),
            config: Some(config(3, 0)),
            active_in: Some(Epoch(1)),
            ..NodeFile::new("n1".into(), NodeId(1))
        };
        Self::new(limits, file)
    }

    fn put(&mut self, input: Input) {
        let mut inputs = Vec::from([input]);
        let mut out = Effects::new();
        while let Some(input) = inputs.pop() {
            self.node.handle(self.now, input, &mut out);
            self.node.check();
            for effect in out.drain(..) {
                match effect {
                    Effect::Send { to, message } => self.sent.push((to, message.body)),
                    Effect::Reply { ticket, outcome } => {
                        assert_eq!(self.replies.insert(ticket, outcome), None, "{ticket:?}");
                    }
                    Effect::Persist(mark, _) => inputs.push(Input::Persisted(mark)),
                    Effect::Event(event) => self.events.push(event),
                }
            }
        }
    }

    /// The answer, if there is one at once.
    fn ask(&mut self, request: Request) -> Option<Outcome> {
        self.last += 1;
        let ticket = Ticket(self.last);
        self.put(Input::Request { ticket, request });
        self.replies.get(&ticket).cloned()
    }

    fn act(&mut self, key: &str, action: Action) -> Option<Outcome> {
        self.ask(Request::Key(request(key, action)))
    }

    fn pass(&mut self, span: Span) {
        self.now = self.now.after(span);
        self.put(Input::Tick);
    }

    fn hear(&mut self, from: u64, body: Body) {
        let message = Message { epoch: Epoch(1), counter: WALL, body };
        self.put(Input::Message { from: NodeId(from), message });
    }

    /// Everything that the pages of a listing show, and how many there are.
    fn listed(&self, prefix: &str, most: usize) -> (Vec<(Key, Holder)>, usize) {
        let (mut all, mut pages, mut from) = (Vec::new(), 0, Some(Cursor::START));
        while let Some(cursor) = from {
            let page = self.node.list(self.now, prefix.as_bytes(), cursor, most).unwrap();
            all.extend(page.holders);
            from = page.next;
            pages += 1;
        }
        all.sort_by(|a, b| a.0.cmp(&b.0));
        (all, pages)
    }
}

fn request(key: &str, action: Action) -> KeyRequest {
    KeyRequest { key: key.into(), patience: Span::from_secs(100), action }
}

fn lock(chain: u64, value: &str, wait: u64) -> Action {
    Action::Lock {
        id: OpId { chain: (chain, 0), step: 0 },
        value: value.into(),
        meta: "{}".into(),
        lease: Span::from_secs(30),
        delay: Span::ZERO,
        wait: Span::from_secs(wait),
    }
}

fn limit(limit: Limit) -> Option<Outcome> {
    Some(Outcome::NotDone(NotDone::Limit(limit)))
}

fn invalid(invalid: Invalid) -> Option<Outcome> {
    Some(Outcome::NotDone(NotDone::Invalid(invalid)))
}

#[test]
fn a_holder_has_an_age_whoever_says_so() {
    let mut solo = Solo::alone(Limits::default());
    assert!(matches!(solo.act("k", lock(1, "me", 0)), Some(Outcome::Done(_))));
    solo.pass(Span::from_secs(7));
    let about = |age: Span| age.as_micros().abs_diff(7_000_000) < 100;
    match solo.act("k", Action::Read) {
        Some(Outcome::Found(Some(holder))) => assert!(about(holder.age), "{holder:?}"),
        other => panic!("{other:?}"),
    }
    match solo.act("k", Action::WaitHeld) {
        Some(Outcome::Woken(Some(holder))) => assert!(about(holder.age), "{holder:?}"),
        other => panic!("{other:?}"),
    }
    let local = solo.node.holder(solo.now, b"k").unwrap();
    assert!(about(local.age) && &local.value[..] == b"me" && &local.meta[..] == b"{}");
    assert!(local.remaining <= Span::from_secs(23));
    // An extension is no new acquisition.
    let owner = Owner { value: None, token: Some(local.token) };
    let id = OpId { chain: (1, 0), step: 1 };
    solo.act("k", Action::Extend { id, owner, lease: Span::from_secs(60) });
    let (listed, _) = solo.listed("", 10);
    assert!(about(listed[0].1.age) && listed[0].1.remaining == Span::from_secs(60));
}

#[test]
fn a_listing_shows_what_is_held_with_a_prefix() {
    let mut solo = Solo::alone(Limits::default());
    for name in 0..30 {
        solo.act(&format!("a/{name:02}"), lock(name, "me", 0));
        solo.act(&format!("b/{name:02}"), lock(100 + name, "me", 0));
    }
    let (listed, pages) = solo.listed("a/", 7);
    let keys: Vec<Key> = listed.into_iter().map(|(key, _)| key).collect();
    let expected: Vec<Key> = (0..30).map(|name| format!("a/{name:02}").as_str().into()).collect();
    assert_eq!((keys, pages), (expected, 5));
    assert_eq!(solo.listed("", 1_000).0.len(), 60);
    assert_eq!(solo.listed("c", 1_000).0.len(), 0);
    solo.pass(Span::from_secs(31));
    assert_eq!(solo.listed("", 1_000).0.len(), 0, "they are over");
}

#[test]
fn a_cursor_of_other_records_is_refused() {
    let mut solo = Solo::alone(Limits::default());
    for name in 0..3 {
        solo.act(&format!("{name}"), lock(name, "me", 0));
    }
    let page = solo.node.list(solo.now, b"", Cursor::START, 1).unwrap();
    let cursor = page.next.unwrap();
    assert!(solo.node.list(solo.now, b"", cursor, 1).is_some());
    let other = Solo::lonely(Limits::default());
    assert_eq!(other.node.list(other.now, b"", cursor, 1), None);
    assert!(other.node.list(other.now, b"", Cursor::START, 1).is_some());
    // One beyond the end finds nothing, and harms nobody.
    let beyond = Cursor { place: u32::MAX, ..cursor };
    let page = solo.node.list(solo.now, b"", beyond, 1).unwrap();
    assert!(page.holders.is_empty() && page.next.is_none());
}

#[test]
fn a_listing_starts_anew_when_a_replica_has_taken_over_other_records() {
    let config =
        Config { masters: [member(2)].into(), replicas: [member(1)].into(), ..config(1, 0) };
    let file = NodeFile {
        cluster: Some(CLUSTER),
        config: Some(config),
        active_in: Some(Epoch(1)),
        ..NodeFile::new("n1".into(), NodeId(1))
    };
    let mut solo = Solo::new(Limits::default(), file);
    let held = |name: &str| Held {
        value: name.into(),
        meta: Bytes::EMPTY,
        lease: Span::from_secs(30),
        delay: Span::ZERO,
        token: Token(WALL),
        last_op: OpId::default(),
    };
    let copied = |name: &str| {
        let ballot = Ballot { counter: WALL, proposer: 9 };
        let (entry, remaining) = (Entry::Held(held(name)), Span::from_secs(30));
        let accepted = Accepted { ballot, entry, remaining };
        Copied { key: name.into(), promised: ballot, accepted }
    };
    let mut cursors = Vec::new();
    for number in 1..=2 {
        // A batch whose predecessor is missing: the replica asks for a snapshot.
        let facts = Vec::from(["a", "b", "c"].map(copied));
        solo.hear(
            2,
            Body::Feed(Feed::Batch { boot: 5, number: number * 10, facts: facts.clone() }),
        );
        solo.pass(Span::from_secs(1));
        let nonce = solo.sent.iter().rev().find_map(|(_, body)| match body {
            Body::Snapshot(Snapshot::Ask { nonce, .. }) => Some(*nonce),
            _ => None,
        });
        let (nonce, floor, source) = (nonce.unwrap(), Ballot::ZERO, Source::Active);
        let part =
            Snapshot::Part { nonce, cursor: 0, boot: 5, source, copies: facts, floor, next: None };
        solo.hear(2, Body::Snapshot(part));
        let page = solo.node.list(solo.now, b"", Cursor::START, 2).unwrap();
        assert_eq!(page.holders.len(), 2);
        cursors.push(page.next.unwrap());
    }
    assert_eq!(solo.node.list(solo.now, b"", cursors[0], 2), None);
    let rest = solo.node.list(solo.now, b"", cursors[1], 2).unwrap();
    assert_eq!((rest.holders.len(), rest.next), (1, None));
}

#[test]
fn who_waits_is_shown_with_age_and_time_left() {
    let mut solo = Solo::alone(Limits::default());
    solo.act("k", lock(1, "me", 0));
    assert_eq!(solo.act("k", lock(2, "first", 20)), None);
    solo.pass(Span::from_secs(3));
    assert_eq!(solo.act("k", lock(3, "second", 10)), None);
    assert_eq!(solo.act("k", Action::WaitReleased), None);
    solo.pass(Span::from_secs(1));
    let waiting = solo.node.waiting(solo.now, b"k", 10);
    let shown: Vec<_> = waiting
        .first
        .iter()
        .map(|waiter| {
            (waiter.wants, &waiter.value[..], waiter.age.as_millis() / 1_000, waiter.left)
        })
        .collect();
    let secs = Span::from_secs;
    assert_eq!(
        shown,
        [
            (Wants::Lock, &b"first"[..], 4, secs(16)),
            (Wants::Lock, &b"second"[..], 1, secs(9)),
            (Wants::Released, &b""[..], 1, secs(99)),
        ]
    );
    assert_eq!(waiting.all, 3);
    let status = solo.node.status(solo.now);
    assert_eq!((status.queued, status.waiters, status.operations), (2, 1, 2));
    // Only so many are shown; all are counted.
    let first = solo.node.waiting(solo.now, b"k", 1);
    assert_eq!((first.all, first.first.len()), (3, 1));
    assert_eq!(solo.node.waiting(solo.now, b"other", 10).all, 0);
}

#[test]
fn who_waits_for_an_end_is_told_of_it_though_the_next_owner_has_begun() {
    let mut solo = Solo::alone(Limits::default());
    solo.act("k", lock(1, "me", 0));
    assert_eq!(solo.act("k", lock(2, "you", 20)), None);
    assert_eq!(solo.act("k", Action::WaitReleased), None);
    let (id, owner) = (OpId { chain: (1, 0), step: 1 }, Owner::default());
    solo.act("k", Action::Release { id, owner });
    assert_eq!(solo.replies.get(&Ticket(4)), Some(&Outcome::Woken(None)));
    assert!(matches!(solo.replies.get(&Ticket(3)), Some(Outcome::Done(_))));
}

#[test]
fn large_values_of_those_who_wait_do_not_make_a_large_answer() {
    let mut solo = Solo::alone(Limits::default());
    solo.act("k", lock(0, "me", 0));
    let value = "x".repeat(60_000);
    for chain in 1..=5 {
        assert_eq!(solo.act("k", lock(chain, &value, 20)), None);
    }
    let waiting = solo.node.waiting(solo.now, b"k", 100);
    assert_eq!((waiting.all, waiting.first.len()), (5, 2));
}

#[test]
fn a_request_is_as_large_as_the_limits_say() {
    let limits = Limits { key: 3, value: 4, meta: 2, ..Limits::default() };
    let mut solo = Solo::alone(limits);
    assert_eq!(solo.act("long", Action::Read), invalid(Invalid::KeyTooLong(3)));
    assert_eq!(solo.act("", Action::Read), invalid(Invalid::KeyEmpty));
    assert_eq!(solo.act("key", lock(1, "12345", 0)), invalid(Invalid::ValueTooLong(4)));
    let described = |meta: &str| match lock(1, "1234", 0) {
        Action::Lock { id, value, lease, delay, wait, .. } => {
            Action::Lock { id, value, meta: meta.into(), lease, delay, wait }
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(solo.act("key", described("123")), invalid(Invalid::MetaTooLong(2)));
    assert!(matches!(solo.act("key", described("12")), Some(Outcome::Done(_))));
    let update = |value: &str, meta: Option<Bytes>| {
        let id = OpId { chain: (1, 0), step: 1 };
        Action::Update { id, owner: Owner::default(), value: value.into(), meta }
    };
    assert_eq!(solo.act("key", update("12345", None)), invalid(Invalid::ValueTooLong(4)));
    assert_eq!(solo.act("key", update("", Some("123".into()))), invalid(Invalid::MetaTooLong(2)));
}

#[test]
fn with_as_many_records_as_it_may_a_master_takes_no_new_key() {
    let mut solo = Solo::alone(Limits { records: 1, ..Limits::default() });
    assert!(matches!(solo.act("a", lock(1, "me", 0)), Some(Outcome::Done(_))));
    // It is answered once no other master can have room, here at once.
    assert_eq!(solo.act("b", lock(2, "me", 0)), limit(Limit::Records));
    let (owner, id) = (Owner::default(), OpId { chain: (1, 0), step: 1 });
    let extend = Action::Extend { id, owner: owner.clone(), lease: Span::from_secs(9) };
    assert!(matches!(solo.act("a", extend), Some(Outcome::Done(_))));
    let release = Action::Release { id: OpId { step: 2, ..id }, owner };
    assert!(matches!(solo.act("a", release), Some(Outcome::Done(_))));
    solo.pass(Span::from_secs(1));
    assert!(matches!(solo.act("b", lock(3, "me", 0)), Some(Outcome::Done(_))));
}

#[test]
fn a_queue_and_a_crowd_at_a_record_have_an_end() {
    let limits = Limits { waiters_per_key: 2, ..Limits::default() };
    let mut solo = Solo::alone(limits);
    solo.act("k", lock(0, "me", 0));
    assert_eq!((solo.act("k", lock(1, "", 9)), solo.act("k", lock(2, "", 9))), (None, None));
    assert_eq!(solo.act("k", lock(3, "", 9)), limit(Limit::WaitersPerKey));
    for _ in 0..2 {
        assert_eq!(solo.act("k", Action::WaitReleased), None);
    }
    assert_eq!(solo.act("k", Action::WaitReleased), limit(Limit::WaitersPerKey));
    // Another key has a queue of its own.
    solo.act("l", lock(4, "me", 0));
    assert_eq!(solo.act("l", lock(5, "", 9)), None);
    // A place that becomes free is free.
    solo.pass(Span::from_secs(10));
    assert_eq!(solo.act("k", lock(6, "", 9)), None);
}

#[test]
fn waiters_of_all_kinds_have_one_limit() {
    let mut solo = Solo::alone(Limits { waiters: 2, ..Limits::default() });
    solo.act("k", lock(0, "me", 0));
    assert_eq!((solo.act("k", lock(1, "", 9)), solo.act("l", Action::WaitHeld)), (None, None));
    assert_eq!(solo.act("k", lock(2, "", 9)), limit(Limit::Waiters));
    assert_eq!(solo.act("l", Action::WaitHeld), limit(Limit::Waiters));
    // What does not wait is none of them.
    assert!(matches!(solo.act("l", lock(3, "", 0)), Some(Outcome::Done(_))));
    assert_eq!(solo.replies.get(&Ticket(4)).map(|o| matches!(o, Outcome::Woken(_))), Some(true));
    assert_eq!(solo.act("k", lock(4, "", 9)), None);
}

#[test]
fn operations_under_way_have_a_limit_and_waiters_do_not_use_it_up() {
    let mut solo = Solo::lonely(Limits { operations: 2, ..Limits::default() });
    assert_eq!((solo.act("a", lock(1, "", 0)), solo.act("b", Action::Read)), (None, None));
    assert_eq!(solo.act("c", Action::Read), limit(Limit::Operations));
    assert_eq!(solo.act("c", lock(2, "", 9)), None, "a waiter");
    solo.put(Input::Cancel(Ticket(2)));
    assert_eq!(solo.act("c", Action::Read), None, "there is room again");
    // What other nodes forward counts as well.
    let forward = |counter, action| {
        let name = Ballot { counter, proposer: 9 };
        Body::Relay(Relay::Forward {
            name,
            boot: 8,
            sent_at: Span::ZERO,
            request: request("d", action),
        })
    };
    solo.hear(2, forward(WALL + 50, Action::Read));
    let answered = |body: &Body| match body {
        Body::Relay(Relay::Answered { outcome, .. }) => Some(outcome.clone()),
        _ => None,
    };
    let answers =
        |solo: &Solo| solo.sent.iter().filter_map(|(_, b)| answered(b)).collect::<Vec<_>>();
    assert_eq!(answers(&solo), [limit(Limit::Operations).unwrap()]);
    solo.hear(2, forward(WALL + 51, lock(3, "", 9)));
    assert_eq!(answers(&solo).len(), 1);
}

#[test]
fn what_is_forwarded_counts_too() {
    let mut solo = Solo::lonely(Limits { operations: 1, waiters: 1, ..Limits::default() });
    solo.put(Input::Link { peer: NodeId(2), up: true });
    solo.hear(2, presence(Span::from_secs(1)));
    assert_eq!((solo.act("a", Action::Read), solo.act("b", lock(1, "", 9))), (None, None));
    let forwarded =
        solo.sent.iter().filter(|(_, b)| matches!(b, Body::Relay(Relay::Forward { .. }))).count();
    assert_eq!(forwarded, 2);
    assert_eq!(solo.act("a", Action::Read), limit(Limit::Operations));
    assert_eq!(solo.act("b", lock(2, "", 9)), limit(Limit::Waiters));
    let name = solo.sent.iter().find_map(|(_, body)| match body {
        Body::Relay(Relay::Forward { name, request, .. }) if request.action == Action::Read => {
            Some(*name)
        }
        _ => None,
    });
    let (name, outcome) = (name.unwrap(), Outcome::Found(None));
    solo.hear(2, Body::Relay(Relay::Answered { name, outcome }));
    assert_eq!(solo.act("a", Action::Read), None);
}

#[test]
fn a_configuration_has_limits_of_the_node_that_is_asked() {
    let limits = Limits { masters: 2, replicas: 1, ..Limits::default() };
    let mut fresh = Solo::new(limits, NodeFile::new("n1".into(), NodeId(1)));
    let init =
        |masters, replicas| Request::Init { cluster: CLUSTER, config: config(masters, replicas) };
    assert_eq!(fresh.ask(init(3, 0)), limit(Limit::Masters));
    assert_eq!(fresh.ask(init(2, 2)), limit(Limit::Replicas));
    let mut solo = Solo::alone(limits);
    let change = |masters: u64, replicas: u64| {
        let Config { masters, replicas, .. } = config(masters, replicas);
        Request::Members { patience: Span::from_secs(9), masters, replicas }
    };
    assert_eq!(solo.ask(change(3, 0)), limit(Limit::Masters));
    assert_eq!(solo.ask(change(1, 2)), limit(Limit::Replicas));
    assert!(matches!(solo.ask(change(1, 1)), Some(Outcome::Configured { .. })));
    // What no node can take is not a matter of settings.
    let mut wide = Solo::alone(Limits { masters: 99, replicas: 999, ..Limits::default() });
    assert_eq!(wide.ask(change(16, 0)), invalid(Invalid::Config));
    assert_eq!(wide.ask(change(1, 101)), invalid(Invalid::Config));
}

fn presence(elapsed: Span) -> Body {
    Body::Standing(Presence { standing: Standing::Active, boot: 5, elapsed })
}

#[test]
fn a_peer_whose_clock_runs_wrong_is_reported_and_shown() {
    let mut solo = Solo::lonely(Limits::default());
    solo.put(Input::Link { peer: NodeId(2), up: true });
    for second in 1..=90 {
        solo.pass(Span::from_secs(1));
        // 700 ppm slow.
        solo.hear(2, presence(Span::from_micros(second * 999_300)));
        // A stranger is not measured.
        solo.hear(9, presence(Span::from_micros(second)));
    }
    let rates: Vec<_> =
        solo.events.iter().filter(|event| matches!(event, Event::ClockRate { .. })).collect();
    assert_eq!(rates, [&Event::ClockRate { peer: NodeId(2), ppm: -700, off: true }]);
    solo.now = solo.now.after(Span::from_millis(250));
    let status = solo.node.status(solo.now);
    let heard = Heard { ago: Span::from_millis(250), clock_ppm: Some(-700) };
    assert_eq!(status.heard, [(NodeId(2), heard)]);
    assert_eq!(status.uptime, Span::from_millis(90_250));
    // And so does this node tell how long it has been running.
    let told = solo.sent.iter().rev().find_map(|(to, body)| match body {
        Body::Standing(presence) if *to == NodeId(2) => Some(*presence),
        _ => None,
    });
    assert_eq!(
        told.map(|presence| (presence.boot, presence.elapsed)),
        Some((8, Span::from_secs(90)))
    );
}
