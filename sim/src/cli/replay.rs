//! One seed, told line by line.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use leasehold_sim::focus::Focus;

#[derive(Args)]
pub(crate) struct Replay {
    /// The seed.
    seed: u64,
    /// What its draw was biased towards, if it was.
    #[arg(long, value_name = "NAME", value_parser = super::focus, default_value = "everything")]
    focus: Focus,
    /// Where to write the trace; standard output unless given.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Take this rule out.
    #[arg(long, value_name = "RULE", value_parser = super::rule)]
    pub(crate) without: Option<&'static str>,
}

/// Replays a seed.
pub(crate) fn replay(replay: &Replay) -> io::Result<ExitCode> {
    let (report, text) = leasehold_sim::replay(replay.seed, replay.focus);
    match &replay.trace {
        Some(path) => {
            fs::write(path, text)?;
            writeln!(io::stdout(), "{}", report.verdict())?;
        }
        None => io::stdout().write_all(text.as_bytes())?,
    }
    Ok(if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
