//! What is meant by what was typed: a load that makes sense.

use std::time::Duration;

use leasehold_client::Options;
use leasehold_core::Span;

use super::keys::Keys;
use super::typed::{Bench, Workload};
use crate::cli::typed::Global;

/// How long one operation may take that does not say so itself.
const TIMEOUT: Duration = Duration::from_secs(10);
/// More would not fit a machine's memory, or its tasks.
const MOST_IN_FLIGHT: u32 = 1 << 20;
const MOST_KEYS: u64 = 1 << 32;
/// What a key and a value may be long is the cluster's to say; this only bounds what is typed.
const LONGEST_VALUE: usize = 1 << 20;

/// A load to put on a cluster.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) endpoints: Vec<String>,
    pub(super) timeout: Duration,
    /// How to connect.
    pub(super) options: Options,
    pub(super) workload: Workload,
    pub(super) duration: Span,
    pub(super) ops: Option<u64>,
    pub(super) warm_up: Span,
    pub(super) in_flight: u32,
    pub(super) connections: u32,
    pub(super) threads: u32,
    /// Operations a second, in an open loop.
    pub(super) rate: Option<u64>,
    pub(super) keys: Keys,
    pub(super) value_size: usize,
    pub(super) ttl: Duration,
    pub(super) homes: Vec<String>,
    pub(super) expire: bool,
    pub(super) pids: Vec<u32>,
    pub(super) seed: u64,
}

impl Plan {
    /// The sense of what was typed, or what is wrong with it, in words.
    pub(super) fn new(global: &Global, typed: &Bench) -> Result<Self, String> {
        let endpoints: Result<Vec<String>, String> =
            global.endpoints.iter().map(|typed| crate::cli::meant::endpoint(typed)).collect();
        let wants = |ok: bool, what: &str| if ok { Ok(()) } else { Err(what.to_owned()) };
        wants(!typed.duration.is_zero(), "--duration is zero")?;
        wants(typed.ops != Some(0), "--ops is zero")?;
        wants(typed.rate != Some(0), "--rate is zero; leave it out for a closed loop")?;
        wants(!typed.ttl.is_zero(), "--ttl is zero")?;
        wants(typed.value_size <= LONGEST_VALUE, "--value-size is more than a megabyte")?;
        if !(1..=MOST_IN_FLIGHT).contains(&typed.in_flight) {
            return Err(format!("--in-flight: from 1 to {MOST_IN_FLIGHT}"));
        }
        if !(1..=typed.in_flight).contains(&typed.connections) {
            return Err("--connections: at least 1, at most --in-flight".to_owned());
        }
        if !(1..=typed.connections).contains(&typed.threads) {
            return Err("--threads: at least 1, at most --connections: they share none".to_owned());
        }
        wants(
            typed.workload == Workload::Hold || !typed.expire,
            "--expire is for the workload hold",
        )?;
        wants(
            typed.workload != Workload::Hold || typed.rate.is_none(),
            "hold has a rate of its own: every key three times within its lease",
        )?;
        let fixed =
            matches!(typed.workload, Workload::Update | Workload::Read | Workload::LocalRead);
        if fixed && typed.ttl <= typed.duration.plus(typed.warm_up) {
            return Err("--ttl must be longer than --warm-up and --duration: this workload extends no lease".into());
        }
        let number = typed.keys.unwrap_or_else(|| usual_keys(typed));
        if !(1..=MOST_KEYS).contains(&number) {
            return Err(format!("--keys: from 1 to {MOST_KEYS}"));
        }
        let keys = Keys::new(typed, number)?;
        if !keys.shared && number < u64::from(typed.in_flight) {
            return Err(
                "--keys: at least as many as --in-flight, so that nobody is in another's way"
                    .into(),
            );
        }
        Ok(Self {
            endpoints: endpoints?,
            timeout: global.timeout.map_or(TIMEOUT, Duration::from),
            options: crate::cli::access::options(global)?,
            workload: typed.workload,
            duration: typed.duration,
            ops: typed.ops,
            warm_up: typed.warm_up,
            in_flight: typed.in_flight,
            connections: typed.connections,
            threads: typed.threads,
            rate: match typed.workload {
                Workload::Hold => Some(extensions(number, typed.ttl)),
                Workload::Cycle
                | Workload::Update
                | Workload::Extend
                | Workload::Read
                | Workload::LocalRead
                | Workload::Contend
                | Workload::Queue => typed.rate,
            },
            keys,
            value_size: typed.value_size,
            ttl: typed.ttl.into(),
            homes: typed.home.clone(),
            expire: typed.expire,
            pids: typed.pids.clone(),
            seed: typed.seed,
        })
    }
}

/// How many keys a workload takes that is not told.
fn usual_keys(typed: &Bench) -> u64 {
    match typed.workload {
        Workload::Cycle => 100_000,
        Workload::Contend | Workload::Queue => 1,
        Workload::Hold => 1_000,
        Workload::Update | Workload::Extend | Workload::Read | Workload::LocalRead => {
            u64::from(typed.in_flight)
        }
    }
}

/// How many extensions a second keep so many leases, three for each within its time.
fn extensions(keys: u64, ttl: Span) -> u64 {
    let micros = u128::from(ttl.as_micros().max(1));
    let rate = u128::from(keys) * 3 * 1_000_000 / micros;
    u64::try_from(rate).unwrap_or(u64::MAX).max(1)
}
