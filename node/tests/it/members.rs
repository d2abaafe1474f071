//! Members that come, change their part, and go: processes, and the command line.

use serde_json::Value;

use super::binary::{Said, free_ports, write};
use super::secure::wait_for;
use super::trio::{TIMING, Trio, run};

/// What a line of `members --json` says of a node.
fn line(said: &Said, name: &str) -> Option<Value> {
    let lines = said.out.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.into_iter().find(|line| line["node"] == name)
}

fn is(said: &Said, name: &str, role: &str, standing: &str) -> bool {
    line(said, name).is_some_and(|it| it["role"] == role && it["standing"] == standing)
}

/// Writes the configuration and certificate of a node that is no member yet. Returns where it listens for nodes.
pub(crate) fn newcomer(trio: &Trio, name: &str) -> String {
    run(&["certs", "--out", &trio.path("certs"), "--node", name]);
    let ports = free_ports(2);
    let (client, peer) = (format!("127.0.0.1:{}", ports[0]), format!("127.0.0.1:{}", ports[1]));
    let text = trio.text(name, &client, &peer, "", TIMING);
    write(trio.folder(), &format!("{name}.toml"), &text);
    peer
}

#[test]
fn a_node_is_taken_in_votes_and_is_let_go_again() {
    let trio = Trio::new();
    let _servers = trio.found();
    let token = trio.expect(0, "ops", "lock job me --ttl 55s").token();
    let alone = trio.expect(0, "ops", "members");
    assert!(is(&alone, "a", "master", "active") && line(&alone, "d").is_none(), "{alone:?}");

    // Who does not run cannot be taken in, and the refusal says so. What is no member cannot vote.
    let peer = newcomer(&trio, "d");
    let missing = trio.expect(3, "ops", &format!("members add d={peer} --timeout 3s"));
    assert!(missing.json()["message"].as_str().unwrap().contains("missing: d"), "{missing:?}");
    let declined = trio.expect(1, "ops", "members promote d");
    assert_eq!(declined.json()["reason"], "declined");
    assert!(declined.err.contains("the masters are a, b, c"), "{declined:?}");
    trio.expect(5, "ci", "members remove c");

    // It knocks, so its name is enough.
    let d = trio.start("d");
    trio.until("members add d", |said| said.code == 0);
    // At once: that it is not linked yet is waited out.
    trio.expect(0, "ops", "members promote d");
    trio.until("members", |said| is(said, "d", "master", "active"));
    trio.expect(0, "ops", "members demote d");
    trio.until("members", |said| is(said, "d", "replica", "replica"));
    trio.expect(0, "ops", "members add d");
    trio.expect(0, "ops", "members promote d");
    trio.until("members", |said| is(said, "d", "master", "active"));
    assert_eq!(trio.expect(0, "ops", "get job").token(), token);

    // Exactly these, of which one goes.
    trio.expect(0, "ops", "members set --masters a,b,d --replicas c");
    trio.until("members", |said| is(said, "c", "replica", "replica"));
    trio.expect(0, "ops", "members remove c");
    trio.until("members", |said| line(said, "c").is_none());
    assert_eq!(trio.expect(0, "ops", "get job").token(), token);
    assert_eq!(trio.expect(0, "ops", "members").out.lines().count(), 4);
    drop(d);
}

#[test]
fn a_node_that_lost_its_file_is_a_stranger_until_it_is_replaced() {
    let trio = Trio::new();
    let mut servers = trio.found();
    let token = trio.expect(0, "ops", "lock job me --ttl 55s").token();
    let declined = trio.expect(1, "ops", "members replace c");
    assert!(declined.err.contains("nothing to replace"), "{declined:?}");
    servers.pop().unwrap().kill();
    std::fs::remove_file(trio.folder().join("data-c/node")).unwrap();
    let _c = trio.start("c");
    wait_for("the refusal", || trio.log("a").contains("members replace c"));
    trio.until("members replace c", |said| said.code == 0);
    trio.until("members", |said| is(said, "c", "master", "active"));
    assert_eq!(trio.expect(0, "ops", "get job").token(), token);
    // It votes: with another one gone there still is a quorum.
    servers.pop().unwrap().kill();
    trio.until("get job", |said| said.code == 0 && said.token() == token);
}
