//! Two nodes that are asked the same: when, what becomes of what the late one does, and what is not asked twice.

use leasehold_core::wire::{ClientItem, NodeItem};
use leasehold_core::{
    Action, Bytes, Done, KeyRequest, NotDone, OpId, Outcome, Owner, Span, Token, hash,
};

use super::resending::id;
use super::server::{CLUSTER, Server, Session};
use super::{LONG, SHORT, connect, done, holder, options, repeated};
use crate::exchange::Exchange;
use crate::question::{Question, Reply};
use crate::{Client, Options, clock};

/// A sign of life is overdue long before the connection is given up.
fn impatient() -> Options {
    options().heartbeat(SHORT / 4, SHORT * 8)
}

/// The first key whose home is `one`.
fn key_of(one: &Server, other: &Server) -> String {
    let home = |key: &String| hash::home(CLUSTER, [one.id, other.id], key.as_bytes());
    (0_u32..).map(|i| format!("k{i}")).find(|key| home(key) == Some(one.id)).unwrap()
}

fn by_token(token: u64) -> Owner {
    Owner { value: None, token: Some(Token(token)) }
}

fn names_the_token(action: &Action) -> bool {
    matches!(action, Action::Release { owner, .. } if *owner == by_token(7))
}

/// Locks `k` at whichever node is asked first, and at the other one when that takes its time.
async fn lock_at_both(client: &Client) -> Done {
    let (now, id) = (clock::now(), OpId { chain: (1, 2), step: 0 });
    let (value, meta) = (Bytes::EMPTY, Bytes::EMPTY);
    let (lease, span) = (Span::from_secs(30), Span::ZERO);
    let lock = Action::Lock { id, value, meta, lease, delay: span, wait: span };
    let deadline = now.after(Span::from_secs(30));
    let question = Question::within("k".into(), lock, now, deadline);
    let call = Exchange::new(client.cluster(), question, deadline);
    let answered = call.suspecting_after(Some(Span::from_millis(20))).run().await.unwrap();
    let Reply::Outcome(Outcome::Done(done)) = answered.reply else { panic!("{answered:?}") };
    done
}

/// The lock arrives at one of two, then at the other, which answers: the first one, its call, and the other one.
async fn answered_by_the_second(
    mut a: Session,
    mut b: Session,
    with: Done,
) -> (Session, u64, Session) {
    let (slow, first, mut quick) = tokio::select! {
        (call, _) = a.request() => (a, call, b),
        (call, _) = b.request() => (b, call, a),
    };
    let (second, _) = quick.request().await;
    quick.reply(second, Outcome::Done(with)).await;
    (slow, first, quick)
}

/// The slow node grants the lock after the call has come to its end, which is when everybody is asked for a status. What is
/// asked for next, of either.
async fn granted_late(
    (mut slow, first, mut quick): (Session, u64, Session),
    token: u64,
) -> KeyRequest {
    assert!(matches!(slow.ask().await, Some(ClientItem::Status { .. })));
    slow.reply(first, Outcome::Done(done(token))).await;
    assert!(matches!(quick.ask().await, Some(ClientItem::Status { .. })));
    tokio::select! { (_, next) = slow.request() => next, (_, next) = quick.request() => next }
}

#[tokio::test]
async fn a_quiet_node_is_asked_beside_and_its_connection_goes_on() {
    let (a, b) = (Server::new(1).await, Server::new(2).await);
    let members = vec![a.peer(), b.peer()];
    let key = key_of(&a, &b);
    let script = async {
        let mut at_a = a.welcome(members.clone()).await;
        at_a.request().await;
        // It says nothing more, and the other one is asked the same.
        let mut at_b = b.welcome(members.clone()).await;
        let (call, _) = at_b.request().await;
        at_b.reply(call, Outcome::Done(done(7))).await;
        // What is asked now goes to the other one, and to nobody else.
        let (call, _) = at_b.request().await;
        at_b.reply(call, Outcome::Found(None)).await;
        let mut cancelled = false;
        while !cancelled || at_a.item().await != Some(ClientItem::Beat) {
            let item = at_a.item().await.expect("the connection goes on");
            cancelled |= matches!(item, ClientItem::Cancel { .. });
            assert!(!matches!(item, ClientItem::Request { .. }), "{item:?}");
        }
        at_a.say(NodeItem::Beat).await;
        let from_b = async {
            loop {
                let (call, _) = at_b.request().await;
                at_b.reply(call, Outcome::Found(None)).await;
            }
        };
        let asked_again = async {
            loop {
                let asked = at_a.ask().await.expect("the connection goes on");
                if let ClientItem::Request { call, .. } = asked {
                    break call;
                }
            }
        };
        let call = tokio::select! { call = asked_again => call, () = from_b => 0 };
        at_a.reply(call, Outcome::Found(Some(holder("from a", 7)))).await;
    };
    let work = async {
        let client = connect(&a.address, impatient()).await;
        let lease = client.lock(key.as_str()).lease().await.unwrap();
        // Once it is heard again, it is asked again, over the same connection.
        while client.read(key.as_str()).await.unwrap().is_none() {}
        lease.token()
    };
    let (token, ()) = tokio::join!(work, script);
    assert_eq!(token.0, 7);
}

#[tokio::test]
async fn a_quiet_node_that_is_the_only_one_is_not_asked_twice() {
    let server = Server::new(1).await;
    let script = async {
        let mut session = server.welcome(vec![server.peer()]).await;
        let (call, _) = session.request().await;
        // Sixteen signs of life are one and a half times what it takes to fall quiet.
        for _ in 0..16 {
            assert_eq!(session.item().await, Some(ClientItem::Beat));
        }
        session.reply(call, Outcome::Done(done(7))).await;
    };
    let work = async {
        let client = connect(&server.address, impatient()).await;
        client.lock("k").lease().await.unwrap().token()
    };
    let (token, ()) = tokio::join!(work, script);
    assert_eq!(token.0, 7);
}

#[tokio::test]
async fn what_might_hit_whoever_came_next_is_not_asked_beside() {
    let (a, b) = (Server::new(1).await, Server::new(2).await);
    let members = vec![a.peer(), b.peer()];
    let key = key_of(&a, &b);
    let script = async {
        let mut at_a = a.welcome(members.clone()).await;
        let mut at_b = b.welcome(members.clone()).await;
        let (mut late, mut release, mut read) = (Vec::new(), None, None);
        for _ in 0..5 {
            let (call, request) = at_a.request().await;
            if request.action == Action::Read {
                read = Some(call);
            } else if names_the_token(&request.action) {
                release = Some(call);
            } else {
                late.push(call);
            }
        }
        assert_eq!((late.len(), release.is_some(), read.is_some()), (3, true, true));
        // It falls quiet. What does no harm when it is done late is asked elsewhere, and nothing else.
        for _ in 0..2 {
            let (call, request) = at_b.request().await;
            let is_read = request.action == Action::Read;
            assert!(is_read || names_the_token(&request.action), "asked beside: {request:?}");
            let outcome = if is_read { Outcome::Found(None) } else { Outcome::Done(done(7)) };
            at_b.reply(call, outcome).await;
        }
        for call in late {
            at_a.reply(call, Outcome::Done(done(8))).await;
        }
        assert_eq!(at_b.ask().await, None);
    };
    let work = async {
        let client = connect(&a.address, impatient()).await;
        client.reaches(b.id, &b.address).await;
        let value = Owner { value: Some("me".into()), token: None };
        let (read, token, release, extend, update) = tokio::join!(
            client.read(key.as_str()),
            client.release(key.as_str(), by_token(7)).into_future(),
            client.release(key.as_str(), value.clone()).into_future(),
            client.extend(key.as_str(), value, LONG).into_future(),
            client.update(key.as_str(), by_token(8), "it").into_future(),
        );
        assert_eq!(read.unwrap(), None);
        assert_eq!(token.unwrap().token, Some(Token(7)));
        assert_eq!(release.unwrap().token, Some(Token(8)));
        assert_eq!((extend.unwrap().token, update.unwrap().token), (Token(8), Token(8)));
    };
    tokio::join!(work, script);
}

#[tokio::test]
async fn a_lock_that_is_granted_twice_is_given_back_for_as_long_as_it_takes() {
    let (a, b) = (Server::new(1).await, Server::new(2).await);
    let members = vec![a.peer(), b.peer()];
    let script = async {
        let (at_a, at_b) = (a.welcome(members.clone()).await, b.welcome(members.clone()).await);
        let (mut slow, first, mut quick) = answered_by_the_second(at_a, at_b, done(7)).await;
        // The slow one need not go on, but it had already.
        assert_eq!(slow.ask().await, Some(ClientItem::Cancel { call: first }));
        slow.reply(first, Outcome::Done(done(9))).await;
        let mut ids = Vec::new();
        while ids.len() < 5 {
            let (node, (call, release)) = tokio::select! {
                asked = slow.request() => (&mut slow, asked),
                asked = quick.request() => (&mut quick, asked),
            };
            node.reply(call, Outcome::NotDone(NotDone::NoQuorum)).await;
            ids.push(id(&release));
            let Action::Release { owner, .. } = release.action else { panic!("{release:?}") };
            assert_eq!(owner, by_token(9));
        }
        // The owner goes on with the chain of the lock, so this has one of its own.
        assert!(ids.iter().all(|id| *id == ids[0] && id.chain != (1, 2)), "{ids:?}");
    };
    let work = async {
        let client = connect(&a.address, options()).await;
        client.reaches(b.id, &b.address).await;
        assert_eq!(lock_at_both(&client).await.token, Token(7));
        client
    };
    let (_client, ()) = tokio::join!(work, script);
}

#[tokio::test]
async fn the_sending_that_another_one_repeats_is_left_alone() {
    let (a, b) = (Server::new(1).await, Server::new(2).await);
    let members = vec![a.peer(), b.peer()];
    let script = async {
        let (at_a, at_b) = (a.welcome(members.clone()).await, b.welcome(members.clone()).await);
        let answered = answered_by_the_second(at_a, at_b, repeated(7)).await;
        // Were the lock cancelled at the node that granted it, that came before the status. What that node says late is what the
        // caller has.
        let next = granted_late(answered, 7).await;
        assert!(matches!(next.action, Action::Lock { .. }), "given back: {next:?}");
    };
    let work = async {
        let client = connect(&a.address, options().timeout(SHORT)).await;
        client.reaches(b.id, &b.address).await;
        assert_eq!(lock_at_both(&client).await.token, Token(7));
        client.status().await;
        client.lock("another").timeout(LONG).lease().await
    };
    tokio::select! {
        () = script => {}
        lease = work => panic!("{lease:?}"),
    }
}

#[tokio::test]
async fn what_is_granted_beside_the_sending_that_is_repeated_is_given_back() {
    let (a, b) = (Server::new(1).await, Server::new(2).await);
    let members = vec![a.peer(), b.peer()];
    let script = async {
        let (at_a, at_b) = (a.welcome(members.clone()).await, b.welcome(members.clone()).await);
        let answered = answered_by_the_second(at_a, at_b, repeated(7)).await;
        let next = granted_late(answered, 9).await;
        assert!(matches!(next.action, Action::Release { owner, .. } if owner == by_token(9)));
    };
    let work = async {
        let client = connect(&a.address, options()).await;
        client.reaches(b.id, &b.address).await;
        assert_eq!(lock_at_both(&client).await.token, Token(7));
        client.status().await;
        client
    };
    let (_client, ()) = tokio::join!(work, script);
}
