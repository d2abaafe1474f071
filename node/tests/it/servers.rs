//! The scenarios of elixir_locker's own test suite, against node processes: servers and state machines that hold a name,
//! started with and without a link to whoever started them. `docs/conformance.md` lists them.

use std::time::Duration;

use leasehold_client::{
    Bytes, Client, Context, Fsm, Machine, Message, Options, SendError, Serve, Stopped,
};

use super::conformance::Cluster;
use super::raw::until;

const TTL: Duration = Duration::from_secs(5);

/// Says who it is, and stops when it is told to.
struct Echo;

impl Serve for Echo {
    async fn call(&mut self, request: Bytes, context: &Context) -> Bytes {
        if &request[..] == b"stop" {
            context.stop();
        }
        request
    }
}

/// The same with states.
struct Switch;

impl Machine for Switch {
    type State = &'static str;

    async fn next(
        &mut self,
        state: &'static str,
        message: Message,
        _: &Context,
    ) -> Option<&'static str> {
        let Message::Call(request) = message else { return None };
        let stop = &request.body[..] == b"stop";
        let answer = if stop { Bytes::from("stop") } else { Bytes::from(state) };
        request.reply(answer).await.unwrap();
        (!stop).then_some("on")
    }
}

async fn two_clients(cluster: &Cluster) -> (Client, Client) {
    let options = || Options::new().timeout(Duration::from_secs(10)).direct(false);
    let at = |place: usize| Client::connect([cluster.clients[place].clone()], options());
    (at(0).await.unwrap(), at(1).await.unwrap())
}

/// Found under its name by a client of another node, told to stop through the name, and the name is gone.
async fn lives_and_ends<S: Serve>(server: impl Fn() -> S) {
    let cluster = Cluster::start(3, 0);
    let (one, other) = two_clients(&cluster).await;
    for linked in [false, true] {
        let mut handle = Some(one.serve("name", TTL, server()).await.unwrap());
        if !linked {
            // Nobody's end is its own.
            handle.take().unwrap().detach();
        }
        let found = other.whereis("name").await.unwrap();
        assert!(found.is_some(), "it is registered");
        assert_eq!(&other.call("name", "stop").await.unwrap()[..], b"stop");
        if let Some(handle) = &mut handle {
            assert_eq!(handle.stopped().await, Stopped::Asked);
        }
        until("its name is gone", async || {
            other.whereis("name").await.unwrap().is_none().then_some(())
        })
        .await;
    }
    // What is linked ends with whoever started it.
    drop(one.serve("name", TTL, server()).await.unwrap());
    until("its name is gone", async || {
        other.whereis("name").await.unwrap().is_none().then_some(())
    })
    .await;
    // Without a name.
    let unnamed = one.serve_unnamed(server()).await.unwrap();
    let address = unnamed.address();
    other.call(address, "hello").await.unwrap();
    drop(unnamed);
    until("it has ended", async || {
        (other.call(address, "hello").await == Err(SendError::Gone)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_starts_with_and_without_a_link_and_a_name() {
    lives_and_ends(|| Echo).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_machine_starts_with_and_without_a_link_and_a_name() {
    lives_and_ends(|| Fsm::new(Switch, "off")).await;
}
