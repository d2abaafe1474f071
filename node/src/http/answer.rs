//! What callers over HTTP are told when it is not what they asked for: a status code, and an object that says what is
//! known and what to do.
//!
//! | outcome | status | what is known |
//! | --- | --- | --- |
//! | `invalid` | 400, 404, 405, 413 | the request makes no sense; nothing was done |
//! | `not_allowed` | 401 without a known token, 403 with one | nothing was done |
//! | `timed_out` | 408 | the time to wait for something ended; nothing was changed |
//! | `refused` | 409 | the condition does not hold: held by another, not the owner, not held |
//! | `not_done` | 503 | certainly not done; try again, here or at another node |
//! | `unknown` | 504 | done at one point in time, or never: a proxy's own 502 and 504 mean the same |

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use leasehold_client::{Doubt, Error, Holder, Reason, Refusal};
use leasehold_core::{Limit, NotDone};
use serde::Serialize;
use utoipa::ToSchema;

use super::shapes::HolderShape;
use crate::names;

/// Why an answer is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// What the cluster said, or did not say.
    Of(Error),
    /// A request that makes no sense, with the status that says in which way.
    Senseless(StatusCode, String),
    /// A caller without a known token.
    Stranger(String),
}

impl Failure {
    /// A request that makes no sense.
    pub(super) fn invalid(words: impl Into<String>) -> Self {
        Self::Senseless(StatusCode::BAD_REQUEST, words.into())
    }

    /// A request that its caller has no right to.
    pub(super) const fn denied(why: String) -> Self {
        Self::Of(Error::NotAllowed(why))
    }

    const fn status(&self) -> StatusCode {
        match self {
            Self::Of(Error::Refused(_)) => StatusCode::CONFLICT,
            Self::Of(Error::NotDone(_) | Error::Unreachable(_)) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Of(Error::Unknown(_)) => StatusCode::GATEWAY_TIMEOUT,
            Self::Of(Error::NotAllowed(_)) => StatusCode::FORBIDDEN,
            Self::Of(Error::TimedOut) => StatusCode::REQUEST_TIMEOUT,
            Self::Of(Error::Invalid(_)) => StatusCode::BAD_REQUEST,
            Self::Senseless(status, _) => *status,
            Self::Stranger(_) => StatusCode::UNAUTHORIZED,
        }
    }

    fn names(&self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Of(error) => names::of_error(error),
            Self::Senseless(..) => ("invalid", None),
            Self::Stranger(_) => ("not_allowed", None),
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Of(error) => format!("{error}. {}", advice(error)).trim_end().to_owned(),
            Self::Senseless(_, words) => format!("{words}; /v1/openapi.json says how to ask"),
            Self::Stranger(words) => {
                format!("{words}. Send it as a header, `Authorization: Bearer TOKEN`")
            }
        }
    }

    /// As an answer to this operation.
    pub(super) fn to(self, op: &'static str) -> Response {
        let (outcome, reason) = self.names();
        let holder = match &self {
            Self::Of(Error::Refused(Refusal::Held(holder))) => Some(HolderShape::from(holder)),
            Self::Of(_) | Self::Senseless(..) | Self::Stranger(_) => None,
        };
        let masters = match &self {
            Self::Of(Error::NotDone(Reason::MastersMissing(masters))) => Some(masters.clone()),
            Self::Of(_) | Self::Senseless(..) | Self::Stranger(_) => None,
        };
        let message = self.message();
        let shape = FailureShape { op, outcome, reason, holder, masters, message };
        let status = self.status();
        let mut response = (status, Json(shape)).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        } else if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// What is said where something was not done.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FailureShape {
    /// The operation that was asked for.
    op: &'static str,
    /// `refused`, `not_done`, `unknown`, `not_allowed`, `timed_out` or `invalid`.
    outcome: &'static str,
    /// A word for why, where the outcome alone does not tell: `held`, `not_held`, `no_quorum`, `draining`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// Who holds the key instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    holder: Option<HolderShape>,
    /// The nodes that are needed and were not met.
    #[serde(skip_serializing_if = "Option::is_none")]
    masters: Option<Vec<String>>,
    /// For people: what happened, and what to do.
    message: String,
}

/// The answers of every operation that are not what was asked for.
#[derive(Debug, utoipa::IntoResponses)]
#[expect(dead_code, reason = "describes what answers look like, and is none")]
pub(super) enum Otherwise {
    /// `invalid`: the request makes no sense; the message says in which way.
    #[response(status = 400)]
    Invalid(FailureShape),
    /// `not_allowed`: no token, or none that this node knows.
    #[response(status = 401)]
    Stranger(FailureShape),
    /// `not_allowed`: the token does not give this right.
    #[response(status = 403)]
    NotAllowed(FailureShape),
    /// `timed_out`: the time to wait for something ended. Nothing was changed.
    #[response(status = 408)]
    TimedOut(FailureShape),
    /// `refused`: the condition does not hold. Nothing was changed.
    #[response(status = 409)]
    Refused(FailureShape),
    /// `invalid`: more bytes than are taken.
    #[response(status = 413)]
    TooLarge(FailureShape),
    /// `not_done`: certainly not done; it may be tried again.
    #[response(status = 503)]
    NotDone(FailureShape),
    /// `unknown`: done at one point in time, or never.
    #[response(status = 504)]
    Unknown(FailureShape),
}

const fn advice(error: &Error) -> &'static str {
    match error {
        Error::Refused(Refusal::Held(_)) => {
            "Nothing was changed. Give `wait` to queue for it, or wait for its release at /v1/wait."
        }
        Error::Refused(Refusal::NotHeld) => {
            "Nothing was changed. The lease has ended or was given up; acquire the key at /v1/lock."
        }
        Error::Refused(Refusal::AlreadyFounded { .. }) => {
            "There is nothing to do; /v1/status shows the cluster."
        }
        Error::Refused(Refusal::Declined(_)) => "Nothing was changed.",
        Error::NotDone(Reason::RecordsReplaced) => "Start the listing anew, without `after`.",
        Error::NotDone(Reason::RecordsFull) => {
            "Nothing was changed. Release what is not needed, or raise limits.records."
        }
        Error::NotDone(Reason::NotFounded) => {
            "A new cluster needs `leasehold init`, or /v1/init, once."
        }
        Error::NotDone(Reason::MastersMissing(_) | Reason::MasterUnreachable(_)) => {
            "Nothing was changed. Every master, and every member-to-be, must run and be linked with this node; the logs of \
             both say why they are not. A new node's configuration names the members, and `peer` where it listens."
        }
        Error::NotDone(Reason::Changing) => {
            "Nothing was changed. Wait until /v1/members shows that it is complete, and try again."
        }
        Error::NotDone(Reason::NotActive) => {
            "Nothing was changed. Ask a master; /v1/members shows which are, and where they answer."
        }
        Error::NotDone(_) | Error::Unreachable(_) => {
            "Certainly nothing was changed. Try again, at another node if this one is not ready (/readyz?verbose)."
        }
        Error::Unknown(_) => {
            "It may have taken effect or not. See how it stands at /v1/get; a lease ends by itself."
        }
        Error::NotAllowed(_) => "Nothing was changed. Ask whoever runs the cluster for the right.",
        Error::TimedOut => "Nothing was changed. Wait longer, or try again.",
        Error::Invalid(_) => "Nothing was changed.",
    }
}

/// What it means that something was not done, for an operation that waits or does not.
pub(super) fn not_done(why: NotDone, waits: bool) -> Failure {
    Failure::Of(match why {
        NotDone::Invalid(invalid) => Error::Invalid(invalid.into()),
        NotDone::TimedOut if waits => Error::TimedOut,
        NotDone::TimedOut => Error::NotDone(Reason::TooLate),
        NotDone::NoQuorum => Error::NotDone(Reason::NoQuorum),
        NotDone::Draining => Error::NotDone(Reason::Draining),
        NotDone::Cancelled => Error::NotDone(Reason::Cancelled),
        NotDone::NotFounded => Error::NotDone(Reason::NotFounded),
        NotDone::Limit(limit) => limit_reached(limit),
        NotDone::Changing => Error::NotDone(Reason::Changing),
        NotDone::NotActive => Error::NotDone(Reason::NotActive),
        NotDone::Unreachable(master) => Error::NotDone(Reason::MasterUnreachable(master)),
    })
}

fn limit_reached(limit: Limit) -> Error {
    Error::NotDone(limit.into())
}

/// The node's own part in a failure.
impl From<super::line::Cut> for Failure {
    fn from(_: super::line::Cut) -> Self {
        Self::Of(Error::NotDone(Reason::Draining))
    }
}

/// The answer to an operation that was sent on its way and never came back.
pub(super) const fn unanswered(changes: bool) -> Failure {
    Failure::Of(if changes {
        Error::Unknown(Doubt::Unanswered)
    } else {
        Error::NotDone(Reason::Unanswered)
    })
}

/// The key is held by somebody else than was asked for.
pub(super) fn held(holder: leasehold_core::Holder) -> Failure {
    Failure::Of(Error::Refused(Refusal::Held(Holder::from(holder))))
}
