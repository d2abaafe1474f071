//! The simulator's command line: campaigns, replays, and the list of rules that can be taken out.

mod cli;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;

/// A run allocates and frees all the time, and never on another thread than its own: a tenth of its time is saved.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Tries to break Leasehold in a simulated world.
#[derive(Parser)]
#[command(name = "leasehold-sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Wanted,
}

#[derive(Subcommand)]
enum Wanted {
    /// Run many seeds. Ends with one line of JSON; exits 1 if there was a violation, 3 if it was worth nothing.
    Run(cli::campaign::Run),
    /// Go on with a campaign whose state was kept.
    Resume(cli::campaign::Resume),
    /// Run one seed, or a scenario from a file, and tell what happened.
    Replay(cli::replay::Replay),
    /// Cut a failing seed down to the few things that it takes, and write those down as a scenario.
    Shrink(cli::replay::Shrink),
    /// Try everything that can happen in small worlds. Ends with one line of JSON; exits 1 if there was a violation.
    Explore(cli::explore::Explore),
    /// List the rules that can be taken out.
    Faults,
    /// Take out one rule after the other, and show how soon that is noticed. Exits 1 if one is not.
    KillList(cli::kill_list::KillList),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Wanted::Run(run) => cli::faults::with_rule_out(run.without, || cli::campaign::run(&run)),
        Wanted::Resume(resume) => cli::campaign::resume(&resume),
        Wanted::Replay(wanted) => cli::replay::replay(&wanted),
        Wanted::Shrink(wanted) => cli::replay::shrink(&wanted),
        Wanted::Explore(wanted) => {
            cli::faults::with_rule_out(wanted.without, || cli::explore::run(&wanted))
        }
        Wanted::Faults => cli::faults::list(),
        Wanted::KillList(wanted) => cli::kill_list::kill_list(&wanted),
    };
    result.unwrap_or_else(|error| {
        let _shown = writeln!(io::stderr(), "leasehold-sim: {error}");
        ExitCode::from(2)
    })
}
