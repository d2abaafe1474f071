//! Puts a node together and takes it apart again.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use leasehold_core::wire::MAX_FRAME;
use leasehold_core::{Boot, ClusterId, Member, Node, NodeFile, NodeId, Span, Status, Tally};
#[cfg(madsim)]
use madsim::rand::random;
#[cfg(not(madsim))]
use rand::random;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, info, warn};

use crate::clients::ClientArrival;
use crate::clock::Clock;
use crate::config::{Address, Config};
use crate::counters::Counters;
use crate::desk::{Desk, InitAnswer};
use crate::driver::{Control, Driver, Inputs, Measured, Parts};
use crate::file::{DataDir, FileError};
use crate::founding::Founding;
use crate::handshake::{Identity, Known};
use crate::keeper::{self, Keeper, Pending};
use crate::links::Links;
use crate::porch::{Inside, Porch};
use crate::secure::{self, Secure, SecureError};
use crate::task::Task;
use crate::{clients, http, peers};

/// Arrivals of one kind that may wait for the driver. With reads of at most [`MAX_FRAME`] and a bit, this bounds memory.
const QUEUE: usize = 128;
/// Connections get so long to write their last answers when a node stops.
const FAREWELL: Span = Span::from_secs(1);
/// The part of a client's queue that what it watches may fill; its answers need room, too.
const WATCH_PART: usize = 4;
/// A driver that has not come to its end after so long is ended.
const END: Span = Span::from_secs(5);

/// Why a node does not start.
#[derive(Debug)]
pub enum StartError {
    /// An address cannot be listened at.
    Listen {
        /// The configuration's key.
        key: &'static str,
        /// The address.
        address: String,
        /// Why not.
        error: io::Error,
    },
    /// The data directory or the node file is not usable.
    File(FileError),
    /// Certificates or tokens are not.
    Secure(SecureError),
    /// The system gives it no thread to meet strangers on.
    Thread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { key, address, error } => {
                write!(f, "cannot listen at {address} ({key}): {error}")
            }
            Self::File(error) => error.fmt(f),
            Self::Secure(error) => error.fmt(f),
            Self::Thread(error) => write!(
                f,
                "the system refuses a second thread: {error}; raise the limit of processes or of memory"
            ),
        }
    }
}

impl std::error::Error for StartError {}

/// Open listeners, made before the node so that ports that the system chose can be told to others.
#[derive(Debug)]
pub struct Listeners {
    client: TcpListener,
    peer: TcpListener,
    client_addr: SocketAddr,
    peer_addr: SocketAddr,
    http: Option<(TcpListener, SocketAddr)>,
}

impl Listeners {
    /// Listens at both addresses; port 0 lets the system choose.
    ///
    /// # Errors
    ///
    /// [`StartError::Listen`].
    pub async fn bind(client: &str, peer: &str) -> Result<Self, StartError> {
        let (client, client_addr) = listen("listen.client", client).await?;
        let (peer, peer_addr) = listen("listen.peer", peer).await?;
        Ok(Self { client, peer, client_addr, peer_addr, http: None })
    }

    /// Listens for HTTP as well.
    ///
    /// # Errors
    ///
    /// [`StartError::Listen`].
    pub async fn with_http(mut self, address: &str) -> Result<Self, StartError> {
        self.http = Some(listen("listen.http", address).await?);
        Ok(self)
    }

    /// Where clients connect.
    #[must_use]
    pub const fn client_addr(&self) -> SocketAddr {
        self.client_addr
    }

    /// Where other nodes connect.
    #[must_use]
    pub const fn peer_addr(&self) -> SocketAddr {
        self.peer_addr
    }

    /// Where this answers over HTTP, if it does.
    #[must_use]
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(|(_, address)| *address)
    }
}

async fn listen(key: &'static str, address: &str) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |error| StartError::Listen { key, address: address.to_owned(), error };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let local = listener.local_addr().map_err(failed)?;
    Ok((listener, local))
}

/// Starts nodes.
#[derive(Debug)]
pub struct Server(());

impl Server {
    /// Starts the node of this configuration.
    ///
    /// # Errors
    ///
    /// If it cannot listen, or its node file is not usable.
    pub async fn start(config: Config) -> Result<Running, StartError> {
        let mut listeners = Listeners::bind(&config.listen.client, &config.listen.peer).await?;
        if let Some(http) = &config.listen.http {
            listeners = listeners.with_http(http).await?;
        }
        Self::start_on(config, listeners)
    }

    /// Whether certificates and tokens of this configuration can be used.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check(config: &Config) -> Result<(), SecureError> {
        Secure::load(config, &Arc::default()).map(drop)
    }

    /// Starts the node of this configuration on these listeners. Without a data directory the node file is kept in
    /// memory, which is for clusters that live and die with this process.
    ///
    /// # Errors
    ///
    /// If its node file is not usable.
    #[expect(clippy::needless_pass_by_value, reason = "a node's configuration is its own")]
    pub fn start_on(config: Config, listeners: Listeners) -> Result<Running, StartError> {
        let clock = Clock::system();
        let counters = Arc::new(Counters::default());
        let (control, control_in) = mpsc::channel(QUEUE);
        let (peer_arrivals, peers_in) = mpsc::channel(QUEUE);
        let (client_arrivals, clients_in) = mpsc::channel(QUEUE);
        let limits = &config.limits;
        let inputs = Inputs { control: control_in, peers: peers_in, clients: clients_in };

        let secure = Arc::new(Secure::load(&config, &counters).map_err(StartError::Secure)?);
        let (file, keeper, keeper_task) = keep(&config, &control, clock, &counters)?;
        announce(&config, &listeners, &file);
        let boot =
            Boot { wall_clock: clock.wall(), proposer: draw(), seed: (draw(), draw()), file };
        let member = own_member(&config, &listeners, boot.file.id);
        let identity =
            Identity::new(config.cluster.clone(), member.clone(), boot.proposer, config.timing);
        let shared = (control.clone(), peer_arrivals, Arc::clone(&counters), Arc::clone(&secure));
        let peer_queue = bytes(limits.peer_queue);
        let peer_context =
            Arc::new(peers::Context::new(clock, identity, peer_queue, draw(), shared));
        let (alive, all_gone) = mpsc::channel(1);
        let shared = (client_arrivals.clone(), Arc::clone(&counters), Arc::clone(&secure), alive);
        let client_context =
            Arc::new(clients::Context::new(clock, limits, (draw(), draw()), shared));
        let (closing, closing_seen) = watch::channel(false);
        let http_context =
            http::Context::new(&config, &client_context, control.clone(), closing_seen);

        let now = clock.now();
        let calls = bytes(limits.requests_per_connection);
        let names = |all: &[Address]| all.iter().map(|a| a.name.clone()).collect();
        let parts = Parts {
            clock,
            core: Node::new(config.settings(), boot, now),
            settings: config.settings(),
            desk: Desk::new(calls, Arc::clone(&client_context.budget), Arc::clone(&counters)),
            links: Links::new(Arc::clone(&peer_context), now),
            founding: Founding::new(member, names(&config.masters), names(&config.replicas)),
            keeper,
            peers: Arc::clone(&peer_context),
            fresh_cluster: || ClusterId(draw(), draw()),
            configured: configured(&config),
            counters: Arc::clone(&counters),
            watch_queue: bytes(config.limits.client_queue) / WATCH_PART,
            idle_poll: config.idle_poll,
        };
        let (client_addr, peer_addr) = (listeners.client_addr, listeners.peer_addr);
        let http_addr = listeners.http_addr();
        let porch = Porch::open().map_err(StartError::Thread)?;
        let contexts = (client_context, peer_context, http_context);
        let (doors, others) = accept(&porch, listeners, contexts, &config)?;
        Ok(Running {
            clock,
            client_addr,
            peer_addr,
            counters,
            secure,
            control,
            all_gone,
            arrivals: client_arrivals,
            driver: Task::start(Driver::new(parts, now).run(inputs)),
            http_addr,
            closing,
            doors,
            listeners: others,
            porch,
            keeper: keeper_task,
        })
    }
}

/// A node that runs. It ends, at once, when this is dropped.
#[derive(Debug)]
pub struct Running {
    clock: Clock,
    client_addr: SocketAddr,
    peer_addr: SocketAddr,
    http_addr: Option<SocketAddr>,
    /// Tells connections over HTTP that the node has come to its end.
    closing: watch::Sender<bool>,
    counters: Arc<Counters>,
    secure: Arc<Secure>,
    control: mpsc::Sender<Control>,
    /// Closed when the last connection of a client is gone.
    all_gone: mpsc::Receiver<()>,
    /// Never used to send: the driver's channel stays open when nobody listens for clients any more.
    #[expect(dead_code, reason = "that it is there is what counts")]
    arrivals: mpsc::Sender<ClientArrival>,
    driver: Task,
    /// Ends first: whoever connects to a node that stops would have to go on at once.
    doors: Task,
    listeners: Vec<Task>,
    /// The thread of the listeners, and of those who have not said who they are.
    porch: Porch,
    keeper: Option<Task>,
}

impl Running {
    /// Where clients connect.
    #[must_use]
    pub const fn client_addr(&self) -> SocketAddr {
        self.client_addr
    }

    /// Where other nodes connect.
    #[must_use]
    pub const fn peer_addr(&self) -> SocketAddr {
        self.peer_addr
    }

    /// Where it answers over HTTP, if it does.
    #[must_use]
    pub const fn http_addr(&self) -> Option<SocketAddr> {
        self.http_addr
    }

    /// What happened at it.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What the node knows of itself and its peers. `None` if it has ended.
    pub async fn status(&self) -> Option<Status> {
        let (answer, status) = oneshot::channel();
        self.control.send(Control::Status(answer)).await.ok()?;
        status.await.ok()
    }

    /// The same, and what the node counted as a coordinator. `None` if it has ended.
    pub async fn measure(&self) -> Option<(Status, Tally)> {
        let (answer, measured) = oneshot::channel();
        self.control.send(Control::Measure(answer)).await.ok()?;
        let Measured { status, tally } = measured.await.ok()?;
        Some((status, tally))
    }

    /// Founds the cluster, as `leasehold init` does. `None` if the node has ended.
    pub async fn init(&self) -> Option<InitAnswer> {
        let (answer, outcome) = oneshot::channel();
        self.control.send(Control::Init(answer)).await.ok()?;
        outcome.await.ok()
    }

    /// Reads certificates and tokens again, at once. What cannot be used is in the log, and changes nothing.
    pub async fn reload(&self) {
        secure::look(&self.secure, Vec::new()).await;
    }

    /// Waits until the node has ended by itself, which it only does when something is badly wrong.
    pub async fn ended(&mut self) {
        self.driver.wait().await;
    }

    /// Tells the node to drain and end, without waiting for it.
    pub async fn stop(&self) {
        if self.control.send(Control::Stop).await.is_err() {
            debug!("this node has ended already");
        }
    }

    /// Hands back what queues, finishes what is under way, and ends, within a few seconds.
    pub async fn shutdown(mut self) {
        self.doors.stop().await;
        // Not by way of the whole of `self`, of which the doors are gone.
        if self.control.send(Control::Stop).await.is_err() {
            debug!("this node has ended already");
        }
        if self.clock.limit(END, self.driver.wait()).await.is_none() {
            warn!("the driver did not come to its end");
        }
        self.driver.stop().await;
        self.closing.send_replace(true);
        for listener in self.listeners {
            listener.stop().await;
        }
        if self.clock.limit(FAREWELL, self.all_gone.recv()).await.is_none() {
            info!("some clients did not take their last answers");
        }
        self.porch.close().await;
        if let Some(mut keeper) = self.keeper {
            // A write under way is not cut off: it holds the directory until it is done.
            if self.clock.limit(END, keeper.wait()).await.is_none() {
                warn!("the node file is still being written");
            }
        }
    }
}

/// The task that accepts connections of clients, and those that accept others or keep files fresh.
fn accept(
    porch: &Porch,
    listeners: Listeners,
    (clients, peers, http): (Arc<clients::Context>, Arc<peers::Context>, Arc<http::Context>),
    config: &Config,
) -> Result<(Task, Vec<Task>), StartError> {
    let bring = |key, address: &String, listener| {
        let failed = |error| StartError::Listen { key, address: address.clone(), error };
        porch.bring(listener).map_err(failed)
    };
    let (listen, inside) = (&config.listen, Inside::here());
    let client = bring("listen.client", &listen.client, listeners.client)?;
    let peer = bring("listen.peer", &listen.peer, listeners.peer)?;
    let mut others = vec![
        Task::start(secure::keep_fresh(Arc::clone(&clients.secure), clients.clock)),
        porch.start(peers::listen(peers, peer, inside.clone())),
    ];
    if let Some((listener, address)) = listeners.http {
        let listener = bring("listen.http", &address.to_string(), listener)?;
        others.push(porch.start(http::listen(http, listener)));
    }
    Ok((porch.start(clients::listen(clients, client, inside)), others))
}

/// Where the node file is kept, what is in it, and the task that writes it.
fn keep(
    config: &Config,
    driver: &mpsc::Sender<Control>,
    clock: Clock,
    counters: &Arc<Counters>,
) -> Result<(NodeFile, Keeper, Option<Task>), StartError> {
    let fresh = NodeId(draw());
    let Some(path) = &config.data_dir else {
        return Ok((NodeFile::new(config.name.clone(), fresh), Keeper::Memory, None));
    };
    let dir = DataDir::open(path).map_err(StartError::File)?;
    let file = dir.load(&config.name, fresh).map_err(StartError::File)?;
    let (dir, pending) = (Arc::new(dir), Arc::new(Pending::default()));
    let work = keeper::run(dir, Arc::clone(&pending), driver.clone(), clock, Arc::clone(counters));
    Ok((file, Keeper::Disk(pending), Some(Task::start(work))))
}

fn announce(config: &Config, listeners: &Listeners, file: &NodeFile) {
    info!(
        name = file.name,
        incarnation = format!("{:016x}", file.id.0),
        clients = %listeners.client_addr,
        peers = %listeners.peer_addr,
        "starting"
    );
    if config.listen.insecure && !config.tls.is_on() {
        warn!(
            "listen.insecure: whoever reaches these ports can use this node and read what others say to it"
        );
    } else if config.listen.insecure && config.tokens.is_none() && config.tls.client_ca.is_none() {
        warn!("listen.insecure: whoever reaches the port for clients can use this node");
    }
}

/// This node as others shall know it.
fn own_member(config: &Config, listeners: &Listeners, id: NodeId) -> Member {
    let advertise = &config.advertise;
    // Names stay names, so that others resolve them; a port that the system chose must be told.
    let address = |advertised: &Option<String>, listen: &String, bound: SocketAddr| {
        let chosen = || if listen.ends_with(":0") { bound.to_string() } else { listen.clone() };
        advertised.clone().unwrap_or_else(chosen)
    };
    Member {
        id,
        name: config.name.clone(),
        peer: address(&advertise.peer, &config.listen.peer, listeners.peer_addr),
        client: address(&advertise.client, &config.listen.client, listeners.client_addr),
        http: match (&config.listen.http, &listeners.http) {
            (Some(listen), Some((_, bound))) => address(&advertise.http, listen, *bound),
            (Some(_) | None, None) | (None, Some(_)) => String::new(),
        },
    }
}

/// The other nodes that the configuration names, and whether they are masters.
fn configured(config: &Config) -> Vec<(Known, bool)> {
    let known = |address: &Address| Known {
        name: address.name.clone(),
        address: address.peer.clone(),
        id: None,
    };
    let masters = config.masters.iter().map(|address| (known(address), true));
    let replicas = config.replicas.iter().map(|address| (known(address), false));
    masters.chain(replicas).filter(|(known, _)| known.name != config.name).collect()
}

fn bytes(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(MAX_FRAME)
}

/// A random number that nobody can guess.
#[cfg_attr(
    not(madsim),
    expect(
        clippy::disallowed_methods,
        reason = "a boot, an incarnation and a cluster get their identity here"
    )
)]
fn draw() -> u64 {
    random()
}
