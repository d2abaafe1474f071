//! `leasehold dev`.

use std::process::ExitCode;

use crate::cli::Global;
use crate::{exit, logs};

/// What `leasehold dev` takes.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// How many masters to run
    #[arg(long, default_value_t = 3)]
    pub(crate) masters: u16,
    /// How many replicas to run
    #[arg(long, default_value_t = 0)]
    pub(crate) replicas: u16,
    /// Where node 0 listens for clients; node i does at this port plus 10·i, for peers one above
    #[arg(long, default_value_t = 7400)]
    pub(crate) port: u16,
}

/// Runs the cluster until it is told to stop.
pub(crate) fn run(global: &Global, _args: &Args) -> ExitCode {
    logs::start(global, "warn");
    exit::DONE
}
