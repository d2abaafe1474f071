//! What a cluster shows: listings, who waits, tokens, and where a holder is.

use std::process::{Command, Output};
use std::time::Duration;

use leasehold_client::{Client, Error, Options, Refusal, Token, Wants};
use leasehold_node::{Dev, DevOptions, dev};

use crate::raw::until;

const CLUSTER: DevOptions = DevOptions { masters: 3, replicas: 0, port: 0 };

async fn client(cluster: &Dev, node: usize) -> Client {
    let endpoint = cluster.nodes()[node].client_addr().to_string();
    Client::connect([endpoint], Options::new().timeout(Duration::from_secs(20))).await.unwrap()
}

/// The binary against this cluster, with JSON for what it printed.
async fn leasehold(cluster: &Dev, line: &str) -> (i32, Vec<serde_json::Value>) {
    let endpoint = cluster.nodes()[0].client_addr().to_string();
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let run = move || -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
        command.args(["--endpoints", &endpoint, "--json"]).args(words).output().unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let objects = text.lines().map(|object| serde_json::from_str(object).unwrap()).collect();
    (output.status.code().unwrap(), objects)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_is_listed_by_any_node() {
    let cluster = dev(CLUSTER).await.unwrap();
    let writer = client(&cluster, 0).await;
    let mut leases = Vec::new();
    for name in 0..25 {
        leases.push(writer.lock(format!("a/{name:02}")).value("me").await.unwrap());
    }
    leases.push(writer.lock("b").await.unwrap());
    for node in 0..3 {
        let reader = client(&cluster, node).await;
        // A node's own records may lag behind what a quorum agreed on.
        let mut listed = until("all is listed", async || {
            reader.list("a/").all().await.ok().filter(|listed| listed.len() == 25)
        })
        .await;
        listed.sort_by(|a, b| a.key.cmp(&b.key));
        for (place, listed) in listed.iter().enumerate() {
            assert_eq!(&listed.key[..], format!("a/{place:02}").as_bytes());
            assert_eq!(listed.holder.token, leases[place].token());
            assert!(listed.holder.age < Duration::from_secs(20), "{listed:?}");
        }
    }
    let (code, objects) = leasehold(&cluster, "list a/").await;
    assert_eq!((code, objects.len()), (0, 25));
    assert_eq!((&objects[3]["key"], &objects[3]["local"]), (&"a/03".into(), &true.into()));
    let (code, objects) = leasehold(&cluster, "list nothing").await;
    assert_eq!((code, objects.len()), (0, 0));
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_checked_by_quorum() {
    let cluster = dev(CLUSTER).await.unwrap();
    let writer = client(&cluster, 1).await;
    let lease = writer.lock("job").value("me").label("host", "a").await.unwrap();
    let token = lease.token();
    let holder = writer.check_token("job", token).await.unwrap();
    assert_eq!(holder.labels.get("host").map(String::as_str), Some("a"));
    let address: std::net::SocketAddr = holder.labels["client_address"].parse().unwrap();
    assert!(address.ip().is_loopback());
    let stale = writer.check_token("job", Token(token.0 - 1)).await;
    assert!(matches!(stale, Err(Error::Refused(Refusal::Held(held))) if held.token == token));

    let (code, objects) = leasehold(&cluster, &format!("fence check job {token}")).await;
    assert_eq!((code, &objects[0]["held"]), (0, &true.into()));
    let (code, objects) = leasehold(&cluster, &format!("fence check job {}", token.0 - 1)).await;
    assert_eq!((code, &objects[0]["reason"]), (1, &"held".into()));
    lease.release().await.unwrap();
    let (code, objects) = leasehold(&cluster, &format!("fence check job {token}")).await;
    assert_eq!((code, &objects[0]["reason"]), (1, &"not_held".into()));
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_is_found_wherever_it_is() {
    let cluster = dev(CLUSTER).await.unwrap();
    let holder = client(&cluster, 0).await;
    let lease = holder.lock("job").value("me").await.unwrap();
    let patience = Duration::from_secs(60);
    let (queues, waits) = (client(&cluster, 1).await, client(&cluster, 2).await);
    let queues = tokio::spawn(async move { queues.lock("job").value("you").wait(patience).await });
    let waits = tokio::spawn(async move { waits.wait_released("job", patience).await });
    let found = async || {
        let reports = holder.waiters("job").await;
        let waiting = reports.into_iter().filter_map(|report| report.waiting.ok());
        let all: Vec<_> = waiting.flat_map(|waiting| waiting.first).collect();
        (all.len() == 2).then_some(all)
    };
    let mut found = until("both wait", found).await;
    found.sort_by_key(|waiter| waiter.wants);
    assert_eq!((found[0].wants, &found[0].value[..]), (Wants::Lock, &b"you"[..]));
    assert!(found[0].labels.contains_key("client_address"));
    assert_eq!(found[1].wants, Wants::Released);
    assert!(found.iter().all(|waiter| waiter.left <= patience + Duration::from_secs(20)));

    let (code, objects) = leasehold(&cluster, "waiters job").await;
    let count = |object: &serde_json::Value| object["waiters"].as_array().unwrap().len();
    assert_eq!((code, objects.len(), objects.iter().map(count).sum::<usize>()), (0, 3, 2));
    lease.release().await.unwrap();
    waits.await.unwrap().unwrap();
    queues.await.unwrap().unwrap().release().await.unwrap();
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_tells_how_peers_are_heard() {
    let cluster = dev(CLUSTER).await.unwrap();
    let (code, objects) = leasehold(&cluster, "status").await;
    assert_eq!((code, objects.len()), (0, 3));
    for object in &objects {
        assert!(object["uptime_ms"].as_u64().unwrap() > 0, "{object}");
        let members = object["members"].as_array().unwrap();
        let heard = members.iter().filter(|member| member["heard_ms_ago"].is_u64()).count();
        assert_eq!(heard, 2, "{object}");
        // Rates take a minute to measure.
        assert!(members.iter().all(|member| member["clock_rate_ppm"].is_null()), "{object}");
    }
    cluster.shutdown().await;
}
