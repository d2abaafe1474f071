//! The scenarios of elixir_locker's own test suite, against node processes: servers and state machines that hold a name,
//! started with and without a link to whoever started them. `docs/conformance.md` lists them.

use std::sync::Arc;
use std::time::Duration;

use leasehold_client::{
    Bytes, Client, Context, Fsm, MAX_MAIL, Machine, Message, NoAnswer, Options, SendError, Serve,
    Stopped,
};
use tokio::sync::Notify;

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

/// Answers in none of the usual ways.
struct Odd {
    release: Arc<Notify>,
}

impl Serve for Odd {
    async fn message(&mut self, message: Message, _: &Context) {
        let Message::Call(request) = message else { return };
        match &request.body[..] {
            b"panic" => panic!("as told"),
            b"large" => drop(request.reply(vec![0; MAX_MAIL + 1]).await),
            b"slow" => {
                self.release.notified().await;
                drop(request.reply("slow").await);
            }
            _ => drop(request),
        }
    }
}

/// Would a caller have to wait for its time to run out, this test would, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_is_told_at_once_why_there_is_no_answer() {
    let cluster = Cluster::start(3, 0);
    let options = Options::new().timeout(Duration::from_secs(600)).direct(false);
    let client = Client::connect([cluster.clients[0].clone()], options).await.unwrap();
    let release = Arc::new(Notify::new());
    let odd = || Odd { release: Arc::clone(&release) };
    let told = async {
        let server = client.serve("odd", TTL, odd()).await.unwrap();
        let unanswered = |why| Err(SendError::Unanswered(why));
        assert_eq!(client.call("odd", "drop").await, unanswered(NoAnswer::Dropped));
        assert_eq!(client.call("odd", "large").await, unanswered(NoAnswer::TooLarge));
        // One is under way and one queued when the server is told to stop.
        let (slow, queued, stopped) = tokio::join!(
            client.call("odd", "slow"),
            async {
                tokio::task::yield_now().await;
                let queued = client.call("odd", "never");
                tokio::join!(queued, async {
                    // Mail from one connection keeps its order.
                    client.cast("odd", "mark").await.unwrap();
                    release.notify_one();
                })
                .0
            },
            async {
                client.send("odd", "mark").await.unwrap();
                server.stop().await
            },
        );
        assert_eq!(stopped, Stopped::Asked);
        assert_eq!(slow.unwrap(), "slow".into());
        assert!(
            matches!(
                queued,
                Err(SendError::Unanswered(NoAnswer::Closed | NoAnswer::Dropped)
                    | SendError::Gone
                    | SendError::Nobody)
            ),
            "{queued:?}"
        );
        let mut server = client.serve("odd", TTL, odd()).await.unwrap();
        assert_eq!(client.call("odd", "panic").await, unanswered(NoAnswer::Panicked));
        assert_eq!(server.stopped().await, Stopped::Panicked);
        assert_eq!(client.whereis("odd").await.unwrap(), None, "its name is released before");
    };
    tokio::time::timeout(Duration::from_secs(120), told).await.expect("a caller waits");
}

/// Comes to no end in `start`, or in `terminate`.
struct Stuck {
    starts: bool,
}

impl Serve for Stuck {
    async fn start(&mut self, _: &Context) {
        if !self.starts {
            std::future::pending::<()>().await;
        }
    }

    async fn terminate(&mut self, _: &Stopped) {
        std::future::pending::<()>().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_can_be_aborted_and_its_name_is_free() {
    let cluster = Cluster::start(3, 0);
    let (client, _) = two_clients(&cluster).await;
    for starts in [false, true] {
        let mut server = client.serve("stuck", TTL, Stuck { starts }).await.unwrap();
        if starts {
            let stop = server.stopped();
            assert!(tokio::time::timeout(Duration::ZERO, stop).await.is_err());
        }
        let aborted = tokio::time::timeout(Duration::from_secs(60), server.abort());
        assert_eq!(aborted.await.expect("it hangs"), Stopped::Aborted);
        assert_eq!(client.whereis("stuck").await.unwrap(), None);
    }
}
