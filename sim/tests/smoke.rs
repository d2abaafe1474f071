//! Some hundreds of seeds, the replay of one, and what must hold of the simulator itself.

use leasehold_core::faults::Rule;
use leasehold_sim::focus::Focus;
use leasehold_sim::marks::Mark;
use leasehold_sim::{Tally, replay, run_seed};

/// Seeds that every test run runs.
const SMOKE: u64 = 300;

#[test]
fn smoke() {
    let mut tally = Tally::default();
    for seed in 0..SMOKE {
        tally.add(&run_seed(seed));
    }
    for bad in &tally.bad {
        println!("{}\n{}", bad.verdict, bad.replay_line);
    }
    println!("{:?}", tally.json());
    assert!(tally.bad.is_empty(), "{} bad seeds", tally.bad.len());
    // A simulator in which nothing happens finds nothing.
    assert!(tally.events >= 3_000 * SMOKE, "{} events", tally.events);
    assert!(tally.met(Mark::Operations).times >= 40 * SMOKE);
    assert!(tally.with[3] * 2 >= SMOKE, "{} seeds with crash, expiry and contest", tally.with[3]);
}

#[test]
fn replay_one_seed() {
    let Ok(seed) = std::env::var("LEASEHOLD_SEED") else { return };
    let seed = seed.parse().expect("LEASEHOLD_SEED is a number");
    let focus = std::env::var("LEASEHOLD_FOCUS").unwrap_or_else(|_| "everything".to_owned());
    let focus = Focus::named(&focus).expect("LEASEHOLD_FOCUS is the name of a focus");
    let (report, text) = replay(seed, focus);
    print!("{text}");
    assert!(report.violations.is_empty(), "{}", report.replay_line());
}

#[test]
fn a_seed_is_the_same_run_every_time() {
    for seed in 0..12 {
        let (first, trace) = replay(seed, Focus::Everything);
        let (second, again) = replay(seed, Focus::Everything);
        assert_eq!(first, second);
        assert!(trace == again, "seed {seed} gave two traces");
        // Nobody looks over the shoulder of a run.
        assert_eq!(run_seed(seed), first);
    }
}

#[test]
fn another_process_tells_the_same_story() {
    for seed in [3, 11] {
        let seed_text = seed.to_string();
        let other = std::process::Command::new(env!("CARGO_BIN_EXE_leasehold-sim"))
            .args(["replay", &seed_text, "--focus", "late"])
            .output()
            .expect("the simulator starts");
        let (report, text) = replay(seed, Focus::Late);
        assert_eq!(other.status.success(), report.violations.is_empty());
        assert!(text.len() > 10_000, "a trace of {} bytes", text.len());
        assert!(other.stdout == text.as_bytes(), "seed {seed} was told in another way");
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
