//! Runs: one seed, or a campaign of many on several threads.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::film::Film;
use crate::history::History;
use crate::report::{Report, Tally};
use crate::scenario::Scenario;
use crate::world::World;

/// Runs one seed.
#[must_use]
pub fn run_seed(seed: u64) -> Report {
    run(&Scenario::draw(seed), Look::default()).report
}

/// Runs one seed and tells what happened, line by line, with the verdict at the end.
#[must_use]
pub fn replay(seed: u64) -> (Report, String) {
    let run = run(&Scenario::draw(seed), Look { trace: true, ..Look::default() });
    (run.report, run.text)
}

/// How closely a run is looked at. That changes nothing about the run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// Whether to tell what happened, line by line.
    pub trace: bool,
    /// Whether to keep what a script is made of.
    pub film: bool,
    /// Whether to keep what a picture is made of.
    pub picture: bool,
}

/// What came of a run.
#[derive(Debug)]
pub struct Run {
    /// The verdict.
    pub report: Report,
    /// What happened, line by line, if that was wanted.
    pub text: String,
    /// What it looked like, if that was wanted.
    pub film: Option<Box<Film>>,
    /// What was asked, answered and believed.
    pub history: History,
}

/// Runs a scenario, drawn or written.
#[must_use]
pub fn run(plan: &Scenario, look: Look) -> Run {
    let mut world = World::new(plan, look.trace);
    if look.film || look.picture {
        let lanes = plan.nodes() + plan.clients.len();
        world.film = Some(Box::new(Film::new(look.picture, lanes)));
    }
    listen_to_panics();
    LISTENING.with_borrow_mut(|said| *said = Some(String::new()));
    let end = catch_unwind(AssertUnwindSafe(|| world.run()));
    let said = LISTENING.with_borrow_mut(Option::take).unwrap_or_default();
    if end.is_err() {
        world.violate("a panic", said);
        world.film_ends();
    }
    let World { now, events, counts, violations, trace, film, history, .. } = world;
    let (seed, hash, profile) = (plan.seed, trace.hash(), plan.profile.name());
    let report = Report { seed, profile, events, simulated: now, hash, counts, violations };
    let mut text = trace.into_text();
    if look.trace {
        text = format!("{plan:#?}\n{text}{}\n", report.verdict());
    }
    Run { report, text, film, history }
}

thread_local! {
    /// What a panic of the run on this thread said.
    static LISTENING: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Panics of a run become violations; all others are shown as ever.
fn listen_to_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let heard = LISTENING.with_borrow_mut(|said| {
                said.as_mut().map(|said| *said = panic.to_string().replace('\n', " "))
            });
            if heard.is_none() {
                usual(panic);
            }
        }));
    });
}

/// Which seeds to run, and for how long.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// The first seed.
    pub first: u64,
    /// The seed after the last.
    pub end: u64,
    /// When to stop at the latest.
    pub time: Option<Duration>,
    /// How many threads.
    pub jobs: usize,
    /// Whether to stop at the first violation.
    pub until_bad: bool,
}

/// Seeds that a thread takes at a time.
const CHUNK: u64 = 16;

/// What came of a campaign, and how long it took.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "a campaign takes real time; no run ever sees it")]
pub fn campaign(campaign: &Campaign, progress: impl Fn(u64, Duration) + Sync) -> (Tally, Duration) {
    let begun = Instant::now();
    let next = AtomicU64::new(campaign.first);
    let finished = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let work = |reports: bool| {
        let mut tally = Tally::default();
        let mut told = Duration::ZERO;
        while !stop.load(Ordering::Relaxed) {
            let first = next.fetch_add(CHUNK, Ordering::Relaxed);
            if first >= campaign.end || campaign.time.is_some_and(|time| begun.elapsed() > time) {
                break;
            }
            for seed in first..campaign.end.min(first + CHUNK) {
                tally.add(run_seed(seed));
                finished.fetch_add(1, Ordering::Relaxed);
                if campaign.until_bad && !tally.bad.is_empty() {
                    stop.store(true, Ordering::Relaxed);
                    break;
                }
            }
            if reports && begun.elapsed() > told + Duration::from_secs(2) {
                told = begun.elapsed();
                progress(finished.load(Ordering::Relaxed), told);
            }
        }
        tally
    };
    let mut tally = Tally::default();
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..campaign.jobs).map(|_| scope.spawn(|| work(false))).collect();
        tally.absorb(work(true));
        for other in others {
            match other.join() {
                Ok(theirs) => tally.absorb(theirs),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    tally.bad.sort_by_key(|report| report.seed);
    (tally, begun.elapsed())
}
