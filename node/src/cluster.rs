//! A whole cluster in one process, on loopback and in memory, for development and tests.

use std::fmt;
use std::future::Future;
use std::task::{Context, Poll};

use leasehold_core::{NotDone, Outcome, Span, Standing};

use crate::clock::Clock;
use crate::config::{Address, Config};
use crate::desk::InitAnswer;
use crate::server::{Listeners, Running, Server, StartError};

/// The cluster has so long to become ready.
const PATIENCE: Span = Span::from_secs(30);
/// Between looks at whether it is.
const LOOK: Span = Span::from_millis(10);

/// What kind of cluster to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevOptions {
    /// How many nodes vote.
    pub masters: u16,
    /// How many only learn.
    pub replicas: u16,
    /// Node `i` listens for clients at this port plus `10·i`, for other nodes one above, and over HTTP two above.
    /// Zero lets the system choose.
    pub port: u16,
}

impl Default for DevOptions {
    fn default() -> Self {
        Self { masters: 3, replicas: 0, port: 7400 }
    }
}

/// Why there is no development cluster.
#[derive(Debug)]
pub enum DevError {
    /// No masters, or too many.
    Masters(u16),
    /// The last node's ports would be above 65535.
    Ports,
    /// A node did not start.
    Start(StartError),
    /// The nodes did not become a cluster.
    Init(String),
}

impl fmt::Display for DevError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Masters(masters) => write!(
                f,
                "a cluster has 1 to {} masters, not {masters}",
                leasehold_core::Config::MAX_MASTERS
            ),
            Self::Ports => f.write_str("the last node's ports would be above 65535"),
            Self::Start(error) => error.fmt(f),
            Self::Init(reason) => write!(f, "the cluster did not become ready: {reason}"),
        }
    }
}

impl std::error::Error for DevError {}

/// A development cluster that runs. It ends, at once, when this is dropped.
#[derive(Debug)]
pub struct Dev {
    nodes: Vec<Running>,
}

impl Dev {
    /// Its nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Running] {
        &self.nodes
    }

    /// Its nodes, each on its own.
    #[must_use]
    pub fn into_nodes(self) -> Vec<Running> {
        self.nodes
    }

    /// Waits until a node has ended by itself, which it only does when something is badly wrong.
    pub async fn ended(&mut self) {
        let ends = self.nodes.iter_mut().map(|node| Box::pin(node.ended()));
        let mut ends: Vec<_> = ends.collect();
        let any = |cx: &mut Context<'_>| {
            let ended = ends.iter_mut().any(|end| end.as_mut().poll(cx).is_ready());
            if ended { Poll::Ready(()) } else { Poll::Pending }
        };
        std::future::poll_fn(any).await;
    }

    /// Ends all nodes.
    pub async fn shutdown(self) {
        for node in &self.nodes {
            node.stop().await;
        }
        for node in self.nodes {
            node.shutdown().await;
        }
    }
}

/// Starts a cluster, new and empty, and waits until it is ready.
///
/// # Errors
///
/// If the options make no sense, a port is taken, or the cluster does not become ready.
pub async fn dev(options: DevOptions) -> Result<Dev, DevError> {
    if !(1..=leasehold_core::Config::MAX_MASTERS).contains(&usize::from(options.masters)) {
        return Err(DevError::Masters(options.masters));
    }
    let mut listeners = Vec::new();
    let (mut masters, mut replicas) = (Vec::new(), Vec::new());
    let all = options.masters.checked_add(options.replicas).ok_or(DevError::Ports)?;
    for i in 0..all {
        let client = port(options.port, i, 0)?;
        let peer = port(options.port, i, 1)?;
        let http = port(options.port, i, 2)?;
        let bound = Listeners::bind(&client, &peer).await.map_err(DevError::Start)?;
        let bound = bound.with_http(&http).await.map_err(DevError::Start)?;
        let role = if i < options.masters { &mut masters } else { &mut replicas };
        role.push(Address { name: format!("n{i}"), peer: bound.peer_addr().to_string() });
        listeners.push((i, bound));
    }
    let mut nodes = Vec::new();
    for (i, bound) in listeners {
        let mut config = Config {
            name: format!("n{i}"),
            cluster: "dev".into(),
            masters: masters.clone(),
            replicas: replicas.clone(),
            ..Config::default()
        };
        config.listen.client = bound.client_addr().to_string();
        config.listen.peer = bound.peer_addr().to_string();
        config.listen.http = bound.http_addr().map(|address| address.to_string());
        nodes.push(Server::start_on(config, bound).map_err(DevError::Start)?);
    }
    let cluster = Dev { nodes };
    match Clock::system().limit(PATIENCE, found(&cluster.nodes)).await {
        Some(Ok(())) => Ok(cluster),
        Some(Err(reason)) => Err(DevError::Init(reason)),
        None => Err(DevError::Init(format!("it took more than {PATIENCE}"))),
    }
}

fn port(base: u16, node: u16, offset: u16) -> Result<String, DevError> {
    if base == 0 {
        return Ok("127.0.0.1:0".into());
    }
    let port = node.checked_mul(10).and_then(|ten| ten.checked_add(offset));
    let port = port.and_then(|above| base.checked_add(above)).ok_or(DevError::Ports)?;
    Ok(format!("127.0.0.1:{port}"))
}

/// Founds the cluster, and waits until all vote and see each other.
async fn found(nodes: &[Running]) -> Result<(), String> {
    let first = nodes.first().ok_or("no nodes")?;
    loop {
        match first.init().await.ok_or("a node ended")? {
            InitAnswer::Outcome(Outcome::Founded(_)) => break,
            // Links come and go in the first moments; `init` can be repeated.
            InitAnswer::Unmet(_)
            | InitAnswer::Outcome(
                Outcome::NotDone(NotDone::Unreachable(_) | NotDone::NoQuorum | NotDone::TimedOut)
                | Outcome::Unknown,
            ) => {}
            InitAnswer::Outcome(other) => return Err(format!("init was answered {other:?}")),
        }
    }
    for node in nodes {
        loop {
            let status = node.status().await.ok_or("a node ended")?;
            // Its own standing is among them.
            let ready = |peer: &leasehold_core::Peer| {
                let wanted = if peer.master { Standing::Active } else { Standing::Replica };
                peer.up && peer.standing == wanted
            };
            if !status.members.is_empty() && status.members.iter().all(ready) {
                break;
            }
            Clock::system().sleep(LOOK).await;
        }
    }
    Ok(())
}
