//! The client's examples, against real nodes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use leasehold_client::Token;
use leasehold_node::{Dev, DevOptions, dev};

#[path = "../../../client/examples/leader.rs"]
#[expect(dead_code, reason = "its `main` is for the command line")]
mod leader;
#[path = "../../../client/examples/mutex.rs"]
#[expect(dead_code, reason = "its `main` is for the command line")]
mod mutex;
#[path = "../../../client/examples/singleton.rs"]
#[expect(dead_code, reason = "its `main` is for the command line")]
mod singleton;
#[path = "../../../client/examples/workers.rs"]
#[expect(dead_code, reason = "its `main` is for the command line")]
mod workers;

const CLUSTER: DevOptions = DevOptions { masters: 3, replicas: 0, port: 0 };

async fn cluster() -> (Dev, Vec<String>) {
    let cluster = dev(CLUSTER).await.unwrap();
    let endpoints = cluster.nodes().iter().map(|node| node.client_addr().to_string()).collect();
    (cluster, endpoints)
}

/// What an example says, which must not take for ever.
async fn said<T>(example: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), example).await.expect("it comes to no end")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mutex_around_a_file_loses_no_count_and_an_old_token_writes_nothing() {
    let (cluster, endpoints) = cluster().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let store = Arc::new(mutex::Store::new(file.path()));
    let (count, token) = said(mutex::run(&endpoints, Arc::clone(&store), 4, 8)).await.unwrap();
    assert_eq!(count, 32);
    let late = store.write(0, Token(token.0 - 1)).unwrap_err().to_string();
    assert!(late.contains("older than"), "{late}");
    assert_eq!(store.read().unwrap(), 32);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_follow_each_other_with_growing_tokens() {
    let (cluster, endpoints) = cluster().await;
    let reigns = said(leader::run(&endpoints, 5)).await.unwrap();
    let leaders: BTreeSet<&str> = reigns.iter().map(|reign| &*reign.leader).collect();
    assert_eq!((reigns.len(), leaders.len()), (5, 5), "{reigns:?}");
    assert!(reigns.windows(2).all(|pair| pair[0].token < pair[1].token), "{reigns:?}");
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_are_found_and_do_what_they_are_asked() {
    let (cluster, endpoints) = cluster().await;
    let squares = said(workers::run(&endpoints, 3, 7)).await.unwrap();
    assert_eq!(squares, ["0", "1", "4", "9", "16", "25", "36"]);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_singleton_moves_when_its_host_dies() {
    let (cluster, endpoints) = cluster().await;
    let [before, after] = said(singleton::run(&endpoints)).await.unwrap();
    assert_eq!((before.0.as_str(), after.0.as_str()), ("first", "second"));
    assert!(before.1 < after.1, "{before:?} {after:?}");
    cluster.shutdown().await;
}
