//! The kill list: without each rule in turn something must go red, in a number of seeds that is known.
//!
//! Where random search is hopeless, a committed transcript of a constructed hazard stands in (`tests/transcripts/hazards`). The
//! quick half is what a few hundred seeds find; it runs whenever the project is checked.

use std::io::{self, Write};
use std::num::NonZero;
use std::process::ExitCode;

use clap::Args;
use leasehold_core::faults::Rule;
use leasehold_sim::campaign::{self, Plan, State};
use leasehold_sim::focus::Focus;

use super::faults;

/// What is found within so many seeds belongs to the quick half.
const QUICK: u64 = 1_000;

#[derive(Args)]
pub(crate) struct KillList {
    /// Only the rules that a few hundred seeds find.
    #[arg(long)]
    quick: bool,
    /// Look for every rule with this focus instead of the one in the list, and demand nothing.
    #[arg(long, value_name = "NAME", value_parser = super::focus)]
    focus: Option<Focus>,
    /// Look so far instead of as far as the list says, and demand nothing.
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// Threads; as many as there are cores unless given.
    #[arg(long)]
    jobs: Option<NonZero<usize>>,
    /// Only these rules.
    #[arg(value_parser = super::rule)]
    rules: Vec<&'static str>,
}

/// How it is noticed that a rule is missing.
enum Noticed {
    /// Within so many seeds of a focus.
    By(Focus, u64),
    /// By a transcript only.
    Transcript,
}

/// How it is noticed that `rule` is missing. The bounds are some times what was measured, since every change of what is
/// drawn moves them.
const fn noticed(rule: Rule) -> Noticed {
    use Focus::{Disk, Drift, Everything, Forgetting, Handoff, Late, Membership, Restart, Waits};
    match rule {
        Rule::NeverShorter | Rule::UpdateLease | Rule::RetryLastOp => Noticed::By(Everything, 100),
        Rule::RetryUnknown => Noticed::By(Everything, 1_000),
        Rule::Belief | Rule::ClockAfterReceive => Noticed::By(Drift, 100),
        Rule::Joining | Rule::Aged => Noticed::By(Restart, 200),
        Rule::EpochSync => Noticed::By(Membership, 200),
        Rule::Waited | Rule::Bequest => Noticed::By(Waits, 200),
        Rule::Floor | Rule::LockDelay => Noticed::By(Everything, 400),
        Rule::Unanimity => Noticed::By(Everything, 1_000),
        Rule::WriteBack | Rule::SettleExpired => Noticed::By(Everything, 600),
        Rule::ImpliedPromise => Noticed::By(Late, 600),
        Rule::HeirSent => Noticed::By(Handoff, 600),
        Rule::ForgetAll => Noticed::By(Forgetting, 1_000),
        Rule::Chains => Noticed::By(Late, 1_000),
        Rule::Ceiling => Noticed::By(Disk, 1_000),
        Rule::HeirPast => Noticed::By(Handoff, 10_000),
        Rule::Sources | Rule::Freshness => Noticed::By(Restart, 15_000),
        Rule::ActiveIn => Noticed::By(Membership, 10_000),
        Rule::Quiesce
        | Rule::Horizon
        | Rule::SyncInHorizon
        | Rule::OwnPromise
        | Rule::RetryFloor
        | Rule::RetryLowest
        | Rule::ImpliedAge
        | Rule::AgeFromPromise
        | Rule::SettleBeforeExtend
        | Rule::OpTimeout
        | Rule::ForwardAge
        | Rule::CeilingAfterSync => Noticed::Transcript,
    }
}

/// Runs the kill list and prints it as a table.
pub(crate) fn kill_list(wanted: &KillList) -> io::Result<ExitCode> {
    // In the other build nothing happens here; in this one another rule is taken out below.
    if !faults::take_out("floor") {
        return faults::start_again();
    }
    let mut out = io::stdout();
    let mut missed = 0_u32;
    writeln!(out, "| rule | focus | seeds | seen by |\n| --- | --- | ---: | --- |")?;
    for (rule, name) in Rule::ALL {
        if !wanted.rules.is_empty() && !wanted.rules.contains(name) {
            continue;
        }
        let measuring = wanted.focus.is_some() || wanted.seeds.is_some();
        let (focus, seeds) = match noticed(*rule) {
            _ if measuring => {
                let focus = match noticed(*rule) {
                    Noticed::By(focus, _) => focus,
                    Noticed::Transcript => Focus::Everything,
                };
                (wanted.focus.unwrap_or(focus), wanted.seeds.unwrap_or(QUICK))
            }
            Noticed::By(_, seeds) if wanted.quick && seeds > QUICK => continue,
            Noticed::Transcript if wanted.quick => continue,
            Noticed::By(focus, seeds) => (focus, seeds),
            Noticed::Transcript => {
                let transcripts = transcripts(name)?;
                missed += u32::from(transcripts.is_empty());
                let seen = if transcripts.is_empty() { "**nobody**" } else { &transcripts };
                writeln!(out, "| {name} |  | transcript | {seen} |")?;
                continue;
            }
        };
        faults::take_out(name);
        let (tried, by) = search(focus, seeds, wanted.jobs);
        missed += u32::from(by.is_none() && !measuring);
        let count = if by.is_some() { tried.to_string() } else { format!("none in {tried}") };
        let by = by.unwrap_or_else(|| "**nobody**".to_owned());
        writeln!(out, "| {name} | {} | {count} | {by} |", focus.name())?;
    }
    writeln!(io::stderr(), "{missed} rules were not missed in time")?;
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs seeds from 0 on until one is red. Returns how many were run, and who noticed.
fn search(focus: Focus, seeds: u64, jobs: Option<NonZero<usize>>) -> (u64, Option<String>) {
    let jobs = super::threads(jobs);
    let plan = Plan { first: 0, end: seeds, focus, time: None, jobs, until_bad: true };
    let mut state = State::new(&plan);
    campaign::run(&plan, &mut state, |_, _| {});
    // The verdict's second line names what was violated.
    let by = state.tally.bad.first().map(|bad| {
        let line = bad.verdict.lines().nth(1).unwrap_or_default();
        line.split(':').next().unwrap_or_default().trim().to_owned()
    });
    (state.tally.seeds, by)
}

/// The transcripts that go red without the rule.
fn transcripts(rule: &str) -> io::Result<String> {
    let mut cargo = faults::faulty_build(false);
    let output = cargo.args(["-p", "leasehold-tests", "--bin", "rules", "--", rule]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix(rule)?.strip_prefix(": "));
    Ok(line.unwrap_or_default().to_owned())
}
