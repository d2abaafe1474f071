//! Results and errors as JSON objects.
//!
//! Each has `op` and `outcome`: `done`, `refused`, `not_done`, `unknown`, `not_allowed`, `unreachable`, `timed_out` or
//! `invalid`. Durations are whole milliseconds, rounded down, in members that end in `_ms`. What is not UTF-8 is
//! in a member that ends in `_base64` instead.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use leasehold_client::{
    Cause, Error, Heard, Holder, Labels, Listed, NodeId, NodeReport, Reason, Refusal, Status,
    Trouble, Votes, Waiter, WaitingReport, Wants,
};
use leasehold_node::names;
use serde_json::{Map, Value, json};

use super::meant::Action;
use super::members;
use super::perform::Report;

type Object = Map<String, Value>;

/// The objects of a report: one, or one for each node.
pub(super) fn report(op: &str, action: &Action, report: &Report) -> Vec<Value> {
    let mut object = start(op, Some(action), "done");
    match report {
        Report::Founded(cluster) => put(&mut object, "cluster", names::of_cluster(*cluster)),
        Report::Locked { token, valid_for, votes: taken }
        | Report::Extended { token, valid_for, votes: taken } => {
            put(&mut object, "token", token.0);
            put(&mut object, "valid_for_ms", millis(*valid_for));
            if let Action::Lock { value, ttl, .. } = action {
                put(&mut object, "value", value.as_str());
                put(&mut object, "ttl_ms", millis(*ttl));
            }
            votes(&mut object, *taken);
        }
        Report::Updated(updated) => {
            put(&mut object, "token", updated.token.0);
            if let Action::Update { value, .. } = action {
                put(&mut object, "value", value.as_str());
            }
            votes(&mut object, updated.votes);
        }
        Report::Released(released) => {
            put(&mut object, "token", released.token.map(|token| token.0));
            put(&mut object, "confirmed", released.confirmed);
            votes(&mut object, released.votes);
        }
        Report::Read(Some(found)) | Report::Held(found) => {
            put(&mut object, "held", true);
            holder(&mut object, found);
        }
        // A free key is what `get` says no to.
        Report::Read(None) => {
            put(&mut object, "outcome", "refused");
            put(&mut object, "reason", "not_held");
            put(&mut object, "held", false);
        }
        Report::Free => put(&mut object, "held", false),
        Report::Current(found) => {
            put(&mut object, "held", true);
            holder(&mut object, found);
        }
        Report::Listed(all) => return all.iter().map(|held| listed(op, held)).collect(),
        Report::Waiting(nodes) => {
            return nodes.iter().map(|node| waiting(object.clone(), node)).collect();
        }
        Report::Members(nodes) => {
            let members = members::objects(nodes);
            if !members.is_empty() {
                return members;
            }
            return nodes.iter().map(|report| node(op, report)).collect();
        }
        Report::Amended(amended) => {
            put(&mut object, "epoch", amended.epoch.0);
            put(&mut object, "complete", amended.complete);
        }
        Report::Nodes(nodes) => return nodes.iter().map(|report| node(op, report)).collect(),
    }
    vec![Value::Object(object)]
}

/// The object of an error; `message` is what people are told.
pub(super) fn error(op: &str, action: Option<&Action>, error: &Error, message: &str) -> Value {
    let (outcome, reason) = names::of_error(error);
    let mut object = start(op, action, outcome);
    if let Some(reason) = reason {
        put(&mut object, "reason", reason);
    }
    if let Error::Refused(Refusal::Held(held)) = error {
        let mut inner = Object::new();
        holder(&mut inner, held);
        put(&mut object, "holder", inner);
    }
    if let Error::Refused(Refusal::AlreadyFounded { by, cluster }) = error {
        put(&mut object, "cluster", names::of_cluster(*cluster));
        put(&mut object, "node_id", names::of_node(*by));
    }
    if let Error::NotDone(Reason::MastersMissing(masters)) = error {
        put(&mut object, "masters", masters.clone());
    }
    if let Error::Unreachable(unreachable) = error {
        let each = |(address, cause): &(String, Cause)| json!({ "address": address, "error": cause.to_string() });
        put(&mut object, "endpoints", unreachable.0.iter().map(each).collect::<Vec<_>>());
    }
    put(&mut object, "message", message);
    Value::Object(object)
}

/// The object of a command that makes no sense, or could not even start.
pub(super) fn invalid(op: &str, outcome: &str, message: &str) -> Value {
    let mut object = start(op, None, outcome);
    put(&mut object, "message", message);
    Value::Object(object)
}

fn start(op: &str, action: Option<&Action>, outcome: &str) -> Object {
    let mut object = Object::new();
    put(&mut object, "op", op);
    put(&mut object, "outcome", outcome);
    if let Some(key) = action.and_then(Action::key) {
        put(&mut object, "key", key);
    }
    object
}

/// Why a node could not be asked, in one word.
const fn unasked(cause: &Cause) -> &'static str {
    if matches!(cause, Cause::NotAllowed(_)) { "not_allowed" } else { "unreachable" }
}

fn put(object: &mut Object, name: &str, value: impl Into<Value>) {
    object.insert(name.to_owned(), value.into());
}

pub(super) fn bytes(object: &mut Object, name: &str, bytes: &[u8]) {
    match str::from_utf8(bytes) {
        Ok(text) => put(object, name, text),
        Err(_) => put(object, &format!("{name}_base64"), STANDARD.encode(bytes)),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn votes(object: &mut Object, votes: Votes) {
    put(object, "quorum", votes.quorum);
    put(object, "votes", votes.votes);
    put(object, "commits", votes.commits);
}

pub(super) fn holder(object: &mut Object, holder: &Holder) {
    bytes(object, "value", &holder.value);
    put(object, "token", holder.token.0);
    put(object, "remaining_ms", millis(holder.remaining));
    put(object, "delay_ms", millis(holder.delay));
    put(object, "age_ms", millis(holder.age));
    meta(object, &holder.labels);
}

fn meta(object: &mut Object, labels: &Labels) {
    let labels = labels.iter().map(|(name, text)| (name.clone(), text.as_str().into()));
    put(object, "meta", labels.collect::<Object>());
}

/// A held key by one node's own records.
fn listed(op: &str, listed: &Listed) -> Value {
    let mut object = start(op, None, "done");
    bytes(&mut object, "key", &listed.key);
    put(&mut object, "local", true);
    put(&mut object, "held", true);
    holder(&mut object, &listed.holder);
    Value::Object(object)
}

/// Who waits at one node.
fn waiting(mut object: Object, report: &WaitingReport) -> Value {
    put(&mut object, "node", report.name.clone());
    put(&mut object, "node_id", report.id.map(names::of_node));
    put(&mut object, "address", report.address.as_str());
    match &report.waiting {
        Ok(waiting) => {
            let waiter = |waiter: &Waiter| {
                let mut object = Object::new();
                put(&mut object, "wants", names::of_wants(waiter.wants));
                if waiter.wants == Wants::Lock {
                    bytes(&mut object, "value", &waiter.value);
                    meta(&mut object, &waiter.labels);
                }
                put(&mut object, "age_ms", millis(waiter.age));
                put(&mut object, "left_ms", millis(waiter.left));
                Value::Object(object)
            };
            put(&mut object, "all", waiting.all);
            put(&mut object, "waiters", waiting.first.iter().map(waiter).collect::<Vec<_>>());
        }
        Err(cause) => {
            put(&mut object, "outcome", unasked(cause));
            put(&mut object, "error", cause.to_string());
        }
    }
    Value::Object(object)
}

fn node(op: &str, report: &NodeReport) -> Value {
    let mut object = Object::new();
    put(&mut object, "op", op);
    put(&mut object, "node", report.name.clone());
    put(&mut object, "node_id", report.id.map(names::of_node));
    put(&mut object, "address", report.address.as_str());
    match &report.status {
        Ok(status) => described(&mut object, status),
        Err(cause) => {
            put(&mut object, "outcome", unasked(cause));
            put(&mut object, "error", cause.to_string());
        }
    }
    Value::Object(object)
}

fn described(object: &mut Object, status: &Status) {
    put(object, "outcome", "done");
    put(object, "standing", names::of_standing(status.standing));
    put(object, "active_in_ms", status.active_in.map(|span| millis(span.into())));
    put(object, "cluster", status.cluster.map(names::of_cluster));
    put(object, "epoch", status.epoch.0);
    put(object, "leases", status.leases);
    put(object, "records", status.records);
    put(object, "operations", status.operations);
    put(object, "queued", status.queued);
    put(object, "waiters", status.waiters);
    put(object, "uptime_ms", millis(status.uptime.into()));
    put(object, "changing", status.changing);
    put(object, "forgotten_by_agreement", status.forgotten_by_agreement);
    put(object, "forgotten_by_age", status.forgotten_by_age);
    let heard = |node: NodeId| -> Option<Heard> {
        status.heard.iter().find(|(peer, _)| *peer == node).map(|(_, heard)| *heard)
    };
    let members = status.members.iter().map(|peer| {
        json!({
            "node": peer.member.name,
            "node_id": names::of_node(peer.member.id),
            "master": peer.master,
            "standing": names::of_standing(peer.standing),
            "up": peer.up,
            "heard_ms_ago": heard(peer.member.id).map(|heard| millis(heard.ago.into())),
            "clock_rate_ppm": heard(peer.member.id).and_then(|heard| heard.clock_ppm),
        })
    });
    put(object, "members", members.collect::<Vec<_>>());
    let name = |node: NodeId| {
        let member = status.members.iter().find(|peer| peer.member.id == node);
        member.map_or_else(|| names::of_node(node), |peer| peer.member.name.clone())
    };
    let lag = |(replica, lag): &(NodeId, leasehold_core::Lag)| json!({ "node": name(*replica), "entries": lag.entries, "lag_ms": lag.time.as_millis() });
    put(object, "lags", status.lags.iter().map(lag).collect::<Vec<_>>());
    let trouble =
        |trouble: &Trouble| json!({ "ago_ms": trouble.ago.as_millis(), "message": trouble.words });
    put(object, "troubles", status.troubles.iter().map(trouble).collect::<Vec<_>>());
}
