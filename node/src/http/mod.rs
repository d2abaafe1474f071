//! HTTP: what the client's port does, for whoever speaks JSON, and what operators look at.
//!
//! A request over HTTP becomes items on a `line` to the driver, as if its connection were one of the client's
//! port: it stands at the same desk, under the same limits, and goes away in the same way. Nothing here holds any state
//! of the cluster.
//!
//! The interface is described by the code (`api`, `reading`, `cluster`, `members`, `events`, `health`); the description is
//! served at `/v1/openapi.json`, and what is not described does not exist.

mod answer;
mod api;
mod ask;
mod caller;
mod cluster;
mod events;
mod exposition;
mod health;
mod line;
mod members;
mod patient;
mod reading;
mod rehearsal;
mod serve;
mod shapes;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use axum::{Extension, Json, Router};
use leasehold_core::Limits;
use tokio::sync::{mpsc, watch};
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Description;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::answer::Failure;
use self::caller::Caller;
use crate::clients;
use crate::clock::Clock;
use crate::config::Config;
use crate::driver::Control;

pub use self::rehearsal::Rehearsal;
pub(crate) use self::serve::listen;

/// What all connections over HTTP share.
#[derive(Debug)]
pub(crate) struct Context {
    /// What they share with those of the client's port.
    clients: Arc<clients::Context>,
    /// This node's name.
    name: String,
    control: mpsc::Sender<Control>,
    /// The largest body of a request, in bytes.
    body: usize,
    /// Whether the node has come to its end.
    closing: watch::Receiver<bool>,
    /// Lines to the driver that were opened.
    lines: AtomicU64,
}

impl Context {
    pub(crate) fn new(
        config: &Config,
        clients: &Arc<clients::Context>,
        control: mpsc::Sender<Control>,
        closing: watch::Receiver<bool>,
    ) -> Arc<Self> {
        Arc::new(Self {
            clients: Arc::clone(clients),
            name: config.name.clone(),
            control,
            body: largest_body(&config.limits.core),
            closing,
            lines: AtomicU64::new(0),
        })
    }

    fn clock(&self) -> Clock {
        self.clients.clock
    }
}

/// The largest body that a request within these limits has: each byte may be written as an escape of six, and there are
/// the names of the members.
fn largest_body(limits: &Limits) -> usize {
    const ESCAPE: usize = 6;
    const REST: usize = 4 << 10;
    let entry = [limits.key, limits.value, limits.value, limits.meta];
    let entry = entry.iter().map(|bytes| usize::try_from(*bytes).unwrap_or(usize::MAX));
    entry.fold(REST, |sum, bytes| sum.saturating_add(bytes.saturating_mul(ESCAPE)))
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Leasehold",
        description = "Locks and leases, agreed by a quorum. Every answer says what is known: `done`, `refused`, \
                       `not_done` (certainly), or `unknown`. Send a token as `Authorization: Bearer TOKEN` where the \
                       node wants one.",
    ),
    tags(
        (name = "keys", description = "Operations on keys"),
        (name = "reading", description = "What a node knows by itself"),
        (name = "cluster", description = "The cluster as a node sees it, and who its members are; to change that takes the right to `admin`"),
        (name = "health", description = "For orchestrators and monitoring; these need no token"),
    )
)]
struct Described;

fn described() -> (Router, Description) {
    OpenApiRouter::with_openapi(Described::openapi())
        .routes(routes!(api::lock))
        .routes(routes!(api::extend))
        .routes(routes!(api::update))
        .routes(routes!(api::release))
        .routes(routes!(api::get))
        .routes(routes!(api::wait))
        .routes(routes!(api::fence_check))
        .routes(routes!(reading::list))
        .routes(routes!(reading::waiters))
        .routes(routes!(events::watch))
        .routes(routes!(cluster::members))
        .routes(routes!(cluster::status))
        .routes(routes!(cluster::summary))
        .routes(routes!(cluster::lag))
        .routes(routes!(members::init))
        .routes(routes!(members::set))
        .routes(routes!(members::add))
        .routes(routes!(members::promote))
        .routes(routes!(members::demote))
        .routes(routes!(members::remove))
        .routes(routes!(members::replace))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .split_for_parts()
}

/// The description of the interface, as it is served.
#[must_use]
pub fn openapi() -> Description {
    described().1
}

fn router() -> Router {
    let (router, description) = described();
    router
        .route("/v1/openapi.json", axum::routing::get(async move || Json(description)))
        .fallback(nowhere)
        .method_not_allowed_fallback(otherwise)
}

async fn nowhere(Extension(_): Extension<Caller>, request: Request) -> Response {
    let words = format!("there is nothing at {}", request.uri().path());
    Failure::Senseless(StatusCode::NOT_FOUND, words).to("none")
}

async fn otherwise(request: Request) -> Response {
    let words = format!("{} cannot be asked with {}", request.uri().path(), request.method());
    Failure::Senseless(StatusCode::METHOD_NOT_ALLOWED, words).to("none")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_described() {
        let text = serde_json::to_value(openapi()).unwrap();
        let paths = text["paths"].as_object().unwrap();
        for path in [
            "/v1/lock",
            "/v1/extend",
            "/v1/update",
            "/v1/release",
            "/v1/get",
            "/v1/wait",
            "/v1/list",
            "/v1/waiters",
            "/v1/fence/check",
            "/v1/members",
            "/v1/status",
            "/v1/lag",
            "/v1/summary",
            "/v1/watch",
            "/v1/init",
            "/v1/members/set",
            "/v1/members/add",
            "/v1/members/promote",
            "/v1/members/demote",
            "/v1/members/remove",
            "/v1/members/replace",
            "/livez",
            "/readyz",
            "/metrics",
        ] {
            assert!(paths.contains_key(path), "{path} is not described");
        }
        assert_eq!(paths.len(), 24, "this test names them all");
        for (path, methods) in paths.iter().filter(|(path, _)| path.starts_with("/v1/")) {
            for (method, operation) in methods.as_object().unwrap() {
                for status in ["200", "400", "401", "403", "408", "409", "413", "503", "504"] {
                    let described = &operation["responses"][status]["description"];
                    assert!(described.is_string(), "{method} {path} does not describe {status}");
                }
                assert!(operation["summary"].as_str().is_some_and(|words| !words.is_empty()));
            }
        }
    }
}
