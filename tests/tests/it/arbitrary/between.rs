//! What nodes say to each other besides votes: how a cluster is founded, changed, and taken over from.

use leasehold_core::{
    Change, Config, ConfigVote, Copied, Epoch, Feed, Found, Member, NodeId, Snapshot, Source,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{accepted, ballot, bytes, cluster, counter, node_id};

pub(super) fn member() -> impl Strategy<Value = Member> {
    (node_id(), "[a-z]{1,4}", "\\PC{0,9}", "\\PC{0,9}", "\\PC{0,9}")
        .prop_map(|(id, name, peer, client, http)| Member { id, name, peer, client, http })
}

/// A configuration; not a sensible one.
pub(crate) fn config() -> impl Strategy<Value = Config> {
    (any::<u64>(), vec(member(), 0..5), vec(member(), 0..3), vec(node_id(), 0..5)).prop_map(
        |(epoch, masters, replicas, before)| Config {
            epoch: Epoch(epoch),
            masters,
            replicas,
            before,
        },
    )
}

pub(super) fn found() -> impl Strategy<Value = Found> {
    prop_oneof![
        (cluster(), config(), any::<bool>()).prop_map(|(cluster, config, active)| Found::Store {
            cluster,
            config,
            active
        }),
        cluster().prop_map(|cluster| Found::Stored { cluster }),
        (cluster(), config(), any::<bool>()).prop_map(|(cluster, config, active)| Found::Holds {
            cluster,
            config,
            active
        }),
        cluster().prop_map(|cluster| Found::Activate { cluster }),
        cluster().prop_map(|cluster| Found::Activated { cluster }),
    ]
}

/// A configuration that a node may propose: some masters, nobody named twice.
pub(crate) fn sound_config() -> impl Strategy<Value = Config> {
    (config(), 1_usize..6, 0_usize..3).prop_flat_map(|(config, masters, replicas)| {
        vec(member(), masters + replicas).prop_map(move |mut members| {
            for (place, member) in (0_u64..).zip(&mut members) {
                member.id = NodeId(member.id.0 & !0xff | place);
                member.name = format!("{place}{}", member.name);
            }
            let replicas = members.split_off(masters);
            Config { masters: members, replicas, ..config.clone() }
        })
    })
}

fn copies() -> impl Strategy<Value = Vec<Copied>> {
    let copied = (bytes(), ballot(), accepted()).prop_map(|(key, promised, accepted)| Copied {
        key,
        promised,
        accepted,
    });
    vec(copied, 0..4)
}

pub(super) fn snapshot() -> impl Strategy<Value = Snapshot> {
    let ask = (ballot(), any::<u32>()).prop_map(|(nonce, cursor)| Snapshot::Ask { nonce, cursor });
    let places = (any::<u32>(), option::of(any::<u32>()));
    let source = select(vec![Source::Active, Source::Fenced]);
    let part = (ballot(), places, any::<u64>(), source, copies(), ballot()).prop_map(
        |(nonce, (cursor, next), boot, source, copies, floor)| Snapshot::Part {
            nonce,
            cursor,
            boot,
            source,
            copies,
            floor,
            next,
        },
    );
    prop_oneof![ask, part]
}

pub(super) fn change() -> impl Strategy<Value = Change> {
    let voted = option::of((ballot(), sound_config()));
    prop_oneof![
        ballot().prop_map(|ballot| Change::Prepare { ballot }),
        (ballot(), voted).prop_map(|(ballot, accepted)| Change::Promise { ballot, accepted }),
        (ballot(), counter()).prop_map(|(ballot, counter)| Change::Refused { ballot, counter }),
        (ballot(), sound_config()).prop_map(|(ballot, config)| Change::Accept { ballot, config }),
        ballot().prop_map(|ballot| Change::Accepted { ballot }),
        (cluster(), sound_config()).prop_map(|(cluster, config)| Change::Adopt { cluster, config }),
    ]
}

pub(super) fn feed() -> impl Strategy<Value = Feed> {
    let batch = (any::<u64>(), any::<u64>(), copies())
        .prop_map(|(boot, number, facts)| Feed::Batch { boot, number, facts });
    let got = any::<(u64, u64)>().prop_map(|(boot, number)| Feed::Got { boot, number });
    prop_oneof![batch, got]
}

pub(super) fn vote() -> impl Strategy<Value = ConfigVote> {
    let accepted = option::of((ballot(), config()));
    (ballot(), accepted).prop_map(|(promised, accepted)| ConfigVote { promised, accepted })
}
