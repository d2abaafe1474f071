//! `leasehold certs` and `leasehold token`: what a secured cluster to try with needs.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use leasehold_node::auth::{self, Entry, Rule, Verb};
use leasehold_node::certs::{self, Authority};
use leasehold_node::clock::Clock;
use tracing::error;

use crate::cli::Global;
use crate::{exit, logs};

/// What every token starts with, so that people and scanners recognise it.
const MARK: &str = "leasehold_";

/// What `leasehold certs` takes.
#[derive(clap::Args, Debug)]
pub(crate) struct Certs {
    /// The folder of the authority's and all other files; made if it is not there
    #[arg(long, value_name = "FOLDER", default_value = "certs")]
    out: PathBuf,
    /// A node to make a certificate for; can be repeated
    #[arg(long, value_name = "NAME")]
    node: Vec<String>,
    /// Host names and addresses under which clients find these nodes
    #[arg(long, value_name = "HOST,..", value_delimiter = ',', default_values = ["localhost", "127.0.0.1", "::1"])]
    hosts: Vec<String>,
    /// A client to make a certificate for; can be repeated
    #[arg(long, value_name = "NAME")]
    client: Vec<String>,
}

/// What `leasehold token` takes.
#[derive(clap::Args, Debug)]
pub(crate) struct Token {
    /// What to call the token in logs and refusals
    name: String,
    /// What it allows, for keys that start with PREFIX; can be repeated. Verbs are read, lock, force and admin
    #[arg(long, value_name = "VERB,..[:PREFIX]", required = true, value_parser = rule)]
    allow: Vec<Rule>,
    /// The new file that the secret token is written to, for --token-file
    #[arg(long, value_name = "FILE")]
    secret: PathBuf,
}

fn rule(text: &str) -> Result<Rule, String> {
    let (verbs, prefix) = text.split_once(':').unwrap_or((text, ""));
    let verb = |name: &str| {
        let found = Verb::ALL.into_iter().find(|verb| verb.name() == name.trim());
        found.ok_or_else(|| format!("there is no right `{name}`; write read, lock, force or admin"))
    };
    let verbs = verbs.split(',').map(verb).collect::<Result<_, _>>()?;
    Ok(Rule { prefix: prefix.to_owned(), verbs })
}

/// Makes an authority, and certificates of it.
pub(crate) fn certs(global: &Global, args: &Certs) -> ExitCode {
    logs::start(global, "info");
    let made = Authority::open(&args.out, Clock::system()).and_then(|authority| {
        args.node.iter().try_for_each(|name| authority.node(name, &args.hosts))?;
        args.client.iter().try_for_each(|name| authority.client(name))
    });
    finish(made.map(|()| String::new()).map_err(|error| error.to_string()))
}

/// Makes a token: the secret in a file, and what a node is to know of it on standard output.
pub(crate) fn token(global: &Global, args: &Token) -> ExitCode {
    logs::start(global, "info");
    let secret = format!("{MARK}{}", URL_SAFE_NO_PAD.encode(draw()));
    let entry = Entry::new(args.name.clone(), &secret, args.allow.clone());
    let made = auth::write(vec![entry]).and_then(|entry| {
        let written = certs::write(&args.secret, &format!("{secret}\n"), true);
        written.map(|()| entry).map_err(|error| error.to_string())
    });
    finish(made)
}

fn finish(made: Result<String, String>) -> ExitCode {
    let shown = made.and_then(|out| {
        io::stdout().lock().write_all(out.as_bytes()).map_err(|error| error.to_string())
    });
    match shown {
        Ok(()) => exit::DONE,
        Err(why) => {
            error!("{why}");
            exit::usage()
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a secret is made here, which nobody must guess")]
fn draw() -> [u8; 32] {
    rand::random()
}
