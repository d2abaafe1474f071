//! Founding the cluster, and changing its members: what operators do, over HTTP.
//!
//! Each needs the right to `admin`. What is asked for is worked out where it arrives, as for the command line: a change that
//! makes no sense as things are is refused in words, and one that needs a node that is not linked names it.

use axum::Extension;
use axum::extract::Request;
use axum::response::Response;
use leasehold_client::{Error, Reason, Refusal};
use leasehold_core::wire::{ClientItem, NodeItem};
use leasehold_core::{Amendment, Candidate, Outcome};
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

use super::answer::{Failure, Otherwise};
use super::api::{converse, misfit, nonsense, reply, timeout};
use super::ask::asked_in_body;
use super::caller::Caller;
use super::shapes::{CandidateAsked, InitAsked, MemberAsked, MembersAsked, NewcomerAsked};
use crate::config::{is_address, is_name};
use crate::names;

/// A cluster that was founded.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FoundedShape {
    op: &'static str,
    outcome: &'static str,
    /// The cluster's identity.
    cluster: String,
}

/// A change of the members that was agreed on.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AmendedShape {
    op: &'static str,
    outcome: &'static str,
    /// The epoch in which the members are those that were asked for.
    epoch: u64,
    /// Whether a quorum of the masters votes already. Until then the next change has to wait; /v1/members shows when.
    complete: bool,
}

/// Declares a new cluster
///
/// No lease exists anywhere, and the configured masters may vote at once. It needs every one of them, can be repeated until
/// it has succeeded, and is refused once any node was active.
#[utoipa::path(post, path = "/v1/init", tag = "cluster", request_body = InitAsked,
    responses((status = 200, description = "The cluster is there.", body = FoundedShape), Otherwise))]
pub(super) async fn init(Extension(caller): Extension<Caller>, request: Request) -> Response {
    let founded = async {
        let (guest, asked) = asked_in_body::<InitAsked>(&caller, request).await?;
        let patience = timeout(asked.timeout.as_deref())?;
        let ask = |call| ClientItem::Init { call, patience };
        let outcome = decided(converse(&guest, ask, patience, true).await?)?;
        let Outcome::Founded(cluster) = outcome else { return Err(misfit(outcome, false)) };
        let cluster = names::of_cluster(cluster);
        Ok(FoundedShape { op: "init", outcome: "done", cluster })
    };
    reply("init", founded.await)
}

/// Makes exactly these nodes the members
#[utoipa::path(post, path = "/v1/members/set", tag = "cluster", request_body = MembersAsked,
    responses((status = 200, description = "It was agreed on.", body = AmendedShape), Otherwise))]
pub(super) async fn set(Extension(caller): Extension<Caller>, request: Request) -> Response {
    amend("members set", &caller, request, |asked: MembersAsked| {
        let all = |asked: Vec<CandidateAsked>| {
            asked.into_iter().map(|one| candidate(one.node, one.peer)).collect()
        };
        let (masters, replicas): (Result<Vec<_>, Failure>, Result<Vec<_>, Failure>) =
            (all(asked.masters), all(asked.replicas));
        Ok((Amendment::Set { masters: masters?, replicas: replicas? }, asked.timeout))
    })
    .await
}

/// Takes a node in, as a replica
#[utoipa::path(post, path = "/v1/members/add", tag = "cluster", request_body = NewcomerAsked,
    responses((status = 200, description = "It was agreed on.", body = AmendedShape), Otherwise))]
pub(super) async fn add(Extension(caller): Extension<Caller>, request: Request) -> Response {
    amend("members add", &caller, request, |asked: NewcomerAsked| {
        Ok((Amendment::Add(candidate(asked.node, asked.peer)?), asked.timeout))
    })
    .await
}

/// Lets a replica vote
#[utoipa::path(post, path = "/v1/members/promote", tag = "cluster", request_body = MemberAsked,
    responses((status = 200, description = "It was agreed on.", body = AmendedShape), Otherwise))]
pub(super) async fn promote(Extension(caller): Extension<Caller>, request: Request) -> Response {
    amend("members promote", &caller, request, |asked: MemberAsked| {
        Ok((Amendment::Promote(asked.node), asked.timeout))
    })
    .await
}

/// Makes a master a replica
#[utoipa::path(post, path = "/v1/members/demote", tag = "cluster", request_body = MemberAsked,
    responses((status = 200, description = "It was agreed on.", body = AmendedShape), Otherwise))]
pub(super) async fn demote(Extension(caller): Extension<Caller>, request: Request) -> Response {
    amend("members demote", &caller, request, |asked: MemberAsked| {
        Ok((Amendment::Demote(asked.node), asked.timeout))
    })
    .await
}

/// Takes a node out
#[utoipa::path(post, path = "/v1/members/remove", tag = "cluster", request_body = MemberAsked,
    responses((status = 200, description = "It was agreed on.", body = AmendedShape), Otherwise))]
pub(super) async fn remove(Extension(caller): Extension<Caller>, request: Request) -> Response {
    amend("members remove", &caller, request, |asked: MemberAsked| {
        Ok((Amendment::Remove(asked.node), asked.timeout))
    })
    .await
}

/// Takes a node in that has lost its node file, in the place of what it was
#[utoipa::path(post, path = "/v1/members/replace", tag = "cluster", request_body = NewcomerAsked,
    responses((status = 200, description = "It was agreed on.", body = AmendedShape), Otherwise))]
pub(super) async fn replace(Extension(caller): Extension<Caller>, request: Request) -> Response {
    amend("members replace", &caller, request, |asked: NewcomerAsked| {
        Ok((Amendment::Replace(candidate(asked.node, asked.peer)?), asked.timeout))
    })
    .await
}

/// Puts a change to the cluster that `meant` reads from the body, with how long it may take.
async fn amend<T: DeserializeOwned>(
    op: &'static str,
    caller: &Caller,
    request: Request,
    meant: impl FnOnce(T) -> Result<(Amendment, Option<String>), Failure> + Send,
) -> Response {
    let amended = async {
        let (guest, asked) = asked_in_body::<T>(caller, request).await?;
        let (amendment, patience) = meant(asked)?;
        let patience = timeout(patience.as_deref())?;
        let ask = |call| ClientItem::Amend { call, patience, amendment };
        let outcome = decided(converse(&guest, ask, patience, true).await?)?;
        let Outcome::Configured { epoch, complete } = outcome else {
            return Err(misfit(outcome, false));
        };
        Ok(AmendedShape { op, outcome: "done", epoch: epoch.0, complete })
    };
    reply(op, amended.await)
}

fn candidate(name: String, peer: Option<String>) -> Result<Candidate, Failure> {
    if !is_name(&name) {
        let words = "a name has at most 64 letters, digits, dots, dashes and underscores";
        return Err(Failure::invalid(format!("`node`: {name:?}: {words}")));
    }
    if let Some(peer) = &peer
        && !is_address(peer)
    {
        return Err(Failure::invalid(format!("`peer`: {peer:?} is no host:port")));
    }
    Ok(Candidate { name, peer })
}

/// What the cluster said, or why it was not asked.
fn decided(item: NodeItem) -> Result<Outcome, Failure> {
    if let NodeItem::Reply { outcome, .. } = item {
        Ok(outcome)
    } else if let NodeItem::Unmet { masters, .. } = item {
        Err(Failure::Of(Error::NotDone(Reason::MastersMissing(masters))))
    } else if let NodeItem::Declined { why, .. } = item {
        Err(Failure::Of(Error::Refused(Refusal::Declined(why))))
    } else {
        Err(nonsense())
    }
}
