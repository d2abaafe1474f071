//! Many seeds, each in a process of its own: what tokio draws lots with is one set of dice for a whole process, and only a new
//! one makes the same seed the same run.
//!
//! The test starts itself again for every seed, which is also how people replay one. What the parent must know of it is in
//! lines that begin with `@`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use crate::plan::Plan;
use crate::record::lock;
use crate::world;

/// Seeds of a campaign that was told nothing else.
const SEEDS: Range<u64> = 0..200;
/// One seed in so many is run twice, to see whether it is the same run.
const TWICE: u64 = 16;
/// A campaign of so many seeds, and more, in which one of [`NEEDED`] never happens is worth nothing.
const ENOUGH: u64 = 100;
const NEEDED: &[&str] = &[
    "bad disks",
    "cancelled",
    "crashes",
    "crashes of several",
    "cuts",
    "dead disks",
    "expired beliefs",
    "extensions",
    "keys probed",
    "locks",
    "losses",
    "lost disks",
    "not done",
    "operations put in order",
    "pairs of beliefs judged",
    "pauses",
    "reads",
    "refusals",
    "releases",
    "repeated answers",
    "replaced nodes",
    "second opinions",
    "slow networks",
    "stops",
    "tokens judged",
    "unknown outcomes",
    "updates",
    "waited locks",
];

/// Runs the seed or the seeds that the environment names.
///
/// # Panics
///
/// If one is red.
pub fn run() {
    if let Some(seed) = variable("LEASEHOLD_SEED") {
        let seed = seed.parse().unwrap_or_else(|_| panic!("LEASEHOLD_SEED={seed} is no number"));
        return one(seed);
    }
    let seeds = variable("LEASEHOLD_SEEDS").map_or(SEEDS, |text| {
        let ends = text
            .split_once("..")
            .and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
        let (from, to) = ends.unwrap_or_else(|| panic!("LEASEHOLD_SEEDS={text}: write FROM..TO"));
        from..to
    });
    many(seeds);
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// One seed, in this process.
fn one(seed: u64) {
    if variable("RUST_LOG").is_some() {
        madsim::runtime::init_logger();
    }
    println!("{:#?}", Plan::draw(seed));
    // A thread that has made no hash map yet: the standard library's take their seed once for each thread.
    let record = match thread::spawn(move || world::run(seed)).join() {
        Ok(record) => record,
        Err(panic) => std::panic::resume_unwind(panic),
    };
    let record = lock(&record);
    for (mark, count) in &record.marks {
        println!("@ mark {count} {mark}");
    }
    for violation in &record.violations {
        println!("@ red {}: {}", violation.rule, violation.story);
    }
    println!("@ hash {:016x}", record.hash());
    // Guards and connections of the run are not taken apart: they would look for its runtime.
    std::process::exit(i32::from(!record.violations.is_empty()));
}

/// What came of a seed.
#[derive(Debug, Default)]
struct Verdict {
    hash: Option<String>,
    red: Vec<String>,
    marks: Vec<(String, u64)>,
}

impl Verdict {
    fn of(output: &Output) -> Self {
        let mut verdict = Self::default();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let Some(line) = line.strip_prefix("@ ") else { continue };
            if let Some(hash) = line.strip_prefix("hash ") {
                verdict.hash = Some(hash.to_owned());
            } else if let Some(red) = line.strip_prefix("red ") {
                verdict.red.push(red.to_owned());
            } else if let Some((count, mark)) =
                line.strip_prefix("mark ").and_then(|mark| mark.split_once(' '))
            {
                verdict.marks.push((mark.to_owned(), count.parse().unwrap_or(0)));
            }
        }
        if verdict.hash.is_none() {
            let said = String::from_utf8_lossy(&output.stderr);
            let panic = said.lines().skip_while(|line| !line.contains("panicked at"));
            verdict.red.push(format!("a panic: {}", panic.take(2).collect::<Vec<_>>().join(" ")));
        }
        verdict
    }
}

/// One seed, in a process of its own.
fn apart(seed: u64) -> Verdict {
    let program = std::env::current_exe().unwrap_or_else(|error| panic!("no program: {error}"));
    let mut command = Command::new(program);
    command.args(["--exact", "seeds", "--nocapture", "--test-threads=1"]);
    command.env("LEASEHOLD_SEED", seed.to_string()).env("RUST_BACKTRACE", "0").stdin(Stdio::null());
    let output = command.output().unwrap_or_else(|error| panic!("it does not start: {error}"));
    Verdict::of(&output)
}

/// Many seeds, on all processors.
fn many(seeds: Range<u64>) {
    let begun = now();
    let next = AtomicU64::new(seeds.start);
    let found: Mutex<BTreeMap<u64, Verdict>> = Mutex::default();
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let mut verdict = apart(seed);
            if seed.is_multiple_of(TWICE) && apart(seed).hash != verdict.hash {
                verdict.red.push("the same seed is the same run: it is not".into());
            }
            for red in &verdict.red {
                println!("seed {seed}: {red}");
                println!("  replay it with LEASEHOLD_SEED={seed} cargo simnet -- --nocapture");
            }
            if let Ok(mut found) = found.lock() {
                found.insert(seed, verdict);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let found = found.into_inner().unwrap_or_default();
    let took = now().duration_since(begun).as_secs_f64();
    let mut marks: BTreeMap<String, u64> = BTreeMap::new();
    for (mark, count) in found.values().flat_map(|verdict| &verdict.marks) {
        *marks.entry(mark.clone()).or_default() += count;
    }
    for (mark, count) in &marks {
        println!("{count:>9} {mark}");
    }
    let (count, red) =
        (found.len(), found.values().filter(|verdict| !verdict.red.is_empty()).count());
    let rate = f64::from(u32::try_from(count).unwrap_or(0)) / took * 60.0;
    println!("{count} seeds, {red} red, {took:.1} s, {rate:.0} seeds a minute");
    assert_eq!(red, 0, "some seeds are red");
    if seeds.end - seeds.start >= ENOUGH {
        let never: Vec<_> = NEEDED.iter().filter(|mark| !marks.contains_key(**mark)).collect();
        assert!(never.is_empty(), "worth nothing, for this never happened: {never:?}");
    }
}

#[expect(clippy::disallowed_methods, reason = "how long a campaign took is for people")]
fn now() -> Instant {
    Instant::now()
}
