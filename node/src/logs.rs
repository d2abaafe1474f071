//! Where log lines go: to standard error, as many as asked for.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::cli::Global;

/// Starts logging at `level` (a tracing filter such as `info`) unless `-v` or `-q` say otherwise.
pub(crate) fn start(global: &Global, level: &str) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (false, 0) => level,
        (false, 1) => "debug",
        (false, _) => "trace",
    };
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    // A second subscriber in one process is refused; then the first one stays.
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .try_init();
    if let Err(error) = started {
        tracing::debug!(%error, "logging was started before");
    }
}
