//! Results on standard output, which may be full or closed.
//!
//! A command whose result is lost does not pretend that all is well: it says so, and exits with a code of its own. A reader
//! that closes its end (`| head`) has seen what it wanted, so that this is no failure, except where the result is
//! needed to give something back ([`Shown::vital`]).

use std::io::{self, Write};
use std::process::ExitCode;

use super::render::Shown;
use crate::exit::code;

/// Writes all of it, at once.
pub(crate) fn write(text: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text).and_then(|()| out.flush())
}

/// Whether a result was lost, and not only a reader.
pub(super) fn is_lost(error: &io::Error) -> bool {
    error.kind() != io::ErrorKind::BrokenPipe
}

/// Writes the result of something that was done, and gives the exit code.
pub(crate) fn print(text: &[u8]) -> ExitCode {
    let done = Shown { out: String::from_utf8_lossy(text).into_owned(), ..Shown::default() };
    show(&done)
}

/// Writes what a command leaves behind, and gives its exit code.
pub(super) fn show(shown: &Shown) -> ExitCode {
    let written = write(shown.out.as_bytes());
    tell(&shown.err);
    match written {
        Err(error) if shown.vital || is_lost(&error) => {
            tell(&lost(&error, shown));
            ExitCode::from(if shown.code == code::DONE { code::UNWRITTEN } else { shown.code })
        }
        Ok(()) | Err(_) => ExitCode::from(shown.code),
    }
}

/// What is said of a result that could not be written.
pub(super) fn lost(error: &io::Error, shown: &Shown) -> String {
    let done = if shown.code == code::DONE { "done, but " } else { "" };
    let result =
        if shown.vital { format!("; it is: {}", shown.out.trim_end()) } else { String::new() };
    format!(
        "leasehold: {done}the result could not be written to standard output: {error}{result}\n"
    )
}

fn tell(words: &str) {
    // Nobody is left to tell when this fails.
    drop(io::stderr().lock().write_all(words.as_bytes()));
}
