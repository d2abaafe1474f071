//! A cluster of real nodes, each a process with a configuration file, a data directory and a log.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use leasehold_client::clock;
use leasehold_core::{Drift, Instant, Span, Timing};
use serde_json::Value;
use tempfile::TempDir;

use super::hosts::Hosts;
use super::page::{self, Page};
use super::process::{Process, dying_with_us};
use super::program;
use super::proxy::Proxies;
use super::room::Room;

/// How nodes reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Straight over loopback.
    Loopback,
    /// Over loopback, through proxies.
    Proxied,
    /// Each on a host of its own.
    Hosts,
}

/// What a cluster is like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Nodes that vote.
    pub masters: usize,
    /// Nodes that only learn.
    pub replicas: usize,
    /// How they reach each other.
    pub network: Network,
    /// Whether clocks and disks are in the rig's hand.
    pub shim: bool,
    /// Whether each node has a small file system of its own.
    pub rooms: bool,
    /// The constants of the protocol.
    pub timing: Timing,
}

/// A node, running or not.
#[derive(Debug)]
pub struct Seat {
    /// Its name.
    pub name: String,
    /// Its process, while it runs.
    pub process: Option<Process>,
    /// Its clocks and disk, if they are in the rig's hand.
    pub page: Option<Page>,
    /// Where it keeps its node file.
    pub data: PathBuf,
    /// The file system of that, if it is of its own.
    pub room: Option<Room>,
    /// Where it is kept what would be left of that after a power cut.
    shadow: PathBuf,
    client: String,
    peer: String,
    through: Vec<String>,
}

/// A cluster.
#[derive(Debug)]
pub struct Cluster {
    /// Its nodes: masters first, then replicas.
    pub seats: Vec<Seat>,
    /// Its links, if they go through proxies.
    pub proxies: Option<Proxies>,
    /// Its hosts, if it has some.
    pub hosts: Option<Hosts>,
    shape: Shape,
    program: PathBuf,
    shim: Option<PathBuf>,
    folder: TempDir,
}

/// What a command of the binary said.
#[derive(Debug)]
pub struct Told {
    /// Its exit code.
    pub code: i32,
    /// What it printed.
    pub lines: Vec<Value>,
    /// What it complained about.
    pub complaint: String,
}

/// Clients and nodes of a cluster need to be told all is well within so long.
const PATIENCE: Span = Span::from_secs(60);

impl Cluster {
    /// Starts all nodes, and founds the cluster.
    ///
    /// # Errors
    ///
    /// The operating system's, or that the cluster does not come about.
    pub async fn start(shape: Shape, seed: u64) -> io::Result<Self> {
        let program = program::leasehold()?;
        let shim = if shape.shim { Some(page::shim().map_err(io::Error::other)?) } else { None };
        let folder = tempfile::Builder::new().prefix("leasehold-rig-").tempdir()?;
        let count = shape.masters + shape.replicas;
        let hosts = (shape.network == Network::Hosts).then(|| Hosts::new(count)).transpose()?;
        let proxies = (shape.network == Network::Proxied).then(|| Proxies::new(seed));
        let mut cluster = Self { seats: Vec::new(), proxies, hosts, shape, program, shim, folder };
        cluster.prepare(count).await?;
        for number in 0..count {
            cluster.start_node(number)?;
        }
        cluster
            .until("it is founded", async |cluster| Ok(cluster.ask(&["init"]).await?.code == 0))
            .await?;
        cluster.until_well(PATIENCE).await?;
        if shape.shim {
            cluster.prove_shim().await?;
        }
        let outside = |room: &Room| !room.has("node");
        if cluster.seats.iter().filter_map(|seat| seat.room.as_ref()).any(outside) {
            return Err(io::Error::other("a node keeps its file outside its small file system"));
        }
        Ok(cluster)
    }

    /// Sees that a bent clock and a shadow of the disk reach a node; before there is any lease, a jump harms nobody.
    async fn prove_shim(&mut self) -> io::Result<()> {
        const JUMP: u64 = 5_000_000;
        let before = self.uptime().await?;
        let began = clock::now();
        if let Some(page) = &mut self.seats[0].page {
            page.bend(JUMP, 0)?;
        }
        pause(Span::from_millis(100)).await;
        let shown = self.uptime().await?.saturating_sub(before).saturating_mul(1_000);
        let passed = clock::now().since(began).as_micros();
        if shown < JUMP || shown > JUMP + 2 * passed {
            let story =
                format!("a clock that jumped by {JUMP} µs does not reach the node: {shown}");
            return Err(io::Error::other(story));
        }
        let names = fs::read_to_string(self.seats[0].shadow.join("names")).unwrap_or_default();
        if !names.lines().any(|line| line.ends_with(" node")) {
            return Err(io::Error::other("what the node synced was not noticed"));
        }
        Ok(())
    }

    /// How long the first node says that it has been running, in milliseconds.
    async fn uptime(&self) -> io::Result<u64> {
        let told = self.ask(&["status"]).await?;
        let first = told.lines.iter().find(|line| line["node"] == "n0");
        let uptime = first.and_then(|line| line["uptime_ms"].as_u64());
        uptime.ok_or_else(|| io::Error::other("a node does not say how long it has been running"))
    }

    /// Decides where each node listens, and writes the configurations.
    async fn prepare(&mut self, count: usize) -> io::Result<()> {
        let root = self.folder.path().canonicalize()?;
        let mut listen = Vec::new();
        for number in 0..count {
            let (client, peer) = match &self.hosts {
                Some(_) => {
                    let address = Hosts::address(number);
                    (format!("{address}:7400"), format!("{address}:7401"))
                }
                None => {
                    let [client, peer] = free_ports()?;
                    (client.to_string(), peer.to_string())
                }
            };
            let mut known = (client.clone(), peer.clone());
            if let Some(proxies) = &self.proxies {
                let target =
                    |address: &str| address.parse::<SocketAddr>().map_err(io::Error::other);
                known.0 = proxies.open(number, target(&client)?, false).await?.to_string();
                known.1 = proxies.open(number, target(&peer)?, true).await?.to_string();
            }
            let name = format!("n{number}");
            let page = match &self.shim {
                Some(_) => Some(Page::new(root.join(format!("{name}.page")))?),
                None => None,
            };
            let (data, shadow) = (root.join(&name), root.join(format!("{name}.shadow")));
            fs::create_dir(&data)?;
            fs::create_dir(&shadow)?;
            let room = self.shape.rooms.then(|| Room::new(&data)).transpose()?;
            let mut through = self.hosts.as_ref().map_or_else(Vec::new, |hosts| hosts.on(number));
            through.extend(room.iter().flat_map(Room::inside));
            let (client_known, peer_known) = known;
            listen.push((client, peer));
            self.seats.push(Seat {
                name,
                process: None,
                page,
                data,
                room,
                shadow,
                client: client_known,
                peer: peer_known,
                through,
            });
        }
        for (number, (client, peer)) in listen.iter().enumerate() {
            let text = self.configuration(number, client, peer);
            fs::write(self.configured(number), text)?;
        }
        Ok(())
    }

    fn configuration(&self, number: usize, client: &str, peer: &str) -> String {
        let seat = &self.seats[number];
        let named = |seats: &[Seat]| -> Vec<String> {
            seats.iter().map(|seat| format!("{}={}", seat.name, seat.peer)).collect()
        };
        let (masters, replicas) = self.seats.split_at(self.shape.masters);
        let (masters, replicas) = (named(masters), named(replicas));
        let timing = &self.shape.timing;
        let span = |span: Span| format!("{}ms", span.as_millis());
        format!(
            "[node]\nname = '{}'\ndata_dir = '{}'\n\n[cluster]\nname = 'rig'\nmasters = {masters:?}\n\
             replicas = {replicas:?}\n\n[listen]\nclient = '{client}'\npeer = '{peer}'\ninsecure = {}\n\n\
             [advertise]\nclient = '{}'\npeer = '{}'\n\n[timing]\nmax_lease = '{}'\nop_timeout = '{}'\n\
             promise_timeout = '{}'\nsync_timeout = '{}'\nmax_clock_drift = '{}ppm'\n",
            seat.name,
            seat.data.display(),
            self.hosts.is_some(),
            seat.client,
            seat.peer,
            span(timing.max_lease),
            span(timing.op_timeout),
            span(timing.promise_timeout),
            span(timing.sync_timeout),
            timing.max_clock_drift.ppm(),
        )
    }

    fn configured(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("n{number}.toml"))
    }

    /// What a node has logged.
    #[must_use]
    pub fn log(&self, number: usize) -> String {
        fs::read_to_string(self.folder.path().join(format!("n{number}.log"))).unwrap_or_default()
    }

    /// The folder of everything.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What the cluster is like.
    #[must_use]
    pub const fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The bound of clocks' drift that nodes were told.
    #[must_use]
    pub const fn drift(&self) -> Drift {
        self.shape.timing.max_clock_drift
    }

    /// The library that bends clocks, if it is in use.
    #[must_use]
    pub fn shim(&self) -> Option<&Path> {
        self.shim.as_deref()
    }

    /// Where clients connect.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        self.seats.iter().map(|seat| seat.client.clone()).collect()
    }

    /// Where other nodes find this one.
    #[must_use]
    pub fn peer(&self, number: usize) -> &str {
        &self.seats[number].peer
    }

    /// Starts a node that does not run.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn start_node(&mut self, number: usize) -> io::Result<()> {
        let config = self.configured(number);
        let log = self.folder.path().join(format!("n{number}.log"));
        let log = fs::File::options().create(true).append(true).open(log)?;
        let shim = self.shim.clone();
        let seat = &mut self.seats[number];
        let mut command = dying_with_us(&self.program, &seat.through);
        command.args(["node", "--config"]).arg(config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        if let (Some(shim), Some(page)) = (shim, &seat.page) {
            command.env("LD_PRELOAD", shim).env("LEASEHOLD_RIG_PAGE", page.path());
            command.env("LEASEHOLD_RIG_DATA", &seat.data);
            command.env("LEASEHOLD_RIG_SHADOW", &seat.shadow);
        }
        seat.process = Some(Process::start(&mut command)?);
        Ok(())
    }

    /// Kills a node, if it runs.
    pub fn kill(&mut self, number: usize) {
        self.seats[number].process = None;
    }

    /// Kills a node and takes away what it had not synced.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn cut_power(&mut self, number: usize) -> io::Result<()> {
        self.kill(number);
        let seat = &self.seats[number];
        page::cut_power(&seat.data, &seat.shadow)
    }

    /// Takes away a node's file.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn wipe(&self, number: usize) -> io::Result<()> {
        let seat = &self.seats[number];
        for folder in [&seat.data, &seat.shadow] {
            fs::remove_dir_all(folder)?;
            fs::create_dir(folder)?;
        }
        Ok(())
    }

    /// Runs a command of the binary, as an operator would.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub async fn ask(&self, args: &[&str]) -> io::Result<Told> {
        let through = self.hosts.as_ref().map_or_else(Vec::new, Hosts::on_hub);
        let mut words = through.into_iter();
        let mut command = match words.next() {
            Some(first) => {
                let mut command = Command::new(first);
                command.args(words).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        command.args(["--endpoints", &self.endpoints().join(","), "--json"]).args(args);
        command.env_remove("LEASEHOLD_ENDPOINTS").stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output()).await;
        let output = output.map_err(io::Error::other)??;
        let text = String::from_utf8_lossy(&output.stdout);
        let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(Told { code: output.status.code().unwrap_or(-1), lines, complaint })
    }

    /// Repeats `look` until it is so.
    ///
    /// # Errors
    ///
    /// That it never is, or what `look` says.
    pub async fn until(
        &self,
        what: &str,
        look: impl AsyncFn(&Self) -> io::Result<bool>,
    ) -> io::Result<()> {
        let end = clock::now().after(PATIENCE);
        while !look(self).await? {
            if clock::now() > end {
                return Err(io::Error::other(format!("in vain waited until {what}")));
            }
            pause(Span::from_millis(50)).await;
        }
        Ok(())
    }

    /// What each node that answers says of its standing.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub async fn standings(&self) -> io::Result<Vec<(String, String)>> {
        let told = self.ask(&["--timeout", "2s", "status"]).await?;
        let text = |line: &Value, key: &str| line[key].as_str().map(str::to_owned);
        let standing = |line: &Value| Some((text(line, "node")?, text(line, "standing")?));
        Ok(told.lines.iter().filter_map(standing).collect())
    }

    /// Waits until every master votes and every replica learns, in the places they began with.
    ///
    /// # Errors
    ///
    /// That this does not come about within `patience`, and how things are then.
    pub async fn until_well(&self, patience: Span) -> io::Result<()> {
        let end: Instant = clock::now().after(patience);
        loop {
            let standings = self.standings().await?;
            let wanted =
                |number: usize| if number < self.shape.masters { "active" } else { "replica" };
            let well = self.seats.iter().enumerate().all(|(number, seat)| {
                standings.iter().any(|(name, is)| *name == seat.name && is == wanted(number))
            });
            if well {
                return Ok(());
            }
            if clock::now() > end {
                let story =
                    format!("{patience} after all faults were over, nodes are {standings:?}");
                return Err(io::Error::other(story));
            }
            pause(Span::from_millis(100)).await;
        }
    }
}

/// Waits for a while.
pub async fn pause(span: Span) {
    clock::sleep_until(clock::now().after(span)).await;
}

/// Two addresses on loopback that nobody has at the moment, below those that are handed out for connections, so that a
/// node that comes back finds its own free.
fn free_ports() -> io::Result<[SocketAddr; 2]> {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let mut found = Vec::new();
    while found.len() < 2 {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        let start = u16::try_from(std::process::id() % 1_000).unwrap_or(0) * 12;
        let port = 18_000 + (start + turn) % 12_000;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            found.push(listener.local_addr()?);
        }
        if turn > 12_000 {
            return Err(io::Error::other("no port is free"));
        }
    }
    Ok([found[0], found[1]])
}
