//! Waits of hours, on a clock that the test moves: all of a wait is waited for, what it ends with, and what a grant is worth
//! that comes late.

use std::time::Duration;

use leasehold_core::wire::ClientItem;
use leasehold_core::{
    Action, Done, Drift, KeyRequest, Limit, NotDone, OpId, Outcome, Refusal as WireRefusal, Span,
    Token,
};

use super::server::{Server, Session};
use super::{LONG, connect, done, holder, options};
use crate::clock::moved::advance;
use crate::{Doubt, Error, Guard};

const HOUR: Duration = Duration::from_secs(3_600);
const TTL: Duration = Duration::from_secs(1);

fn hours(count: u64) -> Span {
    Span::from_secs(3_600 * count)
}

/// A lock's id, and how long it is ready to queue.
fn lock(request: &KeyRequest) -> (OpId, Span) {
    let Action::Lock { id, wait, .. } = &request.action else { panic!("no lock: {request:?}") };
    (*id, *wait)
}

/// Granted for `ttl` after it was queued for `waited`, as a home says it.
fn granted(token: u64, ttl: Span, waited: Span) -> Outcome {
    let valid_for = Some(Drift::DEFAULT.believed(ttl.plus(waited)));
    Outcome::Done(Done { valid_for, waited, ..done(token) })
}

/// A guard that `script` grants, for a lock that is ready to wait for five hours.
async fn waiting<T>(server: &Server, script: impl Future<Output = T>) -> (Result<Guard, Error>, T) {
    let work = async {
        let client = connect(&server.address, options()).await;
        client.lock("k").ttl(TTL).wait(5 * HOUR).await
    };
    tokio::join!(work, script)
}

#[tokio::test]
async fn a_wait_whose_time_is_over_has_timed_out_whatever_was_said_meanwhile() {
    let meanwhile = [
        Outcome::Unknown,
        Outcome::NotDone(NotDone::NoQuorum),
        Outcome::NotDone(NotDone::Draining),
        Outcome::NotDone(NotDone::Cancelled),
    ];
    for outcome in meanwhile {
        let server = Server::new(1).await;
        let script = async {
            let mut session = server.welcome(vec![server.peer()]).await;
            let (call, request) = session.request().await;
            let (id, wait) = lock(&request);
            assert!(wait > hours(4) && request.patience > hours(5), "{request:?}");
            advance(hours(4));
            session.reply(call, outcome.clone()).await;
            // It waits on, for what is left.
            let (_, request) = session.request().await;
            let (again, wait) = lock(&request);
            assert!(again == id && wait <= hours(1) && wait > Span::ZERO, "{wait:?}");
            advance(hours(2));
            session.idle().await;
        };
        let (guard, ()) = waiting(&server, script).await;
        assert_eq!(guard.map(drop), Err(Error::TimedOut), "after {outcome:?}");
    }
}

#[tokio::test]
async fn a_wait_has_timed_out_where_its_node_went_away_or_says_so_too_late() {
    let server = Server::new(1).await;
    let script = async {
        let mut session = server.welcome(vec![server.peer()]).await;
        session.request().await;
        drop(session);
        let mut session = server.welcome(vec![server.peer()]).await;
        let (call, _) = session.request().await;
        advance(hours(5));
        // As a node answers that tried once more, with no time left to wait.
        session.reply(call, Outcome::Refused(WireRefusal::Held(holder("you", 9)))).await;
        session.idle().await;
    };
    assert_eq!(waiting(&server, script).await.0.map(drop), Err(Error::TimedOut));
    let server = Server::new(1).await;
    let gone = async {
        let mut session = server.welcome(vec![server.peer()]).await;
        session.request().await;
        drop(session);
        server.accept().await.hello().await;
        advance(hours(6));
    };
    assert_eq!(waiting(&server, gone).await.0.map(drop), Err(Error::TimedOut));
}

#[tokio::test]
async fn a_lock_that_queued_for_hours_is_extended_before_anybody_is_told() {
    let server = Server::new(1).await;
    let script = async {
        let mut session = server.welcome(vec![server.peer()]).await;
        let (call, request) = session.request().await;
        advance(hours(4));
        session.reply(call, granted(7, TTL.into(), hours(4))).await;
        let (call, extend) = session.request().await;
        let Action::Extend { id, owner, lease } = extend.action else { panic!("{extend:?}") };
        assert_eq!((owner.token, lease), (Some(Token(7)), TTL.into()));
        assert!(lock(&request).0.is_before(id));
        session.reply(call, granted(7, TTL.into(), Span::ZERO)).await;
        session
    };
    let (guard, _session) = waiting(&server, script).await;
    let guard = guard.unwrap();
    assert!(guard.is_held(), "the belief counts from the extension");
}

#[tokio::test]
async fn what_a_process_was_granted_while_it_stood_still_is_tried_for_again() {
    let server = Server::new(1).await;
    let script = async {
        let mut session = server.welcome(vec![server.peer()]).await;
        let (call, request) = session.request().await;
        let (first, _) = lock(&request);
        session.reply(call, granted(7, TTL.into(), Span::ZERO)).await;
        advance(Span::from_secs(60));
        over(&mut session).await;
        // What is over is given back, in case that it is not.
        let (call, id) = loop {
            let (call, request) = session.request().await;
            if let Action::Lock { id, .. } = request.action {
                break (call, id);
            }
            assert!(matches!(request.action, Action::Release { .. }), "{request:?}");
            session.reply(call, Outcome::Refused(WireRefusal::NotHeld)).await;
        };
        assert_ne!(id.chain, first.chain, "another lock");
        session.reply(call, granted(8, TTL.into(), Span::from_millis(1))).await;
        session
    };
    let (guard, _session) = waiting(&server, script).await;
    let guard = guard.unwrap();
    assert!(guard.token() == Token(8) && guard.is_held());
}

#[tokio::test]
async fn without_time_to_wait_a_grant_that_is_worth_nothing_is_an_error() {
    for (wait, expected) in [
        (None, Error::Unknown(Doubt::Unconfirmed)),
        (Some(Duration::from_secs(9)), Error::TimedOut),
    ] {
        let server = Server::new(1).await;
        let script = async {
            let mut session = server.welcome(vec![server.peer()]).await;
            let (call, _) = session.request().await;
            session.reply(call, granted(7, TTL.into(), Span::ZERO)).await;
            advance(Span::from_secs(60));
            over(&mut session).await;
            session.idle().await;
        };
        let work = async {
            // Beyond the minute that passes.
            let client = connect(&server.address, options().timeout(10 * LONG)).await;
            let lock = client.lock("k").ttl(TTL);
            match wait {
                Some(wait) => lock.wait(wait).await.map(drop),
                None => lock.await.map(drop),
            }
        };
        assert_eq!(tokio::join!(work, script).0, Err(expected));
    }
}

/// The lease that is to be extended is over.
async fn over(session: &mut Session) {
    let (call, request) = session.request().await;
    assert!(matches!(request.action, Action::Extend { .. }), "{request:?}");
    session.reply(call, Outcome::Refused(WireRefusal::NotHeld)).await;
}

#[tokio::test]
async fn a_candidate_goes_on_for_years_and_keeps_its_place() {
    let server = Server::new(1).await;
    let script = async {
        let mut session = server.welcome(vec![server.peer()]).await;
        for trouble in [
            Outcome::NotDone(NotDone::Limit(Limit::WaitersPerKey)),
            Outcome::NotDone(NotDone::NotFounded),
            Outcome::Unknown,
        ] {
            let (call, _) = session.request().await;
            session.reply(call, trouble).await;
        }
        let (first, request) = session.request().await;
        let (id, wait) = lock(&request);
        assert!(wait > hours(24 * 365), "{wait:?}");
        // It reminds the node now and then, beside what queues already. That is not taken back.
        for _ in 0..2 {
            advance(hours(1));
            assert_eq!(lock(&session.request().await.1).0, id);
        }
        session.reply(first, granted(7, TTL.into(), hours(2))).await;
        // Only now are the others taken back.
        for _ in 0..2 {
            assert!(matches!(session.ask().await, Some(ClientItem::Cancel { .. })));
        }
        let (call, _) = session.request().await;
        session.reply(call, granted(7, TTL.into(), Span::ZERO)).await;
        session
    };
    let work = async {
        let client = connect(&server.address, options()).await;
        client.election("k").campaign("me").ttl(TTL).await
    };
    let (leadership, _session) = tokio::join!(work, script);
    assert!(leadership.unwrap().is_leader());
}
