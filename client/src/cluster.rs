//! What the client knows of the cluster: the connections it has, and which of them leads to a key's home.
//!
//! There is one *link* per address: a task that keeps a connection to it as long as the address is an endpoint or
//! a member's. Callers choose among the links that are up.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use leasehold_core::wire::{Topology, Welcome};
use leasehold_core::{Instant, NodeId, Peer, Span, Standing, Timing, Token, hash};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;

use crate::backoff::Backoff;
use crate::clock;
use crate::connection::{self, Connection};
use crate::error::{Cause, Unreachable};
use crate::identity;
use crate::options::Options;
use crate::post::Post;
use crate::question::Orphan;

/// What all handles of a client share.
#[derive(Debug)]
pub(crate) struct Cluster {
    options: Options,
    endpoints: Vec<String>,
    seed: (u64, u64),
    state: Mutex<State>,
    /// Something about the links or the topology is new.
    changed: Notify,
    orphans: UnboundedSender<(Orphan, Token)>,
    next_call: AtomicU64,
    post: Post,
}

#[derive(Debug, Default)]
struct State {
    ended: bool,
    links: BTreeMap<String, Link>,
    topology: Option<Topology>,
    timing: Timing,
}

#[derive(Debug)]
struct Link {
    task: JoinHandle<()>,
    connection: Option<Arc<Connection>>,
    /// Why the last attempt failed, or the last connection ended.
    cause: Option<Cause>,
}

/// Locks a mutex. Nothing panics while it holds one of ours, so what a poisoned one guards is whole.
pub(crate) fn lock_up<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cluster {
    pub(crate) fn new(
        endpoints: Vec<String>,
        options: Options,
        orphans: UnboundedSender<(Orphan, Token)>,
    ) -> Arc<Self> {
        let cluster = Arc::new(Self {
            options,
            endpoints,
            seed: identity::draw(),
            state: Mutex::default(),
            changed: Notify::new(),
            orphans,
            next_call: AtomicU64::new(0),
            post: Post::default(),
        });
        for endpoint in &cluster.endpoints {
            cluster.link(&mut lock_up(&cluster.state), endpoint);
        }
        cluster
    }

    pub(crate) const fn options(&self) -> &Options {
        &self.options
    }

    /// The addresses that the caller named.
    pub(crate) fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// What is sent to this client's mailboxes.
    pub(crate) const fn post(&self) -> &Post {
        &self.post
    }

    /// A connection to `node`, or else to any, as soon as there is one.
    pub(crate) async fn towards(
        self: &Arc<Self>,
        node: NodeId,
        deadline: Instant,
    ) -> Option<Arc<Connection>> {
        let direct = lock_up(&self.state).connection_to(node).cloned();
        match direct {
            Some(connection) => Some(connection),
            None => self.choose_by(None, &[], deadline).await,
        }
    }

    /// A number that no call of this client had before.
    pub(crate) fn next_call(&self) -> u64 {
        self.next_call.fetch_add(1, Ordering::Relaxed)
    }

    /// Pauses between the attempts of one call or link, unlike any other's.
    pub(crate) fn backoff(&self, what: &[u8]) -> Backoff {
        let call = self.next_call().to_le_bytes();
        Backoff::new((self.seed.0, hash::keyed(self.seed, &[what, &call])))
    }

    /// The constants that the nodes announced.
    pub(crate) fn timing(&self) -> Timing {
        lock_up(&self.state).timing
    }

    /// The newest topology that a node announced.
    pub(crate) fn topology(&self) -> Option<Topology> {
        lock_up(&self.state).topology.clone()
    }

    /// A lock was granted that nobody awaits, unless it is what the caller has.
    pub(crate) fn give_back(&self, orphan: Orphan, token: Token) {
        if orphan.kept == Some(token) {
            return;
        }
        // Without a receiver the client has ended, and with it its connections, which tells the nodes.
        drop(self.orphans.send((orphan, token)));
    }

    /// Whether the client has ended, and with it its connections.
    pub(crate) fn has_ended(&self) -> bool {
        lock_up(&self.state).ended
    }

    /// Ends all connections.
    pub(crate) fn end(&self) {
        self.post.end();
        let mut state = lock_up(&self.state);
        state.ended = true;
        for link in std::mem::take(&mut state.links).into_values() {
            link.task.abort();
        }
    }

    /// Takes in what a node says about the cluster, unless it is behind.
    pub(crate) fn learn(self: &Arc<Self>, topology: Topology) {
        let mut state = lock_up(&self.state);
        if state.topology.as_ref().is_some_and(|known| known.epoch > topology.epoch) {
            return;
        }
        let stale: Vec<String> = state
            .links
            .keys()
            .filter(|address| {
                !self.endpoints.contains(address)
                    && topology.members.iter().all(|peer| peer.member.client != **address)
            })
            .cloned()
            .collect();
        for address in stale {
            if let Some(link) = state.links.remove(&address) {
                link.task.abort();
            }
        }
        state.topology = Some(topology);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Makes sure that somebody keeps a connection to `address`.
    fn link(self: &Arc<Self>, state: &mut State, address: &str) {
        if !state.ended && !state.links.contains_key(address) {
            let task = tokio::spawn(Arc::clone(self).keep(address.to_owned()));
            let link = Link { task, connection: None, cause: None };
            state.links.insert(address.to_owned(), link);
        }
    }

    /// Keeps a connection to `address`, for ever.
    async fn keep(self: Arc<Self>, address: String) {
        let mut backoff = self.backoff(address.as_bytes());
        loop {
            let cause = match connection::open(&address, &self.options).await {
                Ok(opened) => {
                    backoff.reset();
                    let connection = Connection::new(opened.welcome.topology.node);
                    self.up(&address, Arc::clone(&connection), opened.welcome.clone());
                    connection.serve(opened, &self).await
                }
                Err(cause) => cause,
            };
            self.set(&address, |link| (link.connection, link.cause) = (None, Some(cause)));
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    fn up(self: &Arc<Self>, address: &str, connection: Arc<Connection>, welcome: Welcome) {
        lock_up(&self.state).timing = welcome.timing;
        self.set(address, |link| link.connection = Some(connection));
        self.learn(welcome.topology);
    }

    fn set(&self, address: &str, change: impl FnOnce(&mut Link)) {
        if let Some(link) = lock_up(&self.state).links.get_mut(address) {
            change(link);
        }
        self.changed.notify_waiters();
    }

    /// Connects to all members: a connection was lost, and another node may know better.
    pub(crate) fn widen(self: &Arc<Self>) {
        let mut state = lock_up(&self.state);
        let Some(topology) = &state.topology else { return };
        let addresses: Vec<String> = topology
            .members
            .iter()
            .filter(|peer| state.connection_to(peer.member.id).is_none())
            .map(|peer| peer.member.client.clone())
            .collect();
        for address in addresses {
            self.link(&mut state, &address);
        }
    }

    /// The best connection for something about `key`: its home's, or any; one of a node not in `tried`, if
    /// there is one. `None` while nothing is connected.
    pub(crate) fn choose(
        self: &Arc<Self>,
        key: Option<&[u8]>,
        tried: &[NodeId],
    ) -> Option<Arc<Connection>> {
        let mut state = lock_up(&self.state);
        if let Some(key) = key
            && let Some(home) = state.home(key, tried)
        {
            if let Some(connection) = state.connection_to(home.member.id) {
                return Some(Arc::clone(connection));
            }
            if self.options.direct {
                let address = home.member.client.clone();
                self.link(&mut state, &address);
            }
        }
        let in_order = self.endpoints.iter().chain(state.links.keys());
        let up: Vec<&Arc<Connection>> =
            in_order.filter_map(|address| state.links.get(address)?.connection.as_ref()).collect();
        let fresh = |connection: &&&Arc<Connection>| !tried.contains(&connection.node());
        let lively = up.iter().find(|connection| fresh(connection) && !connection.is_quiet());
        lively
            .or_else(|| up.iter().find(fresh))
            .or(up.first())
            .map(|connection| Arc::clone(connection))
    }

    /// [`Cluster::choose`], as soon as there is a choice; `None` if there is none by `deadline`.
    pub(crate) async fn choose_by(
        self: &Arc<Self>,
        key: Option<&[u8]>,
        tried: &[NodeId],
        deadline: Instant,
    ) -> Option<Arc<Connection>> {
        self.until(deadline, || self.choose(key, tried)).await
    }

    /// Waits until something answers or everything has failed once, for the first connection of a client.
    pub(crate) async fn first(self: &Arc<Self>, deadline: Instant) -> Result<(), Unreachable> {
        let settled = || {
            let state = lock_up(&self.state);
            let any_up = state.links.values().any(|link| link.connection.is_some());
            let all_failed = state.links.values().all(|link| link.cause.is_some());
            (any_up || all_failed).then_some(any_up)
        };
        match self.until(deadline, settled).await {
            Some(true) => Ok(()),
            Some(false) | None => Err(self.causes()),
        }
    }

    /// The connection to `node` at `address`, or why there is none by `deadline`.
    pub(crate) async fn reach(
        self: &Arc<Self>,
        node: Option<NodeId>,
        address: &str,
        deadline: Instant,
    ) -> Result<Arc<Connection>, Cause> {
        let look = || {
            let mut state = lock_up(&self.state);
            if let Some(connection) = node.and_then(|node| state.connection_to(node)) {
                return Some(Ok(Arc::clone(connection)));
            }
            self.link(&mut state, address);
            let link = state.links.get(address)?;
            match (&link.connection, &link.cause) {
                (Some(connection), _) => Some(Ok(Arc::clone(connection))),
                (None, Some(cause)) => Some(Err(cause.clone())),
                (None, None) => None,
            }
        };
        self.until(deadline, look).await.unwrap_or(Err(Cause::TimedOut))
    }

    /// Asks again whenever something changed, until there is an answer or `deadline` has come.
    async fn until<T>(&self, deadline: Instant, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        loop {
            let changed = self.changed.notified();
            if let Some(found) = look() {
                return Some(found);
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = clock::sleep_until(deadline) => return None,
            }
        }
    }

    /// Whether anything is connected.
    pub(crate) fn is_connected(&self) -> bool {
        lock_up(&self.state).links.values().any(|link| link.connection.is_some())
    }

    /// Why what is not connected is not.
    pub(crate) fn causes(&self) -> Unreachable {
        let state = lock_up(&self.state);
        let down = state.links.iter().filter(|(_, link)| link.connection.is_none());
        let cause = |link: &Link| link.cause.clone().unwrap_or(Cause::TimedOut);
        Unreachable(down.map(|(address, link)| (address.clone(), cause(link))).collect())
    }

    /// How long a coordinator may take before another node is asked.
    pub(crate) fn coordination(&self) -> Span {
        /// For forwarding and answering.
        const ON_TOP: Span = Span::from_secs(1);
        self.timing().op_timeout.plus(ON_TOP)
    }
}

impl State {
    /// The key's home among the active masters that were not tried and can perhaps be reached.
    fn home(&self, key: &[u8], tried: &[NodeId]) -> Option<&Peer> {
        let topology = self.topology.as_ref()?;
        let may_be_home = |peer: &&Peer| {
            peer.master
                && peer.standing == Standing::Active
                && !tried.contains(&peer.member.id)
                && match self.connection_to(peer.member.id) {
                    Some(connection) => !connection.is_quiet(),
                    None => {
                        let link = self.links.get(&peer.member.client);
                        link.is_none_or(|link| link.cause.is_none())
                    }
                }
        };
        let masters = topology.members.iter().filter(may_be_home);
        let home = hash::home(topology.cluster?, masters.map(|peer| peer.member.id), key)?;
        topology.members.iter().find(|peer| peer.member.id == home)
    }

    fn connection_to(&self, node: NodeId) -> Option<&Arc<Connection>> {
        let mut up = self.links.values().filter_map(|link| link.connection.as_ref());
        up.find(|connection| connection.node() == node)
    }
}
