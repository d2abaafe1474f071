//! What an event, a seed and a verdict of the simulator cost, next to what was recorded in `baseline.txt`.
//!
//! `cargo bench -p leasehold-sim` prints each figure with its ratio to the recorded one, scaled by two yardsticks that
//! are measured along with it; `-- --record` writes a new baseline.

#![expect(clippy::print_stdout, clippy::expect_used, reason = "a benchmark prints")]
#![expect(clippy::indexing_slicing, reason = "the yardstick's table is as long as it says")]
#![expect(clippy::cast_precision_loss, reason = "figures to be read by people")]

#[expect(dead_code, reason = "nothing here waits for far memory")]
#[path = "../../core/benches/cluster/record.rs"]
mod record;

use std::hint::black_box;
use std::ops::Range;

use leasehold_sim::check::linear;
use leasehold_sim::dice::{Dice, Stream};
use leasehold_sim::focus::Focus;
use leasehold_sim::queue::Queue;
use leasehold_sim::run::{Look, run};
use leasehold_sim::scenario::Scenario;
use mimalloc::MiMalloc;
use record::{Kind, Record, nanos};

/// As in the simulator itself.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// How often the same is done. The fastest time is the one that nobody disturbed.
const TIMES: u32 = 12;

/// What the fastest of several runs of `work` took.
fn fastest(mut work: impl FnMut()) -> f64 {
    let mut least = f64::INFINITY;
    for _ in 0..TIMES {
        let start = nanos();
        work();
        least = least.min(nanos() - start);
    }
    least
}

/// Nanoseconds of an event, and events of a seed, of each seed's fastest run.
fn seeds(record: &mut Record, focus: Focus, seeds: Range<u64>) {
    let (mut time, mut events) = (0.0, 0);
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let plan = Scenario::focused(seed, focus);
        let mut happened = 0;
        time += fastest(|| happened = run(&plan, Look::default()).report.events);
        events += happened;
    }
    let per_event = time / events as f64;
    let note = format!("{:.2} million events/s", 1e3 / per_event);
    record.add(&format!("an event, ns, {}", focus.name()), Kind::Time, per_event, &note);
    let per_seed = events as f64 / count as f64;
    record.add(&format!("events of a seed, {}", focus.name()), Kind::Count, per_seed, "");
}

/// Nanoseconds of an operation for which a place in the order is found.
fn orders(record: &mut Record) {
    let (mut time, mut ordered) = (0.0, 0);
    for seed in 0..48 {
        let history = run(&Scenario::draw(seed), Look::default()).history;
        let keys = history.ops.iter().map(|op| op.key).max().map_or(0, |last| last + 1);
        for key in 0..keys {
            let of_key: Vec<usize> =
                (0..history.ops.len()).filter(|op| history.ops[*op].key == key).collect();
            let mut judged = 0;
            let search = fastest(|| {
                if let linear::Judgement::Fits(count) =
                    linear::check(&history.ops, &of_key, &mut Vec::new())
                {
                    judged = count;
                }
            });
            if judged > 0 {
                time += search;
                ordered += judged;
            }
        }
    }
    record.add("an operation put in order, ns", Kind::Time, time / ordered as f64, "");
}

/// Nanoseconds to put something into the queue and to take it out, with a hundred things in it.
fn queue(record: &mut Record) {
    const STEPS: u64 = 100_000;
    let mut roll = Dice::new(1).roll(Stream::Scenario, 0);
    let mut queue = Queue::default();
    (0..100).for_each(|_| queue.push(roll.below(1_000_000), [0_u64; 4]));
    let time = fastest(|| {
        for _ in 0..STEPS {
            let (now, thing) = queue.pop().expect("as many go in as come out");
            queue.push(now + roll.below(1_000_000), black_box(thing));
        }
    });
    record.add("in and out of the queue, ns", Kind::Time, time / STEPS as f64, "");
}

fn main() {
    let mut record = Record::new();
    seeds(&mut record, Focus::Everything, 0..96);
    seeds(&mut record, Focus::Membership, 0..16);
    seeds(&mut record, Focus::Votes, 0..16);
    orders(&mut record);
    queue(&mut record);
    record.finish();
}
