//! Names, messages and servers among clients of different nodes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use leasehold_client::{
    Bytes, Client, Context, Error, Fsm, Lost, MAX_MAIL, Machine, Message, Options, Refusal,
    SendError, Serve, Stopped,
};
use leasehold_core::NodeId;
use leasehold_node::{Dev, DevOptions, dev};

use crate::raw::until;

const CLUSTER: DevOptions = DevOptions { masters: 3, replicas: 0, port: 0 };
const TTL: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(40);

/// A client that stays with one node as long as that is there.
async fn client(cluster: &Dev, nodes: &[usize]) -> Client {
    let endpoint = |node: &usize| cluster.nodes()[*node].client_addr().to_string();
    let options = Options::new().timeout(Duration::from_secs(10)).direct(false);
    Client::connect(nodes.iter().map(endpoint), options).await.unwrap()
}

async fn info(registration: &mut leasehold_client::Registration) -> Bytes {
    match registration.recv().await.unwrap().unwrap() {
        Message::Info(body) => body,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_finds_a_name_at_any_node() {
    let cluster = dev(CLUSTER).await.unwrap();
    let (here, there) = (client(&cluster, &[0]).await, client(&cluster, &[1]).await);
    assert_eq!(there.send("printer", "hello").await, Err(SendError::Nobody));
    assert_eq!(there.whereis("printer").await, Ok(None));
    let mut printer = here.register("printer").value("third floor").capacity(2).await.unwrap();
    let found = there.whereis("printer").await.unwrap().unwrap();
    assert_eq!((found.address, found.token), (printer.address(), printer.token()));
    assert_eq!(found.value.as_deref(), Some("third floor"));
    let taken = there.register("printer").await.map(drop);
    assert!(matches!(taken, Err(Error::Refused(Refusal::Held(_)))), "{taken:?}");

    // From the same node and from another.
    here.send("printer", "one").await.unwrap();
    there.send("printer", "two").await.unwrap();
    // Bounded, and its sender knows.
    assert_eq!(there.send("printer", "three").await, Err(SendError::Full));
    assert_eq!(&info(&mut printer).await[..], b"one");
    there.send(printer.address(), "four").await.unwrap();
    assert_eq!(&info(&mut printer).await[..], b"two");
    assert_eq!(&info(&mut printer).await[..], b"four");

    let large = there.send("printer", vec![0; MAX_MAIL + 1]).await;
    assert_eq!(large, Err(SendError::TooLarge));
    there.send("printer", vec![7; MAX_MAIL]).await.unwrap();
    assert_eq!(info(&mut printer).await.len(), MAX_MAIL);

    // The address outlives neither its node's boot nor its mailbox, and a name is not an address.
    let mut address = printer.address();
    let other_boot = leasehold_client::Address { boot: address.boot ^ 1, ..address };
    assert_eq!(there.send(other_boot, "stray").await, Err(SendError::Gone));
    assert!(printer.unregister().await.unwrap().confirmed);
    assert_eq!(there.send("printer", "five").await, Err(SendError::Nobody));
    for sender in [&here, &there] {
        assert_eq!(sender.send(address, "six").await, Err(SendError::Gone));
    }
    address.node = NodeId(77);
    assert_eq!(there.send(address, "eight").await, Err(SendError::Unreachable(NodeId(77))));
    let guard = here.lock("lock").value("me").await.unwrap();
    let misnamed = there.send("lock", "nine").await;
    assert!(matches!(misnamed, Err(SendError::NotSent(Error::Refused(_)))), "{misnamed:?}");
    drop(guard);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_moves_with_its_client() {
    let cluster = dev(CLUSTER).await.unwrap();
    let (mover, other) = (client(&cluster, &[0, 1]).await, client(&cluster, &[2]).await);
    let mut name = mover.register("mover").ttl(TTL).await.unwrap();
    let before = name.address();
    let node = cluster.nodes().iter().position(|it| {
        let status = futures(it.status());
        status.is_some_and(|status| status.id == before.node)
    });
    cluster.nodes()[node.unwrap()].stop().await;
    // Whoever sends meanwhile is told that it did not arrive, or may not have; then it does. The node that stops carries
    // on for a moment.
    until("messages arrive elsewhere", async || {
        let sent = other.send("mover", "hello").await;
        (sent.is_ok() && name.address() != before).then_some(())
    })
    .await;
    assert_eq!(&info(&mut name).await[..], b"hello");
    assert_eq!(other.whereis("mover").await.unwrap().unwrap().address, name.address());
    assert!(name.belief().is_held());
    drop((name, mover, other));
    cluster.shutdown().await;
}

/// What a future says that is ready soon.
fn futures<T: Send>(future: impl Future<Output = T> + Send) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(future))
}

/// What happened to a server, in order.
type Log = Arc<Mutex<Vec<String>>>;

fn said(log: &Log) -> Vec<String> {
    log.lock().unwrap().clone()
}

/// Counts, and says what happens to it.
struct Counter {
    count: u64,
    log: Log,
}

impl Serve for Counter {
    async fn start(&mut self, context: &Context) {
        let held = context.belief().is_none_or(|belief| belief.is_held());
        self.log.lock().unwrap().push(format!("start {held}"));
    }

    async fn call(&mut self, request: Bytes, _: &Context) -> Bytes {
        if &request[..] == b"sleep" {
            std::future::pending::<()>().await;
        }
        self.count.to_string().into()
    }

    async fn cast(&mut self, request: Bytes, context: &Context) {
        match &request[..] {
            b"stop" => context.stop(),
            _ => self.count += 1,
        }
    }

    async fn info(&mut self, message: Bytes, _: &Context) {
        self.log.lock().unwrap().push(format!("info {message}"));
    }

    async fn terminate(&mut self, why: &Stopped) {
        self.log.lock().unwrap().push(format!("terminate {why}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_runs_once_and_gives_its_name_up_on_the_way_out() {
    let cluster = dev(CLUSTER).await.unwrap();
    let (one, two) = (client(&cluster, &[0]).await, client(&cluster, &[1]).await);
    let caller = client(&cluster, &[2]).await;
    let log = Log::default();
    let counter = || Counter { count: 0, log: Arc::clone(&log) };
    // Two starts of one name: exactly one runs.
    let (first, second) =
        tokio::join!(one.serve("counter", TTL, counter()), two.serve("counter", TTL, counter()));
    let (running, refused) = match (first, second) {
        (Ok(running), Err(refused)) | (Err(refused), Ok(running)) => (running, refused),
        other => panic!("{other:?}"),
    };
    assert!(matches!(refused, Error::Refused(Refusal::Held(_))), "{refused:?}");
    for _ in 0..3 {
        caller.cast("counter", "one more").await.unwrap();
    }
    assert_eq!(&caller.call("counter", "how many").await.unwrap()[..], b"3");
    caller.send("counter", "psst").await.unwrap();
    // The second in line begins when the first is done.
    let next = two.serve("counter", TTL, counter()).wait(PATIENCE).into_future();
    let next = tokio::spawn(next);
    caller.cast("counter", "stop").await.unwrap();
    let mut running = running;
    assert_eq!(running.stopped().await, Stopped::Asked);
    let next = next.await.unwrap().unwrap();
    assert_eq!(&caller.call("counter", "how many").await.unwrap()[..], b"0");
    assert_eq!(next.stop().await, Stopped::Asked);
    assert_eq!(caller.call("counter", "how many").await, Err(SendError::Nobody));
    let life = ["start true", "info psst", "terminate it was told to stop"];
    let again = ["start true", "terminate it was told to stop"];
    assert_eq!(said(&log), [&life[..], &again[..]].concat());

    // Without a name.
    let unnamed = one.serve_unnamed(counter()).await.unwrap();
    assert_eq!(&caller.call(unnamed.address(), "how many").await.unwrap()[..], b"0");
    let address = unnamed.address();
    drop(unnamed);
    until("a server whose handle is dropped stops", async || {
        (caller.call(address, "how many").await == Err(SendError::Gone)).then_some(())
    })
    .await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_lost_its_name_stops_in_the_middle_of_what_it_does() {
    let cluster = dev(CLUSTER).await.unwrap();
    let (one, other) = (client(&cluster, &[0]).await, client(&cluster, &[1]).await);
    let log = Log::default();
    let counter = Counter { count: 0, log: Arc::clone(&log) };
    let mut server = one.serve("counter", Duration::from_secs(2), counter).await.unwrap();
    let calling = tokio::spawn(async move {
        let asked = other.call("counter", "sleep").await;
        (other, asked)
    });
    let registered = one.whereis("counter").await.unwrap().unwrap();
    let owner = leasehold_client::Owner { value: None, token: Some(registered.token) };
    // Somebody takes it away; the next extension learns of that.
    assert!(one.release("counter", owner).await.unwrap().confirmed);
    let stopped = tokio::time::timeout(PATIENCE, server.stopped()).await.expect("it goes on");
    assert!(matches!(stopped, Stopped::Lost(Lost::Taken(_))), "{stopped:?}");
    assert!(!server.belief().unwrap().is_held());
    let last = said(&log).pop().unwrap();
    assert!(last.starts_with("terminate its name is lost"), "{last}");
    calling.abort();
    cluster.shutdown().await;
}

/// A door that opens and closes, and breaks when it is kicked.
struct Door(Log);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Wing {
    Open,
    Closed,
}

impl Machine for Door {
    type State = Wing;

    async fn next(&mut self, state: Wing, message: Message, _: &Context) -> Option<Wing> {
        match (state, message) {
            (Wing::Open, Message::Cast(_)) => Some(Wing::Closed),
            (Wing::Closed, Message::Cast(_)) => Some(Wing::Open),
            (state, Message::Call(request)) => {
                request.reply(format!("{state:?}")).await.unwrap();
                Some(state)
            }
            (_, Message::Info(_)) => None,
        }
    }

    async fn terminate(&mut self, state: Option<Wing>, why: &Stopped) {
        self.0.lock().unwrap().push(format!("{state:?}: {why}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_machine_is_a_server() {
    let cluster = dev(CLUSTER).await.unwrap();
    let (one, other) = (client(&cluster, &[0]).await, client(&cluster, &[1]).await);
    let log = Log::default();
    let door = || Fsm::new(Door(Arc::clone(&log)), Wing::Closed);
    let mut server = one.serve("door", TTL, door()).await.unwrap();
    for expected in ["Open", "Closed", "Open"] {
        other.cast("door", "push").await.unwrap();
        assert_eq!(other.call("door", "how").await.unwrap(), expected.into());
    }
    other.send("door", "kick").await.unwrap();
    assert_eq!(server.stopped().await, Stopped::Asked);
    assert_eq!(other.whereis("door").await, Ok(None));
    let unnamed = one.serve_unnamed(door()).await.unwrap();
    assert_eq!(other.call(unnamed.address(), "how").await.unwrap(), "Closed".into());
    assert_eq!(unnamed.stop().await, Stopped::Asked);
    let ends = ["None: it was told to stop", "Some(Closed): it was told to stop"];
    assert_eq!(said(&log), ends);
    cluster.shutdown().await;
}
