//! The cluster, as the node that is asked sees it.

use axum::Extension;
use axum::http::HeaderMap;
use axum::response::Response;
use leasehold_core::wire::{ClientItem, NodeItem};
use leasehold_core::{Action, Bytes, Done, NodeId, Owner, Span, Standing, Status};
use serde::Serialize;
use utoipa::ToSchema;

use leasehold_client::PROBES;

use super::answer::{Failure, Otherwise};
use super::api::{TIMEOUT, change, converse, new_chain, nonsense, reply};
use super::caller::{Caller, Guest};
use crate::names;

/// A probe that is not released ends soon by itself.
const PROBE: Span = Span::from_secs(5);

/// A member of the cluster.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MemberShape {
    /// Its name.
    node: String,
    /// Its incarnation, which it got with its node file.
    node_id: String,
    /// Whether it votes; it is a replica otherwise.
    master: bool,
    /// `unknown`, `fresh`, `joining`, `active`, `replica`, `outside` or `draining`, as it last said of itself.
    standing: &'static str,
    /// Whether the link to it is up.
    up: bool,
    /// Where it listens for clients.
    client: String,
    /// Where it listens for other nodes.
    peer: String,
    /// Where it answers over HTTP; empty if nowhere.
    http: String,
    /// When something came from it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    heard_ms_ago: Option<u64>,
    /// How much faster its clock runs than the answering node's; negative for slower.
    #[serde(skip_serializing_if = "Option::is_none")]
    clock_rate_ppm: Option<i32>,
}

/// The members.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MembersShape {
    op: &'static str,
    outcome: &'static str,
    /// The cluster's identity; none before `init`.
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<String>,
    /// The epoch in force at this node.
    epoch: u64,
    /// Whether this node leads a change of the members that is not complete.
    changing: bool,
    /// Whether, as far as this node knows, no change is under way and a quorum of the masters votes: the next change need not wait.
    complete: bool,
    /// How many masters there are.
    masters: usize,
    /// How many of them vote, as far as this node knows.
    voting: usize,
    /// How many of them make a quorum.
    quorum: usize,
    /// All of them.
    members: Vec<MemberShape>,
}

/// A replica and how far it is behind.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LagShape {
    /// Its name.
    node: String,
    /// Changes that it has not acknowledged.
    entries: u64,
    /// Since when the oldest of them is on its way.
    lag_ms: u64,
}

/// Something that went wrong at the node.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TroubleShape {
    /// How long ago.
    ago_ms: u64,
    /// What, as the log has it.
    message: String,
}

/// How the answering node is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StatusShape {
    op: &'static str,
    outcome: &'static str,
    /// Its name.
    node: String,
    /// Its incarnation.
    node_id: String,
    /// `unknown`, `fresh`, `joining`, `active`, `replica`, `outside` or `draining`.
    standing: &'static str,
    /// Until a joining node votes, if it waits for time to pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    active_in_ms: Option<u64>,
    /// The cluster's identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<String>,
    /// The epoch in force.
    epoch: u64,
    /// Whether it leads a change of the members that is not complete.
    changing: bool,
    /// Live leases in its records.
    leases: u64,
    /// All its records.
    records: u64,
    /// Operations under way, with those that queue.
    operations: u64,
    /// Of these, locks that wait for their key.
    queued: u64,
    /// Waiters on local records.
    waiters: u64,
    /// How long it has been running.
    uptime_ms: u64,
    /// Records that went because all masters agreed.
    forgotten_by_agreement: u64,
    /// Records that went because nothing of them can matter any more.
    forgotten_by_age: u64,
    /// The members and how it hears them.
    members: Vec<MemberShape>,
    /// How far replicas are behind what it coordinated.
    lags: Vec<LagShape>,
    /// What went wrong lately, the newest first.
    troubles: Vec<TroubleShape>,
}

/// Counts.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SummaryShape {
    op: &'static str,
    outcome: &'static str,
    /// Nodes in the configuration.
    members: usize,
    /// Of these, masters.
    masters: usize,
    /// Masters that vote, as far as this node knows.
    voting: usize,
    /// How many of them make a quorum.
    quorum: usize,
    /// Replicas.
    replicas: usize,
    /// Live leases in this node's records.
    leases: u64,
    /// All its records.
    records: u64,
    /// Operations under way here, with those that queue.
    operations: u64,
    /// Locks that wait for their key here.
    queued: u64,
    /// Waiters on local records here.
    waiters: u64,
}

/// What a probe took, and how far replicas are behind.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProbeShape {
    op: &'static str,
    outcome: &'static str,
    /// What it took to acquire a key of its own, in microseconds.
    lock_us: u64,
    /// What it took to release it, in microseconds.
    release_us: u64,
    /// Masters that had accepted when the lock was answered.
    commits: u8,
    /// How far replicas are behind what this node coordinated.
    replicas: Vec<LagShape>,
}

/// Shows the members of the cluster, as this node sees them
#[utoipa::path(get, path = "/v1/members", tag = "cluster",
    responses((status = 200, description = "The members.", body = MembersShape), Otherwise))]
pub(super) async fn members(Extension(caller): Extension<Caller>, headers: HeaderMap) -> Response {
    let shown = async {
        let status = ask_status(&caller.admit(&headers)?).await?;
        let Masters { all, voting, quorum } = Masters::of(&status);
        Ok(MembersShape {
            op: "members",
            outcome: "done",
            cluster: status.cluster.map(names::of_cluster),
            epoch: status.epoch.0,
            changing: status.changing,
            complete: status.cluster.is_some() && !status.changing && voting >= quorum,
            masters: all,
            voting,
            quorum,
            members: member_shapes(&status),
        })
    };
    reply("members", shown.await)
}

/// Shows how this node is
#[utoipa::path(get, path = "/v1/status", tag = "cluster",
    responses((status = 200, description = "How it is.", body = StatusShape), Otherwise))]
pub(super) async fn status(Extension(caller): Extension<Caller>, headers: HeaderMap) -> Response {
    let shown = async {
        let status = ask_status(&caller.admit(&headers)?).await?;
        let trouble = |trouble: &leasehold_core::Trouble| TroubleShape {
            ago_ms: trouble.ago.as_millis(),
            message: trouble.words.clone(),
        };
        Ok(StatusShape {
            op: "status",
            outcome: "done",
            node: caller.context().name.clone(),
            node_id: names::of_node(status.id),
            standing: names::of_standing(status.standing),
            active_in_ms: status.active_in.map(Span::as_millis),
            cluster: status.cluster.map(names::of_cluster),
            epoch: status.epoch.0,
            changing: status.changing,
            leases: status.leases,
            records: status.records,
            operations: status.operations,
            queued: status.queued,
            waiters: status.waiters,
            uptime_ms: status.uptime.as_millis(),
            forgotten_by_agreement: status.forgotten_by_agreement,
            forgotten_by_age: status.forgotten_by_age,
            members: member_shapes(&status),
            lags: lag_shapes(&status),
            troubles: status.troubles.iter().map(trouble).collect(),
        })
    };
    reply("status", shown.await)
}

/// Counts what there is, as this node sees it
#[utoipa::path(get, path = "/v1/summary", tag = "cluster",
    responses((status = 200, description = "Counts.", body = SummaryShape), Otherwise))]
pub(super) async fn summary(Extension(caller): Extension<Caller>, headers: HeaderMap) -> Response {
    let counted = async {
        let status = ask_status(&caller.admit(&headers)?).await?;
        let Masters { all: masters, voting, quorum } = Masters::of(&status);
        Ok(SummaryShape {
            op: "summary",
            outcome: "done",
            members: status.members.len(),
            masters,
            voting,
            quorum,
            replicas: status.members.len() - masters,
            leases: status.leases,
            records: status.records,
            operations: status.operations,
            queued: status.queued,
            waiters: status.waiters,
        })
    };
    reply("summary", counted.await)
}

/// Times a lock of its own, and shows how far each replica is behind
///
/// The key of the probe starts with `leasehold/probe/` and is given up at once.
#[utoipa::path(post, path = "/v1/lag", tag = "cluster",
    responses((status = 200, description = "It took so long.", body = ProbeShape), Otherwise))]
pub(super) async fn lag(Extension(caller): Extension<Caller>, headers: HeaderMap) -> Response {
    let probed = async {
        let id = new_chain();
        let key: Bytes = format!("{PROBES}{:016x}", id.chain.0).into_bytes().into();
        let guest = caller.admit(&headers)?;
        let clock = caller.context().clock();
        let value = Bytes::from(caller.context().name.as_str());
        let (meta, delay, wait) = (Bytes::EMPTY, Span::ZERO, Span::ZERO);
        let action = Action::Lock { id, value, meta, lease: PROBE, delay, wait };
        let asked = clock.now();
        let Done { token, commits, .. } = change(&guest, &key, action, TIMEOUT).await?;
        let locked = clock.now();
        let owner = Owner { value: None, token: Some(token) };
        let action = Action::Release { id: new_chain(), owner };
        change(&guest, &key, action, TIMEOUT).await?;
        let released = clock.now();
        let status = ask_status(&guest).await?;
        Ok(ProbeShape {
            op: "lag",
            outcome: "done",
            lock_us: locked.since(asked).as_micros(),
            release_us: released.since(locked).as_micros(),
            commits,
            replicas: lag_shapes(&status),
        })
    };
    reply("lag", probed.await)
}

/// The masters, counted.
struct Masters {
    all: usize,
    /// Those that vote, as far as the node knows.
    voting: usize,
    quorum: usize,
}

impl Masters {
    fn of(status: &Status) -> Self {
        let masters = || status.members.iter().filter(|peer| peer.master);
        let votes = |peer: &&leasehold_core::Peer| {
            peer.up && matches!(peer.standing, Standing::Active | Standing::Draining)
        };
        let all = masters().count();
        Self { all, voting: masters().filter(votes).count(), quorum: all / 2 + 1 }
    }
}

async fn ask_status(guest: &Guest) -> Result<Status, Failure> {
    let ask = |call| ClientItem::Status { call };
    let NodeItem::Status { status, .. } = converse(guest, ask, TIMEOUT, false).await? else {
        return Err(nonsense());
    };
    Ok(status)
}

fn member_shapes(status: &Status) -> Vec<MemberShape> {
    let heard = |node: NodeId| status.heard.iter().find(|(peer, _)| *peer == node).map(|(_, h)| *h);
    let member = |peer: &leasehold_core::Peer| MemberShape {
        node: peer.member.name.clone(),
        node_id: names::of_node(peer.member.id),
        master: peer.master,
        standing: names::of_standing(peer.standing),
        up: peer.up,
        client: peer.member.client.clone(),
        peer: peer.member.peer.clone(),
        http: peer.member.http.clone(),
        heard_ms_ago: heard(peer.member.id).map(|heard| heard.ago.as_millis()),
        clock_rate_ppm: heard(peer.member.id).and_then(|heard| heard.clock_ppm),
    };
    status.members.iter().map(member).collect()
}

fn lag_shapes(status: &Status) -> Vec<LagShape> {
    let lag = |(replica, lag): &(NodeId, leasehold_core::Lag)| LagShape {
        node: name_of(status, *replica),
        entries: lag.entries,
        lag_ms: lag.time.as_millis(),
    };
    status.lags.iter().map(lag).collect()
}

/// The name of a member, or its identity if it is none any more.
pub(super) fn name_of(status: &Status, node: NodeId) -> String {
    let member = status.members.iter().find(|peer| peer.member.id == node);
    member.map_or_else(|| names::of_node(node), |peer| peer.member.name.clone())
}
