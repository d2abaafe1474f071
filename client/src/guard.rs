//! A guard: a key that this process holds, kept for it and given up with it.

use std::sync::Arc;
use std::time::Duration;

use leasehold_core::{Bytes, Key, Token};
use tokio::task::JoinHandle;

use crate::answer::{Extended, Released, Updated, Votes};
use crate::client::Client;
use crate::clock::{self, Instant};
use crate::error::{Doubt, Error};
use crate::held::{Acquired, Held, Lost};
use crate::keeper::Place;
use crate::labels::Labels;

/// A key that this process acquired. In the background its lease is extended whenever a third of it is over (unless
/// [`Lock::auto_extend`](crate::Lock::auto_extend) says otherwise), and when the guard is dropped the key is released.
///
/// **It cannot lie for long.** What it believes ends on this process' own clock, a moment before the cluster could give
/// the key to somebody else, whether or not the network works: a quarter of a second before [`Guard::valid_until`], or a
/// tenth of the lease if that is shorter. The loss is final, and so is a release: no answer that arrives later revives
/// the belief. Ask [`Guard::ensure_held`] right before every step that others can see, let [`Guard::lost`] end what
/// takes long, and hand [`Guard::token`] to whatever can compare it: the clock of a process that is stopped
/// between the question and the step tells nobody anything.
///
/// ```no_run
/// use std::time::Duration;
///
/// # async fn work() {}
/// # async fn write(_token: u64) {}
/// # async fn example(client: leasehold_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let guard = client.lock("job").value("me").ttl(Duration::from_secs(30)).await?;
/// tokio::select! {
///     () = work() => {}
///     lost = guard.lost() => return Err(lost.into()),
/// }
/// guard.ensure_held()?;
/// write(guard.token().0).await;
/// guard.release().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a guard that is dropped releases its key"]
pub struct Guard {
    client: Client,
    belief: Belief,
    place: Place,
    /// The release was sent, or is no longer this guard's to send.
    over: bool,
}

/// What is known about an ownership, for those who do not own its [`Guard`]: cheap to clone, and as final.
///
/// ```no_run
/// # async fn example(guard: leasehold_client::Guard) {
/// let belief = guard.belief();
/// tokio::spawn(async move {
///     println!("the key is gone: {}", belief.lost().await);
/// });
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Belief {
    pub(crate) held: Arc<Held>,
}

impl Belief {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &Key {
        self.held.key()
    }

    /// The fencing token: greater than that of every earlier acquisition of the key.
    #[must_use]
    pub fn token(&self) -> Token {
        self.held.token()
    }

    /// Until when the key may be believed to be held, on [`clock::now`]'s clock. The belief is given up a little before;
    /// see [`Guard`].
    #[must_use]
    pub fn valid_until(&self) -> Instant {
        self.held.valid_until()
    }

    /// How long from now the belief lasts unless it is extended; zero once it is over.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.held.time_left(clock::now()).into()
    }

    /// Whether the key is held, as far as this process may believe right now.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held.lost(clock::now()).is_none()
    }

    /// [`Belief::is_held`] with the reason if not, for right before a side effect.
    ///
    /// # Errors
    ///
    /// Why the key is not held any more.
    pub fn ensure_held(&self) -> Result<(), Lost> {
        self.held.lost(clock::now()).map_or(Ok(()), Err)
    }

    /// Returns once the key is not held any more, and says why: before the lease can have ended anywhere, even if no
    /// node can be reached. After a suspend of the machine it may take a second to return, while
    /// [`Belief::ensure_held`] knows at once.
    pub async fn lost(&self) -> Lost {
        self.held.until_lost().await
    }
}

impl Guard {
    pub(crate) fn new(client: Client, acquired: Acquired, auto_extend: bool) -> Self {
        let held = Held::new(Arc::clone(client.cluster()), acquired);
        let place = client.keeper().keep(&held, auto_extend);
        Self { client, belief: Belief { held }, place, over: false }
    }

    /// What this guard knows, for others to watch.
    #[must_use]
    pub fn belief(&self) -> Belief {
        self.belief.clone()
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &Key {
        self.belief.key()
    }

    /// What the key holds.
    #[must_use]
    pub fn value(&self) -> Bytes {
        self.belief.held.value()
    }

    /// The fencing token: greater than that of every earlier acquisition of the key.
    #[must_use]
    pub fn token(&self) -> Token {
        self.belief.token()
    }

    /// See [`Belief::valid_until`].
    #[must_use]
    pub fn valid_until(&self) -> Instant {
        self.belief.valid_until()
    }

    /// See [`Belief::remaining`].
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.belief.remaining()
    }

    /// See [`Belief::is_held`].
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.belief.is_held()
    }

    /// See [`Belief::ensure_held`].
    ///
    /// # Errors
    ///
    /// Why the key is not held any more.
    pub fn ensure_held(&self) -> Result<(), Lost> {
        self.belief.ensure_held()
    }

    /// See [`Belief::lost`].
    pub async fn lost(&self) -> Lost {
        self.belief.lost().await
    }

    /// How the masters took part in the acquisition, or in the last extension since.
    #[must_use]
    pub fn votes(&self) -> Votes {
        self.belief.held.votes()
    }

    /// Lets the lease end no sooner than `ttl` from now, and lets extensions in the background ask for as much. If it
    /// fails, the old end stays valid. Once the guard has lost its key this does not get it back: what is answered
    /// then is about the lease, not about this guard.
    ///
    /// # Errors
    ///
    /// As for [`Extend`](crate::Extend). A refusal ends the belief.
    pub async fn extend(&self, ttl: Duration) -> Result<Extended, Error> {
        let extended = self.belief.held.extend(ttl.into(), self.client.options().timeout).await;
        self.client.keeper().look_at(self.place, extended.is_ok());
        extended
    }

    /// Replaces the value, and the labels if some are given; the lease ends when it would have ended.
    ///
    /// # Errors
    ///
    /// As for [`Update`](crate::Update). If the outcome is unknown, [`Guard::value`] is still the old one. A refusal
    /// ends the belief.
    pub async fn update(
        &self,
        value: impl Into<Bytes>,
        labels: Option<&Labels>,
    ) -> Result<Updated, Error> {
        let timeout = self.client.options().timeout;
        self.belief.held.update(value.into(), labels, timeout).await
    }

    /// Gives the key up, and says what became of that. The belief ends before the release is sent, whatever the answer;
    /// the release goes on if this future is dropped.
    ///
    /// # Errors
    ///
    /// As for [`Release`](crate::Release): [`Error::Refused`] says that the key was not held by this guard any more.
    pub async fn release(mut self) -> Result<Released, Error> {
        self.let_go();
        // A task that was cut short by the end of its runtime may have sent it.
        self.send_release().await.unwrap_or(Err(Error::Unknown(Doubt::Unanswered)))
    }

    /// Ends the belief and the keeping. Returns why the belief had ended before, if it had.
    fn let_go(&mut self) -> Option<Lost> {
        self.over = true;
        self.client.keeper().let_go(self.place);
        self.belief.held.end(Lost::Released)
    }

    fn send_release(&self) -> JoinHandle<Result<Released, Error>> {
        let (client, held) = (self.client.clone(), Arc::clone(&self.belief.held));
        // The client, and with it the connection, stays until the release was answered.
        let send = async move { held.release(client.options().timeout).await };
        self.client.runtime().spawn(send)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        match self.let_go() {
            // The cluster said so itself, or there is no connection left.
            Some(Lost::Taken(_) | Lost::Released | Lost::Ended) => {}
            // What expired here may still be in the cluster's way.
            Some(Lost::Expired(_)) | None => drop(self.send_release()),
        }
    }
}
