//! What is asked and answered over HTTP, as JSON. Members are called what `--json` calls them on the command line.
//!
//! Keys and values are UTF-8, or stand in members that end in `_base64`. Durations are asked for with units, as on the
//! command line, and answered in whole milliseconds, rounded down, in members that end in `_ms`.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use leasehold_client::Holder;
use leasehold_core::{Bytes, COUNTER_END, Done, Owner, Span, Token};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::answer::Failure;
use crate::duration;

/// What names an owner who must hold the key: at least one of these, or `force`.
pub(super) fn owner(
    token: Option<u64>,
    value: Option<String>,
    value_base64: Option<String>,
) -> Result<Owner, Failure> {
    let value = either("value", value, value_base64)?;
    let token = token.map(self::token).transpose()?;
    Ok(Owner { value, token })
}

/// A fencing token.
pub(super) fn token(number: u64) -> Result<Token, Failure> {
    if number >= COUNTER_END {
        return Err(Failure::invalid(format!(
            "`token`: {number} is no fencing token: those are smaller than 2^53"
        )));
    }
    Ok(Token(number))
}

/// Text, or what it is in base64, whichever was given.
pub(super) fn either(
    name: &str,
    text: Option<String>,
    base64: Option<String>,
) -> Result<Option<Bytes>, Failure> {
    match (text, base64) {
        (Some(_), Some(_)) => {
            Err(Failure::invalid(format!("give `{name}` or `{name}_base64`, not both")))
        }
        (Some(text), None) => Ok(Some(text.into_bytes().into())),
        (None, Some(base64)) => match STANDARD.decode(&base64) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) => Err(Failure::invalid(format!("`{name}_base64`: {error}"))),
        },
        (None, None) => Ok(None),
    }
}

/// The key, which is never left out.
pub(super) fn key(text: Option<String>, base64: Option<String>) -> Result<Bytes, Failure> {
    either("key", text, base64)?
        .ok_or_else(|| Failure::invalid("there is no `key` and no `key_base64`"))
}

/// A duration with its unit.
pub(super) fn span(name: &str, text: &str) -> Result<Span, Failure> {
    duration::parse(text).map_err(|error| Failure::invalid(format!("`{name}`: {error}")))
}

/// To acquire a key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LockAsked {
    /// The key, or `key_base64`.
    pub(super) key: Option<String>,
    /// The key, where it is not UTF-8.
    pub(super) key_base64: Option<String>,
    /// What the key shall hold, so that others see who has it.
    pub(super) value: Option<String>,
    /// The same, where it is not UTF-8.
    pub(super) value_base64: Option<String>,
    /// How long the key is held unless extended.
    #[schema(default = "30s")]
    pub(super) ttl: Option<String>,
    /// Queues for a held key, for this long at most. Without it the key is tried once.
    pub(super) wait: Option<String>,
    /// Keeps others from the key for this long after the lease ended by itself.
    #[schema(default = "0s")]
    pub(super) delay: Option<String>,
    /// Describes the owner.
    #[serde(default)]
    pub(super) meta: BTreeMap<String, String>,
    /// How long the request may take, beside `wait`.
    #[schema(default = "10s")]
    pub(super) timeout: Option<String>,
}

/// To let a lease end later.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExtendAsked {
    /// The key, or `key_base64`.
    pub(super) key: Option<String>,
    /// The key, where it is not UTF-8.
    pub(super) key_base64: Option<String>,
    /// The fencing token of the lease; this or the value.
    pub(super) token: Option<u64>,
    /// The value that the key must hold.
    pub(super) value: Option<String>,
    /// The same, where it is not UTF-8.
    pub(super) value_base64: Option<String>,
    /// How long from now the lease lasts at least.
    pub(super) ttl: String,
    /// How long the request may take.
    #[schema(default = "10s")]
    pub(super) timeout: Option<String>,
}

/// To replace the value of a held key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UpdateAsked {
    /// The key, or `key_base64`.
    pub(super) key: Option<String>,
    /// The key, where it is not UTF-8.
    pub(super) key_base64: Option<String>,
    /// The fencing token that the lease must have; this or the old value.
    pub(super) token: Option<u64>,
    /// The value that the key must hold.
    pub(super) old: Option<String>,
    /// The same, where it is not UTF-8.
    pub(super) old_base64: Option<String>,
    /// The value that it shall hold.
    pub(super) value: Option<String>,
    /// The same, where it is not UTF-8.
    pub(super) value_base64: Option<String>,
    /// Describes the owner anew; without it the old description stays.
    pub(super) meta: Option<BTreeMap<String, String>>,
    /// How long the request may take.
    #[schema(default = "10s")]
    pub(super) timeout: Option<String>,
}

/// To give a key up.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReleaseAsked {
    /// The key, or `key_base64`.
    pub(super) key: Option<String>,
    /// The key, where it is not UTF-8.
    pub(super) key_base64: Option<String>,
    /// The fencing token of the lease; this, the value, or `force`.
    pub(super) token: Option<u64>,
    /// The value that the key must hold.
    pub(super) value: Option<String>,
    /// The same, where it is not UTF-8.
    pub(super) value_base64: Option<String>,
    /// Releases the key whoever holds it; needs the right to `force`.
    #[serde(default)]
    pub(super) force: bool,
    /// How long the request may take.
    #[schema(default = "10s")]
    pub(super) timeout: Option<String>,
}

/// To found the cluster.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct InitAsked {
    /// How long the request may take.
    #[schema(default = "10s")]
    pub(super) timeout: Option<String>,
}

/// A member, by its name.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MemberAsked {
    /// Its name.
    pub(super) node: String,
    /// How long the request may take.
    #[schema(default = "10s")]
    pub(super) timeout: Option<String>,
}

/// A node that may be new.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewcomerAsked {
    /// Its name.
    pub(super) node: String,
    /// Where it listens for other nodes, as `host:port`; not needed if it runs with a configuration that names the members.
    pub(super) peer: Option<String>,
    /// How long the request may take.
    #[schema(default = "10s")]
    pub(super) timeout: Option<String>,
}

/// One of those who shall be the members.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CandidateAsked {
    /// Its name.
    pub(super) node: String,
    /// Where it listens for other nodes, as `host:port`, if it is new.
    pub(super) peer: Option<String>,
}

/// Who shall be the members.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MembersAsked {
    /// Who votes.
    pub(super) masters: Vec<CandidateAsked>,
    /// Who only learns.
    #[serde(default)]
    pub(super) replicas: Vec<CandidateAsked>,
    /// How long the request may take.
    #[schema(default = "10s")]
    pub(super) timeout: Option<String>,
}

/// Which key to read.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct GetAsked {
    /// The key, or `key_base64`.
    pub(super) key: Option<String>,
    /// The key, where it is not UTF-8.
    pub(super) key_base64: Option<String>,
    /// Whether to ask this node alone: at once, but possibly stale or not agreed.
    #[serde(default)]
    pub(super) local: bool,
    /// How long the request may take; 10s if not given.
    pub(super) timeout: Option<String>,
}

/// What to wait for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct WaitAsked {
    /// The key, or `key_base64`.
    pub(super) key: Option<String>,
    /// The key, where it is not UTF-8.
    pub(super) key_base64: Option<String>,
    /// Whether to wait until nobody holds the key any more, rather than until somebody does.
    #[serde(default)]
    pub(super) released: bool,
    /// How long to wait; 10s if not given.
    pub(super) timeout: Option<String>,
}

/// Which key.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyAsked {
    /// The key, or `key_base64`.
    pub(super) key: Option<String>,
    /// The key, where it is not UTF-8.
    pub(super) key_base64: Option<String>,
}

/// Which ownership to check.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct FenceAsked {
    /// The key, or `key_base64`.
    pub(super) key: Option<String>,
    /// The key, where it is not UTF-8.
    pub(super) key_base64: Option<String>,
    /// The fencing token.
    pub(super) token: u64,
    /// How long the request may take; 10s if not given.
    pub(super) timeout: Option<String>,
}

/// What to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct ListAsked {
    /// What the keys start with; all of them if not given.
    pub(super) prefix: Option<String>,
    /// The same, where it is not UTF-8.
    pub(super) prefix_base64: Option<String>,
    /// The `next` of the page before.
    pub(super) after: Option<String>,
    /// How many to show at most, up to 1000.
    pub(super) most: Option<u32>,
}

/// What to watch.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct WatchAsked {
    /// What the keys start with; all of them if not given.
    pub(super) prefix: Option<String>,
    /// The same, where it is not UTF-8.
    pub(super) prefix_base64: Option<String>,
}

/// Bytes as text, or in base64 where they are none; one of both.
pub(super) fn shown(bytes: &[u8]) -> (Option<String>, Option<String>) {
    match str::from_utf8(bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(STANDARD.encode(bytes))),
    }
}

/// Whole milliseconds, rounded down, so that no validity is overstated.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Who holds a key.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HolderShape {
    /// What the owner wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    /// The same, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    /// The fencing token: greater than that of every earlier acquisition of the key.
    token: u64,
    /// How much of the lease is left at least.
    remaining_ms: u64,
    /// How long the key stays taken after that, unless it is released.
    delay_ms: u64,
    /// How long ago the key was acquired, about.
    age_ms: u64,
    /// How the owner describes itself.
    meta: BTreeMap<String, String>,
}

impl From<&Holder> for HolderShape {
    fn from(holder: &Holder) -> Self {
        let (value, value_base64) = shown(&holder.value);
        Self {
            value,
            value_base64,
            token: holder.token.0,
            remaining_ms: millis(holder.remaining),
            delay_ms: millis(holder.delay),
            age_ms: millis(holder.age),
            meta: holder.labels.clone(),
        }
    }
}

/// An operation that took effect.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DoneShape {
    /// The operation.
    pub(super) op: &'static str,
    /// `done`.
    pub(super) outcome: &'static str,
    /// The key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    /// The same, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key_base64: Option<String>,
    /// The fencing token of the ownership.
    pub(super) token: u64,
    /// What the caller may believe: for so long from its clock *before* it sent this request. In answers to lock and
    /// extend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) valid_for_ms: Option<u64>,
    /// An earlier sending had taken effect already.
    pub(super) repeated: bool,
    /// Accepts that were needed.
    pub(super) quorum: u8,
    /// Masters that voted.
    pub(super) votes: u8,
    /// Masters that had accepted when the answer was given.
    pub(super) commits: u8,
}

impl DoneShape {
    pub(super) fn new(op: &'static str, asked_for: &[u8], done: &Done) -> Self {
        let (key, key_base64) = shown(asked_for);
        Self {
            op,
            outcome: "done",
            key,
            key_base64,
            token: done.token.0,
            valid_for_ms: done.valid_for.map(Span::as_millis),
            repeated: done.repeated,
            quorum: done.quorum,
            votes: done.votes,
            commits: done.commits,
        }
    }
}

/// Whether a key is held, and by whom.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HeldShape {
    /// The operation.
    pub(super) op: &'static str,
    /// `done`.
    pub(super) outcome: &'static str,
    /// The key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    /// The same, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key_base64: Option<String>,
    /// Whether it is held.
    pub(super) held: bool,
    /// By whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) holder: Option<HolderShape>,
}

impl HeldShape {
    pub(super) fn new(
        op: &'static str,
        asked_for: &[u8],
        holder: Option<leasehold_core::Holder>,
    ) -> Self {
        let (key, key_base64) = shown(asked_for);
        let holder = holder.map(|holder| HolderShape::from(&Holder::from(holder)));
        Self { op, outcome: "done", key, key_base64, held: holder.is_some(), holder }
    }
}
