//! Asking every member for what it alone knows: how it is, who waits there.

use std::sync::Arc;

use leasehold_core::{Instant, NodeId};

use crate::answer::{NodeReport, WaitingReport};
use crate::clock;
use crate::cluster::Cluster;
use crate::connection::Arrival;
use crate::error::Cause;
use crate::mailbox::Mailbox;
use crate::question::{Question, Reply};

/// What one member answered, or why it could not be asked.
#[derive(Debug)]
pub(crate) struct Asked {
    id: Option<NodeId>,
    name: Option<String>,
    address: String,
    reply: Result<Reply, Cause>,
}

impl From<Asked> for NodeReport {
    fn from(asked: Asked) -> Self {
        let status = asked.reply.and_then(|reply| match reply {
            Reply::Status(status) => Ok(*status),
            Reply::NotAllowed(why) => Err(Cause::NotAllowed(why)),
            Reply::Outcome(_)
            | Reply::Local(_)
            | Reply::Page(_)
            | Reply::Waiting(_)
            | Reply::Declined(_)
            | Reply::Hosted(_)
            | Reply::Posted(_)
            | Reply::Unmet(_) => Err(Cause::Unwelcoming),
        });
        let id = asked.id.or(status.as_ref().ok().map(|status| status.id));
        Self { id, name: asked.name, address: asked.address, status }
    }
}

impl From<Asked> for WaitingReport {
    fn from(asked: Asked) -> Self {
        let waiting = asked.reply.and_then(|reply| match reply {
            Reply::Waiting(waiting) => Ok(waiting.into()),
            Reply::NotAllowed(why) => Err(Cause::NotAllowed(why)),
            Reply::Outcome(_)
            | Reply::Local(_)
            | Reply::Page(_)
            | Reply::Status(_)
            | Reply::Declined(_)
            | Reply::Hosted(_)
            | Reply::Posted(_)
            | Reply::Unmet(_) => Err(Cause::Unwelcoming),
        });
        Self { id: asked.id, name: asked.name, address: asked.address, waiting }
    }
}

/// Asks all at the same time. One answer per member, in the topology's order; before there is a topology, one per
/// endpoint.
pub(crate) async fn ask_all(
    cluster: &Arc<Cluster>,
    question: &Question,
    deadline: Instant,
) -> Vec<Asked> {
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
            let (cluster, question) = (Arc::clone(cluster), question.clone());
            let place = address.clone();
            let ask = async move { ask(&cluster, id, &place, &question, deadline).await };
            (id, name, address, tokio::spawn(ask))
        })
        .collect();
    let mut answers = Vec::with_capacity(asked.len());
    for (id, name, address, answer) in asked {
        let reply = answer.await.unwrap_or(Err(Cause::Closed));
        answers.push(Asked { id, name, address, reply });
    }
    answers
}

async fn ask(
    cluster: &Arc<Cluster>,
    node: Option<NodeId>,
    address: &str,
    question: &Question,
    deadline: Instant,
) -> Result<Reply, Cause> {
    let connection = cluster.reach(node, address, deadline).await?;
    let mut mailbox = Mailbox::new();
    let (call, now) = (cluster.next_call(), clock::now());
    connection.ask(call, question.item(call, now), now, mailbox.slot()).await;
    let arrival = tokio::select! {
        biased;
        arrival = mailbox.take() => Some(arrival),
        () = clock::sleep_until(deadline) => None,
    };
    connection.forget(call, None);
    match arrival {
        Some(Arrival::Reply { reply, .. }) => Ok(reply),
        Some(Arrival::Lost { .. } | Arrival::TooLarge { .. } | Arrival::Quiet { .. }) => {
            Err(Cause::Closed)
        }
        None => Err(Cause::TimedOut),
    }
}
