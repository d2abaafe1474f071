//! What is meant by what was typed.

use std::time::Duration;

use leasehold_client::{Amendment, Labels, Owner, Token};

use super::typed::{ClientCommand, Fence, Global};

/// How long a command may take that does not say so itself.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A command that makes sense.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Meant {
    pub(super) endpoints: Vec<String>,
    pub(super) timeout: Duration,
    pub(super) action: Action,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    Init,
    Lock {
        key: String,
        value: String,
        ttl: Duration,
        wait: Option<Duration>,
        delay: Duration,
        labels: Labels,
    },
    Extend {
        key: String,
        owner: Owner,
        ttl: Duration,
    },
    Update {
        key: String,
        owner: Owner,
        value: String,
    },
    Release {
        key: String,
        owner: Owner,
    },
    Get {
        key: String,
        local: bool,
    },
    Wait {
        key: String,
        released: bool,
    },
    List {
        prefix: String,
    },
    Waiters {
        key: String,
    },
    FenceCheck {
        key: String,
        token: Token,
    },
    Members,
    Amend(Amendment),
    Status,
}

impl Action {
    /// The key that this is about.
    pub(super) fn key(&self) -> Option<&str> {
        match self {
            Self::Lock { key, .. }
            | Self::Extend { key, .. }
            | Self::Update { key, .. }
            | Self::Release { key, .. }
            | Self::Get { key, .. }
            | Self::Wait { key, .. }
            | Self::Waiters { key }
            | Self::FenceCheck { key, .. } => Some(key),
            Self::Init | Self::List { .. } | Self::Members | Self::Amend(_) | Self::Status => None,
        }
    }

    /// Whether it changes anything.
    pub(super) const fn changes(&self) -> bool {
        match self {
            Self::Init
            | Self::Amend(_)
            | Self::Lock { .. }
            | Self::Extend { .. }
            | Self::Update { .. }
            | Self::Release { .. } => true,
            Self::Get { .. }
            | Self::Wait { .. }
            | Self::List { .. }
            | Self::Waiters { .. }
            | Self::FenceCheck { .. }
            | Self::Members
            | Self::Status => false,
        }
    }
}

impl Meant {
    /// The sense of what was typed, or what is wrong with it, in words.
    pub(super) fn new(global: &Global, command: ClientCommand) -> Result<Self, String> {
        let endpoints: Vec<String> =
            global.endpoints.iter().map(|typed| endpoint(typed)).collect::<Result<_, _>>()?;
        let timeout = global.timeout.map_or(TIMEOUT, Duration::from);
        Ok(Self { endpoints, timeout, action: action(command)? })
    }
}

fn action(command: ClientCommand) -> Result<Action, String> {
    Ok(match command {
        ClientCommand::Init => Action::Init,
        ClientCommand::Lock(typed) => Action::Lock {
            key: key(typed.key)?,
            value: typed.value.unwrap_or_else(own_value),
            ttl: typed.ttl.into(),
            wait: typed.wait.map(Duration::from).filter(|wait| !wait.is_zero()),
            delay: typed.delay.into(),
            labels: typed.meta.iter().map(|pair| label(pair)).collect::<Result<_, _>>()?,
        },
        ClientCommand::Extend(typed) => Action::Extend {
            key: key(typed.key)?,
            owner: owner(typed.value, typed.token)?,
            ttl: typed.ttl.into(),
        },
        ClientCommand::Update(typed) => Action::Update {
            key: key(typed.key)?,
            owner: owner(Some(typed.old), typed.token)?,
            value: typed.new,
        },
        // Forced is: whoever holds it.
        ClientCommand::Release(typed) => {
            Action::Release { key: key(typed.key)?, owner: owner(typed.value, typed.token)? }
        }
        ClientCommand::Get(typed) => Action::Get { key: key(typed.key)?, local: typed.local },
        ClientCommand::Wait(typed) => {
            Action::Wait { key: key(typed.key)?, released: typed.released }
        }
        ClientCommand::List(typed) => Action::List { prefix: typed.prefix },
        ClientCommand::Waiters(typed) => Action::Waiters { key: key(typed.key)? },
        ClientCommand::Fence(Fence::Check(typed)) => {
            Action::FenceCheck { key: key(typed.key)?, token: token(typed.token)? }
        }
        ClientCommand::Members(typed) => typed.amendment()?.map_or(Action::Members, Action::Amend),
        ClientCommand::Status => Action::Status,
    })
}

fn key(typed: String) -> Result<String, String> {
    if typed.is_empty() { Err("the key is empty".to_owned()) } else { Ok(typed) }
}

fn owner(value: Option<String>, typed: Option<u64>) -> Result<Owner, String> {
    Ok(Owner { value: value.map(Into::into), token: typed.map(token).transpose()? })
}

fn token(typed: u64) -> Result<Token, String> {
    if typed >= leasehold_core::COUNTER_END {
        return Err(format!("{typed} is no fencing token: those are smaller than 2^53"));
    }
    Ok(Token(typed))
}

fn label(pair: &str) -> Result<(String, String), String> {
    match pair.split_once('=') {
        Some((name, text)) if !name.is_empty() => Ok((name.to_owned(), text.to_owned())),
        Some(_) | None => Err(format!("--meta {pair:?}: write NAME=TEXT, as in --meta host=a7")),
    }
}

pub(super) fn endpoint(typed: &str) -> Result<String, String> {
    let typed = typed.trim();
    let port = |(host, port): (&str, &str)| !host.is_empty() && port.parse::<u16>().is_ok();
    if typed.rsplit_once(':').is_some_and(port) {
        Ok(typed.to_owned())
    } else {
        Err(format!("endpoint {typed:?}: write HOST:PORT, as in 127.0.0.1:7400"))
    }
}

/// A value that says who holds the key and that nobody else has: host/pid/random.
#[expect(
    clippy::disallowed_methods,
    reason = "an owner gets its identity here, which must differ from every other's"
)]
pub(super) fn own_value() -> String {
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    format!("{host}/{}/{:08x}", std::process::id(), rand::random::<u32>())
}
