//! What orchestrators and monitoring look at.

use std::collections::BTreeMap;

use leasehold_node::{DevOptions, Listeners, Server, dev};
use serde_json::json;

use crate::raw::{config, until};
use crate::web::Web;

const CLUSTER: DevOptions = DevOptions { masters: 3, replicas: 1, port: 0 };

/// Samples by name and labels, as they stand in the text.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    };
    lines.map(sample).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_ready_while_it_votes_and_reaches_a_quorum() {
    let mut config = config("a", &[("a", "127.0.0.1:0".to_owned())]);
    config.listen.http = Some("127.0.0.1:0".into());
    let bound = Listeners::bind("127.0.0.1:0", "127.0.0.1:0").await.unwrap();
    let node = Server::start_on(config, bound.with_http("127.0.0.1:0").await.unwrap()).unwrap();
    let mut web = Web::connect(node.http_addr().unwrap()).await;
    assert_eq!(web.get("/livez").await.status, 200);
    let fresh = web.get("/readyz?verbose").await;
    assert_eq!(fresh.status, 503);
    assert!(fresh.text.contains("[-] state: fresh: ") && fresh.text.contains("leasehold init"));
    assert_eq!(web.get("/readyz").await.text, "not ready\n");
    node.init().await.unwrap();
    until("it is ready", async || (web.get("/readyz").await.status == 200).then_some(())).await;
    assert!(web.get("/readyz?verbose").await.text.contains("[+] quorum: 1 of 1 masters"));
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_quorum_is_alive_and_not_ready() {
    let cluster = dev(DevOptions { masters: 2, replicas: 0, port: 0 }).await.unwrap();
    let mut nodes = cluster.into_nodes();
    let mut web = Web::connect(nodes[0].http_addr().unwrap()).await;
    assert_eq!(web.get("/readyz").await.status, 200);
    nodes.remove(1).shutdown().await;
    let lost = until("the quorum is lost", async || {
        let answer = web.get("/readyz?verbose").await;
        (answer.status == 503).then_some(answer.text)
    })
    .await;
    assert!(lost.contains("[-] quorum: 1 of 2 masters") && lost.contains("[+] state: active"));
    assert_eq!(web.get("/livez").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_have_their_names_and_count() {
    let cluster = dev(CLUSTER).await.unwrap();
    let http = |node: usize| cluster.nodes()[node].http_addr().unwrap();
    let mut web = Web::connect(http(0)).await;
    let locked = web.post("/v1/lock", &json!({"key": "job", "ttl": "60s"})).await.json();
    let token = &locked["token"];
    web.post("/v1/lock", &json!({"key": "job"})).await;
    web.post("/v1/extend", &json!({"key": "job", "token": token, "ttl": "60s"})).await;
    web.post("/v1/release", &json!({"key": "job", "token": token})).await;
    // A quorum has answered; the others hear of it a moment later.
    until("all have heard of the release", async || {
        let mut leases = 0;
        for node in cluster.nodes() {
            leases += node.status().await?.leases;
        }
        (leases == 0).then_some(())
    })
    .await;
    let mut all = BTreeMap::<String, f64>::new();
    let mut page = String::new();
    for node in 0..4 {
        let answer = Web::connect(http(node)).await.get("/metrics").await;
        assert_eq!(answer.status, 200);
        assert!(answer.kind.starts_with("application/openmetrics-text"), "{}", answer.kind);
        assert!(answer.text.ends_with("# EOF\n"));
        for (name, value) in samples(&answer.text) {
            *all.entry(name).or_default() += value;
        }
        page.push_str(&answer.text);
    }
    // Of all nodes together: one coordinated, one was asked.
    for (name, value) in [
        (r#"leasehold_requests_total{op="lock",outcome="done"}"#, 1.0),
        (r#"leasehold_requests_total{op="lock",outcome="refused"}"#, 1.0),
        (r#"leasehold_request_duration_seconds_count{op="lock"}"#, 2.0),
        ("leasehold_leases_granted_total", 1.0),
        ("leasehold_leases_extended_total", 1.0),
        ("leasehold_leases_released_total", 1.0),
        ("leasehold_leases_expired_total", 0.0),
        ("leasehold_renew_margin_ratio_count", 1.0),
        (r#"leasehold_renew_margin_ratio_bucket{le="0.9"}"#, 0.0),
        (r#"leasehold_renew_margin_ratio_bucket{le="1.0"}"#, 1.0),
        ("leasehold_leases", 0.0),
        ("leasehold_waiters", 0.0),
        ("leasehold_epoch", 4.0),
        (r#"leasehold_node_state{state="active"}"#, 3.0),
        (r#"leasehold_node_state{state="replica"}"#, 1.0),
        (r#"leasehold_peer_up{peer="n0"}"#, 3.0),
        (r#"leasehold_forgotten_total{how="age"}"#, 0.0),
    ] {
        assert_eq!(all.get(name), Some(&value), "{name}\n{page}");
    }
    for name in [
        r#"leasehold_round_duration_seconds_count{phase="prepare"}"#,
        r#"leasehold_round_duration_seconds_count{phase="accept"}"#,
        r#"leasehold_votes_total{result="promised"}"#,
        r#"leasehold_votes_total{result="accepted"}"#,
    ] {
        assert!(all.get(name).is_some_and(|value| *value >= 1.0), "{name}\n{page}");
    }
    for name in [
        r#"leasehold_round_duration_seconds_count{phase="query"}"#,
        r#"leasehold_replica_lag_seconds{replica="n3"}"#,
        r#"leasehold_forgotten_total{how="agreement"}"#,
        "leasehold_records",
        concat!(r#"leasehold_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""}"#),
    ] {
        assert!(all.contains_key(name), "{name}\n{page}");
    }
    // A rate takes a minute to measure, so there is none yet; what it will be called is said all the same.
    assert!(page.contains("# HELP leasehold_clock_rate_ppm "), "{page}");
    // No key is a label.
    assert!(!page.contains("job"), "{page}");
    cluster.shutdown().await;
}
