//! The commands that talk to a cluster.

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// What every command takes.
#[derive(Args, Debug)]
pub(crate) struct Global {
    /// Says more on standard error; twice says a lot
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Says nothing on standard error but errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

/// The commands that talk to a cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {}

/// Runs one of them.
pub(crate) fn run(_global: &Global, command: ClientCommand) -> ExitCode {
    match command {}
}
