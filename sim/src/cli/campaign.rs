//! Campaigns: what is run, how far it is, and what came of it.

use std::fs;
use std::io::{self, Write};
use std::num::NonZero;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use leasehold_sim::campaign::{self, Plan, State};
use leasehold_sim::focus::Focus;
use leasehold_sim::report::thousandths;
use serde_json::Value;

/// How often the state of a campaign is written down, and how often a line says how far it is where there is no terminal.
const KEEP_EVERY: Duration = Duration::from_secs(10);
const SAY_EVERY: Duration = Duration::from_secs(30);

/// What a campaign exits with that proves nothing.
const WORTH_NOTHING: u8 = 3;

#[derive(Args)]
pub(crate) struct Run {
    /// The seeds to run, the last one excluded; 0..10000 unless given.
    #[arg(long, value_name = "A..B", value_parser = super::seeds)]
    seeds: Option<Range<u64>>,
    /// Stop after so long, such as `60s` or `5m`. Without `--seeds`, the seeds are fresh ones.
    #[arg(long = "for", value_name = "TIME", value_parser = super::duration)]
    time: Option<Duration>,
    /// Threads; as many as there are cores unless given. The result does not depend on it.
    #[arg(long)]
    jobs: Option<NonZero<usize>>,
    /// Bias the seeds towards a mechanism, such as `membership` or `drift`.
    #[arg(long, value_name = "NAME", value_parser = super::focus, default_value = "everything")]
    focus: Focus,
    /// Keep the state of the campaign in this file, for `resume`.
    #[arg(long, value_name = "FILE", conflicts_with = "without")]
    state: Option<PathBuf>,
    /// Take this rule out, and stop at the first violation.
    #[arg(long, value_name = "RULE", value_parser = super::rule)]
    pub(crate) without: Option<&'static str>,
}

#[derive(Args)]
pub(crate) struct Resume {
    /// The file that `run --state` keeps.
    state: PathBuf,
    /// Stop after so long.
    #[arg(long = "for", value_name = "TIME", value_parser = super::duration)]
    time: Option<Duration>,
    /// Threads; as many as there are cores unless given.
    #[arg(long)]
    jobs: Option<NonZero<usize>>,
}

/// Begins a campaign.
pub(crate) fn run(run: &Run) -> io::Result<ExitCode> {
    if let Some(path) = run.state.as_deref().filter(|path| path.exists()) {
        let path = path.display();
        return Err(io::Error::other(format!(
            "{path} exists: go on with `resume {path}`, or remove it to begin anew"
        )));
    }
    let range = run.seeds.clone().unwrap_or_else(|| match run.time {
        // Fresh seeds: a range of its own for every process and second.
        Some(_) => fresh_seed()..u64::MAX,
        None => 0..10_000,
    });
    let plan = Plan {
        first: range.start,
        end: range.end,
        focus: run.focus,
        time: run.time,
        jobs: super::threads(run.jobs),
        until_bad: run.without.is_some(),
    };
    go_on(&plan, State::new(&plan), run.state.as_deref(), run.without)
}

/// Goes on with a campaign.
pub(crate) fn resume(resume: &Resume) -> io::Result<ExitCode> {
    let text = fs::read_to_string(&resume.state)?;
    let wrong = |error| io::Error::other(format!("{}: {error}", resume.state.display()));
    let (state, focus) = State::parse(&text).map_err(wrong)?;
    let plan = Plan {
        first: state.first,
        end: state.end,
        focus,
        time: resume.time,
        jobs: super::threads(resume.jobs),
        until_bad: false,
    };
    go_on(&plan, state, Some(&resume.state), None)
}

fn go_on(
    plan: &Plan,
    mut state: State,
    path: Option<&Path>,
    without: Option<&str>,
) -> io::Result<ExitCode> {
    let bar = progress_bar(plan, &state);
    let (mut kept, mut said) = (Duration::ZERO, Duration::ZERO);
    let mut failed = Ok(());
    campaign::run(plan, &mut state, |state, now| {
        bar.set_position(state.tally.seeds);
        bar.set_message(format!("{} violations", state.tally.violations));
        if let Some(path) = path.filter(|_| now > kept + KEEP_EVERY) {
            kept = now;
            failed = keep(path, state);
        }
        if bar.is_hidden() && now > said + SAY_EVERY {
            said = now;
            let (seeds, bad) = (state.tally.seeds, state.tally.violations);
            let _shown = writeln!(io::stderr(), "{seeds} seeds, {bad} violations");
        }
    });
    bar.finish_and_clear();
    if let Some(path) = path {
        failed = keep(path, &state);
    }
    failed?;
    tell(&state, without)
}

/// Shown on a terminal only.
fn progress_bar(plan: &Plan, state: &State) -> ProgressBar {
    let (bar, shape) = if plan.end == u64::MAX {
        (ProgressBar::new_spinner(), "{spinner} {pos} seeds in {elapsed}, {per_sec}, {msg}")
    } else {
        let bar = ProgressBar::new(plan.end - plan.first).with_position(state.tally.seeds);
        (bar, "{wide_bar} {pos}/{len} seeds, {per_sec}, {eta} to go, {msg}")
    };
    match ProgressStyle::with_template(shape) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Writes the state beside the old one, so that a crash leaves one of the two.
fn keep(path: &Path, state: &State) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    fs::write(&beside, serde_json::to_vec(state)?)?;
    fs::rename(&beside, path)
}

fn tell(state: &State, without: Option<&str>) -> io::Result<ExitCode> {
    let mut stderr = io::stderr();
    let tally = &state.tally;
    for bad in &tally.bad {
        writeln!(stderr, "{}\n  replay it with: {}", bad.verdict, bad.replay_line)?;
    }
    if let (Some(rule), Some(first)) = (without, tally.bad.first()) {
        let (seeds, seed) = (tally.seeds, first.seed);
        writeln!(stderr, "without {rule}: red at seed {seed}, after {seeds} seeds")?;
    }
    let vacuous = tally.vacuous();
    for why in &vacuous {
        writeln!(stderr, "this campaign is WORTH NOTHING: {why}")?;
    }
    let mut json = tally.json();
    let mut put = |name: &str, value: Value| json.insert(name.to_owned(), value);
    put("first_seed", state.first.into());
    put("next_seed", state.next.into());
    put("focus", state.focus.as_str().into());
    put("without", without.into());
    put("build", state.build.as_str().into());
    put("seconds", thousandths(state.millis, 1_000));
    put("cpu_seconds", thousandths(state.worked, 1_000_000));
    put("events_per_second", thousandths(tally.events * 1_000, state.millis));
    put("events_per_cpu_second", thousandths(tally.events * 1_000_000, state.worked));
    put("seeds_per_minute", thousandths(tally.seeds * 60_000, state.millis));
    // Both are microseconds.
    let hours = thousandths(tally.simulated / 3_600, state.worked);
    put("simulated_hours_per_cpu_second", hours);
    writeln!(io::stdout(), "{}", Value::Object(json))?;
    Ok(if !tally.bad.is_empty() {
        ExitCode::FAILURE
    } else if vacuous.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(WORTH_NOTHING)
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "fresh seeds come from the time of day; no run sees it"
)]
fn fresh_seed() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |time| time.as_secs()) << 24 | u64::from(std::process::id() & 0xff) << 16
}
