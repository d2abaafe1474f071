//! A node's life under load: rolling restarts, and a process that is stopped for a while.

use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use leasehold_client::{Call, Client, Error, Lease, Options, Owner, Span, Tls, clock};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::interval;

use super::secure::{signal, wait_for};
use super::trio::{NAMES, Trio, standing};

/// Callers allow this, as the issue has it.
const TIMEOUT: Duration = Duration::from_secs(10);
const TTL: Duration = Duration::from_secs(30);

/// Clients that hold keys and others that lock, change and release, until they are told to end.
struct Load {
    runtime: Runtime,
    ended: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    /// Calls that certainly did nothing, and were made again.
    again: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Result<(), String>>>,
}

/// One client of a load.
struct Caller {
    client: Client,
    ended: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    again: Arc<AtomicU64>,
}

fn options(trio: &Trio) -> Options {
    let ca = std::fs::read(trio.path("certs/ca.pem")).unwrap();
    let token = std::fs::read_to_string(trio.path("ops.token")).unwrap();
    Options::new().tls(Tls::trusting(&ca).unwrap()).token(token.trim()).timeout(TIMEOUT)
}

impl Load {
    fn start(trio: &Trio) -> Self {
        let runtime = Runtime::new().unwrap();
        let mut load = Self {
            runtime,
            ended: Arc::default(),
            done: Arc::default(),
            again: Arc::default(),
            clients: Vec::new(),
        };
        for i in 0..12 {
            let connecting = Client::connect(trio.clients().to_vec(), options(trio));
            let caller = Caller {
                client: load.runtime.block_on(connecting).unwrap(),
                ended: Arc::clone(&load.ended),
                done: Arc::clone(&load.done),
                again: Arc::clone(&load.again),
            };
            load.clients.push(if i % 2 == 0 {
                load.runtime.spawn(async move { caller.hold(format!("held-{i}")).await })
            } else {
                load.runtime.spawn(async move { caller.cycle(format!("cycled-{i}")).await })
            });
        }
        load
    }

    fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Ends it. What was done, and what had to be done again.
    fn end(self) -> (u64, u64) {
        self.ended.store(true, Ordering::Relaxed);
        for client in self.clients {
            self.runtime.block_on(client).unwrap().unwrap();
        }
        (self.done.load(Ordering::Relaxed), self.again.load(Ordering::Relaxed))
    }
}

impl Caller {
    /// Makes a call until it is done; only what certainly did nothing is made again.
    async fn until_done<T>(
        &self,
        what: &str,
        mut call: impl FnMut(&Client) -> Call<T> + Send,
    ) -> Result<T, String> {
        loop {
            match call(&self.client).await {
                Ok(done) => {
                    self.done.fetch_add(1, Ordering::Relaxed);
                    return Ok(done);
                }
                Err(Error::NotDone(_) | Error::Unreachable(_)) => {
                    self.again.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
                Err(error) => return Err(format!("{what}: {error}")),
            }
        }
    }

    fn goes_on(&self) -> bool {
        !self.ended.load(Ordering::Relaxed)
    }

    /// Holds a key throughout: a lease that is lost shows as a refusal.
    async fn hold(self, key: String) -> Result<(), String> {
        let lock = |client: &Client| -> Call<Lease> {
            Box::pin(client.lock(key.as_str()).value("me").ttl(TTL).lease())
        };
        let token = self.until_done("the first lock", lock).await?.token();
        let owner = Owner { value: None, token: Some(token) };
        let mut rate = interval(Duration::from_millis(20));
        while self.goes_on() {
            rate.tick().await;
            let extend =
                |client: &Client| client.extend(key.as_str(), owner.clone(), TTL).into_future();
            self.until_done("an extension", extend).await?;
        }
        let read = |client: &Client| -> Call<_> {
            let (client, key) = (client.clone(), key.clone());
            Box::pin(async move { client.read(key).await })
        };
        let held = self.until_done("the last read", read).await?;
        match held {
            Some(holder) if holder.token == token => Ok(()),
            other => Err(format!("{key} was held with {token} and at last {other:?}")),
        }
    }

    /// Locks, changes and releases, over and over.
    ///
    /// A sending that lay in the buffers of a node that stood still may be granted when nobody awaits it any more. It is
    /// released at once, and until then in the way of the next lock.
    async fn cycle(self, key: String) -> Result<(), String> {
        let mut rate = interval(Duration::from_millis(5));
        while self.goes_on() {
            rate.tick().await;
            let lock = |client: &Client| -> Call<Lease> {
                Box::pin(client.lock(key.as_str()).value("me").ttl(TTL).lease())
            };
            let since = clock::now();
            let lease = loop {
                let in_the_way = clock::now().since(since) < TIMEOUT.into();
                match self.until_done("a lock", lock).await {
                    Err(why) if why.contains("refused: held by me") && in_the_way => {
                        self.again.fetch_add(1, Ordering::Relaxed);
                        rate.tick().await;
                    }
                    lease => break lease?,
                }
            };
            let token = lease.token();
            let owner = Owner { value: None, token: Some(token) };
            let update =
                |client: &Client| client.update(key.as_str(), owner.clone(), "mine").into_future();
            self.until_done("an update", update).await?;
            let release =
                |client: &Client| client.release(key.as_str(), owner.clone()).into_future();
            self.until_done("a release", release).await?;
        }
        Ok(())
    }
}

#[test]
fn a_rolling_restart_under_load_loses_no_lease_and_leaves_nobody_in_doubt() {
    let trio = Trio::new();
    let mut servers: Vec<_> = trio.found().into_iter().map(Some).collect();
    let load = Load::start(&trio);
    // One that waits in a queue all the time, at whichever node is the key's home.
    trio.expect(0, "ops", "lock queue first --ttl 55s");
    let waiting = ["--json", "lock", "queue", "second", "--wait", "50s"].map(String::from);
    let waiting = [waiting.to_vec(), trio.who("ops")].concat();
    let waiter = trio.endpoints().spawn(&waiting.iter().map(|arg| &**arg).collect::<Vec<_>>());
    for (place, name) in NAMES.iter().enumerate() {
        let before = load.done();
        wait_for("some work", || load.done() > before + 100);
        let server = servers[place].take().unwrap();
        signal(server.id(), "TERM");
        assert_eq!(server.end(), Some(0), "{}", trio.log(name));
        let without = load.done();
        wait_for("some work without it", || load.done() > without + 100);
        servers[place] = Some(trio.start(name));
        // The next one goes only when this one votes again: that is what readiness is for.
        trio.until("status", |said| {
            NAMES.iter().all(|name| standing(said, name).as_deref() == Some("active"))
        });
    }
    trio.expect(0, "ops", "release queue --value first");
    let said = super::binary::Said::of(waiter.wait_with_output().unwrap());
    assert_eq!(said.code, 0, "{said:?}");
    let (done, again) = load.end();
    assert!(done > 600, "{done} done, {again} again");
    println!("{done} calls were done, {again} were made again");
}

/// For how long a node stands still: a moment, or as long as `LEASEHOLD_PAUSE` says, `1m` for instance.
fn pause() -> Span {
    let text = std::env::var("LEASEHOLD_PAUSE").unwrap_or_else(|_| "1500ms".to_owned());
    leasehold_node::duration::parse(&text).unwrap_or_else(|why| panic!("LEASEHOLD_PAUSE: {why}"))
}

#[test]
fn a_node_that_stands_still_is_counted_out_and_comes_back_safely() {
    let trio = Trio::new();
    let servers = trio.found();
    let token = trio.expect(0, "ops", "lock job me --ttl 40s").token();
    let load = Load::start(&trio);
    signal(servers[0].id(), "STOP");
    let (before, since) = (load.done(), clock::now());
    // The key changes hands while it stands still.
    trio.expect(0, "ops", &format!("release job --token {token}"));
    let long = pause();
    for part in 1..=4 {
        let (work, long) = (before + 50 * part, long.split(4).times(part));
        wait_for("work without it", || load.done() > work && clock::now().since(since) > long);
    }
    let next = trio.expect(0, "ops", "lock job you --ttl 40s").token();
    signal(servers[0].id(), "CONT");
    wait_for("the log line", || trio.log("a").contains("this process stood still for"));
    let page = load.runtime.block_on(async { trio.web(0, "ops").await.get("/metrics").await.text });
    assert!(page.contains("leasehold_pauses_total 1"), "{page}");
    let alone = [super::binary::words("get job"), trio.who("ops")].concat();
    let asked = super::binary::Endpoints(trio.clients()[0].clone());
    let said = asked.until(|_| alone.clone(), |said| said.code == 0);
    assert_eq!(said.token(), next, "it must not know better than the others");
    load.end();
}
