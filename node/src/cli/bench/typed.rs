//! What was typed.

use clap::{Args, ValueEnum};
use leasehold_core::Span;
use leasehold_node::duration;

/// What `leasehold bench` takes.
///
/// Every call is one operation: a lock and its release are two.
#[derive(Args, Clone, Debug)]
pub(crate) struct Bench {
    /// What to do
    #[arg(value_enum, default_value_t = Workload::Cycle)]
    pub(crate) workload: Workload,
    /// How long to measure
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse)]
    pub(crate) duration: Span,
    /// Ends after so many operations, if that is sooner
    #[arg(long, value_name = "N")]
    pub(crate) ops: Option<u64>,
    /// How long to run before measuring
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration::parse)]
    pub(crate) warm_up: Span,
    /// How many operations are under way at a time, at most
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) in_flight: u32,
    /// How many clients share them; each has one connection to every master
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) connections: u32,
    /// How many threads generate the load
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) threads: u32,
    /// Begins this many operations a second, whether or not earlier ones are done (an open loop); latency counts
    /// from when an operation was to begin
    #[arg(long, value_name = "OPS/S")]
    pub(crate) rate: Option<u64>,
    /// How many keys [default: 100000 for cycle, 1 for contend and queue, 1000 for hold, else one per operation under way]
    #[arg(long, value_name = "N")]
    pub(crate) keys: Option<u64>,
    /// How often which key is taken; zipf: few keys most of the time
    #[arg(long, value_enum, default_value_t = Distribution::Uniform)]
    pub(crate) distribution: Distribution,
    /// How uneven zipf is
    #[arg(long, value_name = "S", default_value_t = 0.99)]
    pub(crate) exponent: f64,
    /// What all keys start with
    #[arg(long, default_value = "bench/")]
    pub(crate) prefix: String,
    /// How long values are, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 32)]
    pub(crate) value_size: usize,
    /// The lease of every lock and extension
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration::parse)]
    pub(crate) ttl: Span,
    /// Takes only keys whose home is one of these nodes
    #[arg(long, value_name = "NODE,..", value_delimiter = ',')]
    pub(crate) home: Vec<String>,
    /// With `hold`: extends nothing, and lets all leases end within one second, TTL after the first was acquired
    #[arg(long)]
    pub(crate) expire: bool,
    /// The processes whose processor time counts as the servers' [default: those on this machine that listen at the
    /// members' addresses]
    #[arg(long, value_name = "PID,..", value_delimiter = ',')]
    pub(crate) pids: Vec<u32>,
    /// What keys and pauses are drawn from
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
}

/// What is done again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// Acquires a key that nobody else wants, and releases it
    Cycle,
    /// Replaces the value of a held key
    Update,
    /// Extends a held key's lease
    Extend,
    /// Reads a held key by quorum
    Read,
    /// Reads what one node knows of a held key
    LocalRead,
    /// Tries to acquire a key that others want, and releases it
    Contend,
    /// Queues for a key that others want, and releases it
    Queue,
    /// Acquires all keys and extends each three times within its lease
    Hold,
}

impl Workload {
    /// What it is called.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Cycle => "cycle",
            Self::Update => "update",
            Self::Extend => "extend",
            Self::Read => "read",
            Self::LocalRead => "local-read",
            Self::Contend => "contend",
            Self::Queue => "queue",
            Self::Hold => "hold",
        }
    }
}

/// How often which key is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Distribution {
    /// All alike
    Uniform,
    /// The k-th of them in proportion to 1/k^S
    Zipf,
}
