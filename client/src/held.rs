//! What is known about one ownership: until when it may be believed in, and whether it is over.
//!
//! The belief only ever moves later, by an extension that was confirmed, or ends for good: when its time is up, when
//! the cluster says that it is over, when a release is about to be sent, or when nobody is left to keep it. Once ended
//! it never comes back, whatever answer arrives afterwards (protocol, section 6).

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use leasehold_core::{Bytes, Instant, Key, OpId, Owner, Span, Token};
use tokio::sync::Notify;

use crate::answer::{Extended, Released, Updated, Votes};
use crate::clock;
use crate::cluster::{Cluster, lock_up};
use crate::error::{Error, Refusal};
use crate::identity::next_step;
use crate::labels::Labels;
use crate::operations::{Deadline, extend_as, release_as, update_as};

/// A belief is given up this long before its deadline, or a tenth of the lease if that is shorter: timers may be late, and
/// whoever hears of the loss needs a moment to stop.
pub(crate) const MARGIN: Span = Span::from_millis(250);
const MARGIN_PARTS: u64 = 10;

/// Why a key is not believed to be held any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Its time was up; why the last extension failed, if one was tried.
    Expired(Option<Box<Error>>),
    /// The cluster said that this ownership is over: somebody released it, or it had ended there.
    Taken(Refusal),
    /// It was given up here: released, or its guard was dropped.
    Released,
    /// The client, or the runtime it lives in, has ended.
    Ended,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired(None) => f.write_str("the lease ran out"),
            Self::Expired(Some(why)) => {
                write!(f, "the lease ran out; it could not be extended: {why}")
            }
            Self::Taken(refusal) => write!(f, "the cluster says that it is over: {refusal}"),
            Self::Released => f.write_str("it was released"),
            Self::Ended => f.write_str("the client has ended"),
        }
    }
}

impl std::error::Error for Lost {}

/// One ownership, shared by its guard, those who watch it and the task that extends it.
#[derive(Debug)]
pub(crate) struct Held {
    cluster: Arc<Cluster>,
    key: Key,
    token: Token,
    /// Who sends the next step of the chain, but for a release, which waits for nobody.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    over: Notify,
}

#[derive(Debug)]
struct State {
    value: Bytes,
    /// What extensions ask for.
    ttl: Span,
    valid_until: Instant,
    /// The next step of this ownership's chain.
    next: OpId,
    votes: Votes,
    /// Why the last extension failed, if it did.
    trouble: Option<Error>,
    end: Option<Lost>,
}

/// What an ownership starts with.
#[derive(Debug)]
pub(crate) struct Acquired {
    pub(crate) key: Key,
    pub(crate) value: Bytes,
    pub(crate) token: Token,
    pub(crate) ttl: Span,
    pub(crate) valid_until: Instant,
    pub(crate) next: OpId,
    pub(crate) votes: Votes,
}

impl Held {
    pub(crate) fn new(cluster: Arc<Cluster>, acquired: Acquired) -> Arc<Self> {
        let Acquired { key, value, token, ttl, valid_until, next, votes } = acquired;
        let (turn, trouble, end) = (tokio::sync::Mutex::default(), None, None);
        let state = State { value, ttl, valid_until, next, votes, trouble, end };
        Arc::new(Self { cluster, key, token, turn, state: Mutex::new(state), over: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock_up(&self.state)
    }

    pub(crate) const fn key(&self) -> &Key {
        &self.key
    }

    pub(crate) const fn token(&self) -> Token {
        self.token
    }

    pub(crate) fn value(&self) -> Bytes {
        self.state().value.clone()
    }

    pub(crate) fn votes(&self) -> Votes {
        self.state().votes
    }

    pub(crate) fn ttl(&self) -> Span {
        self.state().ttl
    }

    pub(crate) fn valid_until(&self) -> Instant {
        self.state().valid_until
    }

    /// Whether the belief has ended by `now`, and why. Once it has, it stays so.
    pub(crate) fn lost(&self, now: Instant) -> Option<Lost> {
        let mut state = self.state();
        if state.end.is_none() && state.time_left(now).is_zero() {
            state.end = Some(Lost::Expired(state.trouble.take().map(Box::new)));
            self.over.notify_waiters();
        }
        state.end.clone()
    }

    /// How long from `now` the belief lasts unless it is extended; zero once it is over.
    pub(crate) fn time_left(&self, now: Instant) -> Span {
        let state = self.state();
        if state.end.is_some() { Span::ZERO } else { state.time_left(now) }
    }

    /// Ends the belief. Returns why it had ended before, if it had.
    pub(crate) fn end(&self, why: Lost) -> Option<Lost> {
        let mut state = self.state();
        if state.end.is_none() {
            state.end = Some(why);
            self.over.notify_waiters();
            return None;
        }
        state.end.clone()
    }

    /// Returns once the belief has ended. Somebody must look at the clock: see [`Keeper`](crate::keeper::Keeper).
    pub(crate) async fn until_lost(&self) -> Lost {
        loop {
            let over = self.over.notified();
            if let Some(lost) = self.lost(clock::now()) {
                return lost;
            }
            over.await;
        }
    }

    /// The next step, which is used up from now on, even if its call is dropped.
    fn step(&self) -> OpId {
        let mut state = self.state();
        let this = state.next;
        state.next = next_step(this);
        this
    }

    fn owner(&self) -> Owner {
        Owner { value: None, token: Some(self.token) }
    }

    /// Extends to `ttl` from now, which later extensions ask for as well.
    pub(crate) async fn extend(&self, ttl: Span, timeout: Duration) -> Result<Extended, Error> {
        let deadline = Deadline::within(timeout);
        let _turn = self.turn.lock().await;
        self.state().ttl = ttl;
        self.extend_now(ttl, deadline).await
    }

    /// Extends by what was asked for at last, as long as the belief lasts.
    pub(crate) async fn extend_again(&self) -> Result<Extended, Error> {
        let _turn = self.turn.lock().await;
        let (ttl, until) = {
            let state = self.state();
            (state.ttl, state.valid_until)
        };
        // A node that is silent for a sixth of the lease has another one beside it asked as well.
        self.extend_now(ttl, Deadline::at(until).suspecting_after(ttl.split(6))).await
    }

    async fn extend_now(&self, ttl: Span, deadline: Deadline) -> Result<Extended, Error> {
        let step = || self.step();
        let extended = extend_as(&self.cluster, &self.key, self.owner(), ttl, step, deadline).await;
        match &extended {
            Ok(extended) => self.confirm(extended),
            // By token: whoever holds the key now is not this ownership.
            Err(Error::Refused(refusal)) => drop(self.end(Lost::Taken(refusal.clone()))),
            Err(other) => self.state().trouble = Some(other.clone()),
        }
        extended
    }

    fn confirm(&self, extended: &Extended) {
        let mut state = self.state();
        state.trouble = None;
        state.votes = extended.votes;
        // An answer that comes after the end changes nothing: `end` stays.
        state.valid_until = state.valid_until.max(extended.valid_until);
    }

    pub(crate) async fn update(
        &self,
        value: Bytes,
        labels: Option<&Labels>,
        timeout: Duration,
    ) -> Result<Updated, Error> {
        let deadline = Deadline::within(timeout);
        let _turn = self.turn.lock().await;
        let (owner, id) = (self.owner(), self.step());
        let updated =
            update_as(&self.cluster, &self.key, owner, value.clone(), labels, id, deadline).await;
        match &updated {
            Ok(_) => self.state().value = value,
            Err(Error::Refused(refusal)) => drop(self.end(Lost::Taken(refusal.clone()))),
            Err(_) => {}
        }
        updated
    }

    /// Gives the key up. The belief must have ended before.
    pub(crate) async fn release(&self, timeout: Duration) -> Result<Released, Error> {
        debug_assert!(self.state().end.is_some(), "a release ends the belief before it is sent");
        let (owner, id, deadline) = (self.owner(), self.step(), Deadline::within(timeout));
        release_as(&self.cluster, &self.key, owner, id, deadline).await
    }
}

impl State {
    fn time_left(&self, now: Instant) -> Span {
        self.valid_until.since(now).minus(MARGIN.min(self.ttl.split(MARGIN_PARTS)))
    }
}
