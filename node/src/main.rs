//! The binary `leasehold`: a node, a whole development cluster, and the commands that talk to a cluster.

mod cli;
mod dev;
mod exit;
mod keys;
mod logs;
mod node;
mod signals;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A quorum lease store without a leader and without a log.
#[derive(Debug, Parser)]
#[command(name = "leasehold", version, about, propagate_version = true)]
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
        Command::Client(command) => cli::run(&line.global, command),
    }
}
