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

/// The codes of the commands that talk to a cluster.
pub(crate) mod code {
    /// Done.
    pub(crate) const DONE: u8 = 0;
    /// Held by another, not the owner, not held.
    pub(crate) const REFUSED: u8 = 1;
    /// The command makes no sense.
    pub(crate) const USAGE: u8 = 2;
    /// No quorum, or another reason for which it is certainly not done.
    pub(crate) const NOT_DONE: u8 = 3;
    /// Nobody can tell whether it took effect.
    pub(crate) const UNKNOWN: u8 = 4;
    /// The caller may not do this.
    pub(crate) const NOT_ALLOWED: u8 = 5;
    /// No node could be reached.
    pub(crate) const CANNOT_CONNECT: u8 = 6;
    /// It did not come about in time.
    pub(crate) const TIMED_OUT: u8 = 7;
    /// For `exec` and `elect`: there was no key to run the command under.
    pub(crate) const NOT_ACQUIRED: u8 = 75;
    /// For `exec` and `elect`: the key was lost while the command ran.
    pub(crate) const LOST: u8 = 76;
    /// For `exec` and `elect`: the command, or its process, cannot be run. As shells have it.
    pub(crate) const CANNOT_RUN: u8 = 126;
    /// For `exec` and `elect`: there is no such command. As shells have it.
    pub(crate) const NOT_FOUND: u8 = 127;
}
