//! Short, seeded parts of the rig: clusters of real processes under each kind of fault.
//!
//! What a test cannot do here, for want of a privilege or a program, it says, and does the rest. How to run longer parts is in
//! `CONTRIBUTING.md`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod beside;
mod judging;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use leasehold_core::Span;
use leasehold_tests::rig::cluster::Cluster;
use leasehold_tests::rig::{fence, recipe, soak};
use tokio::runtime::{Builder, Runtime};

fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_soak").into()
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Follows a recipe for a few seconds. Nothing may be wrong, and something must have happened.
fn follow(name: &str) {
    let mut recipes = recipe::all();
    recipes.retain(|recipe| recipe.name == name);
    assert_eq!(recipes.len(), 1, "there is a recipe called {name}");
    let wanted = soak::Wanted {
        recipes,
        span: Duration::from_secs(6),
        round: Duration::from_secs(6),
        seed: 7,
        keep: PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("histories"),
        program: program(),
    };
    let summary = runtime().block_on(soak::soak(&wanted, |_| {})).unwrap();
    if let Some(why) = summary.skipped.get(name) {
        // Past the capture of the test runner: nobody shall take this for a pass.
        io::stderr().write_all(format!("SKIPPED {name}: {why}\n").as_bytes()).unwrap();
        return;
    }
    assert_eq!(summary.violations(), 0, "\n{}", summary.page());
    assert!(summary.worthless().is_empty(), "\n{}", summary.page());
    let happens = wanted.recipes.iter().any(|recipe| !recipe.faults.is_empty());
    assert!(!happens || !summary.faults.is_empty(), "\n{}", summary.page());
}

#[test]
fn nodes_and_clients_are_killed() {
    follow("kills");
}

#[test]
fn nodes_and_clients_stand_still() {
    follow("stops");
}

#[test]
fn links_are_cut_slow_and_broken() {
    follow("links");
}

#[test]
fn hosts_lose_each_other() {
    follow("hosts");
}

#[test]
fn packets_overtake_each_other() {
    follow("packets");
}

#[test]
fn clocks_run_at_the_extremes() {
    follow("clocks");
}

#[test]
fn disks_fail_and_power_is_cut() {
    follow("disks");
}

#[test]
fn file_systems_are_full() {
    follow("full");
}

#[test]
fn members_come_and_go() {
    follow("members");
}

/// Clients that sleep through their leases are at work at the same time, and the resource takes no stale write.
#[test]
fn a_fenced_resource_takes_no_stale_write() {
    let attempts = runtime().block_on(async {
        let cluster = Cluster::start(recipe::THREE, 7).await?;
        fence::run(&cluster, &program(), 7, Span::from_secs(8)).await
    });
    let verdict = fence::judge(&attempts.unwrap());
    assert_eq!(verdict.violations, [""; 0]);
    assert!(verdict.late > 0, "nobody overslept: {verdict:?}");
}
