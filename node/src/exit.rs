//! Exit codes, the same for every command.

use std::process::ExitCode;

/// Done.
pub(crate) const DONE: ExitCode = ExitCode::SUCCESS;

/// A node came to an end by itself.
pub(crate) const FAILED: ExitCode = ExitCode::FAILURE;

/// The command line or the configuration makes no sense.
pub(crate) fn usage() -> ExitCode {
    ExitCode::from(2)
}

/// What cannot be reached, listened at or opened.
pub(crate) fn cannot_connect() -> ExitCode {
    ExitCode::from(6)
}
