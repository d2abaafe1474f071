//! The operations that change a key, as builders to be awaited.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use leasehold_core::{
    Action, Bytes, Done, Key, OpId, Outcome, Owner, Refusal as WireRefusal, Span, Token,
};

use crate::answer::{Extended, Released, Updated, Votes};
use crate::client::Client;
use crate::clock::{self, Instant};
use crate::cluster::Cluster;
use crate::error::{Doubt, Error};
use crate::exchange::{Answered, Exchange};
use crate::guard::Guard;
use crate::held::Acquired;
use crate::identity::{new_chain, next_step};
use crate::labels::{self, Labels};
use crate::lease::Lease;
use crate::question::{Orphan, Question, Reply};

/// A call under way.
pub type Call<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// The lease that is asked for where the caller says nothing.
const TTL: Duration = Duration::from_secs(30);

/// Acquires a key if it is free; see [`Client::lock`].
///
/// # Errors
///
/// When awaited: [`Error::Refused`] with the holder, [`Error::TimedOut`] if it stayed held while this waited,
/// [`Error::NotDone`], [`Error::Unknown`], [`Error::Unreachable`] or [`Error::Invalid`].
#[derive(Clone, Debug)]
#[must_use = "does nothing until it is awaited"]
pub struct Lock {
    client: Client,
    key: Key,
    value: Bytes,
    labels: Labels,
    ttl: Duration,
    delay: Duration,
    wait: Option<Duration>,
    timeout: Duration,
    auto_extend: bool,
}

impl Lock {
    pub(crate) fn new(client: Client, key: Key) -> Self {
        let timeout = client.options().timeout;
        Self {
            client,
            key,
            value: Bytes::EMPTY,
            labels: Labels::new(),
            ttl: TTL,
            delay: Duration::ZERO,
            wait: None,
            timeout,
            auto_extend: true,
        }
    }

    /// What the key shall hold; empty if not given.
    pub fn value(mut self, value: impl Into<Bytes>) -> Self {
        self.value = value.into();
        self
    }

    /// Adds to the owner's description of itself.
    pub fn label(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.labels.insert(name.into(), text.into());
        self
    }

    /// How long the key is held unless extended; 30 s if not given.
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// How long nobody else may take the key after the lease ended by itself (not after a release).
    pub const fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Queues for a key that is held, for this long at most. Without it the lock is tried once.
    pub const fn wait(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }

    /// How long the call may take beside [`Lock::wait`].
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Whether the guard extends the lease in the background, for as long as it lives; it does if not given.
    pub const fn auto_extend(mut self, auto_extend: bool) -> Self {
        self.auto_extend = auto_extend;
        self
    }

    /// Acquires the key without a guard: nothing extends the lease, and nothing releases it but
    /// [`Lease::release`](crate::Lease::release).
    ///
    /// # Errors
    ///
    /// As for the lock itself.
    pub async fn lease(self) -> Result<Lease, Error> {
        let client = self.client.clone();
        Ok(Lease::new(client, self.acquire().await?))
    }

    async fn guard(self) -> Result<Guard, Error> {
        let (client, auto_extend) = (self.client.clone(), self.auto_extend);
        Ok(Guard::new(client, self.acquire().await?, auto_extend))
    }

    async fn acquire(self) -> Result<Acquired, Error> {
        let (now, id, ttl) = (clock::now(), new_chain(), self.ttl.into());
        let wait = self.wait.map(|wait| now.after(wait.into()));
        let deadline = wait.unwrap_or(now).after(self.timeout.into());
        let action = Action::Lock {
            id,
            value: self.value.clone(),
            meta: labels::encode(&self.labels),
            lease: ttl,
            delay: self.delay.into(),
            wait: Span::ZERO,
        };
        let question =
            Question::within(self.key.clone(), action, now, deadline).waiting_until(wait);
        let answered = self.client.exchange(question, deadline).run().await?;
        let done = effect(&answered)??;
        let lease = ttl.plus(self.delay.into());
        let mut claim = Claim::new(&self.client, &self.key, id, done.token, lease);
        let (valid_until, done) = match belief(answered.asked_at, &done) {
            Some(valid_until) => (valid_until, done),
            // An earlier sending had taken effect, nobody knows when. Extending gives a belief.
            None => claim.extend(ttl, deadline).await?,
        };
        let (token, votes) = (done.token, Votes::from(&done));
        let (next, key, value) = (claim.keep(), self.key, self.value);
        Ok(Acquired { key, value, token, ttl, valid_until, next, votes })
    }
}

impl IntoFuture for Lock {
    type Output = Result<Guard, Error>;
    type IntoFuture = Call<Guard>;

    fn into_future(self) -> Call<Guard> {
        Box::pin(self.guard())
    }
}

/// An acquired key that nobody was told about yet: given back if the call is dropped or fails.
#[derive(Debug)]
struct Claim {
    cluster: Arc<Cluster>,
    key: Key,
    /// The last step that was sent.
    id: OpId,
    token: Token,
    /// After how long there is nothing to give back any more.
    lease: Span,
    kept: bool,
}

impl Claim {
    fn new(client: &Client, key: &Key, id: OpId, token: Token, lease: Span) -> Self {
        let cluster = Arc::clone(client.cluster());
        Self { cluster, key: key.clone(), id, token, lease, kept: false }
    }

    async fn extend(&mut self, lease: Span, deadline: Instant) -> Result<(Instant, Done), Error> {
        let owner = Owner { value: None, token: Some(self.token) };
        let (cluster, deadline) = (Arc::clone(&self.cluster), Deadline::at(deadline));
        loop {
            self.id = next_step(self.id);
            let action = Action::Extend { id: self.id, owner: owner.clone(), lease };
            match extend_once(&cluster, &self.key, action, deadline).await {
                Ok((Some(valid_until), done)) => return Ok((valid_until, done)),
                Ok((None, _)) => {}
                // Whatever became of the extension: the lock was acquired, at some point.
                Err(_) => return Err(Error::Unknown(Doubt::Unconfirmed)),
            }
        }
    }

    /// The caller has it now; returns the next step of its chain.
    fn keep(mut self) -> OpId {
        self.kept = true;
        next_step(self.id)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.kept {
            let (key, id, lease) = (self.key.clone(), self.id, self.lease);
            let orphan = Orphan { key, id, lease, kept: None };
            self.cluster.give_back(orphan, self.token);
        }
    }
}

/// Extends somebody's lease; see [`Client::extend`].
///
/// # Errors
///
/// When awaited: [`Error::Refused`] if `owner` does not hold the key, [`Error::NotDone`], [`Error::Unknown`],
/// [`Error::Unreachable`] or [`Error::Invalid`].
#[derive(Clone, Debug)]
#[must_use = "does nothing until it is awaited"]
pub struct Extend {
    client: Client,
    key: Key,
    owner: Owner,
    ttl: Duration,
    timeout: Duration,
}

impl Extend {
    pub(crate) fn new(client: Client, key: Key, owner: Owner, ttl: Duration) -> Self {
        let timeout = client.options().timeout;
        Self { client, key, owner, ttl, timeout }
    }

    /// How long the call may take.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

impl IntoFuture for Extend {
    type Output = Result<Extended, Error>;
    type IntoFuture = Call<Extended>;

    fn into_future(self) -> Call<Extended> {
        let Self { client, key, owner, ttl, timeout } = self;
        Box::pin(async move {
            let (mut next, deadline) = (new_chain(), Deadline::within(timeout));
            let step = || step_of(&mut next);
            extend_as(client.cluster(), &key, owner, ttl.into(), step, deadline).await
        })
    }
}

/// Replaces a value; see [`Client::update`].
///
/// # Errors
///
/// When awaited: [`Error::Refused`] if `owner` does not hold the key, [`Error::NotDone`], [`Error::Unknown`],
/// [`Error::Unreachable`] or [`Error::Invalid`].
#[derive(Clone, Debug)]
#[must_use = "does nothing until it is awaited"]
pub struct Update {
    client: Client,
    key: Key,
    owner: Owner,
    value: Bytes,
    labels: Option<Labels>,
    timeout: Duration,
}

impl Update {
    pub(crate) fn new(client: Client, key: Key, owner: Owner, value: Bytes) -> Self {
        let timeout = client.options().timeout;
        Self { client, key, owner, value, labels: None, timeout }
    }

    /// Replaces the owner's description of itself as well.
    pub fn labels(mut self, labels: Labels) -> Self {
        self.labels = Some(labels);
        self
    }

    /// How long the call may take.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

impl IntoFuture for Update {
    type Output = Result<Updated, Error>;
    type IntoFuture = Call<Updated>;

    fn into_future(self) -> Call<Updated> {
        let Self { client, key, owner, value, labels, timeout } = self;
        Box::pin(async move {
            let (id, deadline) = (new_chain(), Deadline::within(timeout));
            let labels = labels.as_ref();
            update_as(client.cluster(), &key, owner, value, labels, id, deadline).await
        })
    }
}

/// Ends an ownership; see [`Client::release`].
///
/// # Errors
///
/// When awaited: [`Error::Refused`] if `owner` does not hold the key, [`Error::NotDone`], [`Error::Unknown`],
/// [`Error::Unreachable`] or [`Error::Invalid`].
#[derive(Clone, Debug)]
#[must_use = "does nothing until it is awaited"]
pub struct Release {
    client: Client,
    key: Key,
    owner: Owner,
    timeout: Duration,
}

impl Release {
    pub(crate) fn new(client: Client, key: Key, owner: Owner) -> Self {
        let timeout = client.options().timeout;
        Self { client, key, owner, timeout }
    }

    /// How long the call may take.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

impl IntoFuture for Release {
    type Output = Result<Released, Error>;
    type IntoFuture = Call<Released>;

    fn into_future(self) -> Call<Released> {
        let Self { client, key, owner, timeout } = self;
        Box::pin(async move {
            let (id, deadline) = (new_chain(), Deadline::within(timeout));
            release_as(client.cluster(), &key, owner, id, deadline).await
        })
    }
}

/// Until when a call may take, and when it becomes suspicious of the node it asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    at: Instant,
    suspect_after: Option<Span>,
}

impl Deadline {
    pub(crate) const fn at(at: Instant) -> Self {
        Self { at, suspect_after: None }
    }

    pub(crate) fn within(timeout: Duration) -> Self {
        Self::at(clock::now().after(timeout.into()))
    }

    /// Asks another node beside one that takes longer than `span`, if that is sooner than usual.
    pub(crate) const fn suspecting_after(self, span: Span) -> Self {
        Self { suspect_after: Some(span), ..self }
    }
}

/// Extends with the steps that `step` gives.
pub(crate) async fn extend_as(
    cluster: &Arc<Cluster>,
    key: &Key,
    owner: Owner,
    ttl: Span,
    mut step: impl FnMut() -> OpId + Send,
    deadline: Deadline,
) -> Result<Extended, Error> {
    loop {
        let action = Action::Extend { id: step(), owner: owner.clone(), lease: ttl };
        // A repeated answer gives no belief; the next step does.
        if let (Some(valid_until), done) = extend_once(cluster, key, action, deadline).await? {
            return Ok(Extended { token: done.token, valid_until, votes: (&done).into() });
        }
    }
}

/// Replaces a value as step `id`.
pub(crate) async fn update_as(
    cluster: &Arc<Cluster>,
    key: &Key,
    owner: Owner,
    value: Bytes,
    labels: Option<&Labels>,
    id: OpId,
    deadline: Deadline,
) -> Result<Updated, Error> {
    let meta = labels.map(labels::encode);
    let action = Action::Update { id, owner, value, meta };
    let answered = perform(cluster, key, action, deadline).await?;
    match effect(&answered)? {
        Ok(done) => Ok(Updated { token: done.token, votes: (&done).into() }),
        // An earlier sending may have applied, and what it wrote no longer be there.
        Err(_) if answered.doubted => Err(Error::Unknown(Doubt::Overtaken)),
        Err(refused) => Err(refused),
    }
}

/// Gives up as step `id`.
pub(crate) async fn release_as(
    cluster: &Arc<Cluster>,
    key: &Key,
    owner: Owner,
    id: OpId,
    deadline: Deadline,
) -> Result<Released, Error> {
    let action = Action::Release { id, owner: owner.clone() };
    let answered = perform(cluster, key, action, deadline).await?;
    match effect(&answered)? {
        Ok(done) => {
            let token = Some(done.token);
            Ok(Released { token, confirmed: true, votes: (&done).into() })
        }
        Err(refused) if answered.doubted => match gone(&answered.reply, &owner) {
            Some(true) => {
                let (token, votes) = (owner.token, Votes::default());
                Ok(Released { token, confirmed: false, votes })
            }
            Some(false) => Err(refused),
            None => Err(Error::Unknown(Doubt::Overtaken)),
        },
        Err(refused) => Err(refused),
    }
}

/// This step; the one after it from now on.
pub(crate) const fn step_of(next: &mut OpId) -> OpId {
    let this = *next;
    *next = next_step(this);
    this
}

/// Whether a refusal says that what was to be released is gone; `None` if it does not tell, because values
/// do not name ownerships.
fn gone(reply: &Reply, owner: &Owner) -> Option<bool> {
    let Reply::Outcome(Outcome::Refused(WireRefusal::Held(holder))) = reply else {
        return Some(true);
    };
    owner.token.map(|token| holder.token != token)
}

async fn perform(
    cluster: &Arc<Cluster>,
    key: &Key,
    action: Action,
    deadline: Deadline,
) -> Result<Answered, Error> {
    let question = Question::within(key.clone(), action, clock::now(), deadline.at);
    let exchange = Exchange::new(cluster, question, deadline.at);
    exchange.suspecting_after(deadline.suspect_after).run().await
}

/// One step of an extension, with the belief that its answer gives.
async fn extend_once(
    cluster: &Arc<Cluster>,
    key: &Key,
    action: Action,
    deadline: Deadline,
) -> Result<(Option<Instant>, Done), Error> {
    let answered = perform(cluster, key, action, deadline).await?;
    let done = effect(&answered)??;
    Ok((belief(answered.asked_at, &done), done))
}

/// Until when an answer lets its receiver believe. One that repeats an earlier answer says nothing about when the
/// operation took effect.
fn belief(asked_at: Instant, done: &Done) -> Option<Instant> {
    done.valid_for.filter(|_| !done.repeated).map(|valid_for| asked_at.after(valid_for))
}

/// The effect, or the refusal, or (outside) that the answer makes no sense.
fn effect(answered: &Answered) -> Result<Result<Done, Error>, Error> {
    if let Reply::Outcome(Outcome::Done(done)) = &answered.reply {
        Ok(Ok(*done))
    } else if let Reply::Outcome(Outcome::Refused(refusal)) = &answered.reply {
        Ok(Err(Error::Refused(refusal.clone().into())))
    } else {
        Err(Error::Unknown(Doubt::Nonsense))
    }
}
