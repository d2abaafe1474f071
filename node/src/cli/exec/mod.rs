//! `leasehold exec` and `leasehold elect`: a command that runs only while a key is held.
//!
//! What always holds: once the lease can end elsewhere, the command's process group has been killed. When that
//! is, this process' own clock says (the guard's belief), so it needs no network and no answer. [`group`] is the command with
//! all it starts, [`vigil`] decides what it is sent and when, [`heard`] are the signals that are passed on.

mod group;
mod heard;
mod vigil;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use leasehold_client::{Belief, Client, Error, Guard, Lost, Options, clock};
use leasehold_core::Span;
use leasehold_node::duration;
use serde_json::json;

use super::meant::{Action, Meant};
use super::render::{self, Shown};
use super::typed::{ClientCommand, Global, Lock};
use super::words::{self, text, time};
use super::{access, json};
use crate::exit::code;
use group::Group;
pub(crate) use group::{Inside, inside};
use heard::Heard;
use vigil::Ended;

/// What `leasehold exec` takes.
#[derive(clap::Args, Debug)]
pub(crate) struct Exec {
    /// The key
    key: String,
    /// What the key shall hold, so that others see who has it [default: host/pid/random]
    #[arg(long)]
    value: Option<String>,
    #[command(flatten)]
    terms: Terms,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// What `leasehold elect` takes.
#[derive(clap::Args, Debug)]
pub(crate) struct Elect {
    /// The name of the election, which is a key
    name: String,
    /// What this candidate calls itself
    value: String,
    #[command(flatten)]
    terms: Terms,
    /// The command that runs while this candidate leads, and its arguments; without one it leads until it is ended
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// For how long, and how it ends.
#[derive(clap::Args, Debug)]
struct Terms {
    /// How long the key stays held after its last extension; it is extended in the background
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::parse)]
    ttl: Span,
    /// How long to queue for the key [default: exec tries once, elect waits as long as it takes]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    wait: Option<Span>,
    /// How long before it is killed CMD is sent TERM, if the lease cannot be extended; less than half of the ttl
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration::parse)]
    grace: Span,
}

/// What is to be done.
struct Task {
    op: &'static str,
    meant: Meant,
    key: String,
    value: String,
    ttl: Duration,
    grace: Duration,
    /// None: as long as it takes.
    wait: Option<Duration>,
    command: Vec<OsString>,
}

/// How it went.
enum Outcome {
    /// The command ended by itself, or leadership was resigned.
    Code(u8),
    /// There was no key to run it under.
    NotAcquired(Error),
    /// The key was lost, which these words describe.
    Lost(String),
    /// The command could not be started, or a signal came before it was.
    Failed(u8, String),
}

/// Runs a command while it holds a key.
pub(crate) fn exec(global: &Global, typed: Exec) -> ExitCode {
    let Exec { key, value, terms, command } = typed;
    let patience = Some(Duration::from(terms.wait.unwrap_or(Span::ZERO)));
    finish("exec", global, task("exec", global, key, value, &terms, patience, command))
}

/// Stands for election, and leads until it is ended or its command has.
pub(crate) fn elect(global: &Global, typed: Elect) -> ExitCode {
    let Elect { name, value, terms, command } = typed;
    let patience = terms.wait.map(Duration::from);
    finish("elect", global, task("elect", global, name, Some(value), &terms, patience, command))
}

fn task(
    op: &'static str,
    global: &Global,
    key: String,
    value: Option<String>,
    terms: &Terms,
    wait: Option<Duration>,
    command: Vec<OsString>,
) -> Result<(Task, Options), String> {
    let &Terms { ttl, grace, wait: typed } = terms;
    if grace >= ttl.minus(grace) {
        return Err(format!(
            "--grace {} must be less than half of --ttl {}: an extension needs the time before it",
            duration::show(grace),
            duration::show(ttl)
        ));
    }
    let lock = Lock { key, value, ttl, wait: typed, delay: Span::ZERO, meta: Vec::new() };
    let meant = Meant::new(global, ClientCommand::Lock(lock))?;
    let Action::Lock { key, value, ttl, .. } = &meant.action else {
        return Err("no lock is meant".to_owned());
    };
    let (key, value, ttl) = (key.clone(), value.clone(), *ttl);
    let options = access::options(global)?.timeout(meant.timeout).direct(false);
    Ok((Task { op, meant, key, value, ttl, grace: grace.into(), wait, command }, options))
}

fn finish(op: &'static str, global: &Global, task: Result<(Task, Options), String>) -> ExitCode {
    let shown = match task {
        // One thread: the command is to die with the thread that started it, which is to be this process.
        Ok((task, options)) => {
            match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => {
                    let outcome = runtime.block_on(task.run(options, global));
                    // Whoever still looks up a name is not waited for.
                    runtime.shutdown_background();
                    task.show(outcome, global)
                }
                Err(error) => render::broken(op, &format!("cannot start: {error}"), global),
            }
        }
        Err(wrong) => render::misused(op, &wrong, global),
    };
    super::show(&shown);
    ExitCode::from(shown.code)
}

impl Task {
    async fn run(&self, options: Options, global: &Global) -> Outcome {
        let mut heard = match Heard::new() {
            Ok(heard) => heard,
            Err(error) => return Outcome::Failed(code::CANNOT_RUN, format!("no signals: {error}")),
        };
        let guard = tokio::select! {
            biased;
            acquired = self.acquire(options) => match acquired {
                Ok(guard) => guard,
                Err(error) => return Outcome::NotAcquired(error),
            },
            signal = heard.told_to_end() => {
                let words = format!("ended by a signal while waiting for {}", self.shown_key());
                return Outcome::Failed(group::code_of_signal(signal.as_raw()), words);
            }
        };
        if global.verbose > 0 {
            note(global, &format!("{} is held with token {}", self.shown_key(), guard.token()));
        }
        if self.command.is_empty() {
            return self.lead(guard, &mut heard, global).await;
        }
        let belief = guard.belief();
        let group = match Group::start(&self.command, &self.environment(&belief)) {
            Ok(group) => group,
            Err(error) => {
                self.give_up(guard, global).await;
                return Outcome::Failed(
                    code::CANNOT_RUN,
                    format!("cannot start a process: {error}"),
                );
            }
        };
        match vigil::keep(group, &belief, self.grace, &mut heard).await {
            Ended::ByItself(code) => {
                self.give_up(guard, global).await;
                Outcome::Code(code)
            }
            Ended::Lost { late, why } => {
                let words = self.lost(late, why);
                self.give_up(guard, global).await;
                Outcome::Lost(words)
            }
        }
    }

    async fn acquire(&self, options: Options) -> Result<Guard, Error> {
        let client = Client::connect(self.meant.endpoints.iter().cloned(), options).await?;
        let lock = || client.lock(self.key.as_str()).value(self.value.as_str()).ttl(self.ttl);
        match self.wait {
            Some(Duration::ZERO) => lock().await,
            Some(wait) => lock().wait(wait).await,
            None => loop {
                match lock().wait(TURN).await {
                    Err(Error::TimedOut) => {}
                    acquired => return acquired,
                }
            },
        }
    }

    /// Leads without a command: until it is told to end, or the key is lost.
    async fn lead(&self, guard: Guard, heard: &mut Heard, global: &Global) -> Outcome {
        let said = if global.json {
            let valid_for = u64::try_from(guard.remaining().as_millis()).unwrap_or(u64::MAX);
            json!({
                "op": self.op, "outcome": "done", "key": self.key, "value": self.value,
                "token": guard.token().0, "valid_for_ms": valid_for,
            })
            .to_string()
        } else {
            format!("token {}, value {}, leading", guard.token(), text(self.value.as_bytes()))
        };
        let mut out = std::io::stdout().lock();
        // Who leads is seen in the cluster, too, if nobody reads this.
        drop(writeln!(out, "{said}").and_then(|()| out.flush()));
        drop(out);
        let belief = guard.belief();
        tokio::select! {
            biased;
            lost = belief.lost() => {
                let late = clock::now() > belief.valid_until();
                Outcome::Lost(self.lost(late, Some(lost)))
            }
            _ = heard.told_to_end() => {
                self.give_up(guard, global).await;
                Outcome::Code(code::DONE)
            }
        }
    }

    /// Releases the key, for which there is time until its lease ends by itself.
    async fn give_up(&self, guard: Guard, global: &Global) {
        if !guard.is_held() {
            return;
        }
        let ends = guard.valid_until();
        let trouble = tokio::select! {
            released = guard.release() => released.err().map(|error| error.to_string()),
            () = clock::sleep_until(ends) => Some("no answer".to_owned()),
        };
        if let Some(trouble) = trouble {
            let (key, ttl) = (self.shown_key(), time(self.ttl));
            let trouble = text(trouble.as_bytes());
            note(
                global,
                &format!("{key} could not be released ({trouble}); its lease ends within {ttl}"),
            );
        }
    }

    fn environment(&self, belief: &Belief) -> [(&'static str, String); 4] {
        [
            ("LEASEHOLD_KEY", self.key.clone()),
            ("LEASEHOLD_VALUE", self.value.clone()),
            ("LEASEHOLD_TOKEN", belief.token().0.to_string()),
            ("LEASEHOLD_TTL_MS", self.ttl.as_millis().to_string()),
        ]
    }

    fn shown_key(&self) -> String {
        text(self.key.as_bytes())
    }

    /// What is said of a loss.
    fn lost(&self, late: bool, why: Option<Lost>) -> String {
        let key = self.shown_key();
        let elsewhere = late || matches!(why, Some(Lost::Taken(_)));
        let why = why.map_or_else(
            || "its lease could not be extended in time".to_owned(),
            |lost| lost.to_string(),
        );
        let mut words = format!("lost {key}: {}. ", text(why.as_bytes()));
        words.push_str(if self.command.is_empty() {
            "Somebody else may lead. "
        } else {
            "The command was ended. "
        });
        if late {
            words.push_str(
                "This process was stopped, or had no processor, until after the lease had ended. ",
            );
        }
        if elsewhere {
            words.push_str(
                "The key may have been held elsewhere in the meantime: what was done then is only safe where the token was \
                 checked.",
            );
        }
        words.trim_end().to_owned()
    }

    fn show(&self, outcome: Outcome, global: &Global) -> Shown {
        match outcome {
            Outcome::Code(code) => Shown { code, ..Shown::default() },
            Outcome::NotAcquired(error) => {
                let words = words::error(&self.meant.action, &error);
                let object = json::error(self.op, Some(&self.meant.action), &error, &words);
                let code = match render::error_code(&error) {
                    // Nothing that trying again could help.
                    code::USAGE => code::USAGE,
                    _ => code::NOT_ACQUIRED,
                };
                render::complaint(&object, &words, code, global)
            }
            // Standard output is the command's.
            Outcome::Lost(words) => complaint(code::LOST, &words),
            Outcome::Failed(code, words) => complaint(code, &words),
        }
    }
}

/// How long one turn of waiting lasts where there is no end to it.
const TURN: Duration = Duration::from_secs(600);

fn complaint(code: u8, words: &str) -> Shown {
    Shown { err: format!("leasehold: {words}\n"), code, ..Shown::default() }
}

fn complain(words: &str) {
    // Nobody is left to tell when this fails.
    drop(writeln!(std::io::stderr().lock(), "leasehold: {words}"));
}

fn note(global: &Global, words: &str) {
    if !global.quiet {
        complain(words);
    }
}
