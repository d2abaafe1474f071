//! Asking every member how it is.

use std::sync::Arc;

use leasehold_core::{Instant, NodeId, Status};
use tokio::sync::mpsc::unbounded_channel;

use crate::answer::NodeReport;
use crate::clock;
use crate::cluster::Cluster;
use crate::connection::Arrival;
use crate::error::Cause;
use crate::question::{Question, Reply};

/// One report per member, in the topology's order; before there is a topology, one per endpoint.
pub(crate) async fn ask_all(cluster: &Arc<Cluster>, deadline: Instant) -> Vec<NodeReport> {
    let members = cluster.topology().map(|topology| topology.members).unwrap_or_default();
    let mut whom: Vec<(Option<NodeId>, Option<String>, String)> = members
        .into_iter()
        .map(|peer| (Some(peer.member.id), Some(peer.member.name), peer.member.client))
        .collect();
    if whom.is_empty() {
        whom.extend(cluster.endpoints().iter().map(|address| (None, None, address.clone())));
    }
    let asked: Vec<_> = whom
        .into_iter()
        .map(|(id, name, address)| {
            let (cluster, place) = (Arc::clone(cluster), address.clone());
            let answer = tokio::spawn(async move { ask(&cluster, id, &place, deadline).await });
            (id, name, address, answer)
        })
        .collect();
    let mut reports = Vec::with_capacity(asked.len());
    for (id, name, address, answer) in asked {
        let status = answer.await.unwrap_or(Err(Cause::Closed));
        let id = id.or(status.as_ref().ok().map(|status| status.id));
        reports.push(NodeReport { id, name, address, status });
    }
    reports
}

async fn ask(
    cluster: &Arc<Cluster>,
    node: Option<NodeId>,
    address: &str,
    deadline: Instant,
) -> Result<Status, Cause> {
    let connection = cluster.reach(node, address, deadline).await?;
    let (waiter, mut arrivals) = unbounded_channel();
    let (call, now) = (cluster.next_call(), clock::now());
    connection.ask(call, Question::Status.item(call, now), now, &waiter).await;
    let arrival = tokio::select! {
        biased;
        arrival = arrivals.recv() => arrival,
        () = clock::sleep_until(deadline) => None,
    };
    connection.forget(call);
    match arrival {
        Some(Arrival::Reply { reply: Reply::Status(status), .. }) => Ok(status),
        Some(Arrival::Reply {
            reply: Reply::Outcome(_) | Reply::Local(_) | Reply::Unmet(_),
            ..
        }) => Err(Cause::Unwelcoming),
        Some(Arrival::Lost { .. } | Arrival::TooLarge { .. }) => Err(Cause::Closed),
        None => Err(Cause::TimedOut),
    }
}
