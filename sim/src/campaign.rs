//! Campaigns: many seeds on several threads, whose result does not depend on how many.
//!
//! Threads take chunks of seeds in order; their tallies are added up in order, too, so that a campaign always stands for
//! "all seeds up to here". That is what its state is: it can be written down between any two chunks, and resumed in
//! another process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::dice::mix;
use crate::focus::Focus;
use crate::report::Tally;
use crate::run::run_focused;

/// Seeds that a thread takes at a time.
const CHUNK: u64 = 16;

/// One seed of so many is run twice, and must be the same run.
const TWICE: u64 = 128;

/// How often whoever waits is told how far a campaign is.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// Seeds whose traces tell one build from another.
const FINGERS: u64 = 6;

/// Which seeds to run, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The first seed.
    pub first: u64,
    /// The seed after the last.
    pub end: u64,
    /// What the draw is biased towards.
    pub focus: Focus,
    /// When to stop at the latest.
    pub time: Option<Duration>,
    /// How many threads.
    pub jobs: usize,
    /// Whether to stop at the first violation.
    pub until_bad: bool,
}

/// A campaign between two chunks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// What seeds mean in the build that began it.
    pub build: String,
    /// The first seed.
    pub first: u64,
    /// The seed after the last.
    pub end: u64,
    /// The first seed that has not been run.
    pub next: u64,
    /// What the draw is biased towards.
    pub focus: String,
    /// How long it has run, in milliseconds.
    pub millis: u64,
    /// For how long its threads have used a processor, in microseconds: on a busy machine that is less.
    pub worked: u64,
    /// What came of it so far.
    pub tally: Tally,
}

impl State {
    /// A campaign that has not begun.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self {
            build: fingerprint(plan.focus),
            first: plan.first,
            end: plan.end,
            next: plan.first,
            focus: plan.focus.name().to_owned(),
            millis: 0,
            worked: 0,
            tally: Tally::default(),
        }
    }

    /// The campaign that was written down in `text`.
    ///
    /// # Errors
    ///
    /// It is none, or one of another build, in which seeds mean something else.
    pub fn parse(text: &str) -> Result<(Self, Focus), String> {
        let state: Self = serde_json::from_str(text)
            .map_err(|error| format!("no state of a campaign: {error}"))?;
        let focus = Focus::named(&state.focus)
            .ok_or_else(|| format!("no focus is called `{}` in this build", state.focus))?;
        if state.build != fingerprint(focus) {
            return Err(
                "the campaign was begun by another build, in which the same seeds are other \
                        runs; begin a new one, or resume it with that build"
                    .to_owned(),
            );
        }
        Ok((state, focus))
    }

    /// Whether all seeds have been run.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.next >= self.end
    }
}

/// What the first seeds come to: another build that draws or acts differently has another one.
fn fingerprint(focus: Focus) -> String {
    let hashes = (0..FINGERS).map(|seed| run_focused(seed, focus).hash);
    format!("{:016x}", hashes.fold(0, |sum, hash| mix(sum ^ hash)))
}

/// Runs `plan` from where `state` is, and tells `told` now and then how far it is.
///
/// `told` gets the state and the time since this call.
#[expect(clippy::disallowed_methods, reason = "a campaign takes real time; no run ever sees it")]
pub fn run(plan: &Plan, state: &mut State, mut told: impl FnMut(&State, Duration)) {
    let begun = Instant::now();
    let before = state.millis;
    let start = state.next;
    let next = AtomicU64::new(start);
    let stop = AtomicBool::new(false);
    let (sender, chunks) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..plan.jobs {
            let (sender, next, stop) = (sender.clone(), &next, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed)
                    && plan.time.is_none_or(|time| begun.elapsed() < time)
                {
                    let first = next.fetch_add(CHUNK, Ordering::Relaxed);
                    if first >= plan.end {
                        break;
                    }
                    let before = thread_time();
                    let tally = chunk(plan, first);
                    let worked = thread_time().saturating_sub(before);
                    if sender.send((first, tally, worked)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        let mut last = Duration::ZERO;
        for (first, tally, worked) in chunks {
            state.worked += worked;
            early.insert(first, tally);
            while !stop.load(Ordering::Relaxed)
                && let Some(tally) = early.remove(&state.next)
            {
                state.next = plan.end.min(state.next + CHUNK);
                state.tally.absorb(tally);
                if plan.until_bad && state.tally.violations > 0 {
                    stop.store(true, Ordering::Relaxed);
                }
            }
            let now = begun.elapsed();
            if now > last + TELL_EVERY {
                last = now;
                state.millis = before + millis(now);
                told(state, now);
            }
        }
    });
    state.millis = before + millis(begun.elapsed());
    told(state, begun.elapsed());
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// For how long this thread has used a processor, in microseconds.
fn thread_time() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let micros = time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1_000);
    u64::try_from(micros).unwrap_or(0)
}

/// Runs one chunk of seeds.
fn chunk(plan: &Plan, first: u64) -> Tally {
    let mut tally = Tally::default();
    for seed in first..plan.end.min(first + CHUNK) {
        let report = run_focused(seed, plan.focus);
        if seed.is_multiple_of(TWICE) {
            tally.compare(&report, &run_focused(seed, plan.focus));
        }
        tally.add(&report);
        if plan.until_bad && tally.violations > 0 {
            break;
        }
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(end: u64, jobs: usize) -> Plan {
        Plan { first: 3, end, focus: Focus::Everything, time: None, jobs, until_bad: false }
    }

    fn whole(plan: &Plan) -> Tally {
        let mut state = State::new(plan);
        run(plan, &mut state, |_, _| {});
        assert!(state.is_over());
        state.tally
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let one = whole(&plan(80, 1));
        assert_eq!(one.seeds, 77);
        assert_eq!(one, whole(&plan(80, 3)));
    }

    #[test]
    fn a_campaign_goes_on_where_it_was_left() {
        let mut state = State::new(&plan(60, 2));
        run(&Plan { end: 35, ..plan(60, 2) }, &mut state, |_, _| {});
        assert!(!state.is_over());
        let text = serde_json::to_string(&state).expect("a state can be written");
        let (mut state, _) = State::parse(&text).expect("this build wrote it");
        run(&plan(60, 1), &mut state, |_, _| {});
        assert_eq!(state.tally, whole(&plan(60, 2)));
    }

    #[test]
    fn a_campaign_of_another_build_is_refused() {
        let mut state = State::new(&plan(60, 2));
        state.build = "0".to_owned();
        let text = serde_json::to_string(&state).expect("a state can be written");
        assert!(
            State::parse(&text).expect_err("seeds mean something else").contains("another build")
        );
        assert!(State::parse("{").is_err());
    }
}
