//! Sendings that go wrong: nothing applies twice, and nobody is told what nobody knows.

use leasehold_core::wire::ClientItem;
use leasehold_core::{Action, KeyRequest, NotDone, OpId, Outcome, Owner, Refusal, Token};

use super::server::{Server, Session};
use super::{LONG, SHORT, connect, done, holder, options, repeated};
use crate::{Doubt, Error, Reason, Unreachable, clock};

pub(super) fn id(request: &KeyRequest) -> OpId {
    match request.action {
        Action::Lock { id, .. }
        | Action::Extend { id, .. }
        | Action::Update { id, .. }
        | Action::Release { id, .. } => id,
        Action::Read | Action::WaitHeld | Action::WaitReleased => panic!("no identity"),
    }
}

/// Takes one request over a connection of its own, and drops it unanswered.
async fn swallow(server: &Server) -> KeyRequest {
    server.welcome(vec![server.peer()]).await.request().await.1
}

async fn answer_next(session: &mut Session, outcome: Outcome) -> KeyRequest {
    let (call, request) = session.request().await;
    session.reply(call, outcome).await;
    request
}

#[tokio::test]
async fn a_lost_lock_is_sent_again_and_believed_only_after_an_extension() {
    let server = Server::new(1).await;
    let script = async {
        let first = swallow(&server).await;
        let mut session = server.welcome(vec![server.peer()]).await;
        let second = answer_next(&mut session, Outcome::Done(repeated(7))).await;
        assert_eq!(first.action, second.action);
        let third = answer_next(&mut session, Outcome::Done(repeated(7))).await;
        let fourth = answer_next(&mut session, Outcome::Done(done(7))).await;
        let chain = id(&first).chain;
        assert_eq!(id(&third), OpId { chain, step: 1 });
        assert_eq!(id(&fourth), OpId { chain, step: 2 });
        let Action::Extend { owner, .. } = fourth.action else { panic!("{fourth:?}") };
        assert_eq!(owner, Owner { value: None, token: Some(Token(7)) });
        let fifth = answer_next(&mut session, Outcome::Done(repeated(7))).await;
        assert_eq!(id(&fifth), OpId { chain, step: 3 });
        assert!(matches!(fifth.action, Action::Release { .. }));
    };
    let work = async {
        let client = connect(&server.address, options()).await;
        let lease = client.lock("k").await.unwrap();
        assert!(lease.is_held());
        // A repeated release is a release.
        assert!(lease.release().await.unwrap().confirmed);
    };
    tokio::join!(work, script);
}

#[tokio::test]
async fn belief_counts_from_before_the_sending_that_is_answered() {
    let server = Server::new(1).await;
    let script = async {
        swallow(&server).await;
        // The second sending leaves after its connection is welcomed, the first one left long before.
        let between = clock::now();
        let mut session = server.welcome(vec![server.peer()]).await;
        answer_next(&mut session, Outcome::Done(done(7))).await;
        between
    };
    let work = async {
        let client = connect(&server.address, options()).await;
        client.lock("k").await.unwrap()
    };
    let (lease, between) = tokio::join!(work, script);
    let valid_for = done(7).valid_for.unwrap();
    assert!(lease.valid_until() >= between.after(valid_for));
    assert!(lease.valid_until() <= clock::now().after(valid_for));
}

#[tokio::test]
async fn without_an_answer_the_outcome_is_unknown_and_a_read_just_unanswered() {
    let server = Server::new(1).await;
    let serve = async { server.welcome(vec![server.peer()]).await.idle().await };
    let work = async {
        let client = connect(&server.address, options()).await;
        let owner = Owner { value: Some("me".into()), token: None };
        let unknown = Err(Error::Unknown(Doubt::Unanswered));
        let (lock, extend, update, release) = tokio::join!(
            client.lock("k").timeout(SHORT).into_future(),
            client.extend("k", owner.clone(), LONG).timeout(SHORT).into_future(),
            client.update("k", owner.clone(), "you").timeout(SHORT).into_future(),
            client.release("k", owner).timeout(SHORT).into_future(),
        );
        assert_eq!(lock.map(drop), unknown);
        assert_eq!(extend.map(drop), unknown);
        assert_eq!(update.map(drop), unknown);
        assert_eq!(release.map(drop), unknown);
        client
    };
    let hurried = async {
        let client = connect(&server.address, options().timeout(SHORT)).await;
        assert_eq!(client.read("k").await, Err(Error::NotDone(Reason::Unanswered)));
    };
    tokio::join!(async { drop(work.await) }, serve);
    let serve = async { server.welcome(vec![server.peer()]).await.idle().await };
    tokio::join!(hurried, serve);
}

#[tokio::test]
async fn what_was_never_handed_over_is_certainly_not_done() {
    let server = Server::new(1).await;
    let work = async {
        let client = connect(&server.address, options()).await;
        (client.clone(), client.lock("k").value("me"))
    };
    let ((client, lock), session) = tokio::join!(work, server.welcome(vec![server.peer()]));
    drop((session, server));
    client.disconnected().await;
    match lock.timeout(SHORT).await {
        Err(Error::Unreachable(Unreachable(causes))) => assert_eq!(causes.len(), 1),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_node_without_quorum_sends_the_client_elsewhere() {
    let (a, b) = (Server::new(1).await, Server::new(2).await);
    let script = async {
        let mut at_a = a.welcome(vec![]).await;
        let mut at_b = b.welcome(vec![]).await;
        let first = answer_next(&mut at_a, Outcome::NotDone(NotDone::NoQuorum)).await;
        let second = answer_next(&mut at_b, Outcome::Done(done(7))).await;
        assert_eq!(first.action, second.action);
        answer_next(&mut at_a, Outcome::NotDone(NotDone::NoQuorum)).await;
        answer_next(&mut at_b, Outcome::NotDone(NotDone::NoQuorum)).await;
    };
    let work = async {
        let endpoints = [a.address.as_str(), b.address.as_str()];
        let client = crate::Client::connect(endpoints, options()).await.unwrap();
        client.reaches(a.id, &a.address).await;
        client.reaches(b.id, &b.address).await;
        let lease = client.lock("k").await.unwrap();
        assert_eq!(lease.token(), Token(7));
        // When nobody has one, that is the answer.
        let lock = client.lock("l").await.map(drop);
        assert_eq!(lock, Err(Error::NotDone(Reason::NoQuorum)));
    };
    tokio::join!(work, script);
}

#[tokio::test]
async fn a_node_that_knows_of_no_cluster_does_not_speak_for_the_others() {
    let (a, b) = (Server::new(1).await, Server::new(2).await);
    let script = async {
        let mut at_a = a.welcome(vec![]).await;
        let mut at_b = b.welcome(vec![]).await;
        answer_next(&mut at_a, Outcome::NotDone(NotDone::NotFounded)).await;
        answer_next(&mut at_b, Outcome::Done(done(7))).await;
        answer_next(&mut at_a, Outcome::NotDone(NotDone::NotFounded)).await;
        answer_next(&mut at_b, Outcome::NotDone(NotDone::NotFounded)).await;
    };
    let work = async {
        let endpoints = [a.address.as_str(), b.address.as_str()];
        let client = crate::Client::connect(endpoints, options()).await.unwrap();
        client.reaches(a.id, &a.address).await;
        client.reaches(b.id, &b.address).await;
        assert_eq!(client.lock("k").await.unwrap().token(), Token(7));
        let lock = client.lock("l").await.map(drop);
        assert_eq!(lock, Err(Error::NotDone(Reason::NotFounded)));
    };
    tokio::join!(work, script);
}

#[tokio::test]
async fn an_unknown_outcome_is_cleared_up_by_asking_again() {
    let server = Server::new(1).await;
    let script = async {
        let mut session = server.welcome(vec![server.peer()]).await;
        let first = answer_next(&mut session, Outcome::Unknown).await;
        let second = answer_next(&mut session, Outcome::Done(repeated(7))).await;
        assert_eq!(first.action, second.action);
        // Once in doubt, "not done" for a later sending does not clear it up.
        answer_next(&mut session, Outcome::Unknown).await;
        loop {
            match session.ask().await {
                Some(ClientItem::Request { call, .. }) => {
                    session.reply(call, Outcome::NotDone(NotDone::NoQuorum)).await;
                }
                Some(_) => {}
                None => break,
            }
        }
    };
    let work = async {
        let client = connect(&server.address, options()).await;
        let owner = Owner { value: None, token: Some(Token(7)) };
        assert!(client.release("k", owner.clone()).await.unwrap().confirmed);
        let again = client.release("k", owner).timeout(SHORT).await;
        assert_eq!(again, Err(Error::Unknown(Doubt::Undecided)));
    };
    tokio::join!(work, script);
}

#[tokio::test]
async fn after_a_lost_sending_a_refusal_is_read_with_care() {
    let gone = || Outcome::Refused(Refusal::NotHeld);
    let other = || Outcome::Refused(Refusal::Held(holder("you", 9)));
    let same = || Outcome::Refused(Refusal::Held(holder("you", 7)));
    let token = Owner { value: None, token: Some(Token(7)) };
    let value = Owner { value: Some("me".into()), token: None };
    for (owner, outcome, expected) in [
        (&token, gone(), Ok(false)),
        (&token, other(), Ok(false)),
        (&value, gone(), Ok(false)),
        (&value, other(), Err(true)),
        (&token, same(), Err(false)),
    ] {
        let server = Server::new(1).await;
        let script = async {
            swallow(&server).await;
            let mut session = server.welcome(vec![server.peer()]).await;
            answer_next(&mut session, outcome.clone()).await;
        };
        let work = async {
            let client = connect(&server.address, options()).await;
            client.release("k", owner.clone()).await
        };
        let (released, ()) = tokio::join!(work, script);
        let shape = released
            .map(|released| released.confirmed)
            .map_err(|error| error == Error::Unknown(Doubt::Overtaken));
        assert_eq!(shape, expected, "{owner:?} {outcome:?}");
    }
}

#[tokio::test]
async fn init_is_not_sent_again_once_it_may_have_been_done() {
    let server = Server::new(1).await;
    let script = async {
        let mut session = server.welcome(vec![]).await;
        assert!(matches!(session.ask().await, Some(ClientItem::Init { .. })));
    };
    let work = async { connect(&server.address, options()).await.init().await };
    let (founded, ()) = tokio::join!(work, script);
    assert_eq!(founded, Err(Error::Unknown(Doubt::Unanswered)));
}

#[tokio::test]
async fn a_release_of_whoever_holds_the_key_is_not_sent_again_in_doubt() {
    let server = Server::new(1).await;
    let script = async { assert!(matches!(swallow(&server).await.action, Action::Release { .. })) };
    let work = async {
        let client = connect(&server.address, options()).await;
        client.release("k", Owner::default()).await
    };
    let (released, ()) = tokio::join!(work, script);
    assert_eq!(released, Err(Error::Unknown(Doubt::Unanswered)));
}

#[tokio::test]
async fn a_grant_that_nobody_awaits_is_given_back() {
    let server = Server::new(1).await;
    let sent = tokio::sync::Notify::new();
    let script = async {
        let mut session = server.welcome(vec![server.peer()]).await;
        let (call, lock) = session.request().await;
        sent.notify_one();
        match session.ask().await {
            Some(ClientItem::Cancel { call: cancelled }) => assert_eq!(cancelled, call),
            other => panic!("{other:?}"),
        }
        session.reply(call, Outcome::Done(done(7))).await;
        let release = answer_next(&mut session, Outcome::Done(done(7))).await;
        assert_eq!(id(&release), OpId { chain: id(&lock).chain, step: 1 });
        let Action::Release { owner, .. } = release.action else { panic!("{release:?}") };
        assert_eq!(owner, Owner { value: None, token: Some(Token(7)) });
    };
    let work = async {
        let client = connect(&server.address, options()).await;
        tokio::select! {
            biased;
            lease = client.lock("k").into_future() => panic!("{lease:?}"),
            () = sent.notified() => {}
        }
        client
    };
    let (_client, ()) = tokio::join!(work, script);
}

#[tokio::test]
async fn a_lock_that_took_effect_and_cannot_be_believed_is_given_back() {
    let server = Server::new(1).await;
    let script = async {
        let mut session = server.welcome(vec![server.peer()]).await;
        answer_next(&mut session, Outcome::Done(repeated(7))).await;
        answer_next(&mut session, Outcome::NotDone(NotDone::NoQuorum)).await;
        let release = answer_next(&mut session, Outcome::Done(done(7))).await;
        assert!(matches!(release.action, Action::Release { .. }));
        assert_eq!(id(&release).step, 2);
    };
    let work = async {
        let client = connect(&server.address, options()).await;
        let lock = client.lock("k").await.map(drop);
        assert_eq!(lock, Err(Error::Unknown(Doubt::Unconfirmed)));
        client
    };
    let (_client, ()) = tokio::join!(work, script);
}
