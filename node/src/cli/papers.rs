//! `leasehold completions` and `leasehold man`: what is written from the command line's own description.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

/// What `leasehold completions` takes.
#[derive(clap::Args, Debug)]
pub(crate) struct Completions {
    /// The shell that shall complete commands
    shell: Shell,
}

/// What `leasehold man` takes.
#[derive(clap::Args, Debug)]
pub(crate) struct Manual {
    /// The command whose page to write; the page of `leasehold` itself if not given
    command: Option<String>,
}

/// Writes the shell's completions.
pub(crate) fn completions(mut command: Command, typed: &Completions) -> ExitCode {
    let mut text = Vec::new();
    clap_complete::generate(typed.shell, &mut command, "leasehold", &mut text);
    write(&text)
}

/// Writes a manual page, for `man -l -`.
pub(crate) fn manual(mut command: Command, typed: &Manual) -> ExitCode {
    command.build();
    let page = match &typed.command {
        None => Man::new(command),
        Some(name) => match command.find_subcommand(name) {
            Some(found) => Man::new(found.clone()),
            None => {
                let mut names: Vec<&str> =
                    command.get_subcommands().map(Command::get_name).collect();
                names.sort_unstable();
                let all = names.join(", ");
                return complain(&format!("there is no command {name:?}; there are {all}"));
            }
        },
    };
    let mut text = Vec::new();
    match page.render(&mut text) {
        Ok(()) => write(&text),
        Err(error) => complain(&error.to_string()),
    }
}

fn write(text: &[u8]) -> ExitCode {
    // A reader that has seen enough closes its end.
    drop(io::stdout().lock().write_all(text));
    ExitCode::SUCCESS
}

fn complain(words: &str) -> ExitCode {
    drop(writeln!(io::stderr().lock(), "leasehold: {words}"));
    crate::exit::usage()
}
