//! Figures, next to those that were recorded in `baseline.txt`.
//!
//! Nanoseconds mean little on another machine, or next to other neighbours. So every run measures two yardsticks of its own, one of
//! arithmetic and one of memory, and the recorded figure is scaled by them before it is compared: 1.00 is as it was, 1.30 is
//! 30 % more time or bytes.

use std::fmt::Write;
use std::hint::black_box;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant as Clock;

const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/baseline.txt");
/// What a yardstick's name starts with.
const YARDSTICK: &str = "yardstick";

/// How a figure changes with the machine.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nanoseconds, mostly spent in caches near the processor.
    Time,
    /// Nanoseconds, mostly spent waiting for memory.
    Memory,
    /// Bytes or a count: the same everywhere.
    Count,
}

/// The figures of a run.
pub(crate) struct Record {
    baseline: Vec<(String, f64)>,
    figures: Vec<(String, f64)>,
    scales: [f64; 2],
    /// Nanoseconds of a read of far memory.
    pub(crate) memory: f64,
}

impl Record {
    /// Measures the yardsticks.
    pub(crate) fn new() -> Self {
        let text = std::fs::read_to_string(BASELINE).unwrap_or_default();
        let parse = |line: &str| {
            let (name, figure) = line.rsplit_once(' ')?;
            Some((name.trim().to_owned(), figure.parse().ok()?))
        };
        let baseline = text.lines().filter_map(parse).collect();
        let mut record = Self { baseline, figures: Vec::new(), scales: [1.0; 2], memory: 1.0 };
        let names = [" (arithmetic)", " (memory)"].map(|name| format!("{YARDSTICK}{name}"));
        for ((name, figure), place) in names.into_iter().zip([arithmetic(), memory()]).zip(0..) {
            record.scales[place] = record.before(&name).map_or(1.0, |before| figure / before);
            println!("{name:<44} {figure:>10.1} ns");
            record.figures.push((name, figure));
            record.memory = figure;
        }
        record
    }

    fn before(&self, name: &str) -> Option<f64> {
        self.baseline.iter().find(|(other, _)| other == name).map(|&(_, figure)| figure)
    }

    /// Prints a figure with its ratio to the recorded one.
    pub(crate) fn add(&mut self, name: &str, kind: Kind, figure: f64, note: &str) {
        let scale = match kind {
            Kind::Time => self.scales[0],
            Kind::Memory => self.scales[1],
            Kind::Count => 1.0,
        };
        let ratio = self.before(name).map_or(f64::NAN, |before| figure / (before * scale));
        println!("{name:<44} {figure:>10.1} {ratio:>6.2} x recorded   {note}");
        self.figures.push((name.to_owned(), figure));
    }

    /// Writes the figures of this run in place of those of the same names, if the command line says `--record`.
    pub(crate) fn finish(self) {
        if !std::env::args().any(|arg| arg == "--record") {
            return;
        }
        let mut all = self.baseline;
        for (name, figure) in self.figures {
            match all.iter_mut().find(|(other, _)| *other == name) {
                Some((_, before)) => *before = figure,
                None => all.push((name, figure)),
            }
        }
        let mut text = String::new();
        for (name, figure) in all {
            writeln!(text, "{name:<44} {figure:.1}").expect("memory takes text");
        }
        std::fs::write(BASELINE, text).expect("the baseline can be written");
        println!("recorded in {BASELINE}");
    }
}

/// Nanoseconds since the first call.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub(crate) fn nanos() -> f64 {
    static START: OnceLock<Clock> = OnceLock::new();
    START.get_or_init(Clock::now).elapsed().as_nanos() as f64
}

/// The least of several measurements, in nanoseconds per step.
fn least(steps: u32, mut work: impl FnMut()) -> f64 {
    let run = |_| {
        let start = nanos();
        work();
        (nanos() - start) / f64::from(steps)
    };
    (0..200).map(run).fold(f64::INFINITY, f64::min)
}

/// Rotations and additions, each waiting for the one before, a hundred a step.
fn arithmetic() -> f64 {
    least(5_000, || {
        let mut state = black_box(7_u64);
        for step in 0..5_000 * 100_u64 {
            state = (state ^ step).rotate_left(13).wrapping_add(state);
        }
        black_box(state);
    })
}

/// Reads in a table of 600 MB, each at a place that the one before it tells: what a cache miss costs, with the miss of the
/// address translation that comes with it.
fn memory() -> f64 {
    // Another way through the table each time.
    static START: AtomicU64 = AtomicU64::new(1);
    let places = 600_000_000 / 8_u64;
    let table: Vec<u64> =
        (0..places).map(|place| place.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
    least(2_000, || {
        let mut place = black_box(START.fetch_add(77, Ordering::Relaxed));
        for _ in 0..2_000 {
            let next = usize::try_from(place % places).expect("it fits");
            place = place.rotate_left(17) ^ table[next];
        }
        black_box(place);
    })
}
