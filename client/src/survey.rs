//! The cluster in a few numbers: how long a lock takes, how far replicas are behind, how much there is.

use std::time::Duration;

use leasehold_core::{Epoch, Lag, NodeId, Standing, Status};

use crate::answer::{NodeReport, Votes};
use crate::client::Client;
use crate::clock;
use crate::error::{Cause, Error, Unreachable};
use crate::identity;

/// What the keys of probes start with.
pub const PROBES: &str = "leasehold/probe/";
/// How long the key that is locked for measuring stays taken if this process ends before it is released.
const PROBE: Duration = Duration::from_secs(5);

/// How long a lock takes, and how far replicas are behind; see [`Client::lag`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lags {
    /// How long it took to lock a key.
    pub lock: Duration,
    /// How long it took to release it.
    pub release: Duration,
    /// How the masters took part in the lock.
    pub votes: Votes,
    /// Each replica.
    pub replicas: Vec<Behind>,
}

/// How far a replica is behind, by the node that says the worst of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    /// The replica.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// How far.
    pub lag: Lag,
}

impl Behind {
    /// Each replica, by what the nodes have said.
    #[must_use]
    pub fn all(nodes: &[NodeReport]) -> Vec<Self> {
        let Some(newest) = newest(nodes) else { return Vec::new() };
        let replicas = newest.members.iter().filter(|peer| !peer.master);
        replicas
            .map(|peer| {
                let said = known(nodes).flat_map(|status| &status.lags);
                let of_it = said.filter(|(replica, _)| *replica == peer.member.id);
                let worst = of_it.map(|(_, lag)| *lag).max_by_key(|lag| (lag.time, lag.entries));
                let (id, name) = (peer.member.id, peer.member.name.clone());
                Self { id, name, lag: worst.unwrap_or_default() }
            })
            .collect()
    }
}

/// How much there is; see [`Client::summary`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Members of the cluster, by the newest word.
    pub members: usize,
    /// Those that could be asked; the numbers below are theirs.
    pub reached: usize,
    /// Masters among the members.
    pub masters: usize,
    /// Masters that vote.
    pub voting: usize,
    /// How many masters make a quorum.
    pub quorum: usize,
    /// Replicas among the members.
    pub replicas: usize,
    /// The newest epoch.
    pub epoch: Epoch,
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
    let key = format!("{PROBES}{high:016x}{low:016x}");
    let asked = clock::now();
    let lease = client.lock(key).value("probe").ttl(PROBE).lease().await?;
    let locked = clock::now();
    let votes = lease.votes();
    lease.release().await?;
    let (lock, release) = (locked.since(asked).into(), clock::now().since(locked).into());
    let replicas = Behind::all(&client.status().await);
    Ok(Lags { lock, release, votes, replicas })
}

pub(crate) async fn summary(client: &Client) -> Result<Summary, Error> {
    let nodes = client.status().await;
    let Some(newest) = newest(&nodes) else {
        let cause = |node: NodeReport| (node.address, node.status.err().unwrap_or(Cause::TimedOut));
        return Err(Error::Unreachable(Unreachable(nodes.into_iter().map(cause).collect())));
    };
    let masters = newest.members.iter().filter(|peer| peer.master).count();
    let mut summary = Summary {
        members: newest.members.len(),
        masters,
        quorum: masters / 2 + 1,
        replicas: newest.members.len() - masters,
        epoch: newest.epoch,
        ..Summary::default()
    };
    for status in known(&nodes) {
        let votes = matches!(status.standing, Standing::Active | Standing::Draining);
        summary.reached += 1;
        summary.voting += usize::from(votes);
        summary.leases = summary.leases.max(status.leases);
        summary.records = summary.records.max(status.records);
        summary.operations += status.operations;
        summary.queued += status.queued;
        summary.waiters += status.waiters;
    }
    Ok(summary)
}

/// What is known of the cluster by the newest word.
fn newest(nodes: &[NodeReport]) -> Option<&Status> {
    known(nodes).max_by_key(|status| status.epoch)
}

fn known(nodes: &[NodeReport]) -> impl Iterator<Item = &Status> {
    nodes.iter().filter_map(|node| node.status.as_ref().ok())
}
