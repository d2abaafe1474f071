//! The commands that look at a cluster: `watch`, `lag`, `summary`, and what is written for shells and readers.

use std::io::{BufRead, BufReader};

use serde_json::Value;

use super::binary::Endpoints;
use super::secure::wait_for;
use super::tour::dev;

#[test]
fn watch_tells_a_line_for_each_change_until_it_is_ended() {
    let (_server, cluster) = dev();
    let first = cluster.0.split(',').next().unwrap().to_owned();
    let mut child = Endpoints(first).spawn(&["--json", "watch", "a/"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = move || -> Value {
        serde_json::from_str(&lines.next().expect("another line").unwrap()).unwrap()
    };
    assert_eq!(next()["event"], "watching");
    cluster.expect(0, &["lock", "b", "other"]);
    let token = cluster.expect(0, &["lock", "a/1", "me", "--ttl", "1m"]).token();
    let held = next();
    assert_eq!((&held["event"], &held["key"]), (&"held".into(), &"a/1".into()));
    assert_eq!((held["token"].as_u64(), &held["value"]), (Some(token), &"me".into()));
    cluster.expect(0, &["release", "a/1", "--value", "me"]);
    let end = std::iter::repeat_with(next).find(|line| line["event"] != "held").unwrap();
    assert_eq!((&end["event"], end["token"].as_u64()), (&"released".into(), Some(token)));
    child.kill().unwrap();
    child.wait().unwrap();
    // Nobody to watch at.
    let nobody = Endpoints("127.0.0.1:1".into()).expect(6, &["watch", "--timeout", "2s"]);
    assert_eq!(
        (&nobody.json()["op"], &nobody.json()["outcome"]),
        (&"watch".into(), &"unreachable".into())
    );
}

#[test]
fn lag_and_summary_count() {
    let (_server, cluster) = dev();
    cluster.expect(0, &["lock", "job", "me", "--ttl", "2m"]);
    let lag = cluster.expect(0, &["lag"]).json();
    assert!(lag["lock_us"].as_u64().unwrap() > 0, "{lag}");
    assert_eq!((&lag["quorum"], &lag["replicas"][0]["node"]), (&2.into(), &"n3".into()));
    let plain = cluster.run(&["lag"]).out;
    assert!(plain.starts_with("lock ") && plain.contains("\nREPLICA  BEHIND  LAG\nn3 "), "{plain}");
    let summarize = || cluster.expect(0, &["summary"]).json();
    // The lock that `lag` took may still be on its way out at one of them.
    wait_for("one lease", || summarize()["leases"] == 1);
    let summary = summarize();
    for (name, count) in [
        ("members", 4),
        ("reached", 4),
        ("masters", 3),
        ("voting", 3),
        ("replicas", 1),
        ("leases", 1),
    ] {
        assert_eq!(summary[name], count, "{name}: {summary}");
    }
    let plain = cluster.run(&["summary"]).out;
    assert!(plain.starts_with("3 of 3 masters vote, 2 are needed; 1 replicas"), "{plain}");
    for command in ["lag", "summary"] {
        Endpoints("127.0.0.1:1".into()).expect(6, &[command, "--timeout", "2s"]);
    }
    // Every node's state, lag and clock in the table that people read.
    let status = cluster.run(&["status"]).out;
    assert!(
        status.contains("  LAG") && status.contains("  CLOCK") && status.contains("replica"),
        "{status}"
    );
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let nowhere = Endpoints("127.0.0.1:1".into());
    for shell in ["bash", "zsh", "fish"] {
        let said = nowhere.run(&["completions", shell]);
        assert_eq!(said.code, 0, "{said:?}");
        for command in ["lock", "watch", "members", "bench", "completions"] {
            assert!(said.out.contains(command), "{shell} does not complete {command}");
        }
    }
    assert_eq!(nowhere.run(&["completions", "no-shell"]).code, 2);
    let page = nowhere.run(&["man"]).out;
    assert!(page.contains(".TH leasehold 1") && page.contains("Exit codes"), "{page}");
    let page = nowhere.run(&["man", "lock"]).out;
    assert!(page.contains("leasehold\\-lock") && page.contains("\\-\\-wait"), "{page}");
    let none = nowhere.run(&["man", "lokk"]);
    assert!(none.code == 2 && none.err.contains("lock, man"), "{none:?}");
}
