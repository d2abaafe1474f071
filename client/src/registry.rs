//! Names for mailboxes, and messages to whoever has a name.
//!
//! A registration is an ownership of the key of its name. What the key holds is the address of a mailbox; what the caller
//! has to say goes into the labels. Messages travel from node to node at most once, and the sender is told whether they
//! arrived in the mailbox. A client that has to change the node where its mailboxes are updates what its names hold.

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use leasehold_core::wire::ClientItem;
use leasehold_core::{Address, Bytes, Delivery, Instant, Key, NodeId, Parcel, Token};
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::answer::{Holder, Released};
use crate::client::Client;
use crate::clock;
use crate::error::{Error, Refusal, Unreachable};
use crate::guard::{Belief, Guard};
use crate::held::Lost;
use crate::labels::Labels;
use crate::operations::{Call, Lock};
use crate::post::{self, Asked};
use crate::question::Reply;

/// Messages that may wait in a mailbox if its owner does not say otherwise.
const CAPACITY: usize = 256;
/// The label with the caller's own value.
const VALUE: &str = "value";

/// Where to send something: a name, or the address of a mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Whoever is registered under this name.
    Name(Key),
    /// This mailbox.
    Address(Address),
}

impl From<&str> for Target {
    fn from(name: &str) -> Self {
        Self::Name(name.into())
    }
}

impl From<String> for Target {
    fn from(name: String) -> Self {
        Self::Name(name.into())
    }
}

impl From<Key> for Target {
    fn from(name: Key) -> Self {
        Self::Name(name)
    }
}

impl From<Address> for Target {
    fn from(address: Address) -> Self {
        Self::Address(address)
    }
}

/// Why a message did not arrive, or may not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Nobody is registered under the name. Nothing was sent.
    #[error("nobody is registered under this name")]
    Nobody,
    /// The mailbox is not there any more; its client is gone, or about to register anew. It did not arrive.
    #[error("the mailbox is not there any more")]
    Gone,
    /// The mailbox is full. It did not arrive.
    #[error("the mailbox is full")]
    Full,
    /// The node of the mailbox cannot be reached from the sender's. It did not arrive.
    #[error("node {:016x}, where the mailbox is, cannot be reached", .0.0)]
    Unreachable(NodeId),
    /// The message is larger than [`MAX_MAIL`](crate::MAX_MAIL). It was not sent.
    #[error("the message is larger than {} bytes", leasehold_core::MAX_MAIL)]
    TooLarge,
    /// The node carries as much as it may. It was not sent.
    #[error("the node carries as much mail as it may")]
    Busy,
    /// It was sent, and nobody knows whether it arrived.
    #[error("it was sent, and nobody knows whether it arrived")]
    Unknown,
    /// The request arrived, and no answer came in time.
    #[error("the request arrived, and no answer came in time")]
    NoReply,
    /// Who is registered could not be found out, or no node be reached. Nothing was sent.
    #[error(transparent)]
    NotSent(Error),
}

/// A name, and what is known about whoever has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Where its mailbox is.
    pub address: Address,
    /// The registrant's own value, if it gave one.
    pub value: Option<String>,
    /// What else it says of itself.
    pub labels: Labels,
    /// The fencing token of the registration.
    pub token: Token,
}

/// A message that arrived.
#[derive(Debug)]
pub enum Message {
    /// From [`Client::send`].
    Info(Bytes),
    /// From [`Client::cast`].
    Cast(Bytes),
    /// From [`Client::call`], which waits for the answer.
    Call(Request),
}

/// A request that wants an answer.
#[derive(Debug)]
#[must_use = "the caller waits for an answer"]
pub struct Request {
    /// What is asked.
    pub body: Bytes,
    client: Client,
    reply: Address,
    call: u64,
}

impl Request {
    /// Answers.
    ///
    /// # Errors
    ///
    /// As for [`Client::send`]; [`SendError::Gone`] if the caller has given up.
    pub async fn reply(self, body: impl Into<Bytes>) -> Result<(), SendError> {
        let Self { client, reply, call, .. } = self;
        send(&client, reply.into(), Parcel::Reply { call, body: body.into() }).await
    }
}

/// A mailbox of this client, with room for so many messages; what does not fit is refused at its sender. See
/// [`Client::mailbox`].
///
/// ```no_run
/// # async fn example(client: leasehold_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let mut mailbox = client.mailbox(16).await?;
/// client.send(mailbox.address(), "hello").await?;
/// println!("{:?}", mailbox.recv().await);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing arrives once this is dropped"]
pub struct Mailbox {
    client: Client,
    number: u64,
    parcels: Receiver<Parcel>,
    host: watch::Receiver<Option<Address>>,
    address: Address,
}

impl Mailbox {
    pub(crate) async fn new(client: &Client, capacity: usize) -> Result<Self, Error> {
        let cluster = client.cluster();
        let mut host = cluster.post().hosted(cluster, client.runtime());
        let deadline = clock::now().after(client.options().timeout.into());
        let found = tokio::select! {
            biased;
            found = host.wait_for(Option::is_some) => found.ok().and_then(|host| *host),
            () = clock::sleep_until(deadline) => None,
        };
        let address = found.ok_or_else(|| Error::Unreachable(unreachable(client)))?;
        let (number, parcels) = cluster.post().open(capacity);
        let address = Address { number, ..address };
        Ok(Self { client: client.clone(), number, parcels, host, address })
    }

    /// Where it is, for as long as its client stays connected to the same node.
    #[must_use]
    pub fn address(&self) -> Address {
        let host = *self.host.borrow();
        host.map_or(self.address, |host| Address { number: self.number, ..host })
    }

    /// The next message; `None` once the client has ended. Cancel safe.
    pub async fn recv(&mut self) -> Option<Message> {
        loop {
            return Some(match self.parcels.recv().await? {
                Parcel::Info(body) => Message::Info(body),
                Parcel::Cast(body) => Message::Cast(body),
                Parcel::Call { reply, call, body } => {
                    let client = self.client.clone();
                    Message::Call(Request { body, client, reply, call })
                }
                // Goes to whoever asked, not here.
                Parcel::Reply { .. } => continue,
            });
        }
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.client.cluster().post().close(self.number);
    }
}

fn unreachable(client: &Client) -> Unreachable {
    client.cluster().causes()
}

/// Registers a name; see [`Client::register`].
///
/// # Errors
///
/// When awaited: [`Error::Refused`] if the name is taken, and as for [`Lock`](crate::Lock).
#[derive(Clone, Debug)]
#[must_use = "does nothing until it is awaited"]
pub struct Register {
    client: Client,
    lock: Lock,
    capacity: usize,
}

impl Register {
    pub(crate) fn new(client: Client, name: Key) -> Self {
        let lock = client.lock(name);
        Self { client, lock, capacity: CAPACITY }
    }

    /// The registrant's own value, for [`Client::whereis`].
    pub fn value(mut self, value: impl Into<String>) -> Self {
        self.lock = self.lock.label(VALUE, value);
        self
    }

    /// Adds to the registrant's description of itself. The label `value` is [`Register::value`].
    pub fn label(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.lock = self.lock.label(name, text);
        self
    }

    /// How long the name stays registered after its client was last heard of; 30 s if not given.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.lock = self.lock.ttl(ttl);
        self
    }

    /// Queues for a name that is taken, for this long at most.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.lock = self.lock.wait(wait);
        self
    }

    /// How many messages may wait in the mailbox; 256 if not given.
    pub const fn capacity(mut self, messages: usize) -> Self {
        self.capacity = messages;
        self
    }

    async fn run(self) -> Result<Registration, Error> {
        let Self { client, lock, capacity } = self;
        let mailbox = Mailbox::new(&client, capacity).await?;
        let address = mailbox.address();
        let guard = lock.value(address.to_string()).await?;
        let (host, number) = (mailbox.host.clone(), mailbox.number);
        let timeout = client.options().timeout;
        let moving = follow(guard.belief(), host, number, address, timeout);
        let moving = client.runtime().spawn(moving);
        Ok(Registration { moving, mailbox, guard })
    }
}

impl IntoFuture for Register {
    type Output = Result<Registration, Error>;
    type IntoFuture = Call<Registration>;

    fn into_future(self) -> Call<Registration> {
        Box::pin(self.run())
    }
}

/// Lets a name hold the mailbox's address, wherever that moves, for as long as the name is held.
async fn follow(
    belief: Belief,
    mut host: watch::Receiver<Option<Address>>,
    number: u64,
    mut told: Address,
    timeout: Duration,
) {
    /// Between attempts that fail.
    const PAUSE: Duration = Duration::from_millis(200);
    let work = async {
        loop {
            let now = host.borrow_and_update().map(|host| Address { number, ..host });
            match now {
                Some(address) if address != told => {
                    let update = belief.held.update(address.to_string().into(), None, timeout);
                    if update.await.is_ok() {
                        told = address;
                    } else {
                        clock::sleep_until(clock::now().after(PAUSE.into())).await;
                    }
                }
                Some(_) | None => {
                    if host.changed().await.is_err() {
                        return;
                    }
                }
            }
        }
    };
    tokio::select! {
        _ = belief.lost() => {}
        () = work => {}
    }
}

/// A name that this client has, and the mailbox that it stands for. Whoever drops it gives the name up.
///
/// ```no_run
/// # async fn example(client: leasehold_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let mut registration = client.register("printer").value("third floor").await?;
/// while let Ok(Some(message)) = registration.recv().await {
///     println!("{message:?}");
/// }
/// # Ok(())
/// # }
/// ```
///
/// and somewhere else:
///
/// ```no_run
/// # async fn example(client: leasehold_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// client.send("printer", "hello").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a registration that is dropped is given up"]
pub struct Registration {
    moving: JoinHandle<()>,
    guard: Guard,
    mailbox: Mailbox,
}

impl Registration {
    /// The next message, or `None` once the client has ended. Cancel safe.
    ///
    /// # Errors
    ///
    /// Why the name is not held any more.
    pub async fn recv(&mut self) -> Result<Option<Message>, Lost> {
        tokio::select! {
            biased;
            lost = self.guard.lost() => Err(lost),
            message = self.mailbox.recv() => Ok(message),
        }
    }

    /// Where the mailbox is now.
    #[must_use]
    pub fn address(&self) -> Address {
        self.mailbox.address()
    }

    /// What is known about the registration.
    #[must_use]
    pub fn belief(&self) -> Belief {
        self.guard.belief()
    }

    /// The fencing token of the registration.
    #[must_use]
    pub fn token(&self) -> Token {
        self.guard.token()
    }

    /// Gives the name up.
    ///
    /// # Errors
    ///
    /// As for [`Guard::release`].
    pub async fn unregister(self) -> Result<Released, Error> {
        self.moving.abort();
        self.guard.release().await
    }
}

pub(crate) async fn whereis(client: &Client, name: Key) -> Result<Option<Registered>, Error> {
    let Some(holder) = client.read(name).await? else { return Ok(None) };
    let text = std::str::from_utf8(&holder.value).unwrap_or_default();
    let Ok(address) = text.parse() else {
        return Err(Error::Refused(Refusal::Held(holder)));
    };
    let Holder { mut labels, token, .. } = holder;
    let value = labels.remove(VALUE);
    Ok(Some(Registered { address, value, labels, token }))
}

/// Sends once: again only what certainly did not arrive, and then to another address.
pub(crate) async fn send(client: &Client, to: Target, parcel: Parcel) -> Result<(), SendError> {
    let deadline = clock::now().after(client.options().timeout.into());
    let name = match to {
        Target::Address(address) => return post(client, address, parcel, deadline).await,
        Target::Name(name) => name,
    };
    let mut gone = None;
    loop {
        let found = whereis(client, name.clone()).await.map_err(SendError::NotSent)?;
        let address = found.ok_or(SendError::Nobody)?.address;
        if gone == Some(address) {
            return Err(SendError::Gone);
        }
        match post(client, address, parcel.clone(), deadline).await {
            Err(SendError::Gone) => gone = Some(address),
            result => return result,
        }
    }
}

async fn post(
    client: &Client,
    to: Address,
    parcel: Parcel,
    deadline: Instant,
) -> Result<(), SendError> {
    let cluster = client.cluster();
    loop {
        let Some(connection) = cluster.towards(to.node, deadline).await else {
            return Err(SendError::NotSent(Error::Unreachable(unreachable(client))));
        };
        let parcel = parcel.clone();
        let item = |call| ClientItem::Post { call, to, parcel };
        let reply = match post::ask(cluster, &connection, item, deadline).await {
            Asked::Answered(reply) => reply,
            Asked::NotSent if clock::now() < deadline => continue,
            Asked::NotSent => {
                return Err(SendError::NotSent(Error::Unreachable(unreachable(client))));
            }
            Asked::Unanswered => return Err(SendError::Unknown),
            Asked::TooLarge => return Err(SendError::TooLarge),
        };
        let Reply::Posted(delivery) = reply else { return Err(SendError::Unknown) };
        return match delivery {
            Delivery::Taken => Ok(()),
            Delivery::Full => Err(SendError::Full),
            Delivery::Nobody => Err(SendError::Gone),
            Delivery::Unreachable => Err(SendError::Unreachable(to.node)),
            Delivery::TooLarge => Err(SendError::TooLarge),
            Delivery::Busy => Err(SendError::Busy),
            Delivery::Unknown => Err(SendError::Unknown),
        };
    }
}

/// Sends a request, and waits for its answer.
pub(crate) async fn call(client: &Client, to: Target, body: Bytes) -> Result<Bytes, SendError> {
    let deadline = clock::now().after(client.options().timeout.into());
    // The mailbox itself stays empty; it says where this client is.
    let mailbox = Mailbox::new(client, 1).await.map_err(SendError::NotSent)?;
    let (call, answer) = client.cluster().post().expect();
    let expected = Expected { client, call };
    send(client, to, Parcel::Call { reply: mailbox.address(), call, body }).await?;
    let answer = tokio::select! {
        biased;
        answer = answer => answer.map_err(|_| SendError::NoReply),
        () = clock::sleep_until(deadline) => Err(SendError::NoReply),
    };
    drop(expected);
    answer
}

/// An answer that is expected until this is dropped.
struct Expected<'a> {
    client: &'a Client,
    call: u64,
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        Arc::clone(self.client.cluster()).post().expect_no_more(self.call);
    }
}
