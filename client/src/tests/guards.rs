//! Guards: belief that ends by itself, and by what the cluster says; extension and release in the background.

use std::time::Duration;

use leasehold_core::wire::{ClientItem, NodeItem};
use leasehold_core::{
    Action, Done, KeyRequest, NotDone, Outcome, Refusal as WireRefusal, Span, Token,
};

use super::server::{Server, Session};
use super::{LONG, SHORT, connect, done, holder, options};
use crate::{Client, Error, Guard, Lost, Reason, Refusal, clock};

/// A lease that a test wants to see extended or ended.
const BRIEF: Duration = Duration::from_millis(1_200);

/// Granted for about as long as [`BRIEF`] asks for.
fn brief(token: u64) -> Outcome {
    Outcome::Done(Done { valid_for: Some(Span::from_millis(1_197)), ..done(token) })
}

async fn answer(session: &mut Session, outcome: Outcome) -> KeyRequest {
    let (call, request) = session.request().await;
    session.reply(call, outcome).await;
    request
}

/// A guard of a brief lease, and its node.
async fn guarded(server: &Server, auto_extend: bool) -> (Client, Guard, Session) {
    let script = async {
        let mut session = server.welcome(vec![server.peer()]).await;
        let request = answer(&mut session, brief(7)).await;
        assert!(matches!(request.action, Action::Lock { .. }));
        session
    };
    let work = async {
        let client = connect(&server.address, options()).await;
        let guard = client.lock("k").value("me").ttl(BRIEF).auto_extend(auto_extend).await;
        (client, guard.unwrap())
    };
    let ((client, guard), session) = tokio::join!(work, script);
    (client, guard, session)
}

#[tokio::test]
async fn a_loss_is_told_before_the_deadline_without_any_network() {
    let server = Server::new(1).await;
    let (client, guard, session) = guarded(&server, true).await;
    assert!(guard.is_held() && guard.ensure_held().is_ok());
    assert!(guard.remaining() <= BRIEF);
    let belief = guard.belief();
    let watching = tokio::spawn(async move { (belief.lost().await, clock::now()) });
    // Nobody answers, and nobody listens.
    drop((session, server));
    let lost = guard.lost().await;
    let at = clock::now();
    assert!(matches!(lost, Lost::Expired(_)), "{lost:?}");
    assert!(at <= guard.valid_until());
    let (watched, at) = watching.await.unwrap();
    assert_eq!(watched, lost);
    assert!(at <= guard.valid_until());
    assert!(!guard.is_held());
    assert_eq!((guard.ensure_held(), guard.remaining()), (Err(lost), Duration::ZERO));
    drop(client);
}

#[tokio::test]
async fn a_guard_is_extended_by_token_for_as_long_as_it_lives() {
    let server = Server::new(1).await;
    let (_client, guard, mut session) = guarded(&server, true).await;
    let first_end = guard.valid_until();
    let mut steps = Vec::new();
    while clock::now() < first_end.after(Span::from_millis(500)) {
        let asked = answer(&mut session, brief(7)).await.action;
        let Action::Extend { id, owner, lease } = asked else { panic!("{asked:?}") };
        assert_eq!((owner.value, owner.token), (None, Some(Token(7))));
        assert_eq!(lease, BRIEF.into());
        steps.push(id.step);
        assert!(guard.is_held());
    }
    assert!(guard.valid_until() > first_end);
    assert_eq!(steps, (1..=u32::try_from(steps.len()).unwrap()).collect::<Vec<_>>());
    assert!(steps.len() >= 2, "{steps:?}");
}

#[tokio::test]
async fn without_auto_extension_nothing_is_asked_and_the_lease_runs_out() {
    let server = Server::new(1).await;
    let (_client, guard, mut session) = guarded(&server, false).await;
    tokio::select! {
        asked = session.ask() => panic!("{asked:?}"),
        lost = guard.lost() => assert_eq!(lost, Lost::Expired(None)),
    }
    // What expired here may still be in the way there.
    drop(guard);
    assert!(matches!(session.request().await.1.action, Action::Release { .. }));
}

#[tokio::test]
async fn what_fails_is_tried_again_and_what_is_refused_is_over() {
    let server = Server::new(1).await;
    let (_client, guard, mut session) = guarded(&server, true).await;
    answer(&mut session, Outcome::NotDone(NotDone::NoQuorum)).await;
    assert!(guard.is_held());
    answer(&mut session, Outcome::Refused(WireRefusal::Held(holder("you", 9)))).await;
    let taken = Lost::Taken(Refusal::Held(holder("you", 9).into()));
    tokio::select! {
        biased;
        lost = guard.lost() => assert_eq!(lost, taken),
        asked = session.ask() => panic!("{asked:?}"),
    }
    assert!(!guard.is_held());
}

#[tokio::test]
async fn what_ran_out_says_why_it_was_not_extended() {
    let server = Server::new(1).await;
    let (_client, guard, mut session) = guarded(&server, true).await;
    let fail = async {
        loop {
            let (call, _) = session.request().await;
            session.reply(call, Outcome::NotDone(NotDone::NotFounded)).await;
        }
    };
    let why = Some(Box::new(Error::NotDone(Reason::NotFounded)));
    tokio::select! {
        lost = guard.lost() => assert_eq!(lost, Lost::Expired(why)),
        () = fail => {}
    }
}

#[tokio::test]
async fn a_release_that_was_sent_ends_the_belief_for_good() {
    let server = Server::new(1).await;
    let (client, guard, mut session) = guarded(&server, true).await;
    let belief = guard.belief();
    // An extension is under way while the key is given up, and is answered after that.
    let (extension, request) = session.request().await;
    assert!(matches!(request.action, Action::Extend { .. }));
    let release = tokio::spawn(guard.release());
    let (call, request) = loop {
        match session.ask().await {
            Some(ClientItem::Request { call, request }) => break (call, request),
            // The extension is not waited for any more.
            Some(ClientItem::Cancel { .. }) => {}
            other => panic!("{other:?}"),
        }
    };
    let Action::Release { id, .. } = request.action else { panic!("{request:?}") };
    assert_eq!(id.step, 2);
    assert_eq!(belief.ensure_held(), Err(Lost::Released));
    let outcome = brief(7);
    session.say(NodeItem::Reply { call: extension, outcome }).await;
    session.reply(call, Outcome::Done(done(7))).await;
    assert!(release.await.unwrap().unwrap().confirmed);
    assert_eq!(belief.lost().await, Lost::Released);
    assert!(!belief.is_held());
    drop(client);
}

#[tokio::test]
async fn a_dropped_guard_is_released_by_token_even_if_it_was_the_last_of_its_client() {
    let server = Server::new(1).await;
    let (client, guard, mut session) = guarded(&server, true).await;
    let belief = guard.belief();
    drop((client, guard));
    assert_eq!(belief.ensure_held(), Err(Lost::Released));
    let asked = answer(&mut session, Outcome::Done(done(7))).await.action;
    let Action::Release { owner, .. } = asked else { panic!("{asked:?}") };
    assert_eq!(owner.token, Some(Token(7)));
    // Then the client ends.
    assert_eq!(session.ask().await, None);
}

#[tokio::test]
async fn a_release_goes_on_when_nobody_waits_for_it_any_more() {
    let server = Server::new(1).await;
    let (_client, guard, mut session) = guarded(&server, true).await;
    let impatient = async {
        tokio::select! {
            biased;
            released = guard.release() => panic!("{released:?}"),
            () = std::future::ready(()) => {}
        }
    };
    impatient.await;
    assert!(matches!(session.request().await.1.action, Action::Release { .. }));
    assert!(tokio::time::timeout(BRIEF, session.ask()).await.is_err(), "it is not taken back");
}

#[tokio::test]
async fn extending_by_hand_and_updating_take_turns_in_one_chain() {
    let server = Server::new(1).await;
    let (_client, guard, mut session) = guarded(&server, false).await;
    let script = async {
        let mut asked = Vec::new();
        for _ in 0..2 {
            let (call, request) = session.request().await;
            // Nothing else is on its way before this is answered.
            let next = tokio::time::timeout(SHORT, session.ask()).await;
            assert!(next.is_err(), "{next:?} beside {request:?}");
            asked.push(request.action);
            session.reply(call, Outcome::Done(done(7))).await;
        }
        let refused = Outcome::Refused(WireRefusal::NotHeld);
        answer(&mut session, refused).await;
        asked
    };
    let work = async {
        let extend = guard.extend(LONG);
        let update = guard.update("you", None);
        let (extended, updated) = tokio::join!(extend, update);
        let valid_until = extended.unwrap().valid_until;
        updated.unwrap();
        assert_eq!((guard.valid_until(), &guard.value()[..]), (valid_until, &b"you"[..]));
        let refused = guard.update("they", None).await;
        assert_eq!(refused.map(drop), Err(Error::Refused(Refusal::NotHeld)));
        assert_eq!(guard.ensure_held(), Err(Lost::Taken(Refusal::NotHeld)));
        assert_eq!(&guard.value()[..], b"you");
    };
    let ((), asked) = tokio::join!(work, script);
    match asked.as_slice() {
        [Action::Extend { id: first, .. }, Action::Update { id: second, .. }] => {
            assert_eq!((first.step, second.step), (1, 2));
        }
        other => panic!("{other:?}"),
    }
}
