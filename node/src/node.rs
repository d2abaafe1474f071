//! `leasehold node`.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::Global;
use crate::{exit, logs};

/// What `leasehold node` takes.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Only validates the configuration
    #[arg(long)]
    pub(crate) check: bool,
    /// Only shows the configuration in force, with where each value came from
    #[arg(long)]
    pub(crate) print_config: bool,
}

/// Runs the node until it is told to stop.
pub(crate) fn run(global: &Global, _args: &Args) -> ExitCode {
    logs::start(global, "info");
    exit::DONE
}
