//! Load and faults on clusters of real processes, for as long as one likes.
//!
//! `cargo run --release -p leasehold-tests --bin soak -- --for 10m` follows all recipes; `--recipe NAME` one of them, `--list`
//! says which there are. It ends with a page for people on standard error and one line of JSON on standard output, and
//! exits 1 if a promise was broken, 3 if it was worth nothing. The history of what was wrong is kept in a file.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use leasehold_tests::rig::cluster::Cluster;
use leasehold_tests::rig::{fence, gaps, recipe, shuffle, soak, worker};
use tokio::runtime::{Builder, Runtime};

/// Tries to break clusters of real processes.
#[derive(Debug, Parser)]
#[command(name = "soak")]
struct Line {
    #[command(subcommand)]
    part: Option<Part>,
    /// How long, over all recipes: 90s, 10m, 2h
    #[arg(long = "for", value_parser = duration, default_value = "2m")]
    span: Duration,
    /// How long a round lasts; what clients saw is judged after each
    #[arg(long, value_parser = duration, default_value = "15s")]
    round: Duration,
    /// Decides which faults come when
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A recipe to follow; all, if none is named
    #[arg(long = "recipe")]
    recipes: Vec<String>,
    /// Where to keep the histories of violations
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Only say which recipes there are
    #[arg(long)]
    list: bool,
}

/// What the rig starts by itself.
#[derive(Debug, Subcommand)]
enum Part {
    /// Runs clients
    #[command(hide = true)]
    Client {
        /// What they do, as JSON
        plan: String,
    },
    /// Runs a client that sleeps through its leases
    #[command(hide = true)]
    Sleeper {
        /// What it does, as JSON
        plan: String,
    },
    /// Lets packets overtake each other that arrive where this is started
    #[command(hide = true)]
    Shuffle {
        /// How, as JSON
        treatment: String,
    },
    /// Measures how long operations stand still when something happens to a node; asserts nothing
    Gaps {
        /// How often each is measured
        #[arg(long, default_value_t = 5)]
        runs: usize,
    },
    /// Stops clients of a fenced resource in the middle of their leases
    Fence {
        /// How long
        #[arg(long = "for", value_parser = duration, default_value = "30s")]
        span: Duration,
        /// Decides who is stopped when
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

fn main() -> io::Result<ExitCode> {
    let line = Line::parse();
    match &line.part {
        Some(Part::Client { plan }) => {
            let plan = serde_json::from_str(plan)?;
            Builder::new_current_thread().enable_all().build()?.block_on(worker::run(plan))?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Part::Sleeper { plan }) => {
            let plan = serde_json::from_str(plan)?;
            Builder::new_current_thread().enable_all().build()?.block_on(fence::sleeper(plan))?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Part::Shuffle { treatment }) => {
            shuffle::run(serde_json::from_str(treatment)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Part::Gaps { runs }) => runtime()?.block_on(gaps(*runs)),
        Some(Part::Fence { span, seed }) => runtime()?.block_on(fence(*span, *seed)),
        None if line.list => {
            let mut out = io::stdout().lock();
            for recipe in recipe::all() {
                writeln!(out, "{:<9} {}", recipe.name, recipe.about)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        None => run(&line),
    }
}

fn run(line: &Line) -> io::Result<ExitCode> {
    let mut recipes = recipe::all();
    if let Some(unknown) = line.recipes.iter().find(|n| !recipes.iter().any(|r| r.name == **n)) {
        return Err(io::Error::other(format!("no recipe is called `{unknown}`; see --list")));
    }
    if !line.recipes.is_empty() {
        recipes.retain(|recipe| line.recipes.iter().any(|name| name == recipe.name));
    }
    let wanted = soak::Wanted {
        recipes,
        span: line.span,
        round: line.round,
        seed: line.seed,
        keep: line.keep.clone().unwrap_or_else(soak::usual_keep),
        program: std::env::current_exe()?,
    };
    let mut progress = |what: &str| drop(writeln!(io::stderr(), "{what}"));
    let summary = runtime()?.block_on(soak::soak(&wanted, &mut progress))?;
    writeln!(io::stderr(), "\n{}", summary.page())?;
    writeln!(io::stdout(), "{}", serde_json::to_string(&summary)?)?;
    Ok(if summary.violations() > 0 {
        ExitCode::from(1)
    } else if summary.recipes.is_empty() || !summary.worthless().is_empty() {
        ExitCode::from(3)
    } else {
        ExitCode::SUCCESS
    })
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

async fn gaps(runs: usize) -> io::Result<ExitCode> {
    let mut out = io::stdout();
    writeln!(
        out,
        "the longest time that any of the clients' operations stood still, in milliseconds:"
    )?;
    for blow in gaps::Blow::ALL {
        let mut found = Vec::new();
        for turn in 0..runs {
            found.push(gaps::measure(blow, turn).await?);
        }
        let of = |figure: fn(&gaps::Gap) -> u64| found.iter().map(figure).collect::<Vec<_>>();
        let all: Vec<u64> = of(|gap| gap.blow).into_iter().map(|us| us / 1_000).collect();
        let (blow_ms, calm_ms) =
            (gaps::median(of(|gap| gap.blow)) / 1_000, gaps::median(of(|gap| gap.calm)) / 1_000);
        let name = blow.name();
        writeln!(
            out,
            "{name:<40} median {blow_ms:>6} of {all:?}; while nothing happened {calm_ms}"
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn fence(span: Duration, seed: u64) -> io::Result<ExitCode> {
    let cluster = Cluster::start(recipe::THREE, seed).await?;
    let attempts = fence::run(&cluster, &std::env::current_exe()?, seed, span.into()).await?;
    let verdict = fence::judge(&attempts);
    writeln!(io::stdout(), "{}", serde_json::to_string(&verdict)?)?;
    Ok(ExitCode::from(if !verdict.violations.is_empty() {
        1
    } else if verdict.late == 0 {
        3
    } else {
        0
    }))
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a time such as 90s, 10m or 2h");
    let units = [("s", 1), ("m", 60), ("h", 3_600)];
    let unit = units.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)));
    let (number, seconds) = unit.ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(*seconds).map(Duration::from_secs).ok_or_else(wrong)
}
