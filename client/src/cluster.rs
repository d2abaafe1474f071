//! What the client knows of the cluster: the connections it has, and which of them leads to a key's home.
//!
//! There is one *link* per address: a task that keeps a connection to it as long as the address is an endpoint or
//! a member's. Callers choose among the links that are up.
//!
//! The cluster that is reached first is the client's cluster. Each connection is compared with it, at its welcome and
//! whenever the node says that the cluster changed, whichever way its address was found; a node of another cluster is
//! refused. A node that belongs to no cluster, or is no member any more, stays connected and is asked nothing about
//! keys: what it does not know must not be taken for the cluster's answer.

mod ending;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use leasehold_core::wire::{Topology, Welcome};
use leasehold_core::{ClusterId, Instant, NodeId, Peer, Span, Standing, Timing, Token, hash};
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::backoff::Backoff;
use crate::clock;
use crate::connection::{self, Connection};
use crate::error::{Cause, Error, Reason, Unreachable};
use crate::identity;
use crate::options::{Credentials, Options};
use crate::post::Post;
use crate::question::Orphan;
use crate::runtime::{Outstanding, Pulse, UnderWay};

/// For so long at least, endpoints may answer after the first one did, before a client is connected.
const SECOND_ANSWER: Span = Span::from_millis(100);

/// What all handles of a client share in one runtime.
#[derive(Debug)]
pub(crate) struct Cluster {
    options: Options,
    /// How the client says who it is, from the next connection on.
    credentials: watch::Sender<Credentials>,
    endpoints: Vec<String>,
    seed: (u64, u64),
    /// Where links run.
    runtime: Option<Handle>,
    pulse: Pulse,
    /// Why there will be no connections any more.
    over: OnceLock<Cause>,
    closing: AtomicBool,
    /// Locks under way, and what is to be given back.
    outstanding: Arc<Outstanding>,
    /// Releases of what was granted to nobody.
    returning: Arc<Outstanding>,
    state: Mutex<State>,
    /// Something about the links or the topology is new.
    changed: Notify,
    orphans: UnboundedSender<(Orphan, Token, [UnderWay; 2])>,
    next_call: AtomicU64,
    post: Post,
}

#[derive(Debug, Default)]
struct State {
    links: BTreeMap<String, Link>,
    /// The cluster that was reached first.
    identity: Option<ClusterId>,
    topology: Option<Topology>,
    timing: Timing,
}

#[derive(Debug)]
struct Link {
    task: JoinHandle<()>,
    connection: Option<Arc<Connection>>,
    /// Why the last attempt failed, or the last connection ended.
    cause: Option<Cause>,
    /// The last attempt failed. Otherwise the first one is under way, or a connection was lost just now.
    failed: bool,
}

/// Which nodes will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom<'a> {
    /// The home of this key, or else any member.
    Home(&'a [u8]),
    /// Any member.
    Member,
    /// Any member, or where every endpoint is without a cluster, any of those.
    Founder,
}

/// Locks a mutex. Nothing panics while it holds one of ours, so what a poisoned one guards is whole.
pub(crate) fn lock_up<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cluster {
    pub(crate) fn new(
        endpoints: Vec<String>,
        options: Options,
        credentials: Credentials,
        identity: Option<ClusterId>,
        runtime: Option<Handle>,
        orphans: UnboundedSender<(Orphan, Token, [UnderWay; 2])>,
    ) -> Arc<Self> {
        Arc::new(Self {
            options,
            credentials: watch::Sender::new(credentials),
            endpoints,
            seed: identity::draw(),
            pulse: Pulse::of(runtime.as_ref()),
            runtime,
            over: OnceLock::new(),
            closing: AtomicBool::new(false),
            outstanding: Arc::default(),
            returning: Arc::default(),
            state: Mutex::new(State { identity, ..State::default() }),
            changed: Notify::new(),
            orphans,
            next_call: AtomicU64::new(0),
            post: Post::default(),
        })
    }

    /// Begins to connect to the endpoints.
    pub(crate) fn begin(self: &Arc<Self>) {
        for endpoint in &self.endpoints {
            self.link(&mut lock_up(&self.state), endpoint);
        }
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
        let direct = {
            let state = lock_up(&self.state);
            state.connection_to(node).filter(|connection| state.serves(connection)).cloned()
        };
        match direct {
            Some(connection) => Some(connection),
            None => self.choose_by(Whom::Member, &[], deadline).await,
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
        let under_way = [self.outstanding.begin(), self.returning.begin()];
        drop(self.orphans.send((orphan, token, under_way)));
    }

    /// The cluster that was reached first.
    pub(crate) fn identity(&self) -> Option<ClusterId> {
        lock_up(&self.state).identity
    }

    /// Changes how the client says who it is. What failed is tried again at once.
    pub(crate) fn present(&self, change: impl FnOnce(&mut Credentials)) {
        let mut state = lock_up(&self.state);
        // Under the lock, so that an attempt with the old ones is not taken for one with the new.
        self.credentials.send_modify(change);
        for link in state.links.values_mut() {
            link.failed = false;
        }
    }

    /// Takes in what a node says about the cluster, unless it is behind.
    ///
    /// # Errors
    ///
    /// If it is of another cluster.
    pub(crate) fn learn(self: &Arc<Self>, topology: Topology) -> Result<(), Cause> {
        let mut state = lock_up(&self.state);
        state.admit(topology.cluster)?;
        let unfounded = topology.cluster.is_none() && state.identity.is_some();
        let behind = state.topology.as_ref().is_some_and(|known| known.epoch > topology.epoch);
        if unfounded || behind {
            drop(state);
            self.changed.notify_waiters();
            return Ok(());
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
        Ok(())
    }

    /// Makes sure that somebody keeps a connection to `address`.
    fn link(self: &Arc<Self>, state: &mut State, address: &str) {
        let Some(runtime) = &self.runtime else { return };
        if !self.has_ended() && !state.links.contains_key(address) {
            let task = runtime.spawn(Arc::clone(self).keep(address.to_owned()));
            let link = Link { task, connection: None, cause: None, failed: false };
            state.links.insert(address.to_owned(), link);
        }
    }

    /// Keeps a connection to `address`, for ever.
    async fn keep(self: Arc<Self>, address: String) {
        let mut backoff = self.backoff(address.as_bytes());
        let mut credentials = self.credentials.subscribe();
        loop {
            let shown = credentials.borrow_and_update().clone();
            let (cause, failed) = match connection::open(&address, &self.options, &shown).await {
                Ok(opened) => {
                    let connection = Connection::new(&opened.welcome.topology);
                    match self.up(&address, &connection, opened.welcome.clone()) {
                        Ok(()) => {
                            backoff.reset();
                            let cause = connection.serve(opened, &self).await;
                            let rejected = cause.is_rejection();
                            (cause, rejected)
                        }
                        Err(cause) => (cause, true),
                    }
                }
                Err(cause) => (cause, true),
            };
            self.set(&address, |link| {
                link.failed = failed && !credentials.has_changed().unwrap_or(false);
                (link.connection, link.cause) = (None, Some(cause));
            });
            tokio::select! {
                biased;
                Ok(()) = credentials.changed() => {}
                () = tokio::time::sleep(backoff.pause()) => {}
            }
        }
    }

    fn up(
        self: &Arc<Self>,
        address: &str,
        connection: &Arc<Connection>,
        welcome: Welcome,
    ) -> Result<(), Cause> {
        {
            let mut state = lock_up(&self.state);
            state.admit(welcome.topology.cluster)?;
            state.timing = welcome.timing;
            if let Some(link) = state.links.get_mut(address) {
                (link.connection, link.failed) = (Some(Arc::clone(connection)), false);
            }
        }
        // Callers hear of both at once.
        self.learn(welcome.topology)
    }

    fn set(&self, address: &str, change: impl FnOnce(&mut Link)) {
        if let Some(link) = lock_up(&self.state).links.get_mut(address) {
            change(link);
        }
        self.changed.notify_waiters();
    }

    /// Connects to all members: a connection was lost, and another node may know better.
    pub(crate) fn widen(self: &Arc<Self>) {
        self.widen_in(&mut lock_up(&self.state));
    }

    fn widen_in(self: &Arc<Self>, state: &mut State) {
        let Some(topology) = &state.topology else { return };
        let addresses: Vec<String> = topology
            .members
            .iter()
            .filter(|peer| state.connection_to(peer.member.id).is_none())
            // A node that was not met yet is known without it.
            .filter(|peer| !peer.member.client.is_empty())
            .map(|peer| peer.member.client.clone())
            .collect();
        for address in addresses {
            self.link(state, &address);
        }
    }

    /// The best connection: a key's home's, or any; one of a node not in `tried`, if there is one. `None` while no node
    /// that will do is connected.
    pub(crate) fn choose(
        self: &Arc<Self>,
        whom: Whom<'_>,
        tried: &[NodeId],
    ) -> Option<Arc<Connection>> {
        let mut state = lock_up(&self.state);
        if let Whom::Home(key) = whom
            && let Some(home) = state.home(key, tried)
        {
            let connected = state.connection_to(home.member.id);
            if let Some(connection) = connected.filter(|connection| state.serves(connection)) {
                return Some(Arc::clone(connection));
            }
            if self.options.direct {
                let address = home.member.client.clone();
                self.link(&mut state, &address);
            }
        }
        let founder = whom == Whom::Founder && state.is_settled() && !state.any_serves();
        let in_order = self.endpoints.iter().chain(state.links.keys());
        let up: Vec<&Arc<Connection>> = in_order
            .filter_map(|address| state.links.get(address)?.open())
            .filter(|connection| founder || state.serves(connection))
            .collect();
        if up.is_empty() {
            // A node that was removed knows where the others are.
            self.widen_in(&mut state);
            return None;
        }
        let fresh = |connection: &&&Arc<Connection>| !tried.contains(&connection.node());
        let lively = up.iter().find(|connection| fresh(connection) && !connection.is_quiet());
        lively
            .or_else(|| up.iter().find(fresh))
            .or(up.first())
            .map(|connection| Arc::clone(connection))
    }

    /// [`Cluster::choose`], as soon as there is a choice; `None` if there is none by `deadline`, or waiting for one is of
    /// no use. [`Cluster::failure`] says why.
    pub(crate) async fn choose_by(
        self: &Arc<Self>,
        whom: Whom<'_>,
        tried: &[NodeId],
        deadline: Instant,
    ) -> Option<Arc<Connection>> {
        let look = || match self.choose(whom, tried) {
            None if self.is_in_vain(whom) => Some(None),
            None => None,
            chosen => Some(chosen),
        };
        self.until(deadline, look).await.flatten()
    }

    /// Whether nothing that this client does by itself will connect it: it has ended; every endpoint is without a cluster;
    /// or nothing is connected, each last attempt failed, and a node that was there does not serve this client.
    fn is_in_vain(&self, whom: Whom<'_>) -> bool {
        let state = lock_up(&self.state);
        let rejected = state.links.values().any(|link| {
            link.connection.is_none() && link.cause.as_ref().is_some_and(Cause::is_rejection)
        });
        let unfounded = whom != Whom::Founder && self.is_unfounded(&state);
        self.has_ended() || (!state.any_serves() && state.is_settled() && (rejected || unfounded))
    }

    /// Whether every endpoint is connected and without a cluster.
    fn is_unfounded(&self, state: &State) -> bool {
        let unfounded = |address| {
            let link: Option<&Link> = state.links.get(address);
            let connection = link.and_then(Link::open);
            connection.is_some_and(|connection| !connection.is_founded())
        };
        state.identity.is_none() && self.endpoints.iter().all(unfounded)
    }

    /// Waits until something answers or everything has failed once, for the first connection of a client. Endpoints of
    /// two clusters are an error here, since each client with this list might take another one for its own: so after the
    /// first answer the others have a moment for theirs.
    pub(crate) async fn first(self: &Arc<Self>, deadline: Instant) -> Result<(), Error> {
        let begun = clock::now();
        let found = self.until(deadline, || {
            let state = lock_up(&self.state);
            (state.any_serves() || state.is_settled()).then_some(())
        });
        if found.await.is_some() {
            let now = clock::now();
            let moment = now.after(now.since(begun).max(SECOND_ANSWER)).min(deadline);
            self.until(moment, || lock_up(&self.state).is_settled().then_some(())).await;
        }
        let causes = self.causes();
        let other = |(_, cause): &(String, Cause)| matches!(cause, Cause::OtherCluster { .. });
        let any_up = lock_up(&self.state).links.values().any(|link| link.open().is_some());
        if any_up && !causes.0.iter().any(other) { Ok(()) } else { Err(causes.into()) }
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
            match (link.open(), &link.cause) {
                (Some(connection), _) => Some(Ok(Arc::clone(connection))),
                (None, Some(cause)) => Some(Err(cause.clone())),
                (None, None) => None,
            }
        };
        self.until(deadline, look).await.unwrap_or(Err(Cause::TimedOut))
    }

    /// Pauses, unless there is nothing to wait for any more; `None` if `deadline` comes before the end of the pause.
    pub(crate) async fn pause(&self, pause: Span, deadline: Instant) -> Option<()> {
        let until = clock::now().after(pause);
        self.until::<()>(until.min(deadline), || None).await;
        (until < deadline).then_some(())
    }

    /// Asks again whenever something changed, until there is an answer, none can come any more, or `deadline` has come.
    async fn until<T>(&self, deadline: Instant, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        loop {
            let changed = self.changed.notified();
            if let Some(found) = look() {
                return Some(found);
            }
            if self.has_ended() {
                return None;
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = clock::sleep_until(deadline) => return None,
            }
        }
    }

    /// Whether a member is connected.
    pub(crate) fn is_connected(&self) -> bool {
        lock_up(&self.state).any_serves()
    }

    /// Why there is nobody to ask.
    pub(crate) fn failure(&self) -> Error {
        {
            let state = lock_up(&self.state);
            if self.is_forgotten() {
                return Error::NotDone(Reason::Forgotten);
            }
            if self.is_unfounded(&state) {
                let mut connections = state.links.values().filter_map(Link::open);
                let stranger = connections.any(|connection| connection.is_stranger());
                return Error::NotDone(if stranger {
                    Reason::Stranger
                } else {
                    Reason::NotFounded
                });
            }
        }
        self.causes().into()
    }

    /// Why each address leads to no member.
    pub(crate) fn causes(&self) -> Unreachable {
        if let Some(why) = self.over.get() {
            let endpoints = self.endpoints.iter();
            return Unreachable(endpoints.map(|one| (one.clone(), why.clone())).collect());
        }
        let state = lock_up(&self.state);
        let cause = |link: &Link| match link.open() {
            Some(connection) if state.serves(connection) => None,
            Some(_) => Some(Cause::NoMember),
            None => Some(link.cause.clone().unwrap_or(Cause::TimedOut)),
        };
        let links = state.links.iter();
        Unreachable(
            links.filter_map(|(address, link)| Some((address.clone(), cause(link)?))).collect(),
        )
    }

    /// How long a coordinator may take before another node is asked.
    pub(crate) fn coordination(&self) -> Span {
        /// For forwarding and answering.
        const ON_TOP: Span = Span::from_secs(1);
        self.timing().op_timeout.plus(ON_TOP)
    }
}

impl Link {
    /// The connection, unless it has ended.
    fn open(&self) -> Option<&Arc<Connection>> {
        self.connection.as_ref().filter(|connection| connection.is_open())
    }
}

impl State {
    /// Takes the first cluster for the client's own, and refuses any other one.
    fn admit(&mut self, found: Option<ClusterId>) -> Result<(), Cause> {
        match (self.identity, found) {
            (Some(expected), Some(found)) if expected != found => {
                Err(Cause::OtherCluster { found, expected })
            }
            (None, Some(found)) => {
                self.identity = Some(found);
                Ok(())
            }
            (Some(_) | None, _) => Ok(()),
        }
    }

    /// Whether the node at the other end is a member, by its own word and that of the newest topology.
    fn serves(&self, connection: &Connection) -> bool {
        let members = self.topology.as_ref().map(|topology| topology.members.as_slice());
        let members = members.unwrap_or_default();
        let named = |peer: &Peer| peer.member.id == connection.node();
        connection.is_founded() && (members.is_empty() || members.iter().any(named))
    }

    fn any_serves(&self) -> bool {
        let mut up = self.links.values().filter_map(Link::open);
        up.any(|connection| self.serves(connection))
    }

    /// Whether each link is up, or its last attempt failed.
    fn is_settled(&self) -> bool {
        self.links.values().all(|link| link.connection.is_some() || link.failed)
    }

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
        let mut up = self.links.values().filter_map(Link::open);
        up.find(|connection| connection.node() == node)
    }
}
