//! The commands that talk to a cluster, in stages: what was [typed], what is [meant], what the cluster made of it
//! ([perform]), and how that is [shown](render).

mod access;
mod bench;
mod exec;
mod json;
mod meant;
mod members;
mod papers;
mod perform;
mod render;
mod survey;
mod tables;
#[cfg(test)]
mod tests;
mod typed;
mod watch;
mod words;

use std::io::Write;
use std::process::ExitCode;

pub(crate) use bench::{Bench, run as bench};
pub(crate) use exec::{Elect, Exec, Inside, elect, exec, inside};
pub(crate) use papers::{Completions, Manual, completions, manual};
pub(crate) use survey::{Survey, run as survey};
pub(crate) use typed::{ClientCommand, Global};
pub(crate) use watch::{Watch, run as watch};

use meant::Meant;
use render::Shown;

/// Runs one of them.
pub(crate) fn run(global: &Global, command: ClientCommand) -> ExitCode {
    let op = command.name();
    let meant = Meant::new(global, command);
    let shown = match meant.and_then(|meant| Ok((meant, access::options(global)?))) {
        Ok((meant, options)) => {
            match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => {
                    let result = runtime.block_on(perform::perform(&meant, options));
                    render::render(op, &meant.action, result, global)
                }
                Err(error) => render::broken(op, &format!("cannot start: {error}"), global),
            }
        }
        Err(wrong) => render::misused(op, &wrong, global),
    };
    show(&shown);
    ExitCode::from(shown.code)
}

fn show(shown: &Shown) {
    // Nobody is left to tell when these fail: a reader that has seen enough closes its end.
    drop(std::io::stdout().lock().write_all(shown.out.as_bytes()));
    drop(std::io::stderr().lock().write_all(shown.err.as_bytes()));
}
