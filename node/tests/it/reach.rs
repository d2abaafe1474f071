//! Ways to a node: over IPv6, with a client's certificate, by a name that has come to mean another address, in another version of
//! the protocol. Processes, each with a configuration file.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use leasehold_core::wire::{ClientHello, ClientItem, NodeItem, PeerItem, Versions};
use rustls_pki_types::ServerName;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::binary::{Said, free_ports, words, write};
use super::raw::{Raw, dial_as, peer_hello, until};
use super::secure::wait_for;
use super::trio::{NAMES, TIMING, Trio, run, standing};
use super::web::trusting;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_and_clients_find_each_other_over_version_6() {
    let trio = Trio::at_host("[::1]");
    let _servers = trio.found();
    assert!(trio.clients()[0].starts_with("[::1]:"), "{:?}", trio.clients());
    let token = trio.expect(0, "ops", "lock job me --ttl 50s").token();
    let mut web = trio.web(1, "ops").await;
    let got = web.get("/v1/get?key=job").await.json();
    assert_eq!(got["holder"]["token"].as_u64(), Some(token), "{got}");
    let from = got["holder"]["meta"]["client_address"].as_str().unwrap();
    assert!(from.starts_with("[::1]:"), "{from}");
    let members = web.get("/v1/members").await.json();
    for member in members["members"].as_array().unwrap() {
        for port in ["client", "peer", "http"] {
            assert!(member[port].as_str().unwrap().starts_with("[::1]:"), "{members}");
        }
        assert_eq!(member["up"], true, "{members}");
    }
}

/// Runs a command as the operator who shows this certificate as well, or none.
fn shown(trio: &Trio, papers: Option<&str>, command: &str) -> Said {
    let mut args = [words("--json"), words(command), trio.who("ops")].concat();
    if let Some(papers) = papers {
        let [cert, key] = ["pem", "key"].map(|ending| trio.path(&format!("{papers}.{ending}")));
        args.extend(["--cert".to_owned(), cert, "--key".to_owned(), key]);
    }
    trio.endpoints().run(&args.iter().map(|arg| &**arg).collect::<Vec<_>>())
}

/// Whether the port for HTTP answers whoever shows this.
async fn answers(trio: &Trio, papers: Option<&str>) -> bool {
    let own = papers.map(|it| (trio.path(&format!("{it}.pem")), trio.path(&format!("{it}.key"))));
    let own = own.as_ref().map(|(cert, key)| (&**cert, &**key));
    let connector = trusting(&trio.path("certs/ca.pem"), own);
    let stream = TcpStream::connect(&trio.https()[0]).await.unwrap();
    let Ok(mut stream) = connector.connect(ServerName::try_from("a").unwrap(), stream).await else {
        return false;
    };
    // What is wrong with a certificate is told after the handshake.
    let mut bytes = Vec::new();
    let ask = b"GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    stream.write_all(ask).await.is_ok()
        && stream.read_to_end(&mut bytes).await.is_ok()
        && bytes.starts_with(b"HTTP/1.1 200")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_clients_need_a_certificate_a_token_alone_does_not_do() {
    let trio = Trio::new();
    let (clients, others) = (trio.path("clients"), trio.path("others"));
    run(&["certs", "--out", &clients, "--client", "me"]);
    run(&["certs", "--out", &others, "--client", "me"]);
    let client_ca = format!("tls.client_ca={clients}/ca.pem");
    let _servers = NAMES.map(|name| trio.start_with(name, &["--set", &client_ca]));
    wait_for("init", || shown(&trio, Some("clients/me"), "init").code == 0);
    wait_for("all vote", || {
        let said = shown(&trio, Some("clients/me"), "status");
        NAMES.iter().all(|name| standing(&said, name).as_deref() == Some("active"))
    });
    assert_eq!(shown(&trio, Some("clients/me"), "lock job me").code, 0);
    // None, one of another authority, and one of the nodes' own authority.
    for papers in [None, Some("others/me"), Some("certs/me")] {
        let said = shown(&trio, papers, "get job --timeout 5s");
        assert_eq!(said.code, 6, "{papers:?}: {said:?}");
        let message = said.json()["message"].as_str().unwrap().to_lowercase();
        assert!(message.contains("certificate") || message.contains("unknownca"), "{said:?}");
        assert!(!answers(&trio, papers).await, "{papers:?}");
    }
    assert!(answers(&trio, Some("clients/me")).await);
    assert!(trio.log("a").contains("no TLS: ") && trio.log("a").contains("no TLS over HTTP: "));
}

/// A file that stands for `/etc/hosts`, in a mount namespace of each process that is to believe it.
struct Hosts {
    path: String,
}

impl Hosts {
    fn write(&self, all: &[(&str, &str)]) {
        let lines: String =
            all.iter().map(|(name, address)| format!("{address} {name}\n")).collect();
        std::fs::write(&self.path, format!("127.0.0.1 localhost\n{lines}")).unwrap();
    }

    /// A command for which names mean what the file says.
    fn command(&self, args: &[&str]) -> Command {
        let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, &self.path]);
        command.args(args);
        command
    }

    /// Whether this machine lets a process have namespaces of its own.
    fn possible(&self) -> bool {
        self.write(&[("somewhere.test", "127.0.0.7")]);
        let looked = self.command(&["getent", "hosts", "somewhere.test"]).output();
        looked.is_ok_and(|said| String::from_utf8_lossy(&said.stdout).contains("127.0.0.7"))
    }
}

/// A process that does not outlive its test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[expect(clippy::print_stderr, reason = "nobody should believe that this was tested")]
fn skipped() {
    eprintln!(
        "SKIPPED: no process may have a mount namespace here, so no name can change its address"
    );
}

/// Three nodes that know each other by name, `a.test` and so on, at the same two ports of different addresses.
struct Named {
    folder: TempDir,
    hosts: Hosts,
    client: u16,
    peer: u16,
}

impl Named {
    /// None if this machine does not let names mean something else.
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let hosts = Hosts { path: write(folder.path(), "hosts", "") };
        if !hosts.possible() {
            skipped();
            return None;
        }
        let ports = free_ports(2);
        hosts.write(&[("a.test", "127.0.0.1"), ("b.test", "127.0.1.2"), ("c.test", "127.0.1.3")]);
        Some(Self { folder, hosts, client: ports[0], peer: ports[1] })
    }

    fn start(&self, name: &str) -> Ends {
        let Self { client, peer, .. } = self;
        let masters: Vec<_> = NAMES.iter().map(|it| format!("{it}={it}.test:{peer}")).collect();
        let folder = self.folder.path();
        let text = format!(
            "[node]\nname = '{name}'\ndata_dir = '{0}/{name}'\n[cluster]\nmasters = {masters:?}\n\
             [listen]\nclient = '{name}.test:{client}'\npeer = '{name}.test:{peer}'\ninsecure = true\n\
             [timing]\n{TIMING}",
            folder.display(),
        );
        let config = write(folder, &format!("{name}.toml"), &text);
        let binary = env!("CARGO_BIN_EXE_leasehold");
        let log = folder.join(format!("{name}.log"));
        let log = File::options().create(true).append(true).open(log).unwrap();
        let mut command = self.hosts.command(&[binary, "node", "--config", &config]);
        Ends(command.stdin(Stdio::null()).stderr(log).spawn().unwrap())
    }

    fn found(&self) -> [Ends; 3] {
        let nodes = NAMES.map(|name| self.start(name));
        wait_for("init", || self.ask("a", "init").code == 0);
        wait_for("all vote", || self.all_vote());
        nodes
    }

    fn ask(&self, endpoint: &str, command: &str) -> Said {
        let command = format!("--timeout 5s {command}");
        Said::of(self.command(&self.hosts, endpoint, &command).output().unwrap())
    }

    /// A client that believes these hosts.
    fn command(&self, hosts: &Hosts, endpoint: &str, command: &str) -> Command {
        let endpoint = format!("{endpoint}.test:{}", self.client);
        let args = ["--json", "--endpoints", &endpoint];
        let binary = [env!("CARGO_BIN_EXE_leasehold")];
        let command: Vec<&str> = command.split_whitespace().collect();
        hosts.command(&[&binary[..], &args, &command].concat())
    }

    fn all_vote(&self) -> bool {
        let said = self.ask("a", "status");
        NAMES.iter().all(|name| standing(&said, name).as_deref() == Some("active"))
    }

    /// Whether a node has said that it listens there.
    fn listens(&self, name: &str, address: &str) -> bool {
        let log = self.folder.path().join(format!("{name}.log"));
        let log = std::fs::read_to_string(log).unwrap();
        log.lines().any(|line| line.contains("starting") && line.contains(address))
    }
}

#[test]
fn names_are_resolved_again_whenever_a_link_is_lost() {
    let Some(named) = Named::new() else { return };
    let [_a, b, c] = named.found();
    let token = named.ask("b", "lock job me --ttl 55s").token();
    // It comes back elsewhere, under the name that it had.
    drop(c);
    named.hosts.write(&[("a.test", "127.0.0.1"), ("b.test", "127.0.1.2"), ("c.test", "127.0.1.4")]);
    let _c = named.start("c");
    wait_for("it votes again", || named.all_vote());
    // Without the third one, these two have to reach each other.
    drop(b);
    wait_for("a quorum of two", || {
        let said = named.ask("c", "get job");
        said.code == 0 && said.token() == token
    });
    assert!(named.listens("c", "127.0.1.4"), "it is where the name says now");
}

/// A client that knows one name, and no other node's, finds the node that the name has come to mean.
#[test]
fn a_client_resolves_its_endpoint_again_when_it_has_lost_its_node() {
    let Some(named) = Named::new() else { return };
    let [_a, b, _c] = named.found();
    let theirs = Hosts { path: write(named.folder.path(), "their-hosts", "") };
    theirs.write(&[("store.test", "127.0.1.2")]);
    let seen = named.folder.path().join("seen");
    let mut watch = named.command(&theirs, "store", "watch --timeout 60s");
    let _watch = Ends(watch.stdout(File::create(&seen).unwrap()).spawn().unwrap());
    let sees = |words: &[&str]| {
        let seen = std::fs::read_to_string(&seen).unwrap();
        seen.lines().any(|line| words.iter().all(|word| line.contains(word)))
    };
    wait_for("it watches", || sees(&["watching"]));
    named.ask("a", "lock before me --ttl 55s");
    wait_for("it sees a change", || sees(&["held", "before"]));
    // Its node is gone for good, and the name is given to another.
    theirs.write(&[("store.test", "127.0.1.3")]);
    drop(b);
    wait_for("it lists what another node knows", || sees(&["listed", "before"]));
    named.ask("a", "lock after me --ttl 55s");
    wait_for("it sees a change there", || sees(&["held", "after"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_speaks_no_common_version_is_refused_and_the_log_says_so() {
    let trio = Trio::in_the_clear();
    let _a = trio.start("a");
    let newer = Versions { oldest: 900, newest: 901 };
    until("it listens", async || TcpStream::connect(&trio.clients()[0]).await.ok().map(drop)).await;
    let mut hello = peer_hello("b", 7);
    hello.cluster_name = "trio".into();
    hello.versions = newer;
    match dial_as(hello, trio.peers()[0].as_str()).await {
        PeerItem::Refused(why) => assert!(why.contains("upgrade the older one"), "{why}"),
        other => panic!("expected a refusal, got {other:?}"),
    }
    let mut raw = Raw::connect(trio.clients()[0].as_str()).await;
    let credential = Some(trio.secret("ops"));
    let hello = ClientHello { versions: newer, credential, name: "later".into() };
    raw.send(&[ClientItem::Hello(hello)]).await;
    match raw.next().await {
        Some(NodeItem::Refused(why)) => assert!(why.contains("upgrade the older one"), "{why}"),
        other => panic!("expected a refusal, got {other:?}"),
    }
    assert_eq!(raw.next::<NodeItem>().await, None);
    wait_for("the log", || {
        let said = |what: &str| trio.log("a").lines().any(|line| line.contains(what));
        said("`b` speaks 900 to 901") && said("the client 900 to 901")
    });
}
