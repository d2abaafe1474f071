//! Three nodes as an operator runs them: three configuration files, certificates and tokens, processes with logs.

use std::path::{Path, PathBuf};
use std::process::Child;

use serde_json::Value;
use tempfile::TempDir;

use super::binary::{Endpoints, Said, Server, free_ports, words, write};
use super::web::Web;

/// Constants with which a restarted node votes again after two seconds.
pub(crate) const TIMING: &str =
    "max_lease = '1m'\nop_timeout = '1s'\npromise_timeout = '1s'\nsync_timeout = '10s'\n";
pub(crate) const NAMES: [&str; 3] = ["a", "b", "c"];

/// Runs a command that must succeed and needs no cluster.
#[track_caller]
pub(crate) fn run(args: &[&str]) -> Said {
    let said = Endpoints("127.0.0.1:1".into()).run(args);
    assert_eq!(said.code, 0, "{args:?} {said:?}");
    said
}

/// Three masters, of which any may run.
pub(crate) struct Trio {
    folder: TempDir,
    encrypted: bool,
    clients: Vec<String>,
    peers: Vec<String>,
    https: Vec<String>,
}

impl Trio {
    pub(crate) fn new() -> Self {
        Self::made(true, "127.0.0.1")
    }

    /// The same without TLS. Tokens are asked for all the same.
    pub(crate) fn in_the_clear() -> Self {
        Self::made(false, "127.0.0.1")
    }

    /// All of it at this address of the machine.
    pub(crate) fn at_host(host: &str) -> Self {
        Self::made(true, host)
    }

    fn made(encrypted: bool, host: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports = free_ports(9);
        let addresses = |ports: &[u16]| ports.iter().map(|p| format!("{host}:{p}")).collect();
        let trio = Self {
            encrypted,
            clients: addresses(&ports[..3]),
            peers: addresses(&ports[3..6]),
            https: addresses(&ports[6..]),
            folder,
        };
        let certs = trio.path("certs");
        run(&[
            "certs", "--out", &certs, "--node", "a", "--node", "b", "--node", "c", "--client", "me",
        ]);
        let mut tokens = String::new();
        for (name, allow) in
            [("ops", "read,lock,force,admin"), ("ci", "read,lock:ci/"), ("watcher", "read")]
        {
            let secret = trio.path(&format!("{name}.token"));
            tokens += &run(&["token", name, "--allow", allow, "--secret", &secret]).out;
        }
        write(trio.folder.path(), "tokens.toml", &tokens);
        for place in 0..3 {
            trio.configure(place, "", TIMING);
        }
        trio
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes the configuration of a node, with more sections and these constants.
    pub(crate) fn configure(&self, place: usize, more: &str, timing: &str) {
        let name = NAMES[place];
        let text = self.text(name, &self.clients[place], &self.peers[place], more, timing);
        write(self.folder(), &format!("{name}.toml"), &text);
    }

    /// The configuration of a node of any name.
    pub(crate) fn text(
        &self,
        name: &str,
        client: &str,
        peer: &str,
        more: &str,
        timing: &str,
    ) -> String {
        let masters: Vec<String> =
            NAMES.iter().zip(&self.peers).map(|(name, peer)| format!("{name}={peer}")).collect();
        let replicas: Vec<String> =
            if NAMES.contains(&name) { vec![] } else { vec![format!("{name}={peer}")] };
        let folder = self.folder.path().display();
        let place = NAMES.iter().position(|known| *known == name);
        let http = place.map(|place| format!("http = '{}'\n", self.https[place]));
        let tls = format!(
            "[tls]\ncert = '{folder}/certs/{name}.pem'\nkey = '{folder}/certs/{name}.key'\n\
             ca = '{folder}/certs/ca.pem'\n\n"
        );
        let (http, tls) = (http.unwrap_or_default(), if self.encrypted { &tls } else { "" });
        format!(
            "[node]\nname = '{name}'\ndata_dir = '{folder}/data-{name}'\n\n\
             [cluster]\nname = 'trio'\nmasters = {masters:?}\nreplicas = {replicas:?}\n\n\
             [listen]\nclient = '{client}'\npeer = '{peer}'\n{http}\n\
             {tls}[auth]\ntokens = '{folder}/tokens.toml'\n\n\
             [timing]\n{timing}\n{more}"
        )
    }

    /// Starts the node of a configuration in the folder.
    pub(crate) fn start(&self, name: &str) -> Server {
        self.start_with(name, &[])
    }

    /// The same with more flags.
    pub(crate) fn start_with(&self, name: &str, flags: &[&str]) -> Server {
        let config = self.path(&format!("{name}.toml"));
        let args = [&["node", "--config", &config], flags].concat();
        Server::logging(&args, &self.log_path(name), &[])
    }

    /// The same in this environment.
    pub(crate) fn start_in(&self, name: &str, environment: &[(&str, &str)]) -> Server {
        let config = self.path(&format!("{name}.toml"));
        Server::logging(&["node", "--config", &config], &self.log_path(name), environment)
    }

    /// Starts all three, and founds the cluster.
    pub(crate) fn found(&self) -> Vec<Server> {
        let servers = NAMES.iter().map(|name| self.start(name)).collect();
        self.until("init", |said| said.code == 0);
        self.until("status", |said| {
            NAMES.iter().all(|name| standing(said, name).as_deref() == Some("active"))
        });
        servers
    }

    fn log_path(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }

    /// What a node has logged.
    pub(crate) fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.log_path(name)).unwrap_or_default()
    }

    /// The three as endpoints.
    pub(crate) fn endpoints(&self) -> Endpoints {
        Endpoints(self.clients.join(","))
    }

    pub(crate) fn clients(&self) -> &[String] {
        &self.clients
    }

    pub(crate) fn peers(&self) -> &[String] {
        &self.peers
    }

    /// Where they answer over HTTP.
    pub(crate) fn https(&self) -> &[String] {
        &self.https
    }

    /// The secret of a token.
    pub(crate) fn secret(&self, token: &str) -> String {
        let text = std::fs::read_to_string(self.path(&format!("{token}.token"))).unwrap();
        text.trim().to_owned()
    }

    /// A connection to a node over HTTP, of whoever has this token.
    pub(crate) async fn web(&self, place: usize, token: &str) -> Web {
        let address = self.https[place].parse().unwrap();
        let web = if self.encrypted {
            Web::connect_tls(address, NAMES[place], &self.path("certs/ca.pem")).await
        } else {
            Web::connect(address).await
        };
        web.bearing(&self.secret(token))
    }

    /// The flags of somebody who has this token.
    pub(crate) fn who(&self, token: &str) -> Vec<String> {
        let (ca, token) = (self.path("certs/ca.pem"), self.path(&format!("{token}.token")));
        let encrypted = ["--cacert", &ca].map(String::from);
        let mut flags = ["--token-file", &token].map(String::from).to_vec();
        flags.extend(encrypted.into_iter().filter(|_| self.encrypted));
        flags
    }

    /// Runs a command as the operator until what it says is as wanted.
    #[track_caller]
    pub(crate) fn until(&self, command: &str, wanted: impl Fn(&Said) -> bool) -> Said {
        let args = |_| [words(command), self.who("ops")].concat();
        self.endpoints().until(args, wanted)
    }

    /// Starts a command with this token that talks to one node only.
    pub(crate) fn spawn_at(&self, place: usize, token: &str, command: &str) -> Child {
        let args = [words("--json"), words(command), self.who(token)].concat();
        let alone = Endpoints(self.clients[place].clone());
        alone.spawn(&args.iter().map(|arg| &**arg).collect::<Vec<_>>())
    }

    /// Runs one to its end.
    pub(crate) fn run_at(&self, place: usize, token: &str, command: &str) -> Said {
        Said::of(self.spawn_at(place, token, command).wait_with_output().unwrap())
    }

    /// Runs a command with this token, which must exit with `code`.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32, token: &str, command: &str) -> Said {
        let args = [words(command), self.who(token)].concat();
        self.endpoints().expect(code, &args.iter().map(|arg| &**arg).collect::<Vec<_>>())
    }
}

/// How this node says it is.
pub(crate) fn standing(said: &Said, name: &str) -> Option<String> {
    let nodes = said.out.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let node = nodes.into_iter().find(|node| node["node"] == name)?;
    Some(node["standing"].as_str()?.to_owned())
}
