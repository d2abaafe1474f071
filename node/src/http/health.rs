//! Whether this node is alive, whether it should be asked, and what it has counted.
//!
//! These three need no token: they name no key.

use axum::Extension;
use axum::extract::{Query, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use leasehold_core::{Span, Standing, Status};
use serde::Deserialize;
use tokio::sync::oneshot;

use super::Context;
use super::caller::Caller;
use super::exposition;
use crate::driver::{Control, Measured};
use crate::names;

/// A driver that does not answer for so long is stuck.
const STUCK: Span = Span::from_secs(5);

/// How much to say.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
pub(super) struct Verbosely {
    /// Says why not, check by check.
    verbose: Option<String>,
}

/// Says whether the node works at all
///
/// 503 means that its inner loop does not answer: restart it.
#[utoipa::path(get, path = "/livez", tag = "health", responses(
    (status = 200, description = "It works.", body = String),
    (status = 503, description = "It does not.", body = String)))]
pub(super) async fn livez(Extension(caller): Extension<Caller>) -> Response {
    match measure(caller.context()).await {
        Some(_) => (StatusCode::OK, "alive\n").into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, stuck()).into_response(),
    }
}

/// Says whether the node should be asked
///
/// It should while it votes, or learns as a replica, and reaches a quorum of masters. With `verbose` it says why not.
#[utoipa::path(get, path = "/readyz", tag = "health", params(Verbosely), responses(
    (status = 200, description = "It should.", body = String),
    (status = 503, description = "It should not.", body = String)))]
pub(super) async fn readyz(Extension(caller): Extension<Caller>, request: Request) -> Response {
    let verbose = Query::<Verbosely>::try_from_uri(request.uri())
        .is_ok_and(|Query(Verbosely { verbose })| verbose.is_some());
    let Some(Measured { status, .. }) = measure(caller.context()).await else {
        return (StatusCode::SERVICE_UNAVAILABLE, stuck()).into_response();
    };
    let checks = checks(&status);
    let ready = checks.iter().all(|check| check.passed);
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut text = String::new();
    if verbose {
        for Check { name, passed, words } in &checks {
            let mark = if *passed { '+' } else { '-' };
            text.push_str(&format!("[{mark}] {name}: {words}\n"));
        }
    }
    text.push_str(if ready { "ready\n" } else { "not ready\n" });
    (code, text).into_response()
}

/// Shows what the node has counted, for Prometheus
///
/// In the OpenMetrics text format.
#[utoipa::path(get, path = "/metrics", tag = "health", responses(
    (status = 200, description = "The metrics.", body = String),
    (status = 503, description = "The node does not answer.", body = String)))]
pub(super) async fn metrics(Extension(caller): Extension<Caller>) -> Response {
    let context = caller.context();
    let Some(measured) = measure(context).await else {
        return (StatusCode::SERVICE_UNAVAILABLE, stuck()).into_response();
    };
    match exposition::text(&context.clients.counters, measured) {
        Ok(text) => ([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

fn stuck() -> String {
    format!("the node's inner loop has not answered for {STUCK}, or is at its end\n")
}

async fn measure(context: &Context) -> Option<Measured> {
    let asked = async {
        let (answer, measured) = oneshot::channel();
        context.control.send(Control::Measure(answer)).await.ok()?;
        measured.await.ok()
    };
    context.clock().limit(STUCK, asked).await.flatten()
}

/// One condition of being ready.
#[derive(Debug, PartialEq, Eq)]
struct Check {
    name: &'static str,
    passed: bool,
    words: String,
}

/// Everything that must hold.
fn checks(status: &Status) -> [Check; 2] {
    let standing = names::of_standing(status.standing);
    let (serves, why) = match status.standing {
        Standing::Active => (true, "it votes"),
        Standing::Replica => (true, "it learns"),
        Standing::Fresh => (
            false,
            "it belongs to no cluster yet; `leasehold init` founds one, `leasehold members` takes a node in",
        ),
        Standing::Joining => (false, "it takes over what the others know, and does not vote yet"),
        Standing::Draining => (false, "it is shutting down"),
        Standing::Outside => (false, "it is no member of this cluster; see `leasehold members`"),
        Standing::Unknown => (false, "it knows of no cluster yet"),
    };
    let left = status.active_in.map(|left| format!(", {left} to go")).unwrap_or_default();
    let masters: Vec<_> = status.members.iter().filter(|peer| peer.master).collect();
    let votes = |standing: Standing| match standing {
        Standing::Active | Standing::Draining => true,
        Standing::Unknown
        | Standing::Fresh
        | Standing::Joining
        | Standing::Replica
        | Standing::Outside => false,
    };
    let reached = masters.iter().filter(|peer| {
        let own = peer.member.id == status.id;
        if own { votes(status.standing) } else { peer.up && votes(peer.standing) }
    });
    let (reached, quorum) = (reached.count(), masters.len() / 2 + 1);
    [
        Check { name: "state", passed: serves, words: format!("{standing}: {why}{left}") },
        Check {
            name: "quorum",
            passed: reached >= quorum,
            words: format!(
                "{reached} of {} masters vote and are reached, {quorum} are needed",
                masters.len()
            ),
        },
    ]
}

#[cfg(test)]
mod tests {
    use leasehold_core::{Member, NodeId, Peer};

    use super::*;

    fn status(standing: Standing, others: [(bool, Standing); 2]) -> Status {
        let own = (true, standing);
        let peers = [own].into_iter().chain(others);
        let members = (1..).zip(peers).map(|(id, (up, standing))| {
            let member = Member { id: NodeId(id), name: format!("n{id}"), ..Member::default() };
            Peer { member, master: true, standing, up }
        });
        Status { id: NodeId(1), standing, members: members.collect(), ..Status::default() }
    }

    fn passed(status: &Status) -> [bool; 2] {
        checks(status).map(|check| check.passed)
    }

    #[test]
    fn ready_is_who_serves_and_reaches_a_quorum() {
        use Standing::{Active, Draining, Fresh, Joining, Outside, Replica, Unknown};
        let fine = [(true, Active), (false, Active)];
        assert_eq!(passed(&status(Active, fine)), [true, true]);
        assert_eq!(passed(&status(Active, [(false, Active); 2])), [true, false]);
        assert_eq!(passed(&status(Active, [(true, Joining); 2])), [true, false]);
        // One that drains still votes.
        assert_eq!(passed(&status(Active, [(true, Draining), (false, Active)])), [true, true]);
        assert_eq!(passed(&status(Joining, [(true, Active); 2])), [false, true]);
        for standing in [Unknown, Fresh, Outside, Draining] {
            assert!(!passed(&status(standing, [(true, Active); 2]))[0], "{standing:?}");
        }
        let mut replica = status(Replica, [(true, Active); 2]);
        replica.members[0].master = false;
        assert_eq!(passed(&replica), [true, true]);
    }
}
