//! What is asked and what is answered, without trouble.

use std::time::Duration;

use leasehold_core::wire::{ClientItem, NodeItem};
use leasehold_core::{
    Action, ClusterId, Invalid, Limit, NodeId, NotDone, Outcome, Refusal as WireRefusal, Span,
    Token,
};

use super::server::Server;
use super::{SHORT, connect, done, holder, options};
use crate::{Amended, Amendment, Epoch, Error, Fault, Owner, Reason, Refusal, clock, labels};

/// Answers requests with `outcomes`, one after the other, and returns the actions that were asked for.
async fn script(server: &Server, outcomes: Vec<Outcome>) -> Vec<Action> {
    let mut session = server.welcome(vec![server.peer()]).await;
    let mut actions = Vec::new();
    for outcome in outcomes {
        let (call, request) = session.request().await;
        assert_eq!(&request.key[..], b"k");
        actions.push(request.action);
        session.reply(call, outcome).await;
    }
    session.idle().await;
    actions
}

#[tokio::test]
async fn a_lease_lives_through_its_chain() {
    let server = Server::new(1).await;
    let unbelieving = leasehold_core::Done { valid_for: None, ..done(7) };
    let outcomes = vec![
        Outcome::Done(done(7)),
        Outcome::Done(done(7)),
        Outcome::Done(unbelieving),
        Outcome::Done(unbelieving),
    ];
    let work = async {
        let client = connect(&server.address, options()).await;
        let before = clock::now();
        let lock = client.lock("k").value("me").ttl(Duration::from_secs(30));
        let mut lease =
            lock.delay(Duration::from_secs(5)).label("host", "a").lease().await.unwrap();
        assert_eq!((lease.token(), lease.votes().commits), (Token(7), 2));
        assert!(lease.is_valid() && lease.remaining() <= Duration::from_secs(29));
        assert!(lease.valid_until() >= before.after(Span::from_secs(29)));
        let first_end = lease.valid_until();
        lease.extend(Duration::from_secs(30)).await.unwrap();
        assert!(lease.valid_until() >= first_end);
        lease.update("you", None).await.unwrap();
        assert_eq!(&lease.value()[..], b"you");
        let released = lease.release().await.unwrap();
        assert_eq!((released.token, released.confirmed), (Some(Token(7)), true));
    };
    let ((), actions) = tokio::join!(work, script(&server, outcomes));
    let owner = Owner { value: None, token: Some(Token(7)) };
    match actions.as_slice() {
        [
            Action::Lock { id, value, meta, lease, delay, wait },
            Action::Extend { id: second, owner: extender, .. },
            Action::Update { id: third, owner: updater, value: new, meta: None },
            Action::Release { id: fourth, owner: releaser },
        ] => {
            assert_eq!(
                (&value[..], &meta[..], &new[..]),
                (&b"me"[..], &br#"{"host":"a"}"#[..], &b"you"[..])
            );
            assert_eq!(
                (*lease, *delay, *wait),
                (Span::from_secs(30), Span::from_secs(5), Span::ZERO)
            );
            assert_eq!([second.step, third.step, fourth.step], [1, 2, 3]);
            assert!(id.is_before(*second) && id.is_before(*third) && id.is_before(*fourth));
            assert_eq!([extender, updater, releaser], [&owner; 3]);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_outcome_is_an_error_of_its_own() {
    let held = Error::Refused(Refusal::Held(holder("you", 9).into()));
    let cases = [
        (Outcome::Refused(WireRefusal::Held(holder("you", 9))), held),
        (Outcome::Refused(WireRefusal::NotHeld), Error::Refused(Refusal::NotHeld)),
        (Outcome::NotDone(NotDone::NoQuorum), Error::NotDone(Reason::NoQuorum)),
        (Outcome::NotDone(NotDone::TimedOut), Error::NotDone(Reason::TooLate)),
        (Outcome::NotDone(NotDone::NotFounded), Error::NotDone(Reason::NotFounded)),
        (Outcome::NotDone(NotDone::Limit(Limit::Records)), Error::NotDone(Reason::RecordsFull)),
        (
            Outcome::NotDone(NotDone::Invalid(Invalid::LeaseTooLong(Span::from_secs(300)))),
            Error::Invalid(Fault::LeaseTooLong(Duration::from_secs(300))),
        ),
        (Outcome::Founded(ClusterId(1, 2)), Error::Unknown(crate::Doubt::Nonsense)),
    ];
    for (outcome, expected) in cases {
        let server = Server::new(1).await;
        let work = async { connect(&server.address, options()).await.lock("k").await.map(drop) };
        let (result, _) = tokio::join!(work, script(&server, vec![outcome]));
        assert_eq!(result, Err(expected));
    }
}

#[tokio::test]
async fn a_lock_that_waits_says_how_long_and_times_out() {
    let server = Server::new(1).await;
    let work = async {
        let client = connect(&server.address, options()).await;
        client.lock("k").wait(Duration::from_secs(9)).await.map(drop)
    };
    let outcomes = vec![Outcome::NotDone(NotDone::TimedOut)];
    let (result, actions) = tokio::join!(work, script(&server, outcomes));
    assert_eq!(result, Err(Error::TimedOut));
    match actions.as_slice() {
        [Action::Lock { wait, .. }] => {
            assert!(*wait <= Span::from_secs(9) && *wait > Span::from_secs(1));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn reads_and_waits() {
    let server = Server::new(1).await;
    let outcomes = vec![
        Outcome::Found(Some(holder("you", 9))),
        Outcome::Found(None),
        Outcome::Woken(Some(holder("you", 9))),
        Outcome::Woken(None),
        Outcome::Refused(WireRefusal::NotHeld),
        Outcome::NotDone(NotDone::TimedOut),
    ];
    let work = async {
        let client = connect(&server.address, options()).await;
        let found = client.read("k").await.unwrap().unwrap();
        assert_eq!(found.labels.get("host").map(String::as_str), Some("a"));
        assert_eq!(found.remaining, Duration::from_secs(12));
        assert_eq!(client.read("k").await, Ok(None));
        assert_eq!(client.wait_held("k", SHORT).await.unwrap().token, Token(9));
        assert_eq!(client.wait_released("k", super::LONG).await, Ok(()));
        let free = client.wait_released("k", super::LONG).await;
        assert_eq!(free, Err(Error::Refused(Refusal::NotHeld)));
        assert_eq!(client.wait_held("k", super::LONG).await, Err(Error::TimedOut));
    };
    let ((), actions) = tokio::join!(work, script(&server, outcomes));
    assert_eq!(actions[3], Action::WaitReleased);
}

#[tokio::test]
async fn a_local_read_asks_one_node() {
    let server = Server::new(1).await;
    let script = async {
        let mut session = server.welcome(vec![server.peer()]).await;
        match session.ask().await {
            Some(ClientItem::LocalRead { call, key }) => {
                assert_eq!(&key[..], b"k");
                let holder = Some(holder("you", 9));
                session.say(NodeItem::LocalRead { call, holder }).await;
            }
            other => panic!("{other:?}"),
        }
        session.idle().await;
    };
    let work = async { connect(&server.address, options()).await.read_local("k").await };
    let (found, ()) = tokio::join!(work, script);
    assert_eq!(found.unwrap().unwrap().token, Token(9));
}

#[tokio::test]
async fn init_founds_or_says_why_not() {
    let unmet = |call| NodeItem::Unmet { call, masters: vec!["b".to_owned()] };
    let outcome = |outcome| move |call| NodeItem::Reply { call, outcome };
    let already = WireRefusal::AlreadyFounded { by: NodeId(3), cluster: ClusterId(1, 2) };
    type Answer = Box<dyn Fn(u64) -> NodeItem>;
    let founded = outcome(Outcome::Founded(ClusterId(1, 2)));
    let refused = outcome(Outcome::Refused(already));
    let cases: [(Answer, Result<ClusterId, Error>); 3] = [
        (Box::new(move |call| founded.clone()(call)), Ok(ClusterId(1, 2))),
        (
            Box::new(move |call| refused.clone()(call)),
            Err(Error::Refused(Refusal::AlreadyFounded {
                by: NodeId(3),
                cluster: ClusterId(1, 2),
            })),
        ),
        (Box::new(unmet), Err(Error::NotDone(Reason::MastersMissing(vec!["b".to_owned()])))),
    ];
    for (answer, expected) in cases {
        let server = Server::new(1).await;
        let script = async {
            let mut session = server.welcome(vec![]).await;
            match session.ask().await {
                Some(ClientItem::Init { call, patience }) => {
                    assert!(!patience.is_zero());
                    session.say(answer(call)).await;
                }
                other => panic!("{other:?}"),
            }
            session.idle().await;
        };
        let work = async { connect(&server.address, options()).await.init().await };
        let (result, ()) = tokio::join!(work, script);
        assert_eq!(result, expected);
    }
}

#[tokio::test]
async fn a_change_of_the_members_is_done_declined_or_not_allowed() {
    let why = String::from("no such member");
    type Answer = fn(u64, String) -> NodeItem;
    let configured: Answer = |call, _| {
        let outcome = Outcome::Configured { epoch: Epoch(4), complete: true };
        NodeItem::Reply { call, outcome }
    };
    let declined: Answer = |call, why| NodeItem::Declined { call, why };
    let not_allowed: Answer = |call, why| NodeItem::NotAllowed { call: Some(call), why };
    let cases = [
        (configured, Ok(Amended { epoch: Epoch(4), complete: true })),
        (declined, Err(Error::Refused(Refusal::Declined(why.clone())))),
        (not_allowed, Err(Error::NotAllowed(why.clone()))),
    ];
    for (answer, expected) in cases {
        let server = Server::new(1).await;
        let script = async {
            let mut session = server.welcome(vec![]).await;
            let Some(ClientItem::Amend { call: asked, amendment, .. }) = session.ask().await else {
                panic!("another question")
            };
            assert_eq!(amendment, Amendment::Remove("d".into()));
            session.say(answer(asked, why.clone())).await;
            session.idle().await;
        };
        let work = async {
            connect(&server.address, options()).await.amend(Amendment::Remove("d".into())).await
        };
        let (result, ()) = tokio::join!(work, script);
        assert_eq!(result, expected);
    }
}

#[tokio::test]
async fn what_fits_no_frame_is_refused_here() {
    let server = Server::new(1).await;
    let work = async {
        let client = connect(&server.address, options()).await;
        client.lock("k").value(vec![0; 2 << 20]).await.map(drop)
    };
    let (result, _) = tokio::join!(work, script(&server, vec![]));
    assert_eq!(result, Err(Error::Invalid(Fault::TooLarge)));
}

#[tokio::test]
async fn many_calls_share_a_connection_and_are_answered_in_any_order() {
    let server = Server::new(1).await;
    let script = async {
        let mut session = server.welcome(vec![server.peer()]).await;
        let mut requests = Vec::new();
        for _ in 0..50 {
            requests.push(session.request().await);
        }
        for (call, request) in requests.into_iter().rev() {
            let mut found = holder("you", 9);
            found.value = request.key;
            session.reply(call, Outcome::Found(Some(found))).await;
        }
        session.idle().await;
    };
    let work = async {
        let client = connect(&server.address, options()).await;
        let reads: Vec<_> = (0..50)
            .map(|i| {
                let client = client.clone();
                tokio::spawn(async move { (i, client.read(format!("k{i}")).await) })
            })
            .collect();
        for read in reads {
            let (i, found) = read.await.unwrap();
            assert_eq!(&found.unwrap().unwrap().value[..], format!("k{i}").as_bytes());
        }
    };
    tokio::join!(work, script);
    assert_eq!(labels::decode(b""), Some(labels::Labels::new()));
}
