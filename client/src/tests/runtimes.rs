//! A client in several runtimes, in none, and in its own after that has ended.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use leasehold_core::wire::ClientItem;
use leasehold_core::{Action, Outcome};
use tokio::runtime::{Builder, Runtime};

use super::server::Server;
use super::{LONG, SHORT, connect, done, options};
use crate::{Cause, Client, Error, Lost, Reason, Unreachable};

fn runtime(threads: bool) -> Runtime {
    let mut builder =
        if threads { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    builder.enable_all().build().unwrap()
}

/// A node in a thread of its own, which does what it is asked, for as many clients as come.
fn node() -> (String, std::thread::JoinHandle<()>) {
    let (told, address) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        runtime(false).block_on(async {
            let server = Server::new(1).await;
            told.send(server.address.clone()).unwrap();
            loop {
                let mut session = server.welcome(vec![server.peer()]).await;
                tokio::spawn(async move {
                    while let Some(item) = session.ask().await {
                        let ClientItem::Request { call, request } = item else { continue };
                        let outcome = match request.action {
                            Action::Read => Outcome::Found(None),
                            Action::Lock { .. }
                            | Action::Extend { .. }
                            | Action::Update { .. }
                            | Action::Release { .. }
                            | Action::WaitHeld
                            | Action::WaitReleased => Outcome::Done(done(7)),
                        };
                        session.reply(call, outcome).await;
                    }
                });
            }
        });
    });
    (address.recv().unwrap(), thread)
}

/// What a call comes to within a time that no test wants to see the end of.
fn within<T>(runtime: &Runtime, call: impl Future<Output = T>) -> T {
    runtime.block_on(async { tokio::time::timeout(LONG * 2, call).await.expect("it hangs") })
}

#[test]
fn a_client_outlives_the_runtime_in_which_it_connected() {
    let (address, _node) = node();
    for threads in [false, true] {
        let first = runtime(threads);
        let client = first.block_on(connect(&address, options()));
        let guard = within(&first, async { client.lock("k").await.unwrap() });
        drop(first);
        assert_eq!(guard.ensure_held(), Err(Lost::Ended));
        let second = runtime(threads);
        within(&second, async {
            assert_eq!(client.read("x").await, Ok(None));
            assert!(client.lock("other").await.unwrap().is_held());
            assert_eq!(guard.release().await.unwrap().token.unwrap().0, 7);
        });
    }
}

#[test]
fn the_end_of_one_runtime_takes_nothing_from_another_one() {
    let (address, _node) = node();
    let (first, second) = (runtime(true), runtime(true));
    let client = within(&first, connect(&address, options()));
    let kept = within(&second, async { client.lock("k").await.unwrap() });
    drop(first);
    within(&second, async {
        assert!(kept.is_held());
        assert_eq!(client.read("x").await, Ok(None));
        assert!(kept.extend(Duration::from_secs(30)).await.is_ok());
    });
}

#[test]
fn a_mailbox_ends_with_its_runtime() {
    let (address, _node) = node_that_hosts();
    let first = runtime(false);
    let (_client, mut mailbox) = within(&first, async {
        let client = connect(&address, options()).await;
        let mailbox = client.mailbox(1).await.unwrap();
        (client, mailbox)
    });
    drop(first);
    assert!(within(&runtime(false), mailbox.recv()).is_none());
}

fn node_that_hosts() -> (String, std::thread::JoinHandle<()>) {
    let (told, address) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        runtime(false).block_on(async {
            let server = Server::new(1).await;
            told.send(server.address.clone()).unwrap();
            let mut session = server.welcome(vec![server.peer()]).await;
            while let Some(item) = session.ask().await {
                if let ClientItem::Host { call } = item {
                    let address = crate::Address::default();
                    session.say(leasehold_core::wire::NodeItem::Hosted { call, address }).await;
                }
            }
        });
    });
    (address.recv().unwrap(), thread)
}

fn cause(result: Result<Option<crate::Holder>, Error>) -> Cause {
    match result {
        Err(Error::Unreachable(Unreachable(causes))) => causes.into_iter().next().unwrap().1,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_outside_of_a_runtime_fails_at_once() {
    let (address, _node) = node();
    let first = runtime(false);
    let client = within(&first, connect(&address, options()));
    let read = pin!(client.read("x"));
    match read.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => assert_eq!(cause(result), Cause::NoRuntime),
        Poll::Pending => panic!("it waits"),
    }
}

#[test]
fn a_closed_client_has_released_what_it_held_and_does_nothing_more() {
    let (address, _node) = node();
    let rt = runtime(false);
    within(&rt, async {
        let client = connect(&address, options()).await;
        let clone: Client = client.clone();
        let guards = (client.lock("a").await.unwrap(), client.lock("b").await.unwrap());
        client.close().await.unwrap();
        assert_eq!(
            (guards.0.ensure_held(), guards.1.lost().await),
            (Err(Lost::Ended), Lost::Ended)
        );
        assert_eq!(cause(clone.read("x").await), Cause::ClientClosed);
        assert!(matches!(clone.lock("c").await.unwrap_err(), Error::Unreachable(_)));
        assert!(guards.0.release().await.is_err());
        client.close().await.unwrap();
    });
}

#[tokio::test]
async fn a_step_behind_another_one_that_hangs_meets_its_own_deadline() {
    let server = Server::new(1).await;
    let script = async {
        let mut session = server.welcome(vec![server.peer()]).await;
        let (call, _) = session.request().await;
        session.reply(call, Outcome::Done(done(7))).await;
        // Nothing is answered from here on.
        session.idle().await;
    };
    let work = async {
        let client = connect(&server.address, options().timeout(SHORT)).await;
        let guard = client.lock("k").await.unwrap();
        // Two in a row: the first one has the turn, and the second one waits for it.
        let (first, second) = tokio::join!(guard.update("one", None), guard.update("two", None));
        assert!(first.is_err());
        assert_eq!(second, Err(Error::NotDone(Reason::TooLate)));
    };
    tokio::select! {
        () = work => {}
        () = script => panic!("the client has gone"),
    }
}

#[tokio::test]
async fn what_programs_print_of_a_guard_is_short() {
    let server = Server::new(1).await;
    let script = async {
        let mut session = server.welcome(vec![server.peer()]).await;
        let (call, _) = session.request().await;
        session.reply(call, Outcome::Done(done(7))).await;
        session
    };
    let work = async {
        let client = connect(&server.address, options()).await;
        client.lock("müller").await.unwrap()
    };
    let (guard, _session) = tokio::join!(work, script);
    let shown = format!("{guard:?}");
    assert!(shown.contains("token: Token(7)") && shown.len() < 200, "{shown}");
}
