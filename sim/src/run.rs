//! Runs of one seed, or of one scenario.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crate::film::Film;
use crate::focus::Focus;
use crate::history::History;
use crate::report::Report;
use crate::scenario::Scenario;
use crate::world::World;

/// Runs one seed.
#[must_use]
pub fn run_seed(seed: u64) -> Report {
    run(&Scenario::draw(seed), Look::default()).report
}

/// Runs one seed whose draw is biased.
#[must_use]
pub fn run_focused(seed: u64, focus: Focus) -> Report {
    run(&Scenario::focused(seed, focus), Look::default()).report
}

/// Runs one seed and tells what happened, line by line, with the verdict at the end.
#[must_use]
pub fn replay(seed: u64, focus: Focus) -> (Report, String) {
    let run = run(&Scenario::focused(seed, focus), Look { trace: true, ..Look::default() });
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
    /// Whether to leave out the search for an order of the operations: it is asked for something else.
    pub hasty: bool,
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
    world.hasty = look.hasty;
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
    let focus = plan.focus;
    let report = Report { seed, focus, profile, events, simulated: now, hash, counts, violations };
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
