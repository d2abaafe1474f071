//! Elections: of all that campaign under a name one leads, and everybody can see who.
//!
//! An election is a key, its leader the holder of that key, and the votes are those of the masters: there is nothing else
//! to it. Who campaigns queues at the key's home, so leadership passes on in the order in which candidates came.

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use leasehold_core::{Bytes, Key, Token};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

use crate::answer::{Holder, Released, Updated};
use crate::client::Client;
use crate::clock;
use crate::error::Error;
use crate::guard::{Belief, Guard};
use crate::held::Lost;
use crate::operations::{Call, Lock};
use crate::watch::{Change, Watch};

/// How long a candidate waits for its turn if it does not say: longer than any lease lasts, and then again.
const TURN: Duration = Duration::from_secs(600);
/// Leaders that may wait to be looked at.
const UNSEEN: usize = 16;

/// An election: whoever leads holds the key of its name. See [`Client::election`].
///
/// ```no_run
/// use std::time::Duration;
///
/// # async fn lead(_token: u64) {}
/// # async fn example(client: leasehold_client::Client) -> Result<(), leasehold_client::Error> {
/// let election = client.election("scheduler");
/// let leadership = election.campaign("node-7").ttl(Duration::from_secs(10)).await?;
/// tokio::select! {
///     () = lead(leadership.token().0) => {}
///     lost = leadership.lost() => eprintln!("no longer leading: {lost}"),
/// }
/// leadership.resign().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Election {
    client: Client,
    name: Key,
}

/// A candidate that waits for its turn; await it to lead. See [`Election::campaign`].
#[derive(Clone, Debug)]
#[must_use = "does nothing until it is awaited"]
pub struct Campaign {
    lock: Lock,
    patience: Option<Duration>,
}

/// Being the leader, for as long as it lasts: like a [`Guard`], with the fencing token that each leader has a greater one
/// of than all before it. Whoever drops it resigns.
///
/// ```no_run
/// # async fn write(_token: u64) {}
/// # async fn example(leadership: leasehold_client::Leadership) -> Result<(), Box<dyn std::error::Error>> {
/// // Before each step that only a leader may take; and the token goes along, for whoever keeps what is written.
/// leadership.ensure_leader()?;
/// write(leadership.token().0).await;
/// leadership.resign().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "leadership that is dropped is resigned"]
pub struct Leadership {
    guard: Guard,
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// What the leader calls itself.
    pub value: Bytes,
    /// The fencing token of its leadership.
    pub token: Token,
    /// What else it says of itself.
    pub labels: crate::Labels,
}

impl From<Holder> for Leader {
    fn from(Holder { value, token, labels, .. }: Holder) -> Self {
        Self { value, token, labels }
    }
}

impl fmt::Display for Leader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with token {}", self.value, self.token)
    }
}

impl Election {
    pub(crate) const fn new(client: Client, name: Key) -> Self {
        Self { client, name }
    }

    /// Stands for election as `value`. It is awaited for as long as it takes, unless [`Campaign::wait`] says otherwise.
    pub fn campaign(&self, value: impl Into<Bytes>) -> Campaign {
        Campaign { lock: self.client.lock(self.name.clone()).value(value), patience: None }
    }

    /// Who leads, agreed by a quorum.
    ///
    /// # Errors
    ///
    /// As for [`Client::read`].
    pub async fn leader(&self) -> Result<Option<Leader>, Error> {
        Ok(self.client.read(self.name.clone()).await?.map(Leader::from))
    }

    /// Tells who leads now and whoever leads from then on, `None` while nobody does. One node's own records say so:
    /// what is told may be late, and short reigns may be left out, but a token never goes back.
    pub fn observe(&self) -> Observer {
        let (leaders_in, leaders) = channel(UNSEEN);
        let observe = Observation {
            client: self.client.clone(),
            name: self.name.clone(),
            leaders: leaders_in,
            seen: None,
            newest: Token(0),
        };
        let task = self.client.runtime().spawn(observe.run());
        Observer { leaders, task }
    }
}

impl Campaign {
    /// How long the leader leads after it was last heard of; 30 s if not given.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.lock = self.lock.ttl(ttl);
        self
    }

    /// Adds to the leader's description of itself.
    pub fn label(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.lock = self.lock.label(name, text);
        self
    }

    /// Gives up with [`Error::TimedOut`] if its turn has not come after this time.
    pub const fn wait(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    async fn run(self) -> Result<Leadership, Error> {
        let lock = self.lock;
        loop {
            match lock.clone().wait(self.patience.unwrap_or(TURN)).await {
                Ok(guard) => return Ok(Leadership { guard }),
                Err(Error::TimedOut) if self.patience.is_none() => {}
                Err(other) => return Err(other),
            }
        }
    }
}

impl IntoFuture for Campaign {
    type Output = Result<Leadership, Error>;
    type IntoFuture = Call<Leadership>;

    fn into_future(self) -> Call<Leadership> {
        Box::pin(self.run())
    }
}

impl Leadership {
    /// The fencing token: greater than that of every earlier leader.
    #[must_use]
    pub fn token(&self) -> Token {
        self.guard.token()
    }

    /// What is known about this leadership, for others to watch.
    #[must_use]
    pub fn belief(&self) -> Belief {
        self.guard.belief()
    }

    /// Whether this process leads, as far as it may believe right now.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.guard.is_held()
    }

    /// [`Leadership::is_leader`] with the reason if not, for right before a side effect.
    ///
    /// # Errors
    ///
    /// Why this process does not lead any more.
    pub fn ensure_leader(&self) -> Result<(), Lost> {
        self.guard.ensure_held()
    }

    /// Returns once this process does not lead any more, before anybody else can.
    pub async fn lost(&self) -> Lost {
        self.guard.lost().await
    }

    /// Leads on under another value.
    ///
    /// # Errors
    ///
    /// As for [`Guard::update`].
    pub async fn proclaim(&self, value: impl Into<Bytes>) -> Result<Updated, Error> {
        self.guard.update(value, None).await
    }

    /// Steps down, so that the next candidate leads at once.
    ///
    /// # Errors
    ///
    /// As for [`Guard::release`].
    pub async fn resign(self) -> Result<Released, Error> {
        self.guard.release().await
    }
}

impl From<Leadership> for Guard {
    /// The guard of the election's key.
    fn from(leadership: Leadership) -> Self {
        leadership.guard
    }
}

/// Leaders as they come and go; see [`Election::observe`]. It is a [`Stream`], too.
///
/// ```no_run
/// # async fn example(client: leasehold_client::Client) {
/// let mut observer = client.election("scheduler").observe();
/// while let Some(Ok(leader)) = observer.next().await {
///     match leader {
///         Some(leader) => println!("{leader} leads"),
///         None => println!("nobody leads"),
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is observed once this is dropped"]
pub struct Observer {
    leaders: Receiver<Result<Option<Leader>, Error>>,
    task: JoinHandle<()>,
}

impl Observer {
    /// The next change; at first, who leads now. Trouble with nodes passes and is waited out; an error is what will
    /// not pass, and `None` comes after it. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<Option<Leader>, Error>> {
        self.leaders.recv().await
    }
}

impl Stream for Observer {
    type Item = Result<Option<Leader>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.leaders.poll_recv(context)
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The work behind an [`Observer`].
struct Observation {
    client: Client,
    name: Key,
    leaders: Sender<Result<Option<Leader>, Error>>,
    /// What was told last.
    seen: Option<Option<Leader>>,
    /// The greatest token that was told of.
    newest: Token,
}

/// Nobody observes any more, or it makes no sense to go on.
struct Over;

impl Observation {
    async fn run(mut self) {
        let mut backoff = self.client.cluster().backoff(&self.name);
        loop {
            // Watched first, then read: nothing falls between the two.
            let error = match self.client.watch(self.name.clone()).await {
                Ok(watch) => match self.follow(watch).await {
                    Ok(Ok(())) => {
                        backoff.reset();
                        None
                    }
                    Ok(Err(error)) => Some(error),
                    Err(Over) => return,
                },
                Err(error) => Some(error),
            };
            if let Some(error @ (Error::NotAllowed(_) | Error::Invalid(_))) = error {
                drop(self.leaders.send(Err(error)).await);
                return;
            }
            let until = clock::now().after(backoff.pause().into());
            clock::sleep_until(until).await;
        }
    }

    /// Tells of changes until the watch ends or the first look fails.
    async fn follow(&mut self, mut watch: Watch) -> Result<Result<(), Error>, Over> {
        match self.client.read(self.name.clone()).await {
            Ok(holder) => self.tell(holder.map(Leader::from)).await?,
            Err(error) => return Ok(Err(error)),
        }
        while let Ok(noticed) = watch.next().await {
            if noticed.key != self.name {
                continue;
            }
            match noticed.change {
                Change::Held(Some(holder)) => self.tell(Some(holder.into())).await?,
                // Gone to somebody else already, which is told next.
                Change::Held(None) => {}
                Change::Released | Change::Expired => {
                    let leads = self.seen.as_ref().and_then(Option::as_ref);
                    if leads.is_some_and(|leader| leader.token == noticed.token) {
                        self.tell(None).await?;
                    }
                }
            }
        }
        Ok(Ok(()))
    }

    async fn tell(&mut self, leader: Option<Leader>) -> Result<(), Over> {
        let token = leader.as_ref().map_or(self.newest, |leader| leader.token);
        if self.seen.as_ref() == Some(&leader) || token < self.newest {
            return Ok(());
        }
        self.newest = token;
        self.seen = Some(leader.clone());
        self.leaders.send(Ok(leader)).await.map_err(|_| Over)
    }
}
