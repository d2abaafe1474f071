//! The cluster in a few numbers: how long a lock takes, how far replicas are behind, how much there is.

use std::collections::BTreeMap;
use std::time::Duration;

use leasehold_core::{Lag, NodeId, Status};

use crate::answer::{NodeReport, Votes};
use crate::client::Client;
use crate::clock;
use crate::error::{Cause, Error, Unreachable};
use crate::identity;

/// How long the key that is locked for measuring stays taken if this process ends before it is released.
const PROBE: Duration = Duration::from_secs(2);

/// How long a lock takes, and how far replicas are behind; see [`Client::lag`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lags {
    /// How long it took to lock a key.
    pub lock: Duration,
    /// How long it took to release it.
    pub release: Duration,
    /// How the masters took part in the lock.
    pub votes: Votes,
    /// How far each replica is behind, by the node that says the worst of it.
    pub replicas: BTreeMap<NodeId, Lag>,
}

/// How much there is; see [`Client::summary`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Members of the cluster.
    pub members: usize,
    /// Those that could be asked; the numbers below are theirs.
    pub reached: usize,
    /// The most live leases that a node has in its records.
    pub leases: u64,
    /// The most records that a node has.
    pub records: u64,
    /// Operations under way.
    pub operations: u64,
    /// Of these, locks that wait for their key.
    pub queued: u64,
    /// Waits for a key to be held or released.
    pub waiters: u64,
}

pub(crate) async fn lag(client: &Client) -> Result<Lags, Error> {
    let (high, low) = identity::draw();
    let key = format!("leasehold/lag/{high:016x}{low:016x}");
    let asked = clock::now();
    let lease = client.lock(key).value("probe").ttl(PROBE).lease().await?;
    let locked = clock::now();
    let votes = lease.votes();
    lease.release().await?;
    let (lock, release) = (locked.since(asked).into(), clock::now().since(locked).into());
    let mut replicas: BTreeMap<NodeId, Lag> = BTreeMap::new();
    for status in known(&client.status().await) {
        for (replica, lag) in &status.lags {
            let worst = replicas.entry(*replica).or_default();
            if (lag.time, lag.entries) > (worst.time, worst.entries) {
                *worst = *lag;
            }
        }
    }
    Ok(Lags { lock, release, votes, replicas })
}

pub(crate) async fn summary(client: &Client) -> Result<Summary, Error> {
    let nodes = client.status().await;
    let mut summary = Summary::default();
    for status in known(&nodes) {
        summary.reached += 1;
        summary.members = summary.members.max(status.members.len());
        summary.leases = summary.leases.max(status.leases);
        summary.records = summary.records.max(status.records);
        summary.operations += status.operations;
        summary.queued += status.queued;
        summary.waiters += status.waiters;
    }
    if summary.reached > 0 {
        return Ok(summary);
    }
    let cause = |node: NodeReport| (node.address, node.status.err().unwrap_or(Cause::TimedOut));
    Err(Error::Unreachable(Unreachable(nodes.into_iter().map(cause).collect())))
}

fn known(nodes: &[NodeReport]) -> impl Iterator<Item = &Status> {
    nodes.iter().filter_map(|node| node.status.as_ref().ok())
}
