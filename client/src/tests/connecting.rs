//! Getting and keeping connections.

use leasehold_core::wire::{FORMAT, MAX_FRAME, Malformed, NodeItem, VERSIONS};
use leasehold_core::{Outcome, Span};

use super::server::Server;
use super::{LONG, SHORT, connect, done, options};
use crate::{Cause, Client, Error, Fault, Unreachable};

async fn refusal_of(address: &str) -> Cause {
    match Client::connect([address], options()).await {
        Err(Error::Unreachable(Unreachable(causes))) => match causes.as_slice() {
            [(at, cause)] if at == address => cause.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn says_hello_and_is_welcomed() {
    let server = Server::new(1).await;
    let (client, session) =
        tokio::join!(connect(&server.address, options().name("me").direct(false)), async {
            let mut session = server.accept().await;
            let hello = session.hello().await;
            assert_eq!((hello.versions, hello.name.as_str()), (VERSIONS, "me"));
            session.welcome(vec![server.peer()]).await;
            session
        });
    drop(client);
    // Dropping the last handle closes the connection.
    session.idle().await;
}

#[tokio::test]
async fn every_endpoint_is_tried_and_each_failure_told() {
    let gone = Server::new(1).await.address;
    let server = Server::new(2).await;
    let endpoints = [gone.clone(), server.address.clone()];
    let (client, session) =
        tokio::join!(Client::connect(endpoints, options()), async { server.welcome(vec![]).await });
    drop((client.unwrap(), session));
    assert!(matches!(refusal_of(&gone).await, Cause::Connect(_)));
    let none: [&str; 0] = [];
    assert_eq!(
        Client::connect(none, options()).await.unwrap_err(),
        Error::Invalid(Fault::NoEndpoint)
    );
}

#[tokio::test]
async fn what_is_no_node_is_told_as_such() {
    let frame = |length: usize, rest: &[u8]| {
        let mut bytes = u32::try_from(length).unwrap().to_le_bytes().to_vec();
        bytes.extend_from_slice(rest);
        bytes
    };
    let cases = [
        (frame(MAX_FRAME + 1, &[]), Cause::Malformed(Malformed::TooLong(MAX_FRAME + 1))),
        (b"HTTP".to_vec(), Cause::Malformed(Malformed::TooLong(0x5054_5448))),
        (frame(0, &[]), Cause::Malformed(Malformed::Format)),
        (frame(2, &[FORMAT + 1, 0]), Cause::Malformed(Malformed::Format)),
        (frame(3, &[FORMAT, 0xff, 0xff]), Cause::Malformed(Malformed::Item)),
        (frame(2, &[FORMAT, 5]), Cause::Unwelcoming),
    ];
    for (bytes, expected) in cases {
        let server = Server::new(1).await;
        let (cause, ()) = tokio::join!(refusal_of(&server.address), async {
            let mut session = server.accept().await;
            session.hello().await;
            session.say_bytes(&bytes).await;
        });
        if expected == Cause::Unwelcoming {
            assert!(matches!(cause, Cause::Unwelcoming | Cause::Malformed(_)), "{cause:?}");
        } else {
            assert_eq!(cause, expected);
        }
    }
}

#[tokio::test]
async fn a_refused_hello_is_told_in_the_nodes_words() {
    let server = Server::new(1).await;
    let (cause, ()) = tokio::join!(refusal_of(&server.address), async {
        let mut session = server.accept().await;
        session.hello().await;
        session.say(NodeItem::Refused("too old".to_owned())).await;
    });
    assert_eq!(cause, Cause::Refused("too old".to_owned()));
}

#[tokio::test]
async fn a_stranger_is_not_allowed_rather_than_unable_to_connect() {
    let server = Server::new(1).await;
    let work = Client::connect([server.address.as_str()], options());
    let (result, ()) = tokio::join!(work, async {
        let mut session = server.accept().await;
        session.hello().await;
        session.say(NodeItem::NotAllowed { call: None, why: "who are you?".to_owned() }).await;
    });
    assert_eq!(result.map(drop), Err(Error::NotAllowed("who are you?".to_owned())));
}

#[tokio::test]
async fn a_node_that_closes_or_says_nothing_is_no_endpoint() {
    let server = Server::new(1).await;
    let (cause, ()) = tokio::join!(refusal_of(&server.address), async {
        server.accept().await.hello().await;
    });
    assert_eq!(cause, Cause::Closed);

    let mute = Server::new(2).await;
    let options = options().connect_timeout(SHORT);
    match Client::connect([mute.address.as_str()], options).await {
        Err(Error::Unreachable(Unreachable(causes))) => {
            assert_eq!(causes, [(mute.address.clone(), Cause::TimedOut)]);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn garbage_in_the_middle_costs_the_connection_and_not_the_call() {
    let server = Server::new(1).await;
    let script = async {
        let mut session = server.welcome(vec![server.peer()]).await;
        let (_, first) = session.request().await;
        session.say_bytes(&[2, 0, 0, 0, FORMAT, 0xff]).await;
        let mut session = server.welcome(vec![server.peer()]).await;
        let (call, second) = session.request().await;
        assert_eq!(first.action, second.action);
        session.reply(call, Outcome::Done(done(7))).await;
    };
    let work = async {
        let client = connect(&server.address, options()).await;
        client.lock("k").await.unwrap().token()
    };
    let (token, ()) = tokio::join!(work, script);
    assert_eq!(token.0, 7);
}

#[tokio::test]
async fn silence_ends_a_connection_and_the_call_goes_on_over_the_next() {
    let server = Server::new(1).await;
    let script = async {
        let mut silent = server.welcome(vec![server.peer()]).await;
        while !matches!(silent.item().await, Some(leasehold_core::wire::ClientItem::Request { .. }))
        {
        }
        let mut session = server.welcome(vec![server.peer()]).await;
        let (call, _) = session.request().await;
        session.reply(call, Outcome::Done(done(7))).await;
        drop(silent);
    };
    let work = async {
        let client = connect(&server.address, options().heartbeat(SHORT / 4, SHORT)).await;
        client.lock("k").await.unwrap().token()
    };
    let (token, ()) = tokio::join!(work, script);
    assert_eq!(token.0, 7);
}

#[tokio::test]
async fn keys_go_to_their_homes() {
    let (a, b) = (Server::new(1).await, Server::new(2).await);
    let members = vec![a.peer(), b.peer()];
    let home = |key: &[u8]| leasehold_core::hash::home(super::server::CLUSTER, [a.id, b.id], key);
    let key = (0_u32..).map(|i| format!("k{i}")).find(|k| home(k.as_bytes()) == Some(b.id));
    let key = key.unwrap();
    let script = async {
        // The first request goes wherever there is a connection; it makes the client connect to the home.
        let mut at_a = a.welcome(members.clone()).await;
        let (call, _) = at_a.request().await;
        let mut at_b = b.welcome(members.clone()).await;
        at_a.reply(call, Outcome::Found(None)).await;
        let (call, request) = at_b.request().await;
        assert_eq!(&request.key[..], key.as_bytes());
        assert!(request.patience <= Span::from(LONG) && !request.patience.is_zero());
        at_b.reply(call, Outcome::Found(None)).await;
    };
    let work = async {
        let client = connect(&a.address, options()).await;
        assert_eq!(client.read(key.as_str()).await, Ok(None));
        client.reaches(b.id, &b.address).await;
        assert_eq!(client.read(key.as_str()).await, Ok(None));
    };
    tokio::join!(work, script);
}

#[tokio::test]
async fn status_asks_every_member_and_shows_who_cannot_be_asked() {
    let server = Server::new(1).await;
    let gone = Server::new(2).await.peer();
    let script = async {
        let mut session = server.welcome(vec![server.peer(), gone.clone()]).await;
        match session.ask().await {
            Some(leasehold_core::wire::ClientItem::Status { call }) => {
                let status = leasehold_core::Status {
                    id: server.id,
                    leases: 5,
                    ..leasehold_core::Status::default()
                };
                session.say(NodeItem::Status { call, status }).await;
            }
            other => panic!("{other:?}"),
        }
        session.idle().await;
    };
    let work = async {
        let client = connect(&server.address, options()).await;
        client.status().await
    };
    let (reports, ()) = tokio::join!(work, script);
    let names: Vec<_> = reports.iter().map(|report| report.name.as_deref()).collect();
    assert_eq!(names, [Some("n1"), Some("n2")]);
    assert_eq!(reports[0].status.as_ref().unwrap().leases, 5);
    assert!(matches!(reports[1].status, Err(Cause::Connect(_))));
}
