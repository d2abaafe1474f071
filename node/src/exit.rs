//! Exit codes, the same for every command.

use std::process::ExitCode;

/// Done.
pub(crate) const DONE: ExitCode = ExitCode::SUCCESS;

/// The command line or the configuration makes no sense.
pub(crate) fn usage() -> ExitCode {
    ExitCode::from(2)
}

/// What cannot be reached, bound or opened.
pub(crate) fn cannot_connect() -> ExitCode {
    ExitCode::from(6)
}
