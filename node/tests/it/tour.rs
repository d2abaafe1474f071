//! What a newcomer does: `leasehold dev`, and in a second terminal the commands of the README.

use super::binary::{Endpoints, Said, Server, free_ports, words};

/// A development cluster, and its endpoints in the order of its nodes.
pub(crate) fn dev() -> (Server, Endpoints) {
    let mut server = Server::start(&["dev", "--port", "0"]);
    let lines = server.ready();
    let clients = |line: &String| line.split_whitespace().nth(2).unwrap().to_owned();
    let endpoints: Vec<String> = lines.iter().map(clients).collect();
    // Three masters and a replica.
    assert_eq!(endpoints.len(), 4, "{lines:?}");
    (server, Endpoints(endpoints.join(",")))
}

#[test]
fn lock_extend_update_get_and_release() {
    let (_server, cluster) = dev();
    let first = cluster.expect(0, &["lock", "job", "me", "--ttl", "2m"]).token();
    cluster.expect(0, &["extend", "job", "--token", &first.to_string(), "--ttl", "3m"]);
    cluster.expect(0, &["extend", "job", "--value", "me", "--ttl", "3m"]);
    cluster.expect(0, &["update", "job", "me", "mine"]);
    let found = cluster.expect(0, &["get", "job"]);
    assert_eq!((found.token(), found.json()["value"].as_str()), (first, Some("mine")));
    assert!(found.json()["remaining_ms"].as_u64() > Some(60_000), "{found:?}");
    // What one node knows by itself comes a little later.
    let knows = |said: &Said| said.code == 0 && said.json()["value"] == "mine";
    assert_eq!(cluster.until(|_| words("get job --local"), knows).token(), first);

    cluster.expect(0, &["release", "job", "--token", &first.to_string()]);
    let free = cluster.expect(1, &["get", "job"]);
    assert_eq!(free.json()["held"], false);
    let second = cluster.expect(0, &["lock", "job", "me", "--ttl", "1m"]).token();
    assert!(second > first, "{second} after {first}");
    // The old token is over, and says so.
    let late = cluster.expect(1, &["release", "job", "--token", &first.to_string()]);
    assert_eq!(late.json()["reason"], "not_held");
    cluster.expect(0, &["release", "job", "--value", "me"]);
}

#[test]
fn whoever_comes_second_is_told_who_has_the_key() {
    let (_server, cluster) = dev();
    let lock = cluster.run(&["lock", "job", "me", "--ttl", "2m", "--meta", "team=night"]);
    assert_eq!(lock.code, 0, "{lock:?}");
    assert!(lock.out.starts_with("token ") && lock.out.contains("value me"), "{lock:?}");
    let second = cluster.run(&["lock", "job", "you", "--ttl", "2m"]);
    assert_eq!((second.code, second.out.as_str()), (1, ""), "{second:?}");
    assert!(
        second.err.contains("held by me") && second.err.contains(" for another "),
        "{second:?}"
    );

    let holder = &cluster.expect(1, &["lock", "job", "you"]).json()["holder"];
    assert_eq!(
        (holder["value"].as_str(), holder["meta"]["team"].as_str()),
        (Some("me"), Some("night"))
    );
    assert!(holder["remaining_ms"].as_u64() > Some(30_000), "{holder}");
    for refused in [
        "extend job --value you --ttl 2m",
        "extend job --token 1 --ttl 2m",
        "update job you yours",
        "release job --value you",
    ] {
        let args = words(refused);
        cluster.expect(1, &args.iter().map(|arg| &**arg).collect::<Vec<_>>());
    }
    assert_eq!(cluster.expect(0, &["get", "job"]).json()["value"], "me");
}

#[test]
fn who_waits_is_let_in_when_the_key_is_released() {
    let (_server, cluster) = dev();
    let first = cluster.expect(0, &["lock", "job", "me", "--ttl", "4m"]).token();
    cluster.expect(0, &["wait", "job"]);
    // A node that has not heard of the lock yet says that nobody holds it.
    let in_vain = |said: &Said| {
        assert!(said.code == 7 || said.json()["reason"] == "not_held", "{said:?}");
        said.code == 7
    };
    cluster.until(|_| words("wait job --released --timeout 100ms"), in_vain);
    cluster.expect(7, &["lock", "job", "you", "--wait", "100ms"]);
    let waiter =
        cluster.spawn(&["--json", "lock", "job", "you", "--wait", "4m", "--timeout", "4m"]);
    // Whether the release comes before it queues or after, it gets the key.
    cluster.expect(0, &["release", "job", "--token", &first.to_string()]);
    let waited = Said::of(waiter.wait_with_output().unwrap());
    assert_eq!(waited.code, 0, "{waited:?}");
    assert!(waited.token() > first);
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let (_server, cluster) = dev();
    // Usage: a unit is missing, an owner is missing, a lease is longer than any may be.
    assert_eq!(cluster.run(&["lock", "job", "me", "--ttl", "30"]).code, 2);
    assert_eq!(cluster.run(&["extend", "job", "--ttl", "30s"]).code, 2);
    cluster.expect(2, &["lock", "job", "me", "--ttl", "24h"]);
    cluster.expect(1, &["get", "job"]);
    cluster.expect(1, &["release", "job", "--value", "me"]);
    // It was founded when it was started.
    let init = cluster.expect(1, &["init"]);
    assert_eq!(init.json()["reason"], "already_founded");
    let nobody = Endpoints(format!("127.0.0.1:{}", free_ports(1)[0]));
    nobody.expect(6, &["get", "job", "--timeout", "2s"]);
}

#[test]
fn status_shows_every_node() {
    let (_server, cluster) = dev();
    cluster.expect(0, &["lock", "job", "me", "--ttl", "4m"]);
    let status = cluster.run(&["--json", "status"]);
    assert_eq!(status.code, 0, "{status:?}");
    let own = |line: &str| {
        let node: serde_json::Value = serde_json::from_str(line).unwrap();
        node["standing"].as_str().map(str::to_owned)
    };
    let standings: Option<Vec<String>> = status.out.lines().map(own).collect();
    assert_eq!(standings.unwrap(), ["active", "active", "active", "replica"], "{status:?}");
}
