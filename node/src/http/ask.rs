//! Reading what is asked, within bounds of size and time.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query, Request};
use axum::http::StatusCode;
use futures_util::StreamExt;
use leasehold_client::{Error, Reason};
use leasehold_core::Span;
use serde::de::DeserializeOwned;

use super::answer::Failure;
use super::caller::{Caller, Guest};
use crate::budget::Share;

/// A body takes no longer to arrive.
const BODY: Span = Span::from_secs(10);

/// What a body says, as JSON and who asks.
pub(super) async fn asked_in_body<T: DeserializeOwned>(
    caller: &Caller,
    request: Request,
) -> Result<(Guest, T), Failure> {
    let context = caller.context();
    let (head, body) = request.into_parts();
    // Whom nobody knows makes nobody read.
    let guest = caller.admit(&head.headers)?;
    let mut share = Share::of(Arc::clone(&context.clients.budget));
    let read = context.clock().limit(BODY, whole(body, context.body, &mut share)).await;
    let body = read.unwrap_or_else(|| Err(Failure::invalid("the body did not arrive in time")))?;
    let asked = serde_json::from_slice(&body)
        .map_err(|error| Failure::invalid(format!("the body is not what is expected: {error}")))?;
    Ok((guest, asked))
}

/// All of a body of at most `most` bytes, in memory that counts towards what all clients may fill.
async fn whole(body: Body, most: usize, share: &mut Share) -> Result<Vec<u8>, Failure> {
    let mut parts = body.into_data_stream();
    let mut all = Vec::new();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|error| {
            Failure::invalid(format!("the body cannot be read to its end: {error}"))
        })?;
        let size = all.len().saturating_add(part.len());
        if size > most {
            let words = format!("the body is too large; at most {most} bytes are taken");
            return Err(Failure::Senseless(StatusCode::PAYLOAD_TOO_LARGE, words));
        }
        if !share.hold(size) {
            return Err(Failure::Of(Error::NotDone(Reason::Busy)));
        }
        all.extend_from_slice(&part);
    }
    Ok(all)
}

/// What the query in the address says, and who asks.
pub(super) fn asked_in_query<T: DeserializeOwned>(
    caller: &Caller,
    request: Request,
) -> Result<(Guest, T), Failure> {
    let (head, _) = request.into_parts();
    let guest = caller.admit(&head.headers)?;
    match Query::try_from_uri(&head.uri) {
        Ok(Query(asked)) => Ok((guest, asked)),
        Err(error) => Err(Failure::invalid(format!("the query is not what is expected: {error}"))),
    }
}
