//! Three nodes that were started on their own, one of which is killed.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use super::binary::{Endpoints, Said, Server, free_ports, words, write};

/// Three masters with their files, of which any may run.
struct Three {
    folder: TempDir,
    configs: Vec<String>,
    clients: Vec<String>,
}

impl Three {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports = free_ports(6);
        let address = |port: u16| format!("127.0.0.1:{port}");
        let clients: Vec<String> = ports[..3].iter().map(|port| address(*port)).collect();
        let peers: Vec<String> = ports[3..].iter().map(|port| address(*port)).collect();
        let masters: Vec<String> = peers
            .iter()
            .zip(["a", "b", "c"])
            .map(|(peer, name)| format!("{name}={peer}"))
            .collect();
        let config = |(place, name): (usize, &str)| {
            let data = folder.path().join(name);
            std::fs::create_dir(&data).unwrap();
            config(folder.path(), name, &data, &masters, &clients[place], &peers[place])
        };
        let configs = ["a", "b", "c"].into_iter().enumerate().map(config).collect();
        Self { folder, configs, clients }
    }

    fn start(&self, place: usize) -> Server {
        assert!(self.folder.path().exists());
        Server::start(&["-q", "node", "--config", &self.configs[place]])
    }

    /// These nodes as endpoints.
    fn at(&self, places: &[usize]) -> Endpoints {
        let addresses: Vec<&str> = places.iter().map(|place| &*self.clients[*place]).collect();
        Endpoints(addresses.join(","))
    }
}

fn config(
    folder: &Path,
    name: &str,
    data: &Path,
    masters: &[String],
    client: &str,
    peer: &str,
) -> String {
    let text = format!(
        "[node]\nname = '{name}'\ndata_dir = '{}'\n\n[cluster]\nname = 'three'\nmasters = {masters:?}\n\n\
         [listen]\nclient = '{client}'\npeer = '{peer}'\n",
        data.display()
    );
    write(folder, &format!("{name}.toml"), &text)
}

fn succeeds(said: &Said) -> bool {
    said.code == 0
}

/// How this node says it is.
fn standing(said: &Said, name: &str) -> Option<String> {
    let nodes = said.out.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let node = nodes.into_iter().find(|node| node["node"] == name)?;
    Some(node["standing"].as_str()?.to_owned())
}

#[test]
fn a_minority_may_be_killed_and_a_majority_may_not() {
    let three = Three::new();
    let (a, b, c) = (three.start(0), three.start(1), three.start(2));
    let all = three.at(&[0, 1, 2]);
    // Before they are declared to be a cluster, none of them votes. They may not even listen yet.
    all.until(
        |_| words("lock job me --timeout 5s"),
        |said| said.code == 3 && said.json()["reason"] == "not_founded",
    );
    // Each of them must have met the others: until then it is repeated, as the error says.
    all.until(|_| words("init"), succeeds);
    let again = all.expect(1, &["init"]);
    assert_eq!(again.json()["reason"], "already_founded");
    let first = all.until(|_| words("lock job me --ttl 4m"), succeeds).token();

    // One of three is killed. The other two answer, each for itself, and nothing is lost.
    c.kill();
    for place in [0, 1] {
        let found = three.at(&[place]).until(|_| words("get job"), succeeds);
        assert_eq!((found.token(), found.json()["value"].as_str()), (first, Some("me")));
    }
    let two = three.at(&[0, 1, 2]);
    // A request that was on its way to the dead one may have no answer, so every attempt has a key of its own.
    two.until(|look| words(&format!("lock new-{look} me --ttl 4m")), succeeds);
    two.until(|_| words(&format!("extend job --token {first} --ttl 4m")), succeeds);
    two.expect(1, &["init"]);

    // It comes back, and does not vote: it does not know what it voted for.
    let c = three.start(2);
    three
        .at(&[2])
        .until(|_| words("status"), |said| standing(said, "c").is_some_and(|it| it == "joining"));
    // So with another one gone there is no quorum. Nothing is done rather than something wrong.
    b.kill();
    let attempt = |look: usize| words(&format!("lock none-{look} me --timeout 3s"));
    let refused = three.at(&[0]).until(attempt, |said| said.code == 3);
    assert_eq!(refused.json()["outcome"], "not_done");
    drop((a, c));
}
