//! The client: a handle on everything behind it, and the calls.

use std::sync::Arc;
use std::time::Duration;

use leasehold_core::wire::ClientItem;
use leasehold_core::{Action, Amendment, ClusterId, Key, Outcome, Owner, Parcel, Token};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

use crate::answer::{Amended, Holder, NodeReport, WaitingReport};
use crate::clock::{self, Instant};
use crate::cluster::Cluster;
use crate::election::Election;
use crate::error::{Doubt, Error, Fault, Reason, Refusal};
use crate::exchange::Exchange;
use crate::keeper::Keeper;
use crate::listing::Listing;
use crate::operations::{Extend, Lock, Release, Update};
use crate::options::Options;
use crate::question::{Orphan, Question, Reply};
use crate::registry::{self, Mailbox, Register, Registered, SendError, Target};
use crate::serve::{Serve, ServerHandle, Serving};
use crate::survey::{self, Lags, Summary};
use crate::watch::{Watch, WatchEnd};

/// A connection to a cluster, cheap to clone. Everything ends when the last clone, the last guard
/// and the last lease are dropped, and the releases of dropped guards are answered.
///
/// ```no_run
/// use std::time::Duration;
/// use leasehold_client::{Client, Options};
///
/// # async fn example() -> Result<(), leasehold_client::Error> {
/// let client = Client::connect(["127.0.0.1:7400"], Options::new()).await?;
/// let guard = client.lock("job").value("me").ttl(Duration::from_secs(30)).await?;
/// println!("token {}", guard.token());
/// guard.release().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    cluster: Arc<Cluster>,
    keeper: Arc<Keeper>,
    /// Where what must outlive a call is run.
    runtime: Handle,
    janitor: JoinHandle<()>,
    keeping: JoinHandle<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.keeper.close();
        self.keeping.abort();
        self.janitor.abort();
        self.cluster.end();
    }
}

impl Client {
    /// Connects to all of `endpoints` (`host:port` each) and returns as soon as one of them has answered. Lost
    /// connections are made again, with growing pauses, as long as the client lives. Must be called within a
    /// tokio runtime.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] if every endpoint failed once, or none answered within the call's timeout;
    /// [`Error::Invalid`] without endpoints.
    pub async fn connect(
        endpoints: impl IntoIterator<Item = impl Into<String>>,
        options: Options,
    ) -> Result<Self, Error> {
        let endpoints: Vec<String> = endpoints.into_iter().map(Into::into).collect();
        if endpoints.is_empty() {
            return Err(Error::Invalid(Fault::NoEndpoint));
        }
        let deadline = clock::now().after(options.timeout.into());
        let (orphans, orphaned) = unbounded_channel();
        let cluster = Cluster::new(endpoints, options, orphans);
        let janitor = tokio::spawn(give_back(Arc::clone(&cluster), orphaned));
        let keeper = Keeper::new();
        let keeping = tokio::spawn(Arc::clone(&keeper).run());
        let runtime = Handle::current();
        let inner = Inner { cluster, keeper, runtime, janitor, keeping };
        let client = Self { inner: Arc::new(inner) };
        client.inner.cluster.first(deadline).await?;
        Ok(client)
    }

    /// Acquires `key` if it is free. Await the builder to do it, for a [`Guard`](crate::Guard).
    pub fn lock(&self, key: impl Into<Key>) -> Lock {
        Lock::new(self.clone(), key.into())
    }

    /// Registers `name` for a new mailbox of this client. Await the builder to do it.
    pub fn register(&self, name: impl Into<Key>) -> Register {
        Register::new(self.clone(), name.into())
    }

    /// Where `name` is registered, agreed by a quorum.
    ///
    /// # Errors
    ///
    /// As for [`Client::read`]; [`Error::Refused`] if the key is held by somebody who did not register it as a name.
    pub async fn whereis(&self, name: impl Into<Key>) -> Result<Option<Registered>, Error> {
        registry::whereis(self, name.into()).await
    }

    /// Sends a message to whoever is registered as `to`, or to the mailbox at that address: at most once, to wherever in
    /// the cluster its client is connected. Where nodes want a token, a name takes the right to read it; an address
    /// takes none, since nobody can guess one.
    ///
    /// # Errors
    ///
    /// [`SendError`], which tells apart what certainly did not arrive and what may have.
    pub async fn send(
        &self,
        to: impl Into<Target>,
        message: impl Into<leasehold_core::Bytes>,
    ) -> Result<(), SendError> {
        registry::send(self, to.into(), Parcel::Info(message.into())).await
    }

    /// [`Client::send`] for a request that a server handles and does not answer.
    ///
    /// # Errors
    ///
    /// As for [`Client::send`].
    pub async fn cast(
        &self,
        to: impl Into<Target>,
        request: impl Into<leasehold_core::Bytes>,
    ) -> Result<(), SendError> {
        registry::send(self, to.into(), Parcel::Cast(request.into())).await
    }

    /// Sends a request, and waits for its answer as long as calls may take.
    ///
    /// # Errors
    ///
    /// As for [`Client::send`], and [`SendError::NoReply`].
    pub async fn call(
        &self,
        to: impl Into<Target>,
        request: impl Into<leasehold_core::Bytes>,
    ) -> Result<leasehold_core::Bytes, SendError> {
        registry::call(self, to.into(), request.into()).await
    }

    /// A mailbox without a name, for `capacity` messages at a time.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] if no node can be reached in time.
    pub async fn mailbox(&self, capacity: usize) -> Result<Mailbox, Error> {
        Mailbox::new(self, capacity).await
    }

    /// Runs `handler` in a task that holds `name`: nobody else runs under that name in the whole cluster. Await the
    /// builder to start it.
    pub fn serve<S: Serve>(&self, name: impl Into<Key>, ttl: Duration, handler: S) -> Serving<S> {
        Serving::new(self.register(name).ttl(ttl), handler)
    }

    /// Runs `handler` in a task without a name; [`ServerHandle::address`] says where it is.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] if no node can be reached in time.
    pub async fn serve_unnamed<S: Serve>(&self, handler: S) -> Result<ServerHandle, Error> {
        ServerHandle::unnamed(self, handler).await
    }

    /// The election of this name: whoever leads holds the key of the same name.
    #[must_use]
    pub fn election(&self, name: impl Into<Key>) -> Election {
        Election::new(self.clone(), name.into())
    }

    /// Lets somebody's lease on `key` end no sooner than `ttl` from now. For one's own lease, see
    /// [`Guard::extend`](crate::Guard::extend).
    pub fn extend(&self, key: impl Into<Key>, owner: Owner, ttl: Duration) -> Extend {
        Extend::new(self.clone(), key.into(), owner, ttl)
    }

    /// Replaces the value that `owner` holds on `key`; the lease ends when it would have ended.
    pub fn update(
        &self,
        key: impl Into<Key>,
        owner: Owner,
        value: impl Into<leasehold_core::Bytes>,
    ) -> Update {
        Update::new(self.clone(), key.into(), owner, value.into())
    }

    /// Ends the ownership of `owner` on `key`; an owner that says nothing means whoever holds it, and is not sent
    /// again when nobody knows what became of the first sending. For one's own lease, see
    /// [`Guard::release`](crate::Guard::release).
    pub fn release(&self, key: impl Into<Key>, owner: Owner) -> Release {
        Release::new(self.clone(), key.into(), owner)
    }

    /// Who holds `key`, agreed by a quorum.
    ///
    /// # Errors
    ///
    /// [`Error::NotDone`], [`Error::Unreachable`] or [`Error::Invalid`].
    pub async fn read(&self, key: impl Into<Key>) -> Result<Option<Holder>, Error> {
        let reply = self.ask(key.into(), Action::Read).await?;
        let Reply::Outcome(Outcome::Found(holder)) = reply else { return Err(misfit(reply)) };
        Ok(holder.map(Into::into))
    }

    /// Who holds `key` as far as the first connected endpoint knows by itself: fast, and possibly stale or not
    /// even agreed.
    ///
    /// # Errors
    ///
    /// [`Error::NotDone`] or [`Error::Unreachable`].
    pub async fn read_local(&self, key: impl Into<Key>) -> Result<Option<Holder>, Error> {
        let reply = self.put(Question::Local(key.into())).await?;
        let Reply::Local(holder) = reply else { return Err(misfit(reply)) };
        Ok(holder.map(Into::into))
    }

    /// Who holds `key`, agreed by a quorum, if that is the ownership with this fencing token. While its lock-delay lasts
    /// an ownership still holds the key. For services that are asked to act for an owner: each acquisition of a key has a
    /// greater token than all before it.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if somebody else holds it, or nobody does; else [`Error::NotDone`], [`Error::Unreachable`] or
    /// [`Error::Invalid`].
    pub async fn check_token(&self, key: impl Into<Key>, token: Token) -> Result<Holder, Error> {
        match self.read(key).await? {
            Some(holder) if holder.token == token => Ok(holder),
            Some(other) => Err(Error::Refused(Refusal::Held(other))),
            None => Err(Error::Refused(Refusal::NotHeld)),
        }
    }

    /// The held keys that start with `prefix`, page by page, as far as the first connected endpoint knows by itself:
    /// possibly stale or not even agreed, like [`Client::read_local`].
    ///
    /// A key that one owner holds during the whole listing is listed once. One that is acquired or given up meanwhile
    /// may be left out, or be there more than once.
    pub fn list(&self, prefix: impl Into<leasehold_core::Bytes>) -> Listing {
        Listing::new(self.clone(), prefix.into())
    }

    /// Who waits for `key`, by what every member says; and why some could not be asked.
    pub async fn waiters(&self, key: impl Into<Key>) -> Vec<WaitingReport> {
        let deadline = Self::deadline(self.options().timeout);
        let question = Question::Waiting(key.into());
        let asked = crate::members::ask_all(self.cluster(), &question, deadline).await;
        asked.into_iter().map(Into::into).collect()
    }

    /// Watches the keys that start with `prefix`, as far as the first connected endpoint knows by itself. What changes
    /// there after this returned is told, in the order in which that node saw it; to know what was there before, list
    /// afterwards. The watch ends with its connection.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] if nothing is connected in time, [`Error::NotDone`] if the node did not take it on,
    /// [`Error::NotAllowed`].
    pub async fn watch(&self, prefix: impl Into<leasehold_core::Bytes>) -> Result<Watch, Error> {
        let deadline = Self::deadline(self.options().timeout);
        let Some(connection) = self.cluster().choose_by(None, &[], deadline).await else {
            return Err(Error::Unreachable(self.cluster().causes()));
        };
        let (mut watch, begun, watcher) = Watch::new(self.cluster(), Arc::clone(&connection));
        let item = ClientItem::Watch { call: watch.call(), prefix: prefix.into() };
        connection.watch(watch.call(), item, clock::now(), watcher).await;
        tokio::select! {
            biased;
            begun = begun => match begun {
                Ok(()) => Ok(watch),
                Err(_) => Err(match watch.next().await {
                    Err(WatchEnd::NotDone(reason)) => Error::NotDone(reason),
                    Err(WatchEnd::NotAllowed(why)) => Error::NotAllowed(why),
                    Ok(_) | Err(WatchEnd::Lagged | WatchEnd::Disconnected) => {
                        Error::Unreachable(self.cluster().causes())
                    }
                }),
            },
            () = clock::sleep_until(deadline) => Err(Error::NotDone(Reason::Unanswered)),
        }
    }

    /// Waits until somebody holds `key`, as far as a node knows by itself, for `patience` at most.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if nobody came to hold it, else [`Error::NotDone`] or [`Error::Unreachable`].
    pub async fn wait_held(
        &self,
        key: impl Into<Key>,
        patience: Duration,
    ) -> Result<Holder, Error> {
        let reply = self.wait(key.into(), Action::WaitHeld, patience).await?;
        let Reply::Outcome(Outcome::Woken(Some(holder))) = reply else {
            return Err(misfit(reply));
        };
        Ok(holder.into())
    }

    /// Waits until nobody holds `key` any more, as far as a node knows by itself, for `patience` at most.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if nobody holds it in the first place, [`Error::TimedOut`] if it stayed held, else
    /// [`Error::NotDone`] or [`Error::Unreachable`].
    pub async fn wait_released(
        &self,
        key: impl Into<Key>,
        patience: Duration,
    ) -> Result<(), Error> {
        let reply = self.wait(key.into(), Action::WaitReleased, patience).await?;
        let Reply::Outcome(Outcome::Woken(None)) = reply else { return Err(misfit(reply)) };
        Ok(())
    }

    /// Declares a new cluster of the members that the nodes were configured with: no lease exists, and the
    /// masters vote at once.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if a node was active before, [`Error::NotDone`] if a master could not be reached (repeat
    /// it), [`Error::Unknown`] if the connection broke meanwhile (repeating tells).
    pub async fn init(&self) -> Result<ClusterId, Error> {
        let deadline = Self::deadline(self.options().timeout);
        let question = Question::init(clock::now(), deadline);
        let reply = self.exchange(question, deadline).run().await?.reply;
        if let Reply::Outcome(Outcome::Founded(cluster)) = reply {
            Ok(cluster)
        } else if let Reply::Outcome(Outcome::Refused(refusal)) = reply {
            Err(Error::Refused(refusal.into()))
        } else {
            Err(Error::Unknown(Doubt::Nonsense))
        }
    }

    /// Lets the cluster have other members, and waits until a quorum of its masters votes again.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if the change makes no sense as things are, [`Error::NotDone`] if a node that is to be a
    /// member could not be reached or another change is under way (repeat it), [`Error::Unknown`] if nobody can tell
    /// whether the change was agreed on (look at [`Client::status`], or repeat it).
    pub async fn amend(&self, amendment: Amendment) -> Result<Amended, Error> {
        let deadline = Self::deadline(self.options().timeout);
        let question = Question::amend(amendment, clock::now(), deadline);
        let reply = self.exchange(question, deadline).run().await?.reply;
        if let Reply::Outcome(Outcome::Configured { epoch, complete }) = reply {
            Ok(Amended { epoch, complete })
        } else {
            Err(Error::Unknown(Doubt::Nonsense))
        }
    }

    /// Asks every member what it knows of itself and its peers, and says why some could not be asked.
    pub async fn status(&self) -> Vec<NodeReport> {
        let deadline = Self::deadline(self.options().timeout);
        let asked = crate::members::ask_all(self.cluster(), &Question::Status, deadline).await;
        asked.into_iter().map(Into::into).collect()
    }

    /// How long a lock takes right now, tried on a key that nobody else uses, and how far replicas are behind.
    ///
    /// # Errors
    ///
    /// As for [`Client::lock`].
    pub async fn lag(&self) -> Result<Lags, Error> {
        survey::lag(self).await
    }

    /// How much there is, by what every member that can be reached says.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] if none can be.
    pub async fn summary(&self) -> Result<Summary, Error> {
        survey::summary(self).await
    }

    /// Puts a question, within the time that calls take at most.
    pub(crate) async fn put(&self, question: Question) -> Result<Reply, Error> {
        let deadline = Self::deadline(self.options().timeout);
        Ok(self.exchange(question, deadline).run().await?.reply)
    }

    async fn ask(&self, key: Key, action: Action) -> Result<Reply, Error> {
        let now = clock::now();
        let deadline = now.after(self.options().timeout.into());
        let question = Question::within(key, action, now, deadline);
        Ok(self.exchange(question, deadline).run().await?.reply)
    }

    async fn wait(&self, key: Key, action: Action, patience: Duration) -> Result<Reply, Error> {
        /// How much later than the node we give up.
        const GRACE: Duration = Duration::from_secs(1);
        let (patience, deadline) =
            (Self::deadline(patience), Self::deadline(patience.saturating_add(GRACE)));
        let question = Question::Key { key, action, patience, wait: None };
        Ok(self.exchange(question, deadline).run().await?.reply)
    }

    pub(crate) fn exchange(&self, question: Question, deadline: Instant) -> Exchange {
        Exchange::new(self.cluster(), question, deadline)
    }

    pub(crate) fn cluster(&self) -> &Arc<Cluster> {
        &self.inner.cluster
    }

    pub(crate) fn keeper(&self) -> &Arc<Keeper> {
        &self.inner.keeper
    }

    /// Where what must outlive a call is run.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.inner.runtime
    }

    pub(crate) fn options(&self) -> &Options {
        self.inner.cluster.options()
    }

    fn deadline(timeout: Duration) -> Instant {
        clock::now().after(timeout.into())
    }
}

/// What a reply means that is not what was asked for: a refusal, or nothing that makes sense.
fn misfit(reply: Reply) -> Error {
    if let Reply::Outcome(Outcome::Refused(refusal)) = reply {
        Error::Refused(refusal.into())
    } else {
        Error::NotDone(Reason::Nonsense)
    }
}

/// Releases, by token, what was granted and nobody awaits any more (protocol, 5.6).
async fn give_back(cluster: Arc<Cluster>, mut orphaned: UnboundedReceiver<(Orphan, Token)>) {
    while let Some((orphan, token)) = orphaned.recv().await {
        tokio::spawn(release(Arc::clone(&cluster), orphan, token));
    }
}

/// Releases it once somebody can, unless the lease ends by itself before.
async fn release(cluster: Arc<Cluster>, orphan: Orphan, token: Token) {
    let over = clock::now().after(orphan.lease);
    let (key, id) = (orphan.key.clone(), orphan.release_id());
    let owner = Owner { value: None, token: Some(token) };
    let mut backoff = cluster.backoff(b"give back");
    while !cluster.has_ended() && clock::now() < over {
        let now = clock::now();
        let deadline = now.after(cluster.options().timeout.into()).min(over);
        let action = Action::Release { id, owner: owner.clone() };
        let question = Question::within(key.clone(), action, now, deadline);
        if Exchange::new(&cluster, question, deadline).run().await.is_ok() {
            return;
        }
        clock::sleep_until(clock::now().after(backoff.pause().into())).await;
    }
}

#[cfg(test)]
impl Client {
    /// Returns once there is a connection to `node`.
    pub(crate) async fn reaches(&self, node: leasehold_core::NodeId, address: &str) {
        let deadline = Self::deadline(Duration::from_secs(60));
        while self.cluster().reach(Some(node), address, deadline).await.is_err() {
            tokio::task::yield_now().await;
        }
    }

    /// Returns once nothing is connected.
    pub(crate) async fn disconnected(&self) {
        while self.cluster().is_connected() {
            tokio::task::yield_now().await;
        }
    }
}
