//! `watch`, as server-sent events.
//!
//! The events of a watch are in the order in which this node saw the changes, from the first event on, which says that
//! the watch has begun. List after that event, and nothing is missed. A watcher that does not read fast enough gets
//! `lagged` as the last event.

use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::extract::Request;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use leasehold_client::{Change, Noticed};
use leasehold_core::wire::{ClientItem, NodeItem};
use leasehold_core::{Bytes, Outcome};
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::{self, Failure, Otherwise};
use super::api::{TIMEOUT, nonsense};
use super::ask::asked_in_query;
use super::caller::{Caller, Guest};
use super::line::{Cut, Line};
use super::shapes::{HolderShape, WatchAsked, either, shown};

/// Between signs of life to a watcher for whom nothing changes.
const BEAT: Duration = Duration::from_secs(10);

/// One change.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NoticeShape {
    /// The key.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The same, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    /// The ownership that changed.
    token: u64,
    /// Who holds the key, unless it has gone to somebody else meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    holder: Option<HolderShape>,
}

/// Tells what changes, as it happens
///
/// Server-sent events, by this node's own records: `watching` first; then `held` (acquired, extended or updated),
/// `released` and `expired`, each with the key and the token; at the end `lagged`, for a watcher that did not read fast
/// enough (watch again, then list), or `ended`, when the node stops or the token was
/// withdrawn.
#[utoipa::path(get, path = "/v1/watch", tag = "reading", params(WatchAsked),
    responses((status = 200, description = "Events, until one end has enough.",
        content_type = "text/event-stream", body = NoticeShape), Otherwise))]
pub(super) async fn watch(Extension(caller): Extension<Caller>, request: Request) -> Response {
    let begun = async {
        let (guest, asked) = asked_in_query::<WatchAsked>(&caller, request)?;
        let prefix = either("prefix", asked.prefix, asked.prefix_base64)?.unwrap_or(Bytes::EMPTY);
        let clock = caller.context().clock();
        let begun = clock.limit(TIMEOUT, begin(&guest, prefix)).await;
        let line = begun.unwrap_or(Err(answer::unanswered(false)))?;
        Ok::<Watched, Failure>(Watched { guest, line: Some(line), first: true })
    };
    match begun.await {
        Ok(watched) => {
            let events = unfold(watched, |mut watched| async move {
                let event = watched.next().await?;
                Some((Ok::<Event, Infallible>(event), watched))
            });
            let alive = KeepAlive::new().interval(BEAT);
            Sse::new(events).keep_alive(alive).into_response()
        }
        Err(failure) => failure.to("watch"),
    }
}

async fn begin(guest: &Guest, prefix: Bytes) -> Result<Line, Failure> {
    let mut line = guest.line().await?;
    let call = line.call();
    line.send(guest.signed(ClientItem::Watch { call, prefix })?).await?;
    let begun = line.next().await?;
    if let NodeItem::Watching { .. } = begun {
        Ok(line)
    } else if let NodeItem::Reply { outcome: Outcome::NotDone(why), .. } = begun {
        Err(answer::not_done(why, false))
    } else {
        Err(nonsense())
    }
}

/// A watch under way.
#[derive(Debug)]
struct Watched {
    guest: Guest,
    line: Option<Line>,
    first: bool,
}

impl Watched {
    /// The next event; none after the last.
    async fn next(&mut self) -> Option<Event> {
        if std::mem::take(&mut self.first) {
            return Some(Event::default().event("watching").data("{}"));
        }
        let line = self.line.as_mut()?;
        let last = match line.next().await {
            Ok(NodeItem::Notice { notice, .. }) if self.guest.is_welcome() => {
                return Some(event(&notice.into()));
            }
            Ok(NodeItem::Lagged { .. }) => "lagged",
            Ok(_) | Err(Cut) => "ended",
        };
        self.line = None;
        Some(Event::default().event(last).data("{}"))
    }
}

fn event(noticed: &Noticed) -> Event {
    let (name, holder) = match &noticed.change {
        Change::Held(holder) => ("held", holder.as_ref().map(HolderShape::from)),
        Change::Released => ("released", None),
        Change::Expired => ("expired", None),
    };
    let (key, key_base64) = shown(&noticed.key);
    let shape = NoticeShape { key, key_base64, token: noticed.token.0, holder };
    let event = Event::default().event(name);
    // JSON has no line ends outside of strings, and strings escape theirs.
    event.json_data(shape).unwrap_or_else(|_| Event::default().event(name).data("{}"))
}
