//! The simulator's command line: campaigns, replays, and the list of rules that can be taken out.

use std::fs;
use std::io::{self, Write};
use std::num::NonZero;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use leasehold_core::faults::Rule;
use leasehold_sim::run::{Campaign, campaign};

/// Tries to break Leasehold in a simulated world.
#[derive(Parser)]
#[command(name = "leasehold-sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Wanted,
}

#[derive(Subcommand)]
enum Wanted {
    /// Run many seeds. Ends with one line of JSON; exits 1 if there was a violation.
    Run(Run),
    /// Run one seed and tell what happened.
    Replay(Replay),
    /// List the rules that can be taken out.
    Faults,
}

#[derive(Args)]
struct Run {
    /// The seeds to run, the last one excluded.
    #[arg(long, value_name = "A..B", value_parser = seeds)]
    seeds: Option<Range<u64>>,
    /// Run fresh seeds for so long, such as `60s` or `5m`.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    time: Option<Duration>,
    /// Threads; as many as there are cores unless given.
    #[arg(long)]
    jobs: Option<NonZero<usize>>,
    /// Take this rule out, and stop at the first violation.
    #[arg(long, value_name = "RULE", value_parser = rule)]
    without: Option<&'static str>,
}

#[derive(Args)]
struct Replay {
    /// The seed.
    seed: u64,
    /// Where to write the trace; standard output unless given.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Take this rule out.
    #[arg(long, value_name = "RULE", value_parser = rule)]
    without: Option<&'static str>,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Wanted::Run(run) => with_rule_out(run.without, || run_campaign(&run)),
        Wanted::Replay(replay) => with_rule_out(replay.without, || run_replay(&replay)),
        Wanted::Faults => list_faults(),
    };
    result.unwrap_or_else(|error| {
        let _shown = writeln!(io::stderr(), "leasehold-sim: {error}");
        ExitCode::from(2)
    })
}

fn list_faults() -> io::Result<ExitCode> {
    for (_, name) in Rule::ALL {
        writeln!(io::stdout(), "{name}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `then` without the rule: in this process if it knows the switch, in another one if not.
fn with_rule_out(
    without: Option<&str>,
    then: impl FnOnce() -> io::Result<ExitCode>,
) -> io::Result<ExitCode> {
    let Some(name) = without else { return then() };
    if take_out(name) { then() } else { start_again() }
}

#[cfg(leasehold_faults)]
fn take_out(name: &str) -> bool {
    let known = Rule::ALL.iter().find(|(_, other)| *other == name);
    if let Some((rule, _)) = known {
        rule.take_out();
    }
    known.is_some()
}

#[cfg(not(leasehold_faults))]
const fn take_out(_: &str) -> bool {
    false
}

/// Starts this command line again in a build that knows the switch.
fn start_again() -> io::Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(&root).args(["--config", ".cargo/faults.toml", "run", "--quiet"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    cargo.args(["-p", "leasehold-sim", "--"]).args(std::env::args_os().skip(1));
    // These would silently replace the flags of the configuration.
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    let code = cargo.status()?.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(2)))
}

fn run_campaign(run: &Run) -> io::Result<ExitCode> {
    let range = run.seeds.clone().unwrap_or_else(|| match run.time {
        // Fresh seeds: a range of its own for every process and second.
        Some(_) => fresh_seed()..u64::MAX,
        None => 0..10_000,
    });
    let jobs = run.jobs.map(NonZero::get);
    let jobs = jobs.or_else(|| std::thread::available_parallelism().ok().map(NonZero::get));
    let plan = Campaign {
        first: range.start,
        end: range.end,
        time: run.time,
        jobs: jobs.unwrap_or(1),
        until_bad: run.without.is_some(),
    };
    let (tally, took) = campaign(&plan, |finished, time| {
        let _shown = write!(io::stderr(), "\r{finished} seeds in {} s ", time.as_secs());
    });
    let mut stderr = io::stderr();
    writeln!(stderr)?;
    for report in tally.bad.iter().take(400) {
        writeln!(stderr, "{}\n  {}", report.verdict(), report.replay_line())?;
    }
    if let (Some(rule), Some(first)) = (run.without, tally.bad.first()) {
        let (seeds, seed) = (tally.seeds, first.seed);
        writeln!(stderr, "without {rule}: red at seed {seed}, after {seeds} seeds")?;
    }
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    writeln!(io::stdout(), "{}", tally.json(millis, run.without))?;
    Ok(if tally.bad.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_replay(replay: &Replay) -> io::Result<ExitCode> {
    let (report, text) = leasehold_sim::replay(replay.seed);
    match &replay.trace {
        Some(path) => {
            fs::write(path, text)?;
            writeln!(io::stdout(), "{}", report.verdict())?;
        }
        None => io::stdout().write_all(text.as_bytes())?,
    }
    Ok(if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[expect(
    clippy::disallowed_methods,
    reason = "fresh seeds come from the time of day; no run sees it"
)]
fn fresh_seed() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |time| time.as_secs()) << 24 | u64::from(std::process::id() & 0xff) << 16
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("`{text}` is not a range such as 0..1000");
    let (first, end) = text.split_once("..").ok_or_else(wrong)?;
    Ok(first.parse().map_err(|_| wrong())?..end.parse().map_err(|_| wrong())?)
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a time such as 60s or 5m");
    let (number, seconds) = match (text.strip_suffix('s'), text.strip_suffix('m')) {
        (Some(number), _) => (number, 1),
        (_, Some(number)) => (number, 60),
        (None, None) => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    Ok(Duration::from_secs(number * seconds))
}

fn rule(text: &str) -> Result<&'static str, String> {
    let known = Rule::ALL.iter().find(|(_, name)| *name == text);
    known.map(|(_, name)| *name).ok_or_else(|| format!("no rule is called `{text}`; see `faults`"))
}
