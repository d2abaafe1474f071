//! Guards against real nodes, with and without a network between them.

use std::time::Duration;

use leasehold_client::{Belief, Client, Guard, Lost, Options, clock};
use leasehold_core::{Outcome, Standing};
use leasehold_node::config::Address;
use leasehold_node::{Dev, DevOptions, InitAnswer, Listeners, Running, Server as RunningNode, dev};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::binary::Server;
use crate::raw::{config, status_until, until};

const CLUSTER: DevOptions = DevOptions { masters: 3, replicas: 0, port: 0 };
const PATIENCE: Duration = Duration::from_secs(60);

fn options() -> Options {
    Options::new().timeout(Duration::from_secs(20))
}

fn endpoints(cluster: &Dev) -> Vec<String> {
    cluster.nodes().iter().map(|node| node.client_addr().to_string()).collect()
}

/// A way to one node that can be cut: what is sent afterwards goes nowhere, and nobody is told.
struct Cable {
    address: String,
    cut: watch::Sender<bool>,
    _connections: JoinSet<()>,
}

impl Cable {
    async fn to(node: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (cut, is_cut) = watch::channel(false);
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut inside = JoinSet::new();
            loop {
                let (near, _) = listener.accept().await.unwrap();
                inside.spawn(carry(near, node.clone(), is_cut.clone()));
            }
        });
        Self { address, cut, _connections: connections }
    }
}

async fn carry(mut near: TcpStream, node: String, mut is_cut: watch::Receiver<bool>) {
    if *is_cut.borrow() {
        return std::future::pending().await;
    }
    let Ok(mut far) = TcpStream::connect(node).await else { return };
    let cut = async { is_cut.wait_for(|cut| *cut).await.is_ok() };
    tokio::select! {
        biased;
        _ = cut => {}
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
    }
    // Both ends stay open.
    std::future::pending::<()>().await;
}

/// Three nodes that tell clients to come by cable.
struct Cabled {
    nodes: Vec<Running>,
    cables: Vec<Cable>,
}

impl Cabled {
    async fn start() -> Self {
        let (mut bound, mut masters, mut cables) = (Vec::new(), Vec::new(), Vec::new());
        for name in ["a", "b", "c"] {
            let on = Listeners::bind("127.0.0.1:0", "127.0.0.1:0").await.unwrap();
            masters.push(Address { name: name.into(), peer: on.peer_addr().to_string() });
            cables.push(Cable::to(on.client_addr().to_string()).await);
            bound.push((name, on));
        }
        let start = |((name, on), cable): ((&str, Listeners), &Cable)| {
            let mut config = config(name, &[]);
            config.masters.clone_from(&masters);
            config.advertise.client = Some(cable.address.clone());
            RunningNode::start_on(config, on).unwrap()
        };
        let nodes: Vec<Running> = bound.into_iter().zip(&cables).map(start).collect();
        let founded = nodes[0].init().await.unwrap();
        assert!(matches!(founded, InitAnswer::Outcome(Outcome::Founded(_))), "{founded:?}");
        for node in &nodes {
            status_until(node, "it is active", |it| it.standing == Standing::Active).await;
        }
        Self { nodes, cables }
    }
}

/// Leases of some seconds, each another one: what a guard tells by its deadline it tells a tenth of the lease before that, and
/// a machine that is short of processor time needs some of it.
fn ttl(place: u64) -> Duration {
    Duration::from_millis(1_500 + 97 * place)
}

async fn lock_all(client: &Client, round: u64, count: u64) -> Vec<Guard> {
    let mut locks = JoinSet::new();
    for place in 0..count {
        let lock = client.lock(format!("{round}/{place}")).value("me").ttl(ttl(place));
        locks.spawn(lock.into_future());
    }
    locks.join_all().await.into_iter().map(Result::unwrap).collect()
}

/// When each loss was told.
async fn losses(guards: &[Guard]) -> Vec<(Belief, Lost, clock::Instant)> {
    let mut losses = JoinSet::new();
    for guard in guards {
        let belief = guard.belief();
        losses.spawn(async move {
            let lost = belief.lost().await;
            let at = clock::now();
            (belief, lost, at)
        });
    }
    losses.join_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_cut_off_knows_before_anybody_else_can_have_the_key() {
    const KEYS: u64 = 12;
    for round in 0..3 {
        let cluster = Cabled::start().await;
        let inside = cluster.nodes.iter().map(|node| node.client_addr().to_string());
        let elsewhere = Client::connect(inside, options()).await.unwrap();
        let cables = cluster.cables.iter().map(|cable| cable.address.clone());
        let near = Client::connect(cables, options()).await.unwrap();
        let guards = lock_all(&near, round, KEYS).await;
        let acquired: Vec<_> = guards.iter().map(Guard::valid_until).collect();
        // Somebody is after each of them, from the start.
        let mut rivals = JoinSet::new();
        for guard in &guards {
            let lock = elsewhere.lock(guard.key().clone()).value("you").wait(PATIENCE);
            let key = guard.key().clone();
            rivals.spawn(async move {
                let rival = lock.await.unwrap();
                (key, clock::now(), rival)
            });
        }
        until("every lease was extended", async || {
            let extended = |(guard, end): (&Guard, &clock::Instant)| guard.valid_until() > *end;
            guards.iter().zip(&acquired).all(extended).then_some(())
        })
        .await;
        for cable in &cluster.cables {
            cable.cut.send_replace(true);
        }
        let losses = losses(&guards).await;
        let rivals = rivals.join_all().await;
        for (belief, lost, at) in losses {
            assert!(matches!(lost, Lost::Expired(_)), "{lost:?}");
            let (_, taken_at, rival) = rivals.iter().find(|(key, ..)| key == belief.key()).unwrap();
            let end = belief.valid_until();
            assert!(at <= end, "told {} after the deadline", at.since(end));
            assert!(end < *taken_at, "taken {} before the deadline", end.since(*taken_at));
            assert!(rival.token() > belief.token());
        }
        for node in cluster.nodes {
            node.shutdown().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_whole_cluster_dies_each_loss_is_told_by_its_deadline() {
    const KEYS: u64 = 20;
    for round in 0..3 {
        let mut server = Server::start(&["dev", "--port", "0"]);
        let lines = server.ready();
        let clients = |line: &String| line.split_whitespace().nth(2).unwrap().to_owned();
        let client = Client::connect(lines.iter().map(clients), options()).await.unwrap();
        let guards = lock_all(&client, round, KEYS).await;
        server.kill();
        for (belief, lost, at) in losses(&guards).await {
            assert!(matches!(lost, Lost::Expired(_)), "{lost:?}");
            let end = belief.valid_until();
            assert!(at <= end, "told {} after the deadline", at.since(end));
        }
        assert!(guards.iter().all(|guard| !guard.is_held() && guard.ensure_held().is_err()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guard_outlives_its_node_and_a_drop_frees_its_key() {
    let cluster = dev(CLUSTER).await.unwrap();
    let client = Client::connect(endpoints(&cluster), options()).await.unwrap();
    let guards = lock_all(&client, 0, 8).await;
    // Of eight keys this node is somebody's home, and the client's first endpoint.
    cluster.nodes()[0].stop().await;
    for guard in &guards {
        let end = guard.valid_until();
        until("it was extended", async || (guard.valid_until() > end).then_some(())).await;
        // Twice, so that it was asked for after the node was told to stop.
        let end = guard.valid_until();
        until("it was extended", async || (guard.valid_until() > end).then_some(())).await;
        assert!(guard.is_held());
    }
    let key = guards[7].key().clone();
    drop(guards);
    // Far sooner than its lease would end, but that is not what is looked at.
    let next = client.lock(key).wait(PATIENCE).await.unwrap();
    let released = next.release().await.unwrap();
    assert!(released.confirmed && released.votes.commits >= released.votes.quorum);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lag_and_summary_tell_how_a_cluster_is() {
    let cluster = dev(DevOptions { replicas: 1, ..CLUSTER }).await.unwrap();
    let client = Client::connect(endpoints(&cluster), options()).await.unwrap();
    let guards = lock_all(&client, 0, 3).await;
    let lags = client.lag().await.unwrap();
    assert_eq!((lags.votes.quorum, lags.replicas.len()), (2, 1));
    let summary = client.summary().await.unwrap();
    assert_eq!((summary.members, summary.reached), (4, 4));
    assert!(summary.leases >= 3 && summary.records >= summary.leases, "{summary:?}");
    drop(guards);
    cluster.shutdown().await;
}
