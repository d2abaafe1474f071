//! Tokens that are withdrawn, and others in their place.

use leasehold_core::Outcome;
use leasehold_core::wire::NodeItem;

use super::server::Server;
use super::{connect, done, options};
use crate::{Doubt, Error};

/// Refuses whoever shows this token, until somebody shows another one; welcomes that.
async fn refuse_until_another(server: &Server, old: &str) -> super::server::Session {
    loop {
        let mut session = server.accept().await;
        let hello = session.hello().await;
        if hello.credential.as_deref() != Some(old) {
            assert_eq!(hello.credential.as_deref(), Some("new"));
            session.welcome(vec![server.peer()]).await;
            return session;
        }
        let why = "this token was withdrawn".to_owned();
        session.say(NodeItem::NotAllowed { call: None, why }).await;
    }
}

#[tokio::test]
async fn calls_with_a_token_that_was_withdrawn_end_at_once_and_another_one_helps() {
    let server = Server::new(1).await;
    let script = async {
        let mut session = server.welcome(vec![server.peer()]).await;
        let (first, second) = (session.request().await, session.request().await);
        assert_ne!(first.0, second.0);
        // As nodes do when a token goes.
        let why = "this token was withdrawn".to_owned();
        session.say(NodeItem::NotAllowed { call: None, why }).await;
        drop(session);
        let mut session = refuse_until_another(&server, "old").await;
        let (call, _) = session.request().await;
        session.reply(call, Outcome::Done(done(7))).await;
        session.idle().await;
    };
    let work = async {
        let client = connect(&server.address, options().token("old")).await;
        let denied = || Error::NotAllowed("this token was withdrawn".to_owned());
        // What was under way, and what is asked later: neither takes the time that calls may take.
        let (read, lock) = tokio::join!(client.read("k"), client.lock("k").value("me").lease());
        assert_eq!(read.map(drop), Err(denied()));
        assert_eq!(lock.map(drop), Err(Error::Unknown(Doubt::Unanswered)));
        assert_eq!(client.lock("k").lease().await.map(drop), Err(denied()));
        client.set_token("new");
        assert_eq!(client.lock("k").lease().await.unwrap().token().0, 7);
    };
    tokio::join!(work, script);
}

/// A node that does not know the token yet does not speak for one that may.
#[tokio::test]
async fn a_refusal_is_no_answer_while_another_node_may_let_the_client_in() {
    let (strict, open) = (Server::new(1).await, Server::new(2).await);
    let at_open = async {
        for token in 1..=2 {
            let mut session = open.welcome(vec![open.peer()]).await;
            let (call, _) = session.request().await;
            session.reply(call, Outcome::Done(done(token))).await;
            // The connection is lost, and made again.
        }
    };
    let work = async {
        let endpoints = [strict.address.clone(), open.address.clone()];
        let client = crate::Client::connect(endpoints, options().token("old")).await.unwrap();
        for token in 1..=2 {
            assert_eq!(client.lock("k").lease().await.unwrap().token().0, token);
        }
    };
    tokio::select! {
        ((), ()) = async { tokio::join!(work, at_open) } => {}
        _ = refuse_until_another(&strict, "old") => unreachable!("it has no other token"),
    }
}

/// An address of this machine that is not loopback's, if it has one. Nothing is sent.
fn outside() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // Of a network for documentation: only the way there is looked up.
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[tokio::test]
async fn a_token_does_not_leave_the_machine_in_the_clear() {
    let Some(outside) = outside() else { return };
    let server = Server::at(outside, 1).await;
    let refused = crate::Client::connect([server.address.clone()], options().token("hush")).await;
    assert_eq!(refused.map(drop), Err(Error::Invalid(crate::Fault::TokenInTheClear)));
    // What was tried before was closed without a word.
    let mut tried = server.accept().await;
    assert_eq!(tried.item().await, None);
    let server = Server::at(outside, 2).await;
    let told = options().token("hush").insecure(true);
    let script = async {
        let mut session = server.accept().await;
        assert_eq!(session.hello().await.credential.as_deref(), Some("hush"));
        session.welcome(vec![server.peer()]).await;
        session
    };
    drop(tokio::join!(connect(&server.address, told), script));
    // Without a token there is nothing to hide.
    let server = Server::at(outside, 3).await;
    drop(tokio::join!(connect(&server.address, options()), server.welcome(vec![server.peer()])));
}
