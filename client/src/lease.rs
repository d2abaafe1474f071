//! A lease that this process holds, and nothing keeps.

use std::time::Duration;

use leasehold_core::{Bytes, Key, OpId, Owner, Token};

use crate::answer::{Extended, Released, Updated, Votes};
use crate::client::Client;
use crate::clock::{self, Instant};
use crate::error::Error;
use crate::held::Acquired;
use crate::labels::Labels;
use crate::operations::{Deadline, extend_as, release_as, step_of, update_as};

/// A key that this process acquired, and until when it may believe so, without a [`Guard`](crate::Guard) that keeps it:
/// for programs that do so themselves, or that shall end before their lease does.
///
/// The belief needs no network: once [`Lease::valid_until`] has passed on this process' clock, somebody else may
/// hold the key. A lease that is dropped is not released; it ends by itself.
///
/// ```no_run
/// # async fn example(client: leasehold_client::Client) -> Result<(), leasehold_client::Error> {
/// use std::time::Duration;
/// let mut lease = client.lock("job").lease().await?;
/// while lease.is_valid() {
///     // a step of the work, which passes lease.token() on to whatever it writes to
///     lease.extend(Duration::from_secs(30)).await?;
/// #   break;
/// }
/// lease.release().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a lease that nobody releases keeps its key taken until it ends"]
pub struct Lease {
    client: Client,
    key: Key,
    value: Bytes,
    token: Token,
    valid_until: Instant,
    /// The next step of this ownership's chain.
    next: OpId,
    votes: Votes,
}

impl Lease {
    pub(crate) fn new(client: Client, acquired: Acquired) -> Self {
        let Acquired { key, value, token, valid_until, next, votes, ttl: _ } = acquired;
        Self { client, key, value, token, valid_until, next, votes }
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> &Key {
        &self.key
    }

    /// What the key holds.
    #[must_use]
    pub const fn value(&self) -> &Bytes {
        &self.value
    }

    /// The fencing token: greater than that of every earlier acquisition of the key.
    #[must_use]
    pub const fn token(&self) -> Token {
        self.token
    }

    /// Until when this process may believe that it holds the key, on [`clock::now`]'s clock.
    #[must_use]
    pub const fn valid_until(&self) -> Instant {
        self.valid_until
    }

    /// For how long from now this process may believe that it holds the key; zero if it may not any more.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.valid_until.since(clock::now()).into()
    }

    /// Whether this process may believe right now that it holds the key.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        clock::now() < self.valid_until
    }

    /// How the masters took part in the acquisition.
    #[must_use]
    pub const fn votes(&self) -> Votes {
        self.votes
    }

    /// Lets the lease end no sooner than `ttl` from now. If it fails, the old end stays valid.
    ///
    /// # Errors
    ///
    /// As for [`Extend`](crate::Extend).
    pub async fn extend(&mut self, ttl: Duration) -> Result<Extended, Error> {
        let (owner, deadline) = (self.owner(), self.deadline());
        let (cluster, key, next) = (self.client.cluster(), &self.key, &mut self.next);
        let step = || step_of(next);
        let extended = extend_as(cluster, key, owner, ttl.into(), step, deadline).await?;
        self.valid_until = self.valid_until.max(extended.valid_until);
        Ok(extended)
    }

    /// Replaces the value, and the labels if some are given; the lease ends when it would have ended.
    ///
    /// # Errors
    ///
    /// As for [`Update`](crate::Update). If the outcome is unknown, [`Lease::value`] is still the old one.
    pub async fn update(
        &mut self,
        value: impl Into<Bytes>,
        labels: Option<Labels>,
    ) -> Result<Updated, Error> {
        let (owner, deadline, id) = (self.owner(), self.deadline(), step_of(&mut self.next));
        let (cluster, key, labels) = (self.client.cluster(), &self.key, labels.as_ref());
        let value = value.into();
        let updated = update_as(cluster, key, owner, value.clone(), labels, id, deadline).await?;
        self.value = value;
        Ok(updated)
    }

    /// Gives the key up. The belief ends with the sending, whatever the answer.
    ///
    /// # Errors
    ///
    /// As for [`Release`](crate::Release).
    pub async fn release(mut self) -> Result<Released, Error> {
        let (owner, deadline, id) = (self.owner(), self.deadline(), step_of(&mut self.next));
        release_as(self.client.cluster(), &self.key, owner, id, deadline).await
    }

    const fn owner(&self) -> Owner {
        Owner { value: None, token: Some(self.token) }
    }

    fn deadline(&self) -> Deadline {
        Deadline::within(self.client.options().timeout)
    }
}
