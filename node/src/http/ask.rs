//! Reading what is asked, within bounds of size and time.

use axum::body::to_bytes;
use axum::extract::{Query, Request};
use axum::http::StatusCode;
use leasehold_core::Span;
use serde::de::DeserializeOwned;

use super::answer::Failure;
use super::caller::{Caller, Guest};

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
    let too_large = |error: &dyn std::fmt::Display| {
        Failure::Senseless(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body cannot be read ({error}); at most {} bytes are taken", context.body),
        )
    };
    let body = match context.clock().limit(BODY, to_bytes(body, context.body)).await {
        Some(Ok(body)) => body,
        Some(Err(error)) => return Err(too_large(&error)),
        None => return Err(Failure::invalid("the body did not arrive in time")),
    };
    let asked = serde_json::from_slice(&body)
        .map_err(|error| Failure::invalid(format!("the body is not what is expected: {error}")))?;
    Ok((guest, asked))
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
