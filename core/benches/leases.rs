//! What a million leases cost: memory, operations on any of them, time that passes, and all of them ending at once. Three cores in
//! one thread; messages travel as bytes, so that each node has a copy of its own of what it keeps.

#![expect(clippy::print_stdout, clippy::expect_used, clippy::panic, reason = "a benchmark prints")]
#![expect(clippy::indexing_slicing, reason = "there are three nodes")]
#![expect(clippy::cast_precision_loss, reason = "figures to be read by people")]

mod cluster;
#[path = "cluster/record.rs"]
mod record;

use cluster::{Cluster, LEASE, Name};
use leasehold_core::{Action, Span};
use record::{Kind, Record, nanos};

const FEW: u64 = 1_000;
const MANY: u64 = 1_000_000;
/// Operations under way at once, and how often.
const BATCH: u64 = 64;
const BATCHES: u64 = 300;

/// Resident memory of this process in bytes.
fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<f64>().ok());
    pages.unwrap_or(f64::NAN) * 4_096.0
}

/// Nanoseconds per operation of `work`, which gets keys from all over the table. Virtual time passes every thousand
/// operations, so that few keys are met again while their last write is remembered: the same work, however many leases there are.
fn time(cluster: &mut Cluster, leases: u64, mut work: impl FnMut(&mut Cluster, &Name)) -> f64 {
    let mut times = Vec::new();
    for batch in 0..BATCHES {
        if batch.is_multiple_of(15) {
            cluster.idle(cluster.now + 4_000_000, |wake| wake());
        }
        let spread = |run: u64| run.wrapping_mul(0x9e37_79b9_7f4a_7c15) % leases;
        let names: Vec<Name> =
            (batch * BATCH..(batch + 1) * BATCH).map(|run| Name::new(spread(run))).collect();
        let start = nanos();
        names.iter().for_each(|name| work(cluster, name));
        cluster.settle();
        times.push((nanos() - start) / BATCH as f64);
    }
    // The fastest tenth: the slow ones tell more of this machine's other work than of this one.
    times.sort_by(f64::total_cmp);
    times[times.len() / 10]
}

struct Figures {
    bytes: f64,
    extend: f64,
    read: f64,
    idle: f64,
}

/// So many leases, the keys locked `BATCH` at a time.
fn fill(leases: u64, lease: Span) -> (Cluster, f64) {
    let before = resident();
    let mut cluster = Cluster::new(true);
    for start in (0..leases).step_by(64) {
        (start..leases.min(start + BATCH)).for_each(|key| {
            cluster.lock(&Name::new(key), 0, lease);
        });
        cluster.settle();
    }
    (cluster, before)
}

fn measure(leases: u64) -> Figures {
    let (mut cluster, before) = fill(leases, LEASE);
    // The desks remember each write for some seconds; what stays is the lease.
    cluster.idle(cluster.now + 10_000_000, |wake| wake());
    let bytes = (resident() - before) / (3 * leases) as f64;
    let start = nanos();
    cluster.idle(cluster.now + 20_000_000, |wake| wake());
    let idle = (nanos() - start) / 20.0;
    let mut step = 0;
    let extend = time(&mut cluster, leases, |cluster, name| {
        step += 1;
        cluster.extend(name, step);
    });
    let read = time(&mut cluster, leases, |cluster, name| cluster.act(name, Action::Read));
    Figures { bytes, extend, read, idle }
}

/// The longest that any input waits for a node while a million leases end within one second, and what their end costs in all.
fn storm() -> [f64; 3] {
    let (mut cluster, _) = fill(MANY, LEASE);
    // Filling took virtual time; one extension each within a second of it, and they end within a second of another.
    cluster.idle(cluster.now + 10_000_000, |wake| wake());
    cluster.pace = 4;
    for start in (0..MANY).step_by(64) {
        (start..MANY.min(start + BATCH)).for_each(|key| cluster.extend(&Name::new(key), 1));
        cluster.settle();
    }
    let start_at = cluster.now;
    let mut waits = Vec::new();
    let end = start_at + LEASE.as_micros() + 1_000_000;
    cluster.idle(start_at + LEASE.as_micros() - 5_000_000, |wake| wake());
    cluster.idle(end, |wake| {
        let start = nanos();
        wake();
        waits.push(nanos() - start);
    });
    waits.sort_by(f64::total_cmp);
    let all: f64 = waits.iter().sum();
    [all / (3 * MANY) as f64, waits[waits.len() * 99 / 100], waits[waits.len() - 1]]
}

fn main() {
    let mut record = Record::new();
    let few = measure(FEW);
    let many = measure(MANY);
    record.add("bytes per lease and master, 1,000,000", Kind::Count, many.bytes, "");
    for (name, few, many) in [("extend", few.extend, many.extend), ("read", few.read, many.read)] {
        record.add(&format!("{name}, ns, 1,000 leases"), Kind::Time, few, "");
        let misses = (many - few) / record.memory / 3.0;
        let note =
            format!("{:.2} x 1,000 leases, {misses:.1} reads of far memory a master", many / few);
        record.add(&format!("{name}, ns, 1,000,000 leases"), Kind::Memory, many, &note);
    }
    record.add("a second of idling, ns, 1,000,000 leases", Kind::Time, many.idle, "three nodes");
    let [each, high, longest] = storm();
    record.add("end of a lease, ns, a million in a second", Kind::Memory, each, "");
    let note = format!("99 % of them below; the longest {:.0} µs", longest / 1e3);
    record.add("a node's tick while they end, ns", Kind::Memory, high, &note);
    record.finish();
}
