//! A node stands still with locks that it was asked for, others grant them meanwhile, and they are released. When it goes on, it finds
//! what it was asked. Whatever it makes of that, no key may be held for nobody.

use std::time::Duration;

use leasehold_client::{Client, Options, clock};
use leasehold_core::{Span, Standing, Timing, hash};
use leasehold_tests::rig::cluster::{Cluster, Shape, pause};
use leasehold_tests::rig::process::Process;
use leasehold_tests::rig::recipe;
use tokio::runtime::Builder;

/// Nobody waits for a lease of this length to end by itself.
const LEASE: Duration = Duration::from_secs(280);
const PATIENCE: Duration = Duration::from_secs(60);

fn shape() -> Shape {
    Shape { replicas: 0, timing: Timing::default(), ..recipe::THREE }
}

/// Another node is asked after 3 s of silence, and the connection lasts for 9 s, so that it is there when the node goes on.
async fn client(cluster: &Cluster) -> Client {
    let options = Options::new().timeout(PATIENCE);
    let options = options.heartbeat(Duration::from_millis(200), Duration::from_secs(9));
    Client::connect(cluster.endpoints(), options).await.unwrap()
}

/// Some keys whose home is the first node.
async fn keys(client: &Client) -> Vec<String> {
    let reports = client.status().await;
    let status = reports.iter().find_map(|report| report.status.as_ref().ok()).unwrap();
    let first = status.members.iter().find(|peer| peer.member.name == "n0").unwrap().member.id;
    let home = |key: &String| {
        let masters = status.members.iter().map(|peer| peer.member.id);
        hash::home(status.cluster.unwrap(), masters, key.as_bytes())
    };
    let all = (0_u32..).map(|number| format!("beside{number}"));
    all.filter(|key| home(key) == Some(first)).take(12).collect()
}

async fn lock_and_release_all(client: &Client, keys: &[String]) {
    let locking = |key: &String| {
        let lock = client.lock(key.as_str()).ttl(LEASE).lease();
        tokio::spawn(lock)
    };
    let mut leases = Vec::new();
    for lock in keys.iter().map(locking).collect::<Vec<_>>() {
        leases.push(lock.await.unwrap().unwrap());
    }
    for lease in leases {
        lease.release().await.unwrap();
    }
}

/// Waits until the node that stood still votes again, and has come to an end with all that it was asked.
async fn until_done(client: &Client, name: &str) {
    let end = clock::now().after(PATIENCE.into());
    loop {
        let reports = client.status().await;
        let done = reports.iter().any(|report| {
            report.name.as_deref() == Some(name)
                && report.status.as_ref().is_ok_and(|status| {
                    status.standing == Standing::Active
                        && status.heard.len() == 2
                        && status.operations == 0
                })
        });
        if done {
            return;
        }
        assert!(clock::now() < end, "{name} does not come to rest: {reports:?}");
        pause(Span::from_millis(20)).await;
    }
}

/// Waits until nobody holds anything, for much less than a lease lasts.
async fn until_free(client: &Client, keys: &[String]) {
    let end = clock::now().after(PATIENCE.into());
    for key in keys {
        while let Some(holder) = client.read(key.as_str()).await.unwrap() {
            assert!(clock::now() < end, "{key} is held for nobody: {holder:?}");
            pause(Span::from_millis(20)).await;
        }
    }
}

fn node(cluster: &mut Cluster) -> &mut Process {
    cluster.seats.first_mut().unwrap().process.as_mut().unwrap()
}

#[test]
fn what_a_node_grants_late_is_given_back() {
    super::runtime().block_on(async {
        let mut cluster = Cluster::start(shape(), 7).await.unwrap();
        let client = client(&cluster).await;
        let keys = keys(&client).await;
        // All connections are there, and the node has been at work.
        lock_and_release_all(&client, &keys).await;
        for _ in 0..2 {
            node(&mut cluster).stop();
            lock_and_release_all(&client, &keys).await;
            node(&mut cluster).go_on();
            until_done(&client, "n0").await;
            until_free(&client, &keys).await;
        }
    });
}

#[test]
fn what_a_node_grants_late_to_a_client_that_is_gone_is_given_back() {
    let runtime = super::runtime();
    let mut cluster = runtime.block_on(Cluster::start(shape(), 8)).unwrap();
    let gone = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let keys = gone.block_on(async {
        let client = client(&cluster).await;
        let keys = keys(&client).await;
        lock_and_release_all(&client, &keys).await;
        node(&mut cluster).stop();
        lock_and_release_all(&client, &keys).await;
        keys
    });
    gone.shutdown_background();
    node(&mut cluster).go_on();
    runtime.block_on(async {
        let client = client(&cluster).await;
        until_done(&client, "n0").await;
        until_free(&client, &keys).await;
    });
}
