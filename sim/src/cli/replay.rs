//! `replay` and `shrink`: one run, drawn from a seed or read from a file.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use leasehold_sim::focus::Focus;
use leasehold_sim::picture;
use leasehold_sim::run::{Look, run};
use leasehold_sim::scenario::Scenario;
use leasehold_sim::shrink;
use leasehold_sim::written::{self, Written};

use super::faults::with_rule_out;
use super::{focus, rule};

/// `replay`.
#[derive(Args)]
pub(crate) struct Replay {
    /// A seed, or the file of a scenario. A scenario that is about a rule is run without it.
    #[arg(value_name = "SEED|FILE")]
    what: String,
    /// What the draw of the seed was biased towards, if it was.
    #[arg(long, value_name = "NAME", value_parser = focus, default_value = "everything")]
    focus: Focus,
    /// Where to write the trace; standard output unless given.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Where to draw a picture of the run.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Take this rule out.
    #[arg(long, value_name = "RULE", value_parser = rule, conflicts_with = "all_rules")]
    without: Option<&'static str>,
    /// Keep all rules, also the one that a scenario is about.
    #[arg(long)]
    all_rules: bool,
}

/// `shrink`.
#[derive(Args)]
pub(crate) struct Shrink {
    /// A seed, or the file of a scenario.
    #[arg(value_name = "SEED|FILE")]
    what: String,
    /// What the draw of the seed was biased towards, if it was.
    #[arg(long, value_name = "NAME", value_parser = focus, default_value = "everything")]
    focus: Focus,
    /// Where to write the scenario; standard output unless given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Take this rule out.
    #[arg(long, value_name = "RULE", value_parser = rule)]
    without: Option<&'static str>,
}

/// What is to be run: its name, and itself.
struct Subject {
    title: String,
    without: Option<&'static str>,
    plan: Scenario,
}

fn subject(what: &str, focus: Focus) -> io::Result<Subject> {
    if let Ok(seed) = what.parse() {
        let title = if focus == Focus::Everything {
            format!("seed {seed}")
        } else {
            format!("seed {seed}, focus {}", focus.name())
        };
        return Ok(Subject { title, without: None, plan: Scenario::focused(seed, focus) });
    }
    let text = fs::read_to_string(what).map_err(|error| {
        io::Error::other(format!("`{what}` is neither a seed nor a file that can be read: {error}"))
    })?;
    let read = written::read(&text);
    let Written { title, without, scenario, .. } =
        read.map_err(|error| io::Error::other(format!("{what}: {error}")))?;
    let title = if title.is_empty() { what.to_owned() } else { title };
    Ok(Subject { title, without, plan: scenario })
}

/// Replays a seed or a scenario.
pub(crate) fn replay(replay: &Replay) -> io::Result<ExitCode> {
    let subject = subject(&replay.what, replay.focus)?;
    let without = if replay.all_rules { None } else { replay.without.or(subject.without) };
    with_rule_out(without, || replay.show(&subject))
}

/// Shrinks a seed or a scenario.
pub(crate) fn shrink(shrink: &Shrink) -> io::Result<ExitCode> {
    let subject = subject(&shrink.what, shrink.focus)?;
    with_rule_out(shrink.without.or(subject.without), || shrink.cut_down(&subject))
}

impl Replay {
    fn show(&self, subject: &Subject) -> io::Result<ExitCode> {
        let look = Look { trace: true, picture: self.html.is_some(), ..Look::default() };
        let run = run(&subject.plan, look);
        match &self.trace {
            Some(path) => fs::write(path, &run.text)?,
            None if self.html.is_none() => io::stdout().write_all(run.text.as_bytes())?,
            None => {}
        }
        if let Some(path) = &self.html {
            let page = picture::page(&subject.plan, &run, &subject.title);
            fs::write(path, page.ok_or_else(|| io::Error::other("the picture has no film"))?)?;
        }
        if self.trace.is_some() || self.html.is_some() {
            writeln!(io::stdout(), "{}", run.report.verdict())?;
        }
        let sound = run.report.violations.is_empty();
        Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Shrink {
    #[expect(
        clippy::disallowed_methods,
        reason = "people want to know how long it took; no run sees it"
    )]
    fn cut_down(&self, subject: &Subject) -> io::Result<ExitCode> {
        let begun = std::time::Instant::now();
        let shrunk = shrink::shrink(&subject.plan);
        let shrunk =
            shrunk.map_err(|error| io::Error::other(format!("{}: {error}", subject.title)))?;
        let millis = begun.elapsed().as_millis();
        let without = self.without.or(subject.without);
        let written = Written {
            title: format!("{} of {}", shrunk.violation.rule, subject.title),
            violates: Some(shrunk.violation.rule.to_owned()),
            without,
            scenario: shrunk.scenario,
        };
        let text = written::show(&written);
        match &self.out {
            Some(path) => fs::write(path, text)?,
            None => io::stdout().write_all(text.as_bytes())?,
        }
        let mut stderr = io::stderr();
        writeln!(stderr, "before: {}", shrunk.before)?;
        writeln!(stderr, "after:  {}", shrunk.after)?;
        writeln!(stderr, "{} runs in {millis} ms", shrunk.runs)?;
        writeln!(stderr, "{}: {}", shrunk.violation.rule, shrunk.violation.story)?;
        Ok(ExitCode::SUCCESS)
    }
}
