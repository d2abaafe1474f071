//! Operations per second of three cores in one thread: messages by value and as bytes, and how often one round trip is enough.

#![expect(clippy::print_stdout, clippy::expect_used, clippy::panic, reason = "a benchmark prints")]
#![expect(clippy::indexing_slicing, reason = "there are three nodes")]
#![expect(clippy::cast_precision_loss, reason = "figures to be read by people")]

mod cluster;
#[path = "cluster/record.rs"]
mod record;

use cluster::{Cluster, LEASE, Name};
use leasehold_core::{Action, Owner};
use record::{Kind, Record, nanos};

/// How many operations are under way at once.
const BATCH: usize = 64;
/// Operations of a slice, and slices. A slice is shorter than the time for which a scheduler lets a neighbour run, so the fastest
/// ones are those that nobody disturbed.
const SLICE: u64 = 1_280;
const SLICES: u64 = 240;

/// Nanoseconds, messages and questions for a vote per operation of `work`, which is told which batch it is.
fn measure(cluster: &mut Cluster, mut work: impl FnMut(&mut Cluster, u64)) -> [f64; 3] {
    let before = (cluster.done, cluster.messages, cluster.prepares);
    let (mut times, mut batch) = (Vec::new(), 0);
    for slice in 1..=SLICES {
        let start = nanos();
        while cluster.done < before.0 + slice * SLICE {
            work(cluster, batch);
            batch += 1;
        }
        times.push((nanos() - start) / SLICE as f64);
    }
    let counts = (cluster.messages - before.1, cluster.prepares - before.2);
    let done = (SLICES * SLICE) as f64;
    cluster.idle(cluster.now + 10_000_000, |wake| wake());
    times.sort_by(f64::total_cmp);
    [times[times.len() / 20], counts.0 as f64 / done, counts.1 as f64 / done]
}

fn release(cluster: &mut Cluster, key: &Name, step: u32) {
    cluster.act(key, Action::Release { id: key.id(step), owner: Owner::default() });
}

/// Locks and releases all keys, `BATCH` at a time.
fn cycle(cluster: &mut Cluster, keys: &[Name], batch: u64) {
    let start = usize::try_from(batch).expect("small") * BATCH % keys.len();
    let round = u32::try_from(usize::try_from(batch).expect("small") * BATCH / keys.len());
    let step = round.expect("small") * 1_000;
    for key in &keys[start..start + BATCH] {
        cluster.lock(key, step, LEASE);
    }
    cluster.settle();
    for key in &keys[start..start + BATCH] {
        release(cluster, key, step + 1);
    }
    cluster.settle();
}

fn report(record: &mut Record, name: &str, [nanos, messages, prepares]: [f64; 3]) {
    let votes = prepares / 2.0;
    let note = format!(
        "{:>9.0} ops/s, {messages:.2} messages, {:.0} % in one round trip",
        1e9 / nanos,
        (1.0 - votes) * 100.0
    );
    // New keys come from far memory, the same few do not.
    let kind = if name.contains("new keys") { Kind::Memory } else { Kind::Time };
    record.add(name, kind, nanos, &note);
    record.add(&format!("{name}: messages"), Kind::Count, messages, "");
}

fn main() {
    // `cargo bench --bench operations -- read` measures only what has "read" in its name.
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    let mut record = Record::new();
    let few: Vec<Name> = (0..64).map(Name::new).collect();
    let many: Vec<Name> = (0..204_800).map(Name::new).collect();
    for (wire, how) in [(false, "by value"), (true, "as bytes")] {
        let mut run = |name: &str, work: &mut dyn FnMut(&mut Cluster, u64)| {
            let name = format!("{name}, {how}");
            if wanted.as_ref().is_none_or(|wanted| name.contains(wanted.as_str())) {
                let mut cluster = Cluster::new(wire);
                few.iter().for_each(|key| cluster.lock(key, 0, LEASE));
                cluster.settle();
                few.iter().for_each(|key| release(&mut cluster, key, 1));
                cluster.settle();
                let figures = measure(&mut cluster, work);
                report(&mut record, &name, figures);
            }
        };
        run("lock, release, same 64 keys", &mut |cluster, batch| cycle(cluster, &few, batch + 1));
        run("lock, release, new keys", &mut |cluster, batch| cycle(cluster, &many, batch + 1));
        run("extend, same 64 keys", &mut |cluster, batch| {
            let step = u32::try_from(batch).expect("small");
            if step == 0 {
                few.iter().for_each(|key| cluster.lock(key, 1_000, LEASE));
                cluster.settle();
            }
            few.iter().for_each(|key| cluster.extend(key, step + 1_001));
            cluster.settle();
        });
        run("read", &mut |cluster, _| {
            few.iter().for_each(|key| cluster.act(key, Action::Read));
            cluster.settle();
        });
    }
    record.finish();
}
