//! The binary `leasehold`: a node, a whole development cluster, and the commands that talk to a cluster.

mod cli;
mod dev;
mod exit;
mod keys;
mod logs;
mod node;
mod notify;
mod signals;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use mimalloc::MiMalloc;

/// Asks the kernel for large pages: what a node looks up lies far apart, and with small ones each look misses the
/// processor's table of pages, too.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// What the exit codes mean, for `--help` and the manual page.
const EXIT_CODES: &str = "Exit codes: 0 done, 1 refused (held by another, not the owner, not held), 2 usage, 3 certainly \
not done, 4 outcome unknown, 5 not allowed, 6 cannot connect, 7 timed out waiting. For exec and elect: 75 could not acquire, 76 lease lost while the \
command ran, 128+N ended by signal N, otherwise the command's own code.";

/// A quorum lease store without a leader and without a log.
#[derive(Debug, Parser)]
#[command(name = "leasehold", version, about, propagate_version = true, after_long_help = EXIT_CODES)]
struct CommandLine {
    #[command(flatten)]
    global: cli::Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a whole cluster in this process, on loopback, new and empty
    Dev(dev::Args),
    /// Runs one node
    Node(node::Args),
    /// Puts a load on a cluster and measures throughput, latency and cost
    Bench(cli::Bench),
    /// Makes a certificate authority for development, and certificates for nodes and clients
    Certs(keys::Certs),
    /// Makes a token for clients; prints what the nodes' file of tokens needs to know of it
    Token(keys::Token),
    /// Shows what changes, as one node sees it, until it is ended
    ///
    /// A line for each key that is acquired, extended, updated, released or expires. An interrupted watch begins again and
    /// lists what is held then.
    Watch(cli::Watch),
    /// Runs a command while holding a key
    ///
    /// The key is extended in the background, and released when the command has ended; signals are passed on to it. If the
    /// lease cannot be extended, the command and all processes of its group are sent TERM, and KILL before anybody else can
    /// have the key. Exits with the command's own code, 128+N if signal N ended it, 75 if the key could not be acquired,
    /// 76 if it was lost while the command ran.
    Exec(cli::Exec),
    /// Stands for election, and leads until it is ended or its command has
    ///
    /// Without a command it says so when it leads, and resigns when it is told to end. With one it is like `exec`.
    Elect(cli::Elect),
    /// Becomes the command of `exec`
    #[command(hide = true)]
    ExecInside(cli::Inside),
    /// Times a lock of its own, and shows how far each replica is behind
    Lag,
    /// Counts what there is: voting masters, leases, records, waiters
    Summary,
    /// Writes completions for a shell
    Completions(cli::Completions),
    /// Writes a manual page
    Man(cli::Manual),
    #[command(flatten)]
    Client(cli::ClientCommand),
}

fn main() -> ExitCode {
    let line = CommandLine::parse();
    match line.command {
        Command::Dev(args) => dev::run(&line.global, &args),
        Command::Node(args) => node::run(&line.global, args),
        Command::Bench(args) => cli::bench(&line.global, &args),
        Command::Certs(args) => keys::certs(&line.global, &args),
        Command::Token(args) => keys::token(&line.global, &args),
        Command::Watch(args) => cli::watch(&line.global, args),
        Command::Exec(args) => cli::exec(&line.global, args),
        Command::Elect(args) => cli::elect(&line.global, args),
        Command::ExecInside(args) => cli::inside(args),
        Command::Lag => cli::survey(&line.global, cli::Survey::Lag),
        Command::Summary => cli::survey(&line.global, cli::Survey::Summary),
        Command::Completions(args) => cli::completions(CommandLine::command(), &args),
        Command::Man(args) => cli::manual(CommandLine::command(), &args),
        Command::Client(command) => cli::run(&line.global, command),
    }
}
