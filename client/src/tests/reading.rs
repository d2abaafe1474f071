//! What is held, who waits, and whether a token is the current one.

use leasehold_core::wire::{ClientItem, NodeItem};
use leasehold_core::{
    Bytes, Cursor, Key, Limit, NotDone, Outcome, Page, Span, Token, Waiter, Waiting,
};

use super::server::{Server, Session};
use super::{connect, holder, options};
use crate::{Error, Reason, Refusal, Wants};

/// A cursor of a node's making; what is in it is the node's business.
fn cursor(place: u32) -> Cursor {
    serde_json::from_value(serde_json::json!({ "records": 1, "place": place })).unwrap()
}

fn page(keys: &[&str], next: Option<Cursor>) -> Option<Page> {
    let holders = keys.iter().map(|key| (Key::from(*key), holder(key, 9))).collect();
    Some(Page { holders, next })
}

/// Answers the next listing, and tells where it goes on.
async fn show(session: &mut Session, page: Option<Page>) -> Cursor {
    match session.ask().await {
        Some(ClientItem::List { call, prefix, from, most }) => {
            assert_eq!((&prefix[..], most > 0), (&b"a/"[..], true));
            session.say(NodeItem::Page { call, page }).await;
            from
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_listing_goes_from_page_to_page_over_empty_ones() {
    let server = Server::new(1).await;
    let script = async {
        let mut session = server.welcome(vec![server.peer()]).await;
        let first = page(&["a/1", "a/2"], Some(cursor(5)));
        assert_eq!(show(&mut session, first).await, Cursor::START);
        // The node had no time for more.
        assert_eq!(show(&mut session, page(&[], Some(cursor(5)))).await, cursor(5));
        assert_eq!(show(&mut session, page(&["a/3"], None)).await, cursor(5));
        session.idle().await;
    };
    let work = async {
        let client = connect(&server.address, options()).await;
        let mut listing = client.list("a/");
        let page = listing.next_page().await.unwrap().unwrap();
        let listed: Vec<_> =
            page.iter().map(|listed| (&listed.key[..], listed.holder.age)).collect();
        let age = std::time::Duration::from_secs(3);
        assert_eq!(listed, [(&b"a/1"[..], age), (&b"a/2"[..], age)]);
        assert_eq!(listing.next_page().await.unwrap().unwrap().len(), 1);
        assert_eq!(listing.next_page().await, Ok(None));
        assert_eq!(listing.next_page().await, Ok(None));
    };
    tokio::join!(work, script);
}

#[tokio::test]
async fn a_listing_that_cannot_go_on_says_so() {
    let server = Server::new(1).await;
    let script = async {
        let mut session = server.welcome(vec![server.peer()]).await;
        show(&mut session, page(&["a/1"], Some(cursor(5)))).await;
        show(&mut session, None).await;
        session.idle().await;
    };
    let work = async { connect(&server.address, options()).await.list("a/").all().await };
    let (listed, ()) = tokio::join!(work, script);
    assert_eq!(listed, Err(Error::NotDone(Reason::RecordsReplaced)));
}

#[tokio::test]
async fn every_member_is_asked_who_waits() {
    let (a, b) = (Server::new(1).await, Server::new(2).await);
    let gone = Server::new(3).await.peer();
    let answer = async |server: &Server, waiting: Waiting| {
        let mut session = server.welcome(vec![a.peer(), b.peer(), gone.clone()]).await;
        match session.ask().await {
            Some(ClientItem::Waiting { call, key }) => {
                assert_eq!(&key[..], b"k");
                session.say(NodeItem::Waiting { call, waiting }).await;
            }
            other => panic!("{other:?}"),
        }
        session.idle().await;
    };
    let waiter = Waiter {
        wants: Wants::Lock,
        value: "you".into(),
        meta: br#"{"host":"b"}"#.as_slice().into(),
        age: Span::from_secs(2),
        left: Span::from_secs(8),
    };
    let none = Waiting::default();
    let one = Waiting { all: 1, first: vec![waiter] };
    let work = async {
        let client = connect(&a.address, options()).await;
        let reports = client.waiters("k").await;
        let names: Vec<_> = reports.iter().map(|report| report.name.as_deref()).collect();
        assert_eq!(names, [Some("n1"), Some("n2"), Some("n3")]);
        assert_eq!(reports[0].waiting.as_ref().map(|waiting| waiting.all), Ok(0));
        let there = reports[1].waiting.as_ref().unwrap();
        assert_eq!((there.all, there.first[0].wants), (1, Wants::Lock));
        assert_eq!(there.first[0].labels.get("host").map(String::as_str), Some("b"));
        assert!(reports[2].waiting.is_err());
    };
    tokio::join!(work, answer(&a, none), answer(&b, one));
}

#[tokio::test]
async fn a_token_is_compared_with_what_a_quorum_says() {
    let server = Server::new(1).await;
    let cases = [
        (Some(holder("me", 7)), Ok(Token(7))),
        (Some(holder("you", 9)), Err(Error::Refused(Refusal::Held(holder("you", 9).into())))),
        (None, Err(Error::Refused(Refusal::NotHeld))),
    ];
    let script = async {
        let mut session = server.welcome(vec![server.peer()]).await;
        for (found, _) in cases.clone() {
            let (call, request) = session.request().await;
            assert_eq!(request.action, leasehold_core::Action::Read);
            session.reply(call, Outcome::Found(found)).await;
        }
        session.idle().await;
    };
    let work = async {
        let client = connect(&server.address, options()).await;
        for (_, expected) in cases.clone() {
            let current = client.check_token("k", Token(7)).await.map(|holder| holder.token);
            assert_eq!(current, expected);
        }
    };
    tokio::join!(work, script);
}

#[tokio::test]
async fn every_limit_is_a_reason_of_its_own() {
    let server = Server::new(1).await;
    let limits = [
        (Limit::Records, Reason::RecordsFull),
        (Limit::WaitersPerKey, Reason::QueueFull),
        (Limit::Waiters, Reason::WaitersFull),
        (Limit::Operations, Reason::Busy),
        (Limit::OperationsPerClient, Reason::TooManyCalls),
        (Limit::Masters, Reason::TooManyMasters),
        (Limit::Replicas, Reason::TooManyReplicas),
    ];
    let script = async {
        let mut session = server.welcome(vec![server.peer()]).await;
        for (limit, _) in limits.clone() {
            let (call, _) = session.request().await;
            session.reply(call, Outcome::NotDone(NotDone::Limit(limit))).await;
        }
        session.idle().await;
    };
    let work = async {
        let client = connect(&server.address, options()).await;
        for (_, reason) in limits.clone() {
            assert_eq!(client.read(Bytes::from("k")).await, Err(Error::NotDone(reason)));
        }
    };
    tokio::join!(work, script);
}
