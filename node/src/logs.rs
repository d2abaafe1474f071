//! Where log lines go: to standard error, as many as asked for, for people or for programs. Warnings and errors are
//! remembered for `leasehold status` as well.

use std::io::IsTerminal;

use leasehold_node::config::LogFormat;
use leasehold_node::trouble::Remember;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt, registry};

use crate::cli::Global;

/// Starts logging at `level` (a tracing filter such as `info`) unless `-v` or `-q` say otherwise.
pub(crate) fn start(global: &Global, level: &str) {
    start_as(global, level, LogFormat::Human);
}

/// The same, in this format.
pub(crate) fn start_as(global: &Global, level: &str, format: LogFormat) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (false, 0) => level,
        (false, 1) => "debug",
        (false, _) => "trace",
    };
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines = match format {
        LogFormat::Human => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let remember = Remember::new().with_filter(LevelFilter::WARN);
    // A second subscriber in one process is refused; then the first one stays.
    let started = registry().with(lines.with_filter(filter)).with(remember).try_init();
    if let Err(error) = started {
        tracing::debug!(%error, "logging was started before");
    }
}
