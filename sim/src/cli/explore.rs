//! `explore`: everything that can happen in small worlds.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use leasehold_sim::explore::{Answers, Explored, Limits, Scope, explore, scopes};

#[derive(Args)]
pub(crate) struct Explore {
    /// Only this scope; all but those of known holes unless given.
    #[arg(long, value_name = "NAME", value_parser = scope_name)]
    scope: Option<&'static str>,
    /// Take this rule out, and stop at the first violation.
    #[arg(long, value_name = "RULE", value_parser = super::rule)]
    pub(crate) without: Option<&'static str>,
    /// States to see in each scope at most.
    #[arg(long, value_name = "STATES", default_value_t = 20_000_000)]
    limit: u64,
    /// Only list the scopes.
    #[arg(long)]
    list: bool,
}

/// Runs the scopes that are wanted.
pub(crate) fn run(wanted: &Explore) -> io::Result<ExitCode> {
    let named = |scope: &Scope| wanted.scope.is_none_or(|name| name == scope.name);
    let scopes: Vec<Scope> = scopes().into_iter().filter(named).collect();
    let (mut out, mut told) = (io::stdout(), io::stderr());
    if wanted.list {
        for scope in &scopes {
            writeln!(out, "{:<16} {}", scope.name, scope.about)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let start = started();
    let mut sum = Explored { complete: true, ..Explored::default() };
    let mut names = Vec::new();
    for scope in &scopes {
        let begun = started();
        let found = explore(scope, Limits { states: wanted.limit });
        names.push(scope.name);
        sum.states += found.states;
        sum.transitions += found.transitions;
        sum.answers = sum.answers.plus(found.answers, Answers::default());
        sum.depth = sum.depth.max(found.depth);
        sum.complete &= found.complete;
        let cut = if found.complete { "all" } else { "not all" };
        let (name, states, depth) = (scope.name, found.states, found.depth);
        let seconds = begun.elapsed().as_secs_f64();
        writeln!(
            told,
            "{name}: {states} states, {cut}, paths of up to {depth} steps, {seconds:.1} s"
        )?;
        if let Some((violation, path)) = &found.violation {
            writeln!(told, "{path}{}: {}", violation.rule, violation.story)?;
            sum.violation = found.violation;
            break;
        }
    }
    let line = serde_json::json!({
        "scopes": names,
        "without": wanted.without,
        "states": sum.states,
        "transitions": sum.transitions,
        "answers": {
            "done": sum.answers.done,
            "held": sum.answers.held,
            "free": sum.answers.free,
            "unknown": sum.answers.unknown,
            "nothing": sum.answers.nothing,
        },
        "depth": sum.depth,
        "complete": sum.complete,
        "seconds": start.elapsed().as_secs_f64(),
        "violations": u8::from(sum.violation.is_some()),
    });
    writeln!(out, "{line}")?;
    Ok(if sum.violation.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

#[expect(clippy::disallowed_methods, reason = "how long it took is for people; no search sees it")]
fn started() -> std::time::Instant {
    std::time::Instant::now()
}

fn scope_name(text: &str) -> Result<&'static str, String> {
    let known = scopes();
    let found = known.iter().find(|scope| scope.name == text).map(|scope| scope.name);
    found.ok_or_else(|| format!("no scope is called `{text}`; see `explore --list`"))
}
