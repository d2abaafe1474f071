//! Anything that may travel between nodes and clients.
//!
//! A new kind of item is a compile error in the functions at the end until it is named there, and a failure until a
//! strategy makes it.

mod between;
mod clients;
mod mail;

use std::collections::BTreeSet;

use leasehold_core::wire::{ClientItem, NodeItem, PeerHello, PeerItem, Versions};
use leasehold_core::{
    Accepted, Action, Answer, Ask, Ballot, Body, Bytes, COUNTER_END, Change, ClusterId, Done,
    Drift, Entry, Epoch, Feed, Held, Holder, Invalid, KeyRequest, Limit, Message, NodeFile, NodeId,
    NotDone, OpId, Outcome, Owner, Presence, Refusal, Relay, Snapshot, Span, Standing, Tell,
    Timing, Token,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

pub(crate) use self::between::config;
use self::between::{change, feed, found, member, snapshot, vote};
pub(crate) use self::clients::{client_item, node_item};
use self::mail::{address, delivery, parcel};

// Strategies of types with many kinds are boxed: unboxed, they are too much for the stack of a test's thread.

pub(crate) fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn counter() -> impl Strategy<Value = u64> {
    prop_oneof![0..COUNTER_END, Just(COUNTER_END - 1), 0_u64..300]
}

fn ballot() -> impl Strategy<Value = Ballot> {
    (counter(), any::<u64>()).prop_map(|(counter, proposer)| Ballot { counter, proposer })
}

fn token() -> impl Strategy<Value = Token> {
    counter().prop_map(Token)
}

fn span() -> impl Strategy<Value = Span> {
    any::<u64>().prop_map(Span::from_micros)
}

fn op_id() -> impl Strategy<Value = OpId> {
    any::<((u64, u64), u32)>().prop_map(|(chain, step)| OpId { chain, step })
}

fn node_id() -> impl Strategy<Value = NodeId> {
    any::<u64>().prop_map(NodeId)
}

fn cluster() -> impl Strategy<Value = ClusterId> {
    any::<(u64, u64)>().prop_map(|(a, b)| ClusterId(a, b))
}

fn entry() -> impl Strategy<Value = Entry> {
    let held = (bytes(), bytes(), span(), span(), token(), op_id()).prop_map(
        |(value, meta, lease, delay, token, last_op)| {
            Entry::Held(Held { value, meta, lease, delay, token, last_op })
        },
    );
    let free = (op_id(), token()).prop_map(|(last_op, token)| Entry::Free { last_op, token });
    prop_oneof![held, free].boxed()
}

fn accepted() -> impl Strategy<Value = Accepted> {
    (ballot(), entry(), span()).prop_map(|(ballot, entry, remaining)| Accepted {
        ballot,
        entry,
        remaining,
    })
}

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        (bytes(), ballot()).prop_map(|(key, ballot)| Ask::Prepare { key, ballot }),
        (bytes(), ballot(), entry(), span()).prop_map(|(key, ballot, entry, keep)| Ask::Accept {
            key,
            ballot,
            entry,
            keep
        }),
        (bytes(), any::<u64>()).prop_map(|(key, boot)| Ask::Query { key, boot }),
    ]
    .boxed()
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        (ballot(), option::of(accepted()), ballot())
            .prop_map(|(ballot, accepted, floor)| Answer::Promise { ballot, accepted, floor }),
        (ballot(), counter()).prop_map(|(ballot, counter)| Answer::NotPromised { ballot, counter }),
        ballot().prop_map(|ballot| Answer::Full { ballot }),
        ballot().prop_map(|ballot| Answer::Accepted { ballot }),
        (ballot(), counter()).prop_map(|(ballot, counter)| Answer::NotAccepted { ballot, counter }),
        (any::<u64>(), option::of(accepted()))
            .prop_map(|(boot, accepted)| Answer::Has { boot, accepted }),
        Just(Answer::Joining),
    ]
    .boxed()
}

fn tell() -> impl Strategy<Value = Tell> {
    prop_oneof![
        (bytes(), ballot()).prop_map(|(key, ballot)| Tell::Abort { key, ballot }),
        (bytes(), ballot()).prop_map(|(key, ballot)| Tell::Forget { key, ballot }),
        (bytes(), token()).prop_map(|(key, token)| Tell::Settle { key, token }),
    ]
    .boxed()
}

fn owner() -> impl Strategy<Value = Owner> {
    (option::of(bytes()), option::of(token())).prop_map(|(value, token)| Owner { value, token })
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        (op_id(), bytes(), bytes(), span(), span(), span()).prop_map(
            |(id, value, meta, lease, delay, wait)| Action::Lock {
                id,
                value,
                meta,
                lease,
                delay,
                wait
            }
        ),
        (op_id(), owner(), span()).prop_map(|(id, owner, lease)| Action::Extend {
            id,
            owner,
            lease
        }),
        (op_id(), owner(), bytes(), option::of(bytes()))
            .prop_map(|(id, owner, value, meta)| Action::Update { id, owner, value, meta }),
        (op_id(), owner()).prop_map(|(id, owner)| Action::Release { id, owner }),
        select(vec![Action::Read, Action::WaitHeld, Action::WaitReleased]),
    ]
    .boxed()
}

fn key_request() -> impl Strategy<Value = KeyRequest> {
    (bytes(), span(), action()).prop_map(|(key, patience, action)| KeyRequest {
        key,
        patience,
        action,
    })
}

fn holder() -> impl Strategy<Value = Holder> {
    (bytes(), bytes(), token(), span(), span(), span()).prop_map(
        |(value, meta, token, remaining, delay, age)| Holder {
            value,
            meta,
            token,
            remaining,
            delay,
            age,
        },
    )
}

fn done() -> impl Strategy<Value = Done> {
    (token(), option::of(span()), span(), any::<(bool, u8, u8, u8)>()).prop_map(
        |(token, valid_for, waited, (repeated, quorum, votes, commits))| Done {
            token,
            valid_for,
            waited,
            repeated,
            quorum,
            votes,
            commits,
        },
    )
}

fn not_done() -> impl Strategy<Value = NotDone> {
    let invalid = prop_oneof![
        select(vec![Invalid::KeyEmpty, Invalid::Config]),
        any::<u32>().prop_map(Invalid::KeyTooLong),
        any::<u32>().prop_map(Invalid::ValueTooLong),
        any::<u32>().prop_map(Invalid::MetaTooLong),
        span().prop_map(Invalid::LeaseTooShort),
        span().prop_map(Invalid::LeaseTooLong),
    ];
    let plain = vec![
        NotDone::NoQuorum,
        NotDone::TimedOut,
        NotDone::Cancelled,
        NotDone::Draining,
        NotDone::NotFounded,
        NotDone::Changing,
        NotDone::NotActive,
        NotDone::Limit(Limit::Records),
        NotDone::Limit(Limit::WaitersPerKey),
        NotDone::Limit(Limit::Operations),
        NotDone::Limit(Limit::OperationsPerClient),
        NotDone::Limit(Limit::Waiters),
        NotDone::Limit(Limit::Masters),
        NotDone::Limit(Limit::Replicas),
    ];
    prop_oneof![
        select(plain),
        invalid.prop_map(NotDone::Invalid),
        node_id().prop_map(NotDone::Unreachable),
    ]
    .boxed()
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let refusal = prop_oneof![
        holder().prop_map(Refusal::Held),
        Just(Refusal::NotHeld),
        (node_id(), cluster()).prop_map(|(by, cluster)| Refusal::AlreadyFounded { by, cluster }),
    ];
    prop_oneof![
        done().prop_map(Outcome::Done),
        option::of(holder()).prop_map(Outcome::Found),
        option::of(holder()).prop_map(Outcome::Woken),
        refusal.prop_map(Outcome::Refused),
        not_done().prop_map(Outcome::NotDone),
        Just(Outcome::Unknown),
        cluster().prop_map(Outcome::Founded),
        any::<(u64, bool)>()
            .prop_map(|(epoch, complete)| Outcome::Configured { epoch: Epoch(epoch), complete }),
    ]
    .boxed()
}

fn standing() -> impl Strategy<Value = Standing> {
    select(vec![
        Standing::Unknown,
        Standing::Fresh,
        Standing::Joining,
        Standing::Active,
        Standing::Replica,
        Standing::Draining,
    ])
}

fn body() -> impl Strategy<Value = Body> {
    let relay = prop_oneof![
        (ballot(), any::<u64>(), span(), key_request()).prop_map(
            |(name, boot, sent_at, request)| Relay::Forward { name, boot, sent_at, request }
        ),
        ballot().prop_map(|name| Relay::Cancel { name }),
        (ballot(), outcome()).prop_map(|(name, outcome)| Relay::Answered { name, outcome }),
    ];
    let presence = (standing(), any::<u64>(), span())
        .prop_map(|(standing, boot, elapsed)| Presence { standing, boot, elapsed });
    // Boxed: unions of large values are too large for a thread's stack.
    prop_oneof![
        (any::<u64>(), ask()).prop_map(|(round, ask)| Body::Ask { round, ask }).boxed(),
        (any::<u64>(), answer()).prop_map(|(round, answer)| Body::Answer { round, answer }).boxed(),
        tell().prop_map(Body::Tell).boxed(),
        relay.prop_map(Body::Relay).boxed(),
        found().prop_map(Body::Found).boxed(),
        presence.prop_map(Body::Standing).boxed(),
        snapshot().prop_map(Body::Snapshot).boxed(),
        change().prop_map(Body::Change).boxed(),
        feed().prop_map(Body::Feed).boxed(),
    ]
    .boxed()
}

fn timing() -> impl Strategy<Value = Timing> {
    (span(), span(), span(), span(), 0_u32..100_000).prop_map(
        |(max_lease, op_timeout, promise_timeout, sync_timeout, ppm)| Timing {
            max_lease,
            op_timeout,
            promise_timeout,
            sync_timeout,
            max_clock_drift: Drift::from_ppm(ppm),
        },
    )
}

fn versions() -> impl Strategy<Value = Versions> {
    any::<(u16, u16)>().prop_map(|(oldest, newest)| Versions { oldest, newest })
}

/// What nodes send each other.
pub(crate) fn peer_item() -> impl Strategy<Value = PeerItem> {
    let message = (any::<u64>(), counter(), body()).prop_map(|(epoch, counter, body)| Message {
        epoch: Epoch(epoch),
        counter,
        body,
    });
    let hello = (versions(), "\\PC{0,20}", option::of(cluster()), member(), any::<u64>(), timing())
        .prop_map(|(versions, cluster_name, cluster, member, boot, timing)| PeerHello {
            versions,
            cluster_name,
            cluster,
            member,
            boot,
            timing,
        });
    prop_oneof![
        8 => message.prop_map(PeerItem::Message).boxed(),
        1 => hello.prop_map(PeerItem::Hello),
        1 => "\\PC{0,30}".prop_map(PeerItem::Refused),
        1 => Just(PeerItem::Beat),
        1 => (any::<u64>(), address(), parcel())
            .prop_map(|(mail, to, parcel)| PeerItem::Mail { mail, to, parcel }),
        1 => (any::<u64>(), delivery())
            .prop_map(|(mail, delivery)| PeerItem::Receipt { mail, delivery }),
    ]
    .boxed()
}

/// What a node keeps on disk.
pub(crate) fn node_file() -> impl Strategy<Value = NodeFile> {
    let epoch = option::of(any::<u64>().prop_map(Epoch));
    let known = (option::of(cluster()), option::of(config()));
    ("\\PC{0,9}", node_id(), known, counter(), epoch, vote()).prop_map(
        |(name, id, (cluster, config), ceiling, active_in, vote)| NodeFile {
            name,
            id,
            cluster,
            ceiling,
            config,
            active_in,
            vote,
        },
    )
}

const fn peer_kind(item: &PeerItem) -> usize {
    match item {
        PeerItem::Hello(_) => 0,
        PeerItem::Refused(_) => 1,
        PeerItem::Beat => 2,
        PeerItem::Message(message) => match &message.body {
            Body::Ask { .. } => 3,
            Body::Answer { .. } => 4,
            Body::Tell(_) => 5,
            Body::Relay(_) => 6,
            Body::Found(_) => 7,
            Body::Standing(_) => 8,
            Body::Snapshot(Snapshot::Ask { .. }) => 9,
            Body::Snapshot(Snapshot::Part { .. }) => 10,
            Body::Change(Change::Prepare { .. }) => 11,
            Body::Change(Change::Promise { .. }) => 12,
            Body::Change(Change::Refused { .. }) => 13,
            Body::Change(Change::Accept { .. }) => 14,
            Body::Change(Change::Accepted { .. }) => 15,
            Body::Change(Change::Adopt { .. }) => 16,
            Body::Feed(Feed::Batch { .. }) => 17,
            Body::Feed(Feed::Got { .. }) => 18,
        },
        PeerItem::Mail { .. } => 19,
        PeerItem::Receipt { .. } => 20,
    }
}

const fn client_kind(item: &ClientItem) -> usize {
    match item {
        ClientItem::Hello(_) => 0,
        ClientItem::Request { .. } => 1,
        ClientItem::Cancel { .. } => 2,
        ClientItem::Status { .. } => 3,
        ClientItem::Init { .. } => 4,
        ClientItem::LocalRead { .. } => 5,
        ClientItem::Beat => 6,
        ClientItem::List { .. } => 7,
        ClientItem::Waiting { .. } => 8,
        ClientItem::Amend { .. } => 9,
        ClientItem::Watch { .. } => 10,
        ClientItem::Host { .. } => 11,
        ClientItem::Post { .. } => 12,
        ClientItem::Receipt { .. } => 13,
    }
}

const fn node_kind(item: &NodeItem) -> usize {
    match item {
        NodeItem::Welcome(_) => 0,
        NodeItem::Refused(_) => 1,
        NodeItem::Reply { .. } => 2,
        NodeItem::Status { .. } => 3,
        NodeItem::Unmet { .. } => 4,
        NodeItem::LocalRead { .. } => 5,
        NodeItem::Topology(_) => 6,
        NodeItem::Beat => 7,
        NodeItem::Page { .. } => 8,
        NodeItem::Waiting { .. } => 9,
        NodeItem::NotAllowed { .. } => 10,
        NodeItem::Declined { .. } => 11,
        NodeItem::Watching { .. } => 12,
        NodeItem::Notice { .. } => 13,
        NodeItem::Lagged { .. } => 14,
        NodeItem::Hosted { .. } => 15,
        NodeItem::Posted { .. } => 16,
        NodeItem::Mail { .. } => 17,
    }
}

/// The kinds that a strategy makes, of many tries.
fn kinds<T>(strategy: &impl Strategy<Value = T>, kind: impl Fn(&T) -> usize) -> BTreeSet<usize> {
    let mut runner = TestRunner::deterministic();
    (0..2_000).map(|_| kind(&strategy.new_tree(&mut runner).unwrap().current())).collect()
}

#[test]
fn every_kind_of_item_of_peers_is_made() {
    assert_eq!(kinds(&peer_item(), peer_kind), (0..21).collect());
}

#[test]
fn every_kind_of_item_of_clients_is_made() {
    assert_eq!(kinds(&client_item(), client_kind), (0..14).collect());
}

#[test]
fn every_kind_of_item_of_nodes_is_made() {
    assert_eq!(kinds(&node_item(), node_kind), (0..18).collect());
}
