//! The two sums that everything rests on: any two quorums share a master, and belief ends before any master's timer.

use leasehold_core::{Config, Drift, Member, NodeId, Span};
use proptest::prelude::*;

fn masters(count: usize) -> Config {
    let member = |place: usize| Member {
        id: NodeId(u64::try_from(place).unwrap()),
        name: place.to_string(),
        peer: String::new(),
        client: String::new(),
        http: String::new(),
    };
    Config { masters: (0..count).map(member).collect(), ..Config::default() }
}

/// Every set of `count` masters that is a quorum, of which there are fewest when it is as small as can be.
fn quorums(count: usize, quorum: usize) -> impl Iterator<Item = u16> + Clone {
    let all = (1_u32 << count) - 1;
    (0..=all)
        .map(|set| u16::try_from(set).unwrap())
        .filter(move |set| set.count_ones() as usize == quorum)
}

#[test]
fn any_two_quorums_share_a_master() {
    for count in 1..=Config::MAX_MASTERS {
        let quorum = masters(count).quorum();
        // By counting: two sets of this size do not fit side by side.
        assert!(2 * quorum > count, "{count} masters");
        // And no more are asked for than that takes: a minority may be down.
        assert!(2 * (quorum - 1) <= count, "{count} masters");
    }
    // By looking at every pair, where that is not too many.
    for count in 1..=9 {
        let quorums = quorums(count, masters(count).quorum());
        for one in quorums.clone() {
            assert!(quorums.clone().all(|other| one & other != 0), "{count} masters");
        }
    }
}

#[test]
fn enough_snapshots_touch_every_quorum() {
    for count in 1..=9 {
        let quorum = masters(count).quorum();
        // After a restart: n - q + 1 others (protocol, section 8.2).
        let snapshots = count - quorum + 1;
        for one in quorums(count, quorum) {
            assert!(quorums(count, snapshots).all(|other| one & other != 0), "{count} masters");
        }
    }
}

#[test]
fn a_configuration_has_one_to_fifteen_masters_and_nobody_twice() {
    assert!(!masters(0).well_formed() && !masters(16).well_formed());
    assert!((1..=15).all(|count| masters(count).well_formed()));
    let mut twice = masters(3);
    twice.replicas.push(twice.masters[1].clone());
    assert!(!twice.well_formed());
}

/// How long `span` on a clock that is off by `ppm` takes in true time, times 10^6: exact, in integers.
fn scaled(span: Span, ppm: i64) -> (u128, u128) {
    // A clock that advances by `rate` parts in 10^6 for each true unit shows `span` after span·10^6/rate.
    let rate = u128::try_from(1_000_000 + ppm).unwrap();
    (u128::from(span.as_micros()) * 1_000_000, rate)
}

/// Whether `a` is over no later than `b`, in true time.
fn not_after((a, rate_a): (u128, u128), (b, rate_b): (u128, u128)) -> bool {
    a * rate_b <= b * rate_a
}

proptest! {
    #[test]
    fn belief_is_over_before_any_timer(
        micros in 0_u64..1 << 50, ppm in 0_u32..=100_000, client in 0_u32..=1_000, master in 0_u32..=1_000,
    ) {
        let (drift, lease) = (Drift::from_ppm(ppm), Span::from_micros(micros));
        let believed = drift.believed(lease);
        prop_assert!(believed < lease || ppm == 0 || lease.is_zero());
        // Both clocks anywhere within the bound, the extremes included.
        let within = |place: u32| i64::from(ppm) * (i64::from(place) - 500) / 500;
        prop_assert!(not_after(
            scaled(believed, within(client)),
            scaled(lease, within(master))
        ));
    }

    #[test]
    fn who_outlasts_a_span_has_seen_it_end_everywhere(
        micros in 0_u64..1 << 50, ppm in 0_u32..=100_000, waits in 0_u32..=1_000, other in 0_u32..=1_000,
    ) {
        let (drift, span) = (Drift::from_ppm(ppm), Span::from_micros(micros));
        let outlasting = drift.outlasting(span);
        prop_assert!(outlasting > span || ppm == 0 || span.is_zero());
        let within = |place: u32| i64::from(ppm) * (i64::from(place) - 500) / 500;
        prop_assert!(not_after(
            scaled(span, within(other)),
            scaled(outlasting, within(waits))
        ));
    }

    #[test]
    fn longer_is_longer(a in 0_u64..1 << 50, b in 0_u64..1 << 50, ppm in 0_u32..=100_000) {
        let (drift, a, b) = (Drift::from_ppm(ppm), Span::from_micros(a), Span::from_micros(b));
        let (short, long) = (a.min(b), a.max(b));
        prop_assert!(drift.believed(short) <= drift.believed(long));
        prop_assert!(drift.outlasting(short) <= drift.outlasting(long));
        prop_assert!(drift.believed(drift.outlasting(a)) >= a);
    }
}
