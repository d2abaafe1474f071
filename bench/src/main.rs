//! Compares Leasehold with its peers and with a bare quorum round, all on this machine and in one run.
//!
//! `bench/compare` builds and runs this. It starts every server on loopback, drives each with the same loop from one
//! thread, and ends what it started. The drivers are of the kind that costs least: for Redis, `ZooKeeper` and the floor a
//! pipe that writes and reads as much as there is at once; for etcd the crates h2 and prost; for Leasehold its client.

mod compare;
mod etcd;
mod floor;
mod hung;
mod load;
mod pipe;
mod processor;
mod queue;
mod redis;
mod stage;
mod system;
mod table;
mod zookeeper;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;
use tokio::task::LocalSet;

use self::compare::Plan;

/// The same as the nodes' and their clients'.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[derive(Debug, Parser)]
#[command(name = "leasehold-bench", version, about)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compares Leasehold with etcd, Redis, `ZooKeeper` and bare quorum rounds
    Compare {
        /// The binary `leasehold`
        #[arg(long)]
        leasehold: PathBuf,
        /// Operations under way at a time
        #[arg(long, default_value_t = 64)]
        in_flight: usize,
        /// How long each measurement takes, in seconds
        #[arg(long, default_value_t = 3)]
        seconds: u64,
        /// How often everything is measured; the median is shown
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Measures only these: cycle, extend, update, read, queue, hung
        #[arg(long, value_delimiter = ',', value_parser = ["cycle", "extend", "update", "read", "queue", "hung"])]
        only: Vec<String>,
    },
    /// Measures what Leasehold is to reach, and prints it as a table
    Table {
        /// The binary `leasehold`
        #[arg(long)]
        leasehold: PathBuf,
        /// How long each measurement takes, in seconds
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// How many leases end at once
        #[arg(long, default_value_t = 1_000_000)]
        expiring: u64,
        /// Measures only the rows that have this in their names
        #[arg(long, value_name = "WORDS", default_value = "")]
        only: String,
    },
    /// Sends 64 bytes back, for ever
    #[command(hide = true)]
    FloorServer {
        /// Where to listen
        port: u16,
    },
}

fn main() -> ExitCode {
    let command = CommandLine::parse().command;
    if let Err(error) = stage::end_when_told() {
        note(&error.to_string());
        return ExitCode::FAILURE;
    }
    let ran = match command {
        Command::Compare { leasehold, in_flight, seconds, rounds, only } => {
            let leasehold = leasehold.canonicalize();
            leasehold.and_then(|leasehold| {
                let duration = Duration::from_secs(seconds.max(1));
                let (in_flight, rounds) = (in_flight.max(1), rounds.max(1));
                compare::compare(&Plan { leasehold, in_flight, duration, rounds, only })
            })
        }
        Command::Table { leasehold, seconds, expiring, only } => leasehold
            .canonicalize()
            .and_then(|leasehold| table::table(&leasehold, seconds.max(2), expiring, &only)),
        Command::FloorServer { port } => floor_server(port),
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn floor_server(port: u16) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, floor::serve(port))
}

/// Prints results.
fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Says what is going on.
fn note(words: &str) {
    // Nobody is left to tell when this fails.
    drop(writeln!(io::stderr(), "leasehold-bench: {words}"));
}
