//! Reading what is asked, within bounds of size and time.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query, Request};
use axum::http::StatusCode;
use futures_util::StreamExt;
use leasehold_client::{Error, Reason};
use leasehold_core::Span;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use serde_json::Value;

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
    Ok((guest, understood(&body)?))
}

/// What a body says.
fn understood<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    let wrong = |error: serde_json::Error| {
        Failure::invalid(format!("the body is not what is expected: {error}"))
    };
    let whole = serde_json::from_slice(body).map_err(wrong)?;
    check_object("the body", &whole)?;
    // Not from `whole`, which forgot where things stand and what stands twice.
    serde_json::from_slice(body).map_err(wrong)
}

/// Refuses what would be understood although it was hardly meant: a list for the object whose members it could be, and null
/// for a member that is left out.
fn check_object(name: &str, value: &Value) -> Result<(), Failure> {
    let Value::Object(members) = value else {
        return Err(Failure::invalid(format!(
            "{name} is not what is expected: it is no JSON object"
        )));
    };
    for (name, value) in members {
        match value {
            Value::Null => {
                let words = format!("`{name}` is null: leave out what has nothing to say");
                return Err(Failure::invalid(words));
            }
            Value::Array(items) => {
                for item in items {
                    check_object(&format!("an item of `{name}`"), item)?;
                }
            }
            Value::Object(_) => check_object(&format!("`{name}`"), value)?,
            Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    Ok(())
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
    check_query(head.uri.query().unwrap_or_default())?;
    match Query::try_from_uri(&head.uri) {
        Ok(Query(asked)) => Ok((guest, asked)),
        Err(error) => Err(Failure::invalid(format!("the query is not what is expected: {error}"))),
    }
}

/// Refuses a query that would be understood as another one: with escapes that are none, which would stand for themselves, or
/// with bytes that are no UTF-8, which would all be the same character.
fn check_query(query: &str) -> Result<(), Failure> {
    for part in query.split(['&', '=']) {
        let is_escape = |after: &str| {
            let mut digits = after.bytes();
            let mut is_digit = || digits.next().is_some_and(|byte| byte.is_ascii_hexdigit());
            is_digit() && is_digit()
        };
        if !part.split('%').skip(1).all(is_escape) {
            let words =
                "a % in the query is not followed by two hexadecimal digits; % itself is %25";
            return Err(Failure::invalid(words));
        }
        if percent_decode_str(part).decode_utf8().is_err() {
            let words = "the query is no UTF-8; give other bytes in base64, as `key_base64` or `prefix_base64`";
            return Err(Failure::invalid(words));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::shapes::{LockAsked, MembersAsked};

    #[test]
    fn a_query_is_taken_for_what_it_says_or_refused() {
        for query in ["", "key=a", "key=%C3%A4&local=true", "key=a%25", "key=a+b", "=&&=", "key=ä"]
        {
            assert_eq!(check_query(query), Ok(()), "{query}");
        }
        for query in [
            "key=%FF",
            "key=%C3",
            "%ff=a",
            "key=%",
            "key=%4",
            "key=%4g",
            "key=%%41",
            "key=a&x=%C3&y=%A4",
        ] {
            check_query(query).unwrap_err();
        }
    }

    #[test]
    fn a_body_is_an_object_of_objects_and_says_nothing_as_null() {
        understood::<LockAsked>(br#"{"key": "a", "meta": {"b": "c"}}"#).unwrap();
        understood::<MembersAsked>(br#"{"masters": [{"node": "a"}]}"#).unwrap();
        for body in [
            r#"["a"]"#,
            r#"["a",null,null,null,null,null,null,{},null]"#,
            "null",
            r#""a""#,
            r#"{"key": "a", "ttl": null}"#,
            r#"{"key": "a", "key": "b"}"#,
            r#"{"key": "a", "meta": [["b", "c"]]}"#,
        ] {
            understood::<LockAsked>(body.as_bytes()).unwrap_err();
        }
        for body in
            [r#"{"masters": [["a", null]]}"#, r#"{"masters": [{"node": "a", "peer": null}]}"#]
        {
            understood::<MembersAsked>(body.as_bytes()).unwrap_err();
        }
    }
}
