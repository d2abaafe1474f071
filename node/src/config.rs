//! What an operator tells a node: a TOML file, then the environment, then flags.
//!
//! Every key stands once, in `keys`: how it is read, how it is shown. What is not there is an error.

mod keys;
mod load;
mod reach;

use std::path::PathBuf;

use leasehold_core::wire::MAX_FRAME;
use leasehold_core::{Config as Members, Limits as CoreLimits, MIN_LEASE, Settings, Span, Timing};

use tracing_subscriber::EnvFilter;

pub use load::{ConfigError, Loaded, Origin, Sources};

/// Less would take a busy client for a dead one.
const SHORTEST_SILENCE: Span = Span::from_secs(2);
/// A node that stays awake longer is not waiting for anything that is about to come.
const LONGEST_POLL: Span = Span::from_millis(10);

/// A node's configuration. `Default` is what a node is told by nobody, but for its name and directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// This node's name in the cluster.
    pub name: String,
    /// Where the node file is kept; nowhere in a development cluster.
    pub data_dir: Option<PathBuf>,
    /// While work comes in quick succession the node stays awake for so long after the last of it: 200 µs; zero sleeps at
    /// once. It answers sooner, and takes up to a whole processor while it is busy.
    pub idle_poll: Span,
    /// The operator's name for the cluster; all nodes need the same.
    pub cluster: String,
    /// The masters before there is a configuration, this node included.
    pub masters: Vec<Address>,
    /// The replicas before there is a configuration.
    pub replicas: Vec<Address>,
    /// Where this node listens.
    pub listen: Listen,
    /// Where others find it.
    pub advertise: Advertise,
    /// Its certificate, and whose it trusts.
    pub tls: Tls,
    /// The file of tokens; without one, everybody who can connect may do everything.
    pub tokens: Option<PathBuf>,
    /// What it takes on.
    pub limits: Limits,
    /// The constants of the protocol; all nodes need the same.
    pub timing: Timing,
    /// What it logs, as a filter: `info`, or `warn,leasehold_node=debug`.
    pub log_level: String,
    /// For whom it logs.
    pub log_format: LogFormat,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// A node and where it listens for peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The node's name.
    pub name: String,
    /// `host:port`.
    pub peer: String,
}

/// Where a node listens, as `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// For clients.
    pub client: String,
    /// For other nodes.
    pub peer: String,
    /// For HTTP; nowhere if not given.
    pub http: Option<String>,
    /// Whether it may listen beyond loopback without TLS, or to clients that need not say who they are.
    pub insecure: bool,
}

/// Where others find a node, as `host:port`; where it listens unless said otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advertise {
    /// For clients.
    pub client: Option<String>,
    /// For other nodes.
    pub peer: Option<String>,
    /// For HTTP.
    pub http: Option<String>,
}

/// Files in PEM; none of them, or all but the last one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// This node's certificate, for its name, with those between it and the authority.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authority that signs the nodes' certificates.
    pub ca: PathBuf,
    /// The authority that signs the clients' certificates; without it, clients need none.
    pub client_ca: Option<PathBuf>,
}

impl Tls {
    /// Whether everything is encrypted. A few files alone are a fault of the configuration.
    #[must_use]
    pub fn is_on(&self) -> bool {
        [&self.cert, &self.key, &self.ca].iter().any(|file| !file.as_os_str().is_empty())
    }
}

/// What a node takes on. Reaching a limit is an answer to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The core's own.
    pub core: CoreLimits,
    /// Connections of clients at a time: 10,000, each a task and some buffers.
    pub connections: u32,
    /// Of these, from one address: 5,000, so that one machine leaves room for others.
    pub connections_per_address: u32,
    /// Bytes that all connections of clients together may have read and not understood, written and not sent, or carry in
    /// requests that are not answered yet, beside 64 KiB of each kind that each may have: 512 MiB.
    pub client_memory: u32,
    /// A client's connection on which nothing comes for so long is closed: 30 s. Clients beat twice a second.
    pub client_silence: Span,
    /// Requests of one connection that may be unanswered: 16,384, enough for a client that keeps a whole node busy, and
    /// a small part of what a node has under way in all, so that one client leaves room for others.
    pub requests_per_connection: u32,
    /// Bytes of answers that may wait for one client before it is disconnected: 16 MiB.
    pub client_queue: u32,
    /// Bytes of messages that may wait for one peer before more are dropped: 16 MiB, which the protocol survives like
    /// any loss.
    pub peer_queue: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            core: CoreLimits::default(),
            connections: 10_000,
            connections_per_address: 5_000,
            client_memory: 512 << 20,
            client_silence: Span::from_secs(30),
            requests_per_connection: 16_384,
            client_queue: 16 << 20,
            peer_queue: 16 << 20,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: String::new(),
            data_dir: None,
            idle_poll: Span::from_micros(200),
            cluster: "leasehold".into(),
            masters: Vec::new(),
            replicas: Vec::new(),
            listen: Listen {
                client: "127.0.0.1:7400".into(),
                peer: "127.0.0.1:7401".into(),
                http: None,
                insecure: false,
            },
            advertise: Advertise::default(),
            tls: Tls::default(),
            tokens: None,
            limits: Limits::default(),
            timing: Timing::default(),
            log_level: "info".into(),
            log_format: LogFormat::default(),
        }
    }
}

impl Config {
    /// Loads the configuration that `sources` spell, and checks it.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
        load::load(sources)
    }

    /// What the core is told.
    #[must_use]
    pub const fn settings(&self) -> Settings {
        Settings { timing: self.timing, limits: self.limits.core }
    }

    /// Everything that makes no sense, or is not safe, in words.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        self.check_names(&mut faults);
        reach::check(self, &mut faults);
        self.check_timing(&mut faults);
        self.check_numbers(&mut faults);
        if let Err(error) = EnvFilter::try_new(&self.log_level) {
            faults.push(format!("log.level = {:?}: {error}", self.log_level));
        }
        faults
    }

    fn check_names(&self, faults: &mut Vec<String>) {
        for (key, name) in [("node.name", &self.name), ("cluster.name", &self.cluster)] {
            if name.is_empty() {
                faults.push(format!("{key} is missing"));
            } else if !is_name(name) {
                faults.push(format!(
                    "{key} = {name:?}: a name has at most 64 letters, digits, dots, dashes and underscores"
                ));
            }
        }
        if self.data_dir.is_none() {
            faults.push("node.data_dir is missing: no master without a node file".into());
        }
        if self.idle_poll > LONGEST_POLL {
            faults.push(format!(
                "node.idle_poll = {}: write {LONGEST_POLL} or less, or 0s to sleep at once",
                self.idle_poll
            ));
        }
        let all: Vec<&Address> = self.masters.iter().chain(&self.replicas).collect();
        for (i, address) in all.iter().enumerate() {
            if all.iter().take(i).any(|other| other.name == address.name) {
                faults.push(format!("cluster.masters and replicas name `{}` twice", address.name));
            }
        }
        let limits = &self.limits.core;
        for (key, names, limit) in [
            ("masters", self.masters.len(), limits.masters),
            ("replicas", self.replicas.len(), limits.replicas),
        ] {
            if u32::try_from(names).map_or(true, |names| names > limit) {
                faults.push(format!("cluster.{key} names more than {limit}, see limits.{key}"));
            }
        }
        if !all.is_empty() && !all.iter().any(|address| address.name == self.name) {
            faults
                .push(format!("cluster.masters and replicas leave out this node, `{}`", self.name));
        }
    }

    fn check_timing(&self, faults: &mut Vec<String>) {
        let timing = &self.timing;
        if timing.max_lease < MIN_LEASE {
            faults
                .push(format!("timing.max_lease is shorter than the shortest lease, {MIN_LEASE}"));
        }
        let spans = [
            ("op_timeout", timing.op_timeout),
            ("promise_timeout", timing.promise_timeout),
            ("sync_timeout", timing.sync_timeout),
        ];
        for (key, span) in spans {
            if span < MIN_LEASE {
                faults.push(format!("timing.{key} is shorter than {MIN_LEASE}"));
            }
        }
        // What the horizon leaves for answers that come one after the other (protocol, section 7).
        let vote = timing.op_timeout.plus(timing.promise_timeout);
        if timing.sync_timeout < vote {
            faults.push(format!(
                "timing.sync_timeout is shorter than op_timeout and promise_timeout together: write {vote} or more"
            ));
        }
    }

    fn check_numbers(&self, faults: &mut Vec<String>) {
        let limits = &self.limits;
        let entry = [limits.core.key, limits.core.value, limits.core.meta];
        let entry = entry.iter().fold(0_u32, |sum, bytes| sum.saturating_add(*bytes));
        if usize::try_from(entry).unwrap_or(usize::MAX) > MAX_FRAME / 2 {
            faults.push(format!(
                "limits.key, value and meta are {entry} bytes together; half a frame is {}",
                MAX_FRAME / 2
            ));
        }
        let frame = |bytes: u32| usize::try_from(bytes).map_or(true, |bytes| bytes > MAX_FRAME / 4);
        if limits.core.snapshot_part == 0 || frame(limits.core.snapshot_part) {
            faults.push(format!(
                "limits.snapshot_part = {}: write 1 to {}, a quarter of a frame",
                limits.core.snapshot_part,
                MAX_FRAME / 4
            ));
        }
        let members = [
            ("masters", limits.core.masters, 1, Members::MAX_MASTERS),
            ("replicas", limits.core.replicas, 0, Members::MAX_REPLICAS),
        ];
        for (key, count, least, most) in members {
            if count < least || usize::try_from(count).map_or(true, |count| count > most) {
                faults.push(format!("limits.{key} = {count}: write {least} to {most}"));
            }
        }
        let counts = [
            ("key", limits.core.key),
            ("records", limits.core.records),
            ("operations", limits.core.operations),
            ("connections", limits.connections),
            ("connections_per_address", limits.connections_per_address),
            ("client_memory", limits.client_memory),
            ("requests_per_connection", limits.requests_per_connection),
        ];
        for (key, count) in counts {
            if count == 0 {
                faults.push(format!("limits.{key} is zero"));
            }
        }
        if limits.client_silence < SHORTEST_SILENCE {
            faults.push(format!(
                "limits.client_silence is shorter than {SHORTEST_SILENCE}; clients beat twice a second"
            ));
        }
        let frame = u32::try_from(MAX_FRAME).unwrap_or(u32::MAX);
        for (key, bytes) in
            [("client_queue", limits.client_queue), ("peer_queue", limits.peer_queue)]
        {
            if bytes < frame.saturating_mul(2) {
                faults.push(format!("limits.{key} is less than two frames, {}", frame * 2));
            }
        }
    }
}

/// Whether this is `host:port`.
pub(crate) fn is_address(text: &str) -> bool {
    reach::host(text).is_some()
}

/// Whether nodes and clusters may be called this.
pub(crate) fn is_name(name: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (1..=64).contains(&name.len()) && name.chars().all(fine)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fine() -> Config {
        let address = |name: &str| Address { name: name.into(), peer: format!("{name}:7401") };
        Config {
            name: "a".into(),
            data_dir: Some("/tmp/a".into()),
            masters: ["a", "b", "c"].map(address).into(),
            ..Config::default()
        }
    }

    pub(super) fn fault(change: impl FnOnce(&mut Config)) -> String {
        let mut config = fine();
        change(&mut config);
        config.faults().join("\n")
    }

    #[test]
    fn the_defaults_are_fine() {
        assert_eq!(fine().faults(), [""; 0]);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        assert!(fault(|c| c.name = String::new()).contains("node.name is missing"));
        assert!(fault(|c| c.name = "a=b".into()).contains("letters"));
        assert!(fault(|c| c.name = "z".into()).contains("leave out this node, `z`"));
        assert!(fault(|c| c.data_dir = None).contains("data_dir"));
        assert!(fault(|c| c.idle_poll = Span::from_secs(1)).contains("idle_poll = 1s: write 10ms"));
        assert!(fault(|c| c.masters[1].name = "a".into()).contains("`a` twice"));
        assert!(fault(|c| c.masters[1].peer = "b".into()).contains("b=b is no"));
        assert!(fault(|c| c.listen.client = "::1:7400".into()).contains("listen.client"));
        assert!(fault(|c| c.timing.max_lease = MIN_LEASE.split(2)).contains("max_lease"));
        let shorter = fault(|c| c.timing.sync_timeout = Span::from_millis(9_999));
        assert!(
            shorter.contains("timing.sync_timeout") && shorter.contains("write 10s"),
            "{shorter}"
        );
        assert_eq!(fault(|c| c.timing.sync_timeout = Span::from_secs(10)), "");
        assert!(fault(|c| c.limits.core.value = 1 << 20).contains("half a frame"));
        assert!(fault(|c| c.limits.core.masters = 16).contains("1 to 15"));
        assert!(fault(|c| c.limits.core.replicas = 101).contains("0 to 100"));
        assert!(fault(|c| c.limits.core.masters = 2).contains("see limits.masters"));
        assert!(fault(|c| c.limits.core.snapshot_part = 1 << 20).contains("snapshot_part"));
        assert!(fault(|c| c.limits.connections = 0).contains("limits.connections"));
        assert!(fault(|c| c.log_level = "a=b=c".into()).contains("log.level"));
        assert!(fault(|c| c.limits.peer_queue = 5).contains("limits.peer_queue"));
    }
}
