//! Random and mutated bytes at every port of every node, over TLS and in the clear, change nothing but counters. Whoever
//! is welcome gets in meanwhile: clients that come anew, and a node that was restarted.
//!
//! A few seconds of it in every test run. For ten minutes, with what others' calls take before and meanwhile:
//! `LEASEHOLD_GARBAGE=10m cargo test --release -p leasehold-node --test it garbage -- --nocapture`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use leasehold_client::{Client, Guard, Options, Tls, clock};
use leasehold_core::wire::{ClientHello, ClientItem, Frame, Item, PeerItem, VERSIONS};
use leasehold_core::{Action, Address, Bytes, Cursor, Delivery, KeyRequest, Parcel, Span, Timing};
use leasehold_node::duration;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use super::attack::{Attacker, Done, Target};
use super::binary::{Said, Server, words};
use super::raw::{peer_hello, request, until};
use super::trio::{NAMES, TIMING, Trio, standing};
use super::web::trusting;

/// Room for others beside the attackers, who have eight addresses.
const LIMITS: &str =
    "[limits]\nconnections = 1000\nconnections_per_address = 100\nclient_memory = 67108864\n";
/// More than a node may ever have taken, in KiB: what it is allowed for clients, buffers of all connections, and the program.
const MOST: u64 = 256 << 10;
/// Attacks, over all ports.
const ATTACKS: u64 = 2_500;
/// Attackers of each port.
const EACH: u64 = 2;
/// What others do meanwhile, if it is measured.
const OTHERS: &str =
    "bench cycle --in-flight 8 --rate 200 --warm-up 3s --timeout 10s --quiet --duration";

/// How long to go on, if not for a number of attacks.
fn length() -> Option<Span> {
    let text = std::env::var("LEASEHOLD_GARBAGE").ok()?;
    Some(duration::parse(&text).unwrap_or_else(|error| panic!("LEASEHOLD_GARBAGE: {error}")))
}

fn frames<T: Item>(items: Vec<T>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for item in items {
        let mut frame = Frame::default();
        frame.push(&item).unwrap();
        bytes.extend(frame.take());
    }
    bytes
}

/// What a client says that may read and nothing else: whatever it is turned into, nothing comes of it.
fn clients(secret: &str) -> Vec<Vec<u8>> {
    let hello = |credential: Option<&str>| {
        let credential = credential.map(str::to_owned);
        ClientItem::Hello(ClientHello { versions: VERSIONS, credential, name: "them".into() })
    };
    let reading = |patience| {
        let request = |call, action| {
            let request = KeyRequest { key: "job".into(), patience, action };
            ClientItem::Request { call, request }
        };
        vec![
            request(1, Action::Read),
            request(2, Action::WaitHeld),
            request(3, Action::WaitReleased),
            ClientItem::LocalRead { call: 4, key: "job".into() },
            ClientItem::List { call: 5, prefix: Bytes::EMPTY, from: Cursor::START, most: 1_000 },
            ClientItem::Waiting { call: 6, key: "job".into() },
            ClientItem::Status { call: 7 },
            ClientItem::Watch { call: 8, prefix: Bytes::EMPTY },
            ClientItem::Host { call: 9 },
            ClientItem::Post {
                call: 10,
                to: Address::default(),
                parcel: Parcel::Info("hello".into()),
            },
            ClientItem::Receipt { mail: 11, delivery: Delivery::Taken },
            ClientItem::Cancel { call: 3 },
            ClientItem::Beat,
        ]
    };
    let all = |credential, patience| {
        let mut items = vec![hello(credential)];
        items.extend(reading(patience));
        frames(items)
    };
    let denied = vec![
        hello(Some(secret)),
        request(1, "job", super::raw::lock(1, "them", Span::ZERO)),
        request(2, "job", super::raw::release(1, 1, "me")),
        ClientItem::Init { call: 3, patience: Span::from_secs(1) },
    ];
    vec![
        all(Some(secret), Span::from_secs(100)),
        all(Some(secret), Span::from_millis(50)),
        all(None, Span::from_secs(1)),
        all(Some("leasehold_made_up"), Span::from_secs(1)),
        frames(denied),
    ]
}

/// What a node says that this cluster does not know.
fn peers() -> Vec<Vec<u8>> {
    let hello = |cluster: &str| {
        let mut hello = peer_hello("stranger", 99);
        hello.cluster_name = cluster.to_owned();
        hello.timing = Timing { max_lease: Span::from_secs(60), ..Timing::default() };
        PeerItem::Hello(hello)
    };
    let parcel = Parcel::Info("hello".into());
    let more = || {
        let (mail, to) = (1, Address::default());
        vec![
            PeerItem::Beat,
            PeerItem::Mail { mail, to, parcel: parcel.clone() },
            PeerItem::Receipt { mail, delivery: Delivery::Taken },
            PeerItem::Refused("no".into()),
        ]
    };
    let all = |cluster| {
        let mut items = vec![hello(cluster)];
        items.extend(more());
        frames(items)
    };
    vec![all("trio"), all("other"), frames(more())]
}

fn browsers(secret: &str) -> Vec<Vec<u8>> {
    let ask = |method: &str, path: &str, body: &str| {
        let length = body.len();
        format!(
            "{method} {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {secret}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    };
    vec![
        ask("GET", "/v1/get?key=job", ""),
        ask("GET", "/v1/list?prefix=j&most=10", ""),
        ask("GET", "/v1/watch?prefix=", ""),
        ask("GET", "/v1/wait?key=job&released=true&timeout=50ms", ""),
        ask("GET", "/v1/status", ""),
        ask("GET", "/metrics", ""),
        ask("GET", "/readyz?verbose", ""),
        ask("POST", "/v1/lock", r#"{"key": "job", "value": "them", "ttl": "30s"}"#),
        ask("POST", "/v1/release", r#"{"key": "job", "value": "me"}"#),
        ask("POST", "/v1/members/remove", r#"{"node": "a"}"#),
        ask("POST", "/v1/init", "{}"),
    ]
}

/// The nine ports, as attackers see them.
fn targets(trio: &Trio, encrypted: bool) -> Vec<Target> {
    let secret = trio.secret("watcher");
    // Its authority is the cluster's; it is for no node.
    let own = (trio.path("certs/me.pem"), trio.path("certs/me.key"));
    let connector = trusting(&trio.path("certs/ca.pem"), Some((&own.0, &own.1)));
    let [clients, peers, browsers] = [clients(&secret), peers(), browsers(&secret)].map(Arc::new);
    let ports = [(trio.clients(), clients), (trio.peers(), peers), (trio.https(), browsers)];
    let target = |(place, address): (usize, &String), recorded: &Arc<Vec<Vec<u8>>>| Target {
        address: address.parse().unwrap(),
        tls: encrypted
            .then(|| (connector.clone(), ServerName::try_from(NAMES[place].to_owned()).unwrap())),
        recorded: Arc::clone(recorded),
    };
    let all = ports.iter().flat_map(|(ports, recorded)| {
        ports.iter().enumerate().map(move |port| target(port, recorded))
    });
    all.collect()
}

/// What must be as before: each node's standing, epoch, cluster and members, and that nothing is held or waited for but one
/// key.
async fn facts(trio: &Trio) -> Vec<Value> {
    let mut all = Vec::new();
    for place in 0..3 {
        let status = trio.web(place, "ops").await.get("/v1/status").await.json();
        let members = status["members"].as_array().unwrap().iter();
        let members =
            members.map(|it| (it["node_id"].clone(), it["master"].clone(), it["up"].clone()));
        all.push(serde_json::json!([
            status["standing"],
            status["epoch"],
            status["cluster"],
            status["changing"],
            status["leases"],
            status["records"],
            status["operations"],
            status["waiters"],
            members.collect::<Vec<_>>(),
        ]));
    }
    all
}

/// The most memory that a process ever had, in KiB.
fn peak(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// What others' calls take, as `bench` tells it.
fn others(trio: &Trio, length: Span) -> tokio::task::JoinHandle<Value> {
    let args = words(&format!("--json {OTHERS} {}", duration::show(length)));
    let args = [args, trio.who("ops")].concat();
    let bench = trio.endpoints().spawn(&args.iter().map(|arg| &**arg).collect::<Vec<_>>());
    tokio::task::spawn_blocking(move || Said::of(bench.wait_with_output().unwrap()).json())
}

fn figures(what: &str, measured: &Value) -> String {
    let mut told = format!("{what}: errors {}\n", measured["errors"]);
    for kind in ["acquire", "release"] {
        let latency = &measured["latency_us"][kind];
        told += &format!(
            "{what}: {kind} p50 {} µs, p99 {} µs, p99.9 {} µs of {}\n",
            latency["p50"], latency["p99"], latency["p999"], latency["count"]
        );
    }
    told
}

#[expect(clippy::print_stdout, reason = "for whoever measures")]
fn tell(words: &str) {
    print!("{words}");
}

/// Somebody who may do everything.
async fn client(trio: &Trio, encrypted: bool) -> Client {
    let mut options = Options::new().token(trio.secret("ops"));
    if encrypted {
        let ca = std::fs::read(trio.path("certs/ca.pem")).unwrap();
        options = options.tls(Tls::trusting(&ca).unwrap());
    }
    Client::connect(trio.clients().to_vec(), options).await.unwrap()
}

/// Somebody who does what others do: holds the key.
async fn holder(trio: &Trio, encrypted: bool) -> Guard {
    let client = client(trio, encrypted).await;
    client.lock("job").value("me").ttl(Duration::from_secs(30)).await.unwrap()
}

/// Somebody new comes again and again, and always gets in. How often, and how long it took at most.
async fn newcomers(trio: &Trio, encrypted: bool, goes_on: impl Fn() -> bool) -> (usize, Span) {
    let (mut count, mut longest) = (0, Span::ZERO);
    // Not so often that it is work itself.
    let mut turns = tokio::time::interval(Duration::from_millis(100));
    while goes_on() {
        turns.tick().await;
        let came = clock::now();
        let client = client(trio, encrypted).await;
        let read = client.read("job").await.unwrap();
        assert!(read.is_some_and(|holder| &holder.value[..] == b"me"));
        longest = longest.max(clock::now().since(came));
        count += 1;
    }
    (count, longest)
}

/// What attackers run on. Where it is measured what others' calls take, this is, in place of machines of their own, a thread that
/// has only the time that others leave: what attackers take to make their garbage is not what it costs those who get it.
fn elsewhere(measured: bool) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_all();
    if measured {
        builder.on_thread_start(|| {
            rustix::process::nice(19).unwrap();
        });
    }
    builder.build().unwrap()
}

async fn besiege(trio: &Trio, encrypted: bool) {
    for place in 0..3 {
        trio.configure(place, LIMITS, TIMING);
    }
    let mut servers = trio.found();
    let guard = holder(trio, encrypted).await;
    let length = length();
    if length.is_some() {
        tell(&figures("before", &others(trio, Span::from_secs(20)).await.unwrap()));
    }
    let before = until("the cluster is at rest", async || {
        let facts = facts(trio).await;
        let rests = |it: &Value| it[0] == "active" && it[4] == 1 && it[5] == 1 && it[6] == 0;
        facts.iter().all(rests).then_some(facts)
    })
    .await;

    let done = Arc::new(Done::default());
    let end = length.map(|length| clock::now().after(length));
    let meanwhile = length.map(|length| others(trio, length.minus(Span::from_secs(6))));
    let machine = elsewhere(length.is_some());
    let counted = Arc::clone(&done);
    let goes_on = move || match end {
        Some(end) => clock::now() < end,
        None => counted.attacks.load(Ordering::Relaxed) < ATTACKS,
    };
    let mut attackers = JoinSet::new();
    for (port, target) in targets(trio, encrypted).into_iter().enumerate() {
        for number in 0..EACH {
            let seed = u64::try_from(port).unwrap() * EACH + number;
            let attacker = Attacker::new(target.clone(), Arc::clone(&done), seed);
            let attacker = attacker.run(goes_on.clone());
            attackers.spawn_on(attacker, machine.handle());
        }
    }
    if length.is_none() {
        until("they are busy", async || {
            (done.attacks.load(Ordering::Relaxed) > ATTACKS / 10).then_some(())
        })
        .await;
        servers.remove(2).kill();
        servers.push(trio.start("c"));
        trio.until("status", |said| standing(said, "c").as_deref() == Some("active"));
    }
    let (count, longest) = newcomers(trio, encrypted, goes_on).await;
    attackers.join_all().await;
    machine.shutdown_background();
    if let Some(meanwhile) = meanwhile {
        tell(&figures("meanwhile", &meanwhile.await.unwrap()));
    }

    // Nothing but counters.
    let after = until("it is as before", async || {
        let facts = facts(trio).await;
        (facts == before).then_some(facts)
    })
    .await;
    assert_eq!(after, before);
    assert!(guard.is_held(), "nobody else had it, and it was extended all the while");
    assert_eq!(trio.expect(0, "ops", "get job").token(), guard.token().0);
    let mut told = format!("encrypted: {encrypted}; {done:?}\n");
    told += &format!("{count} newcomers got in, the slowest within {longest}\n");
    for (place, server) in servers.iter().enumerate() {
        told += &withstood(trio, place, server).await;
    }
    tell(&told);
}

/// That a node has counted, and nothing else.
async fn withstood(trio: &Trio, place: usize, server: &Server) -> String {
    let (name, page) = (NAMES[place], trio.web(place, "ops").await.get("/metrics").await.text);
    let count = |counter: &str| {
        let wanted = format!("leasehold_{counter}_total ");
        let line = page.lines().find_map(|line| line.strip_prefix(&*wanted));
        line.unwrap_or_else(|| panic!("no {counter} in {page}")).parse::<f64>().unwrap()
    };
    let counters = [
        "malformed",
        "clients_refused",
        "handshakes_refused",
        "requests_denied",
        "connections_refused",
    ];
    let counts = counters.map(|counter| (counter, count(counter)));
    assert!(counts.iter().all(|(_, count)| *count > 0.0), "{name}: {counts:?}");
    assert!(!trio.log(name).contains("panicked"), "{}", trio.log(name));
    let peak = peak(server);
    assert!(peak < MOST, "{name} once had {peak} KiB");
    format!("{name}: at most {peak} KiB; {counts:?}\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_over_tls_changes_nothing_but_counters() {
    besiege(&Trio::new(), true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_in_the_clear_changes_nothing_but_counters() {
    besiege(&Trio::in_the_clear(), false).await;
}
