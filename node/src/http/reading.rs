//! What a node shows of the keys it knows: listings and waiters.

use axum::Extension;
use axum::extract::Request;
use axum::response::Response;
use leasehold_client::{Error, Holder, Reason};
use leasehold_core::wire::{ClientItem, NodeItem};
use leasehold_core::{Bytes, Cursor, Key, Span, Standing, Wants, hash};
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::{Failure, Otherwise};
use super::api::{TIMEOUT, converse, nonsense, reply};
use super::ask::asked_in_query;
use super::caller::{Caller, Guest};
use super::shapes::{HolderShape, KeyAsked, ListAsked, either, key, shown};
use crate::names;

/// Held keys in a page, unless fewer are asked for.
const PAGE: u32 = 1_000;

/// A held key.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ListedShape {
    /// The key.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The same, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    /// Who holds it.
    holder: HolderShape,
}

/// A page of what is held.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ListShape {
    op: &'static str,
    outcome: &'static str,
    /// By this node's own records: possibly stale, or not agreed.
    local: bool,
    /// Held keys, in no order.
    held: Vec<ListedShape>,
    /// Give it as `after` for the next page; none after the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Lists what is held, page by page
///
/// By what this node knows. A key that one owner holds during the whole listing is listed once; one that is acquired or
/// given up meanwhile may be left out, or be there more than once.
#[utoipa::path(get, path = "/v1/list", tag = "reading", params(ListAsked),
    responses((status = 200, description = "A page.", body = ListShape), Otherwise))]
pub(super) async fn list(Extension(caller): Extension<Caller>, request: Request) -> Response {
    let listed = async {
        let (guest, asked) = asked_in_query::<ListAsked>(&caller, request)?;
        let prefix = either("prefix", asked.prefix, asked.prefix_base64)?.unwrap_or(Bytes::EMPTY);
        let after = asked.after.as_deref().map_or(Ok(Cursor::START), cursor)?;
        let most = asked.most.unwrap_or(PAGE).clamp(1, PAGE);
        let pages = page(&guest, prefix, after, most);
        let page = guest.context().clock().limit(TIMEOUT, pages).await;
        page.unwrap_or(Err(Failure::Of(Error::NotDone(Reason::Unanswered))))
    };
    reply("list", listed.await)
}

/// The next page that is not empty; a node answers with an empty one where it has looked at enough for once.
async fn page(
    guest: &Guest,
    prefix: Bytes,
    mut from: Cursor,
    most: u32,
) -> Result<ListShape, Failure> {
    loop {
        let prefix = prefix.clone();
        let ask = |call| ClientItem::List { call, prefix, from, most };
        let NodeItem::Page { page, .. } = converse(guest, ask, TIMEOUT, false).await? else {
            return Err(nonsense());
        };
        let page = page.ok_or(Failure::Of(Error::NotDone(Reason::RecordsReplaced)))?;
        if let Some(next) = page.next
            && page.holders.is_empty()
        {
            from = next;
            continue;
        }
        let held = page.holders.into_iter().map(|(held, holder)| {
            let (key, key_base64) = shown(&held);
            ListedShape { key, key_base64, holder: (&Holder::from(holder)).into() }
        });
        return Ok(ListShape {
            op: "list",
            outcome: "done",
            local: true,
            held: held.collect(),
            next: page.next.map(|next| format!("{:x}.{:x}", next.records, next.place)),
        });
    }
}

fn cursor(text: &str) -> Result<Cursor, Failure> {
    let parse = || {
        let (records, place) = text.split_once('.')?;
        let records = u64::from_str_radix(records, 16).ok()?;
        let place = u32::from_str_radix(place, 16).ok()?;
        Some(Cursor { records, place })
    };
    parse().ok_or_else(|| Failure::invalid("`after` is not the `next` of a page"))
}

/// Somebody who waits.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WaiterShape {
    /// `lock`, `held` or `released`.
    wants: &'static str,
    /// What a lock would write.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    /// The same, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    /// How long it has been waiting.
    age_ms: u64,
    /// How much longer it is ready to.
    left_ms: u64,
}

/// Who waits for a key here.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WaitersShape {
    op: &'static str,
    outcome: &'static str,
    /// The node that answers, which knows only of those who wait at it.
    node: String,
    /// The key's home as this node sees it: there is where locks queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    home: Option<String>,
    /// Where the home answers over HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    home_http: Option<String>,
    /// How many wait.
    all: u64,
    /// The first of them: locks in the order in which they will be served, then the rest in the order in which they
    /// came.
    waiters: Vec<WaiterShape>,
}

/// Shows who waits for a key at this node
///
/// Locks queue at the key's home, which the answer names; waits stay at the node that was asked to wait.
#[utoipa::path(get, path = "/v1/waiters", tag = "reading", params(KeyAsked),
    responses((status = 200, description = "Who waits.", body = WaitersShape), Otherwise))]
pub(super) async fn waiters(Extension(caller): Extension<Caller>, request: Request) -> Response {
    let waiting = async {
        let (guest, asked) = asked_in_query::<KeyAsked>(&caller, request)?;
        let key = key(asked.key, asked.key_base64)?;
        let ask = |call| ClientItem::Waiting { call, key: key.clone() };
        let NodeItem::Waiting { waiting, .. } = converse(&guest, ask, TIMEOUT, false).await? else {
            return Err(nonsense());
        };
        let home = home(&guest, &key).await?;
        let waiter = |waiter: leasehold_core::Waiter| {
            let (value, value_base64) = match waiter.wants {
                Wants::Lock => shown(&waiter.value),
                Wants::Held | Wants::Released => (None, None),
            };
            WaiterShape {
                wants: names::of_wants(waiter.wants),
                value,
                value_base64,
                age_ms: Span::as_millis(waiter.age),
                left_ms: Span::as_millis(waiter.left),
            }
        };
        let (home, home_http) = home.unzip();
        Ok(WaitersShape {
            op: "waiters",
            outcome: "done",
            node: guest.context().name.clone(),
            home,
            home_http: home_http.filter(|address| !address.is_empty()),
            all: waiting.all,
            waiters: waiting.first.into_iter().map(waiter).collect(),
        })
    };
    reply("waiters", waiting.await)
}

/// The name of the key's home, and where it answers over HTTP.
async fn home(guest: &Guest, key: &Key) -> Result<Option<(String, String)>, Failure> {
    let line = guest.line().await?;
    let found = line.topology().and_then(|topology| {
        let masters = || {
            topology.members.iter().filter(|peer| peer.master && peer.standing == Standing::Active)
        };
        let home = hash::home(topology.cluster?, masters().map(|peer| peer.member.id), key)?;
        let home = masters().find(|peer| peer.member.id == home)?;
        Some((home.member.name.clone(), home.member.http.clone()))
    });
    guest.done_with(line);
    Ok(found)
}
