//! The scenarios of locker's own test suite, each against real processes: nodes that are started, killed and changed from
//! the command line. `docs/conformance.md` lists them; a tidy test checks that list.

use std::path::Path;
use std::process::Child;

use serde_json::Value;
use tempfile::TempDir;

use super::binary::{Endpoints, Said, Server, free_ports, words, write};

/// A node that is killed counts as gone soon, and operations that cannot be done say so soon.
const TIMING: &str =
    "max_lease = '1m'\nop_timeout = '500ms'\npromise_timeout = '500ms'\nsync_timeout = '10s'\n";

/// A cluster of node processes.
pub(crate) struct Cluster {
    pub(crate) clients: Vec<String>,
    peers: Vec<String>,
    nodes: Vec<Option<Server>>,
    /// Dropped last, after whoever has files in it.
    folder: TempDir,
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

impl Cluster {
    /// Starts so many masters and replicas, in this order, and founds the cluster.
    pub(crate) fn start(masters: usize, replicas: usize) -> Self {
        let count = masters + replicas;
        let ports: Vec<String> =
            free_ports(2 * count).iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let (clients, peers) = ports.split_at(count);
        let named: Vec<String> =
            NAMES.iter().zip(peers).map(|(name, peer)| format!("{name}={peer}")).collect();
        let (masters, replicas) = named.split_at(masters);
        let folder = tempfile::tempdir().unwrap();
        let mut nodes = Vec::new();
        for place in 0..count {
            let config =
                config(folder.path(), place, masters, replicas, &clients[place], &peers[place]);
            nodes.push(Some(Server::start(&["-q", "node", "--config", &config])));
        }
        let cluster = Self { folder, clients: clients.to_vec(), peers: peers.to_vec(), nodes };
        cluster.until("init", |said| said.code == 0);
        cluster.until("members", |said| {
            let is = |name, role, standing| is(said, name, role, standing);
            let masters = NAMES.iter().take(masters.len()).all(|n| is(n, "master", "active"));
            masters
                && NAMES
                    .iter()
                    .take(count)
                    .skip(masters_count(said))
                    .all(|n| is(n, "replica", "replica"))
        });
        cluster
    }

    /// All nodes as endpoints.
    fn all(&self) -> Endpoints {
        Endpoints(self.clients.join(","))
    }

    fn at(&self, place: usize) -> Endpoints {
        Endpoints(self.clients[place].clone())
    }

    #[track_caller]
    fn expect(&self, code: i32, line: &str) -> Said {
        let line = words(line);
        self.all().expect(code, &line.iter().map(|word| &**word).collect::<Vec<_>>())
    }

    #[track_caller]
    fn until(&self, line: &str, wanted: impl Fn(&Said) -> bool) -> Said {
        self.all().until(|_| words(line), wanted)
    }

    /// Waits until each of these nodes says this of a key by itself: its value, or that it is free.
    #[track_caller]
    fn seen_by(&self, places: &[usize], key: &str, value: Option<&str>) {
        for place in places {
            self.at(*place).until(
                |_| words(&format!("get {key} --local")),
                |said| match value {
                    Some(value) => said.code == 0 && said.json()["value"] == value,
                    None => said.code == 1 && said.json()["held"] == false,
                },
            );
        }
    }

    /// Ends a node as a power failure would.
    fn kill(&mut self, place: usize) {
        self.nodes[place].take().unwrap().kill();
    }

    /// Starts a node that is no member, and lets it in as a replica.
    fn add(&mut self, name: &str) {
        let place = self.nodes.len();
        assert_eq!(NAMES[place], name);
        let ports: Vec<String> =
            free_ports(2).iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let (client, peer) = (ports[0].clone(), ports[1].clone());
        let masters: Vec<String> =
            NAMES.iter().zip(&self.peers).map(|(name, peer)| format!("{name}={peer}")).collect();
        let own = [format!("{name}={peer}")];
        let config = config(self.folder.path(), place, &masters, &own, &client, &peer);
        self.nodes.push(Some(Server::start(&["-q", "node", "--config", &config])));
        self.until(&format!("members add {name}={peer}"), |said| said.code == 0);
        self.until("members", |said| is(said, name, "replica", "replica"));
        self.clients.push(client);
        self.peers.push(peer);
    }

    fn spawn(&self, place: usize, line: &str) -> Child {
        let line = words(line);
        let line: Vec<&str> =
            ["--json"].into_iter().chain(line.iter().map(|word| &**word)).collect();
        self.at(place).spawn(&line)
    }
}

fn config(
    folder: &Path,
    place: usize,
    masters: &[String],
    replicas: &[String],
    client: &str,
    peer: &str,
) -> String {
    let name = NAMES[place];
    let text = format!(
        "[node]\nname = '{name}'\ndata_dir = '{}'\n\n[cluster]\nname = 'conformance'\nmasters = {masters:?}\n\
         replicas = {replicas:?}\n\n[listen]\nclient = '{client}'\npeer = '{peer}'\n\n[timing]\n{TIMING}",
        folder.join(name).display()
    );
    std::fs::create_dir_all(folder.join(name)).unwrap();
    write(folder, &format!("{name}.toml"), &text)
}

/// What `members --json` says of a node.
fn line(said: &Said, name: &str) -> Option<Value> {
    let lines = said.out.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.into_iter().find(|line| line["node"] == name)
}

fn masters_count(said: &Said) -> usize {
    NAMES.iter().filter(|name| line(said, name).is_some_and(|it| it["role"] == "master")).count()
}

fn is(said: &Said, name: &str, role: &str, standing: &str) -> bool {
    line(said, name).is_some_and(|it| it["role"] == role && it["standing"] == standing)
}

fn said(child: Child) -> Said {
    Said::of(child.wait_with_output().unwrap())
}

fn votes(said: &Said) -> [u64; 3] {
    let json = said.json();
    ["quorum", "votes", "commits"].map(|name| json[name].as_u64().unwrap())
}

#[test]
fn api() {
    let mut cluster = Cluster::start(3, 0);
    let summary = cluster.expect(0, "summary").json();
    assert_eq!((summary["masters"].as_u64(), summary["quorum"].as_u64()), (Some(3), Some(2)));
    let [quorum, voted, commits] = votes(&cluster.expect(0, "lock job me --ttl 50s"));
    assert!(quorum == 2 && (2..=3).contains(&voted) && (2..=3).contains(&commits));
    cluster.expect(1, "lock job you --ttl 50s");
    cluster.kill(2);
    let release = cluster.until("release job --value me", |said| said.code == 0);
    // A vote may have been given before its master was gone.
    assert_eq!(votes(&release)[2], 2);
    let lock = cluster.until("lock job me --ttl 50s", |said| said.code == 0);
    assert_eq!(votes(&lock)[2], 2);
    let wrong = cluster.expect(1, "update job someone-else new");
    assert_eq!(wrong.json()["reason"], "held");
    cluster.expect(0, "update job me new");
    cluster.seen_by(&[0, 1], "job", Some("new"));
}

#[test]
fn quorum() {
    let cluster = Cluster::start(3, 0);
    for round in 0..5 {
        let key = format!("job-{round}");
        let both = ["one", "two"]
            .map(|who| cluster.spawn(round % 3, &format!("lock {key} {who} --ttl 50s")));
        let both = both.map(said);
        let won: Vec<&Said> = both.iter().filter(|said| said.code == 0).collect();
        assert_eq!(won.len(), 1, "{both:?}");
        assert_eq!(both.iter().filter(|said| said.code == 1).count(), 1, "{both:?}");
        let value = won[0].json()["value"].as_str().unwrap().to_owned();
        // One value everywhere: the master that voted for the other one by itself learns with the next write.
        for place in 0..3 {
            let found = cluster.at(place).expect(0, &["get", &key]);
            assert_eq!(found.json()["value"].as_str(), Some(&*value), "{found:?}");
        }
        // No promise is in anybody's way.
        cluster.expect(0, &format!("release {key} --value {value}"));
        cluster.expect(0, &format!("lock {key} three --ttl 50s"));
    }
}

#[test]
fn no_quorum_possible() {
    let cluster = Cluster::start(2, 0);
    for round in 0..5 {
        let key = format!("job-{round}");
        let both = [(0, "one"), (1, "two")]
            .map(|(at, who)| cluster.spawn(at, &format!("lock {key} {who} --ttl 50s")));
        let both = both.map(said);
        // Both masters are needed, and neither splits the vote for good: one wins, or nothing is left behind.
        let won: Vec<&Said> = both.iter().filter(|said| said.code == 0).collect();
        assert!(won.len() <= 1, "{both:?}");
        match won.first() {
            Some(won) => cluster.expect(0, &format!("release {key} --token {}", won.token())),
            None => cluster.expect(1, &format!("get {key}")),
        };
        cluster.expect(0, &format!("lock {key} three --ttl 50s"));
    }
}

#[test]
fn release() {
    let mut cluster = Cluster::start(3, 0);
    cluster.expect(0, "lock job me --ttl 50s");
    cluster.expect(1, "release job --value someone-else");
    cluster.seen_by(&[0], "job", Some("me"));
    cluster.kill(1);
    cluster.kill(2);
    // One of three cannot: not done, or nobody can tell, but never done.
    let alone = cluster.until("release job --value me --timeout 2s", |said| said.code != 0);
    assert!([3, 4].contains(&alone.code), "{alone:?}");
    cluster.seen_by(&[0], "job", Some("me"));
}

#[test]
fn one_node_down() {
    let mut cluster = Cluster::start(3, 0);
    cluster.kill(0);
    let lock = cluster.until("lock job me --ttl 50s", |said| said.code == 0);
    assert_eq!(votes(&lock)[2], 2);
    cluster.seen_by(&[1, 2], "job", Some("me"));
    cluster.expect(0, "extend job --value me --ttl 55s");
    cluster.expect(0, "release job --value me");
    cluster.seen_by(&[1, 2], "job", None);
}

#[test]
fn lease_extend() {
    let cluster = Cluster::start(3, 0);
    let first = cluster.expect(0, "lock job me --ttl 1s").token();
    // Extended again and again it outlives its first lease.
    let mut rival = cluster.spawn(1, "lock job you --ttl 50s --wait 50s");
    for _ in 0..3 {
        cluster.expect(0, &format!("extend job --token {first} --ttl 5s"));
    }
    assert!(rival.try_wait().unwrap().is_none(), "the extension did not keep it");
    // Then it expires everywhere, and can be locked again.
    let second = said(rival);
    assert!(second.code == 0 && second.token() > first, "{second:?}");
    cluster.seen_by(&[0, 1, 2], "job", Some("you"));
    cluster.expect(1, &format!("extend job --token {first} --ttl 5s"));
}

#[test]
fn expire_leases() {
    let cluster = Cluster::start(3, 0);
    cluster.expect(0, "lock old me --ttl 1s");
    cluster.expect(0, "lock young me --ttl 50s");
    cluster.seen_by(&[0, 1, 2], "old", None);
    cluster.seen_by(&[0, 1, 2], "young", Some("me"));
    cluster.expect(0, "lock old you --ttl 50s");
}

#[test]
fn update() {
    let cluster = Cluster::start(3, 0);
    let token = cluster.expect(0, "lock job me --ttl 3s").token();
    cluster.expect(0, "update job me mine");
    cluster.seen_by(&[0, 1, 2], "job", Some("mine"));
    cluster.expect(1, "update job me stale");
    let found = cluster.expect(0, "get job");
    assert_eq!((found.token(), found.json()["value"].as_str()), (token, Some("mine")));
    // The end is the one of the lock.
    assert!(found.json()["remaining_ms"].as_u64() <= Some(3_000), "{found:?}");
    cluster.seen_by(&[0, 1, 2], "job", None);
}

#[test]
fn replica() {
    let mut cluster = Cluster::start(2, 1);
    cluster.expect(0, "lock job me --ttl 50s");
    cluster.seen_by(&[2], "job", Some("me"));
    cluster.expect(0, "update job me mine");
    cluster.seen_by(&[2], "job", Some("mine"));
    // Of two masters both are needed; the replica does not stand in for one.
    cluster.kill(1);
    let alone = cluster.until("release job --value mine --timeout 2s", |said| said.code != 0);
    assert!([3, 4].contains(&alone.code), "{alone:?}");
    cluster.seen_by(&[0, 2], "job", Some("mine"));
}

#[test]
fn wait_for() {
    let cluster = Cluster::start(2, 1);
    let late = cluster.at(2).expect(7, &["wait", "job", "--timeout", "200ms"]);
    assert_eq!(late.json()["outcome"], "timed_out");
    let waiting = cluster.spawn(2, "wait job --timeout 50s");
    cluster.expect(0, "lock job me --ttl 50s");
    let woken = said(waiting);
    assert_eq!((woken.code, woken.json()["value"].as_str()), (0, Some("me")), "{woken:?}");
    // At once where it is known.
    assert_eq!(cluster.at(0).run(&["wait", "job"]).code, 0);
}

#[test]
fn wait_for_release() {
    let cluster = Cluster::start(2, 1);
    let unknown = cluster.at(0).expect(1, &["wait", "job", "--released"]);
    assert_eq!(unknown.json()["reason"], "not_held");
    cluster.expect(0, "lock job me --ttl 5s");
    cluster.seen_by(&[0, 2], "job", Some("me"));
    let waiting = [0, 2].map(|place| cluster.spawn(place, "wait job --released --timeout 50s"));
    for woken in waiting.map(said) {
        assert_eq!(woken.code, 0, "{woken:?}");
    }
}

#[test]
fn extend_propagates() {
    let mut cluster = Cluster::start(3, 0);
    let token = cluster.expect(0, "lock job me --ttl 50s").token();
    cluster.add("d");
    cluster.expect(0, &format!("extend job --token {token} --ttl 55s"));
    cluster.seen_by(&[3], "job", Some("me"));
}

#[test]
fn add_remove_node() {
    let mut cluster = Cluster::start(3, 0);
    let count = |said: &Said, name: &str| said.json()[name].as_u64();
    let wanted = |masters, quorum| {
        move |said: &Said| {
            let counts = (count(said, "masters"), count(said, "quorum"), count(said, "voting"));
            counts == (Some(masters), Some(quorum), Some(masters))
        }
    };
    cluster.until("summary", wanted(3, 2));
    cluster.expect(0, "lock job me --ttl 50s");
    cluster.expect(0, "members demote c");
    cluster.expect(0, "members remove c");
    cluster.until("members", |said| line(said, "c").is_none());
    cluster.kill(2);
    cluster.clients.truncate(2);
    cluster.until("summary", wanted(2, 2));
    assert_eq!(cluster.expect(0, "get job").json()["value"], "me");
    let release = cluster.expect(0, "release job --value me");
    assert_eq!(votes(&release), [2, 2, 2]);
}

#[test]
fn promote() {
    let mut cluster = Cluster::start(2, 1);
    let token = cluster.expect(0, "lock job me --ttl 50s").token();
    cluster.expect(0, "members promote c");
    cluster.until("members", |said| is(said, "c", "master", "active"));
    // It votes at once, and knows what is held: without another master there still is a quorum.
    cluster.kill(1);
    let found = cluster.until("get job", |said| said.code == 0);
    assert_eq!(found.token(), token);
    let extend = cluster.until("extend job --value me --ttl 55s", |said| said.code == 0);
    assert_eq!(votes(&extend)[2], 2);
}
