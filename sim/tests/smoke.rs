//! Some hundreds of seeds, the replay of one, and what must hold of the simulator itself.

use leasehold_core::faults::Rule;
use leasehold_sim::{Tally, replay, run_seed};

/// Seeds that every test run runs.
const SMOKE: u64 = 300;

#[test]
fn smoke() {
    let mut tally = Tally::default();
    for seed in 0..SMOKE {
        tally.add(run_seed(seed));
    }
    for report in &tally.bad {
        println!("{}\n{}", report.verdict(), report.replay_line());
    }
    println!("{}", tally.json(0, None));
    assert!(tally.bad.is_empty(), "{} bad seeds", tally.bad.len());
    // A simulator in which nothing happens finds nothing.
    assert!(tally.events >= 3_000 * SMOKE, "{} events", tally.events);
    assert!(tally.counts.of(leasehold_sim::marks::Mark::Operations) >= 40 * SMOKE);
    assert!(tally.with[3] * 2 >= SMOKE, "{} seeds with crash, expiry and contest", tally.with[3]);
}

#[test]
fn replay_one_seed() {
    let Ok(seed) = std::env::var("LEASEHOLD_SEED") else { return };
    let (report, text) = replay(seed.parse().expect("LEASEHOLD_SEED is a number"));
    print!("{text}");
    assert!(report.violations.is_empty(), "{}", report.replay_line());
}

#[test]
fn a_seed_is_the_same_run_every_time() {
    for seed in 0..12 {
        let (first, trace) = replay(seed);
        let (second, again) = replay(seed);
        assert_eq!(first, second);
        assert!(trace == again, "seed {seed} gave two traces");
        // Nobody looks over the shoulder of a run.
        assert_eq!(run_seed(seed), first);
    }
}

#[test]
#[cfg(not(leasehold_faults))]
fn a_normal_build_knows_no_switch() {
    for (rule, _) in Rule::ALL {
        const { assert!(!Rule::Floor.is_out()) };
        assert!(!rule.is_out());
    }
}
