//! What was typed.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use leasehold_core::Span;
use leasehold_node::duration;

use super::members::Members;

/// What every command takes.
#[derive(Args, Debug)]
pub(crate) struct Global {
    /// The nodes to talk to, as host:port; any of them will do
    #[arg(
        long,
        global = true,
        value_name = "HOST:PORT,..",
        value_delimiter = ',',
        env = "LEASEHOLD_ENDPOINTS",
        default_value = "127.0.0.1:7400"
    )]
    pub(crate) endpoints: Vec<String>,
    /// The authority that signed the nodes' certificates, as a PEM file; without it nothing is encrypted
    #[arg(long, global = true, value_name = "FILE", env = "LEASEHOLD_CACERT")]
    pub(crate) cacert: Option<PathBuf>,
    /// The certificate that says who you are, as a PEM file, where nodes ask for one
    #[arg(long, global = true, value_name = "FILE", env = "LEASEHOLD_CERT", requires = "key_file")]
    pub(crate) cert: Option<PathBuf>,
    /// Its private key
    #[arg(
        long = "key",
        global = true,
        value_name = "FILE",
        env = "LEASEHOLD_CERT_KEY",
        requires = "cert"
    )]
    pub(crate) key_file: Option<PathBuf>,
    /// A file with the secret token that says who you are, where nodes ask for one
    #[arg(long, global = true, value_name = "FILE", env = "LEASEHOLD_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// How long the command may take, besides what it is told to wait; for `wait`, how long to wait [default: 10s]
    #[arg(long, global = true, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) timeout: Option<Span>,
    /// Prints results as JSON, one object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Says more on standard error; twice says a lot
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Says nothing on standard error but errors; with --json, not even those
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

/// The commands that talk to a cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Declares a new cluster: no lease exists, and its masters may vote at once
    ///
    /// Needs every master. Can be repeated until it has succeeded; refused once any node was active.
    Init,
    /// Acquires a key, and prints the fencing token and for how long it is valid
    ///
    /// Without --wait the key is tried once. The lease ends by itself unless it is extended.
    Lock(Lock),
    /// Lets a lease end later
    Extend(Extend),
    /// Replaces the value of a held key; the lease ends when it would have ended
    Update(Update),
    /// Gives a key up
    Release(Release),
    /// Says who holds a key; exits with 1 if nobody does
    Get(Get),
    /// Waits until a key is held, or released
    Wait(Wait),
    /// Lists what is held, as far as one node knows by itself: possibly stale or not agreed
    List(List),
    /// Shows who waits for a key, by what every node says
    Waiters(Waiters),
    /// Checks fencing tokens
    #[command(subcommand)]
    Fence(Fence),
    /// Shows who the members are, or changes that
    Members(Members),
    /// Shows the cluster at a glance
    Status,
}

impl ClientCommand {
    /// What it is called.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Lock(_) => "lock",
            Self::Extend(_) => "extend",
            Self::Update(_) => "update",
            Self::Release(_) => "release",
            Self::Get(_) => "get",
            Self::Wait(_) => "wait",
            Self::List(_) => "list",
            Self::Waiters(_) => "waiters",
            Self::Fence(Fence::Check(_)) => "fence check",
            Self::Members(members) => members.name(),
            Self::Status => "status",
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct Lock {
    /// The key
    pub(crate) key: String,
    /// What the key shall hold, so that others see who has it [default: host/pid/random]
    pub(crate) value: Option<String>,
    /// How long the key is held unless extended
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::parse)]
    pub(crate) ttl: Span,
    /// Queues for a held key, for this long at most
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) wait: Option<Span>,
    /// Keeps others from the key for this long after the lease ended by itself
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration::parse)]
    pub(crate) delay: Span,
    /// Describes the owner; can be repeated
    #[arg(long, value_name = "NAME=TEXT")]
    pub(crate) meta: Vec<String>,
}

#[derive(Args, Debug)]
#[command(group(ArgGroup::new("owner").required(true).args(["token", "value"])))]
pub(crate) struct Extend {
    /// The key
    pub(crate) key: String,
    /// The fencing token of the lease
    #[arg(long, value_name = "N")]
    pub(crate) token: Option<u64>,
    /// The value that the key must hold
    #[arg(long)]
    pub(crate) value: Option<String>,
    /// How long from now the lease lasts at least
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) ttl: Span,
}

#[derive(Args, Debug)]
pub(crate) struct Update {
    /// The key
    pub(crate) key: String,
    /// The value that the key must hold
    pub(crate) old: String,
    /// The value that it shall hold
    pub(crate) new: String,
    /// The fencing token that the lease must have
    #[arg(long, value_name = "N")]
    pub(crate) token: Option<u64>,
}

#[derive(Args, Debug)]
#[command(group(ArgGroup::new("owner").required(true).args(["token", "value", "force"])))]
pub(crate) struct Release {
    /// The key
    pub(crate) key: String,
    /// The fencing token of the lease
    #[arg(long, value_name = "N")]
    pub(crate) token: Option<u64>,
    /// The value that the key must hold
    #[arg(long)]
    pub(crate) value: Option<String>,
    /// Releases the key whoever holds it
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Get {
    /// The key
    pub(crate) key: String,
    /// Asks one node for its own record: at once, but possibly stale or not agreed
    #[arg(long)]
    pub(crate) local: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Wait {
    /// The key
    pub(crate) key: String,
    /// Waits until nobody holds the key any more
    #[arg(long)]
    pub(crate) released: bool,
}

#[derive(Args, Debug)]
pub(crate) struct List {
    /// What the keys start with; all of them if not given
    #[arg(default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,
}

#[derive(Args, Debug)]
pub(crate) struct Waiters {
    /// The key
    pub(crate) key: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Fence {
    /// Says whether a key is held with this fencing token, by quorum; exits with 1 if not
    Check(Check),
}

#[derive(Args, Debug)]
pub(crate) struct Check {
    /// The key
    pub(crate) key: String,
    /// The fencing token
    pub(crate) token: u64,
}
