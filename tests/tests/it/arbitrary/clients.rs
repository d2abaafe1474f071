//! What clients and nodes say to each other.

use leasehold_core::wire::{ClientHello, ClientItem, NodeItem, Topology, Welcome};
use leasehold_core::{
    Amendment, Candidate, Cursor, Epoch, Heard, Lag, Limits, Notice, Page, Peer, Span, Status,
    Trouble, Turn, Waiter, Waiting, Wants,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::mail::{address, delivery, parcel};
use super::{
    bytes, cluster, holder, key_request, member, node_id, outcome, span, standing, timing, versions,
};

/// What clients send.
pub(crate) fn client_item() -> impl Strategy<Value = ClientItem> {
    let hello = (versions(), option::of("\\PC{0,30}"), "\\PC{0,20}").prop_map(
        |(versions, credential, name)| {
            ClientItem::Hello(ClientHello { versions, credential, name })
        },
    );
    let call = any::<u64>();
    prop_oneof![
        hello,
        (call, key_request()).prop_map(|(call, request)| ClientItem::Request { call, request }),
        call.prop_map(|call| ClientItem::Cancel { call }),
        call.prop_map(|call| ClientItem::Status { call }),
        (call, span()).prop_map(|(call, patience)| ClientItem::Init { call, patience }),
        (call, bytes()).prop_map(|(call, key)| ClientItem::LocalRead { call, key }),
        (call, bytes(), cursor(), any::<u32>())
            .prop_map(|(call, prefix, from, most)| ClientItem::List { call, prefix, from, most }),
        (call, bytes()).prop_map(|(call, key)| ClientItem::Waiting { call, key }),
        (call, span(), amendment()).prop_map(|(call, patience, amendment)| ClientItem::Amend {
            call,
            patience,
            amendment
        }),
        (call, bytes()).prop_map(|(call, prefix)| ClientItem::Watch { call, prefix }),
        call.prop_map(|call| ClientItem::Host { call }),
        (call, address(), parcel()).prop_map(|(call, to, parcel)| ClientItem::Post {
            call,
            to,
            parcel
        }),
        (call, delivery()).prop_map(|(mail, delivery)| ClientItem::Receipt { mail, delivery }),
        Just(ClientItem::Beat),
    ]
}

fn amendment() -> impl Strategy<Value = Amendment> {
    let candidate = || {
        ("[a-z]{1,4}", option::of("\\PC{0,9}")).prop_map(|(name, peer)| Candidate { name, peer })
    };
    prop_oneof![
        (vec(candidate(), 0..3), vec(candidate(), 0..3))
            .prop_map(|(masters, replicas)| Amendment::Set { masters, replicas }),
        candidate().prop_map(Amendment::Add),
        "[a-z]{1,4}".prop_map(Amendment::Promote),
        "[a-z]{1,4}".prop_map(Amendment::Demote),
        "[a-z]{1,4}".prop_map(Amendment::Remove),
        candidate().prop_map(Amendment::Replace),
    ]
}

fn cursor() -> impl Strategy<Value = Cursor> {
    any::<(u64, u32)>().prop_map(|(records, place)| Cursor { records, place })
}

fn page() -> impl Strategy<Value = Page> {
    (vec((bytes(), holder()), 0..4), option::of(cursor()))
        .prop_map(|(holders, next)| Page { holders, next })
}

fn waiting() -> impl Strategy<Value = Waiting> {
    let wants = select(vec![Wants::Lock, Wants::Held, Wants::Released]);
    let waiter = (wants, bytes(), bytes(), span(), span())
        .prop_map(|(wants, value, meta, age, left)| Waiter { wants, value, meta, age, left });
    (any::<u64>(), vec(waiter, 0..4)).prop_map(|(all, first)| Waiting { all, first })
}

fn notice() -> impl Strategy<Value = Notice> {
    let turn = prop_oneof![
        option::of(holder()).prop_map(Turn::Held),
        Just(Turn::Released),
        Just(Turn::Expired),
    ];
    (bytes(), holder(), turn).prop_map(|(key, holder, turn)| Notice {
        key,
        token: holder.token,
        turn,
    })
}

fn peers() -> impl Strategy<Value = Vec<Peer>> {
    let peer = (member(), any::<bool>(), standing(), any::<bool>())
        .prop_map(|(member, master, standing, up)| Peer { member, master, standing, up });
    vec(peer, 0..4)
}

fn topology() -> impl Strategy<Value = Topology> {
    (option::of(cluster()), node_id(), any::<u64>(), peers()).prop_map(
        |(cluster, node, epoch, members)| Topology { cluster, node, epoch: Epoch(epoch), members },
    )
}

fn status() -> impl Strategy<Value = Status> {
    let counts = any::<([u64; 8], bool)>();
    let heard = (node_id(), span(), option::of(any::<i32>()));
    let heard =
        vec(heard.prop_map(|(peer, ago, clock_ppm)| (peer, Heard { ago, clock_ppm })), 0..3);
    let lag = (node_id(), any::<u64>(), span());
    let lags = vec(lag.prop_map(|(replica, entries, time)| (replica, Lag { entries, time })), 0..3);
    let known = (option::of(span()), span(), option::of(cluster()));
    (node_id(), standing(), known, peers(), heard, lags, counts).prop_map(
        |(id, standing, (active_in, uptime, cluster), members, heard, lags, counts)| {
            let ([epoch, leases, records, operations, queued, waiters, agreed, aged], changing) =
                counts;
            Status {
                id,
                standing,
                active_in,
                uptime,
                cluster,
                epoch: Epoch(epoch),
                changing,
                members,
                heard,
                lags,
                leases,
                records,
                operations,
                queued,
                waiters,
                forgotten_by_agreement: agreed,
                forgotten_by_age: aged,
                troubles: vec![Trouble { ago: Span::from_millis(records), words: "\u{e9}".into() }],
            }
        },
    )
}

/// What nodes send their clients.
pub(crate) fn node_item() -> impl Strategy<Value = NodeItem> {
    let limits = any::<[u32; 10]>().prop_map(
        |[
            key,
            value,
            meta,
            records,
            waiters_per_key,
            waiters,
            operations,
            part,
            masters,
            replicas,
        ]| {
            Limits {
                key,
                value,
                meta,
                records,
                waiters_per_key,
                waiters,
                operations,
                snapshot_part: part,
                masters,
                replicas,
            }
        },
    );
    let welcome = (any::<u16>(), timing(), limits, topology()).prop_map(
        |(version, timing, limits, topology)| Welcome { version, timing, limits, topology },
    );
    prop_oneof![
        welcome.prop_map(NodeItem::Welcome),
        (any::<u64>(), address()).prop_map(|(call, address)| NodeItem::Hosted { call, address }),
        (any::<u64>(), delivery()).prop_map(|(call, delivery)| NodeItem::Posted { call, delivery }),
        (any::<u64>(), any::<u64>(), parcel()).prop_map(|(mail, number, parcel)| NodeItem::Mail {
            mail,
            number,
            parcel
        }),
        "\\PC{0,30}".prop_map(NodeItem::Refused),
        (any::<u64>(), outcome()).prop_map(|(call, outcome)| NodeItem::Reply { call, outcome }),
        (any::<u64>(), status()).prop_map(|(call, status)| NodeItem::Status { call, status }),
        topology().prop_map(NodeItem::Topology),
        (any::<u64>(), vec("\\PC{0,9}", 0..4))
            .prop_map(|(call, masters)| NodeItem::Unmet { call, masters }),
        (any::<u64>(), option::of(holder()))
            .prop_map(|(call, holder)| NodeItem::LocalRead { call, holder }),
        (any::<u64>(), option::of(page())).prop_map(|(call, page)| NodeItem::Page { call, page }),
        (any::<u64>(), waiting()).prop_map(|(call, waiting)| NodeItem::Waiting { call, waiting }),
        (option::of(any::<u64>()), "\\PC{0,30}")
            .prop_map(|(call, why)| NodeItem::NotAllowed { call, why }),
        (any::<u64>(), "\\PC{0,30}").prop_map(|(call, why)| NodeItem::Declined { call, why }),
        any::<u64>().prop_map(|call| NodeItem::Watching { call }),
        (any::<u64>(), notice()).prop_map(|(call, notice)| NodeItem::Notice { call, notice }),
        any::<u64>().prop_map(|call| NodeItem::Lagged { call }),
        Just(NodeItem::Beat),
    ]
}
