//! Watching: what changes in one node's own records, as it happens there.
//!
//! A watch is cut off rather than slowed down: a node that waited for its watchers would be as slow as the slowest, and one
//! that kept everything for them as large. Whoever is cut off watches again and then lists, and knows again.

use std::sync::Arc;

use leasehold_core::{Key, NotDone, Notice, Outcome, Token, Turn};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;

use crate::answer::Holder;
use crate::cluster::Cluster;
use crate::connection::Connection;
use crate::error::Reason;
use crate::question::Reply;

/// Changes that may wait for the caller; one that lets more gather lags.
const QUEUE: usize = 4_096;

/// A change that was watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noticed {
    /// The key.
    pub key: Key,
    /// The ownership that changed.
    pub token: Token,
    /// What became of it.
    pub change: Change,
}

/// What became of an ownership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was acquired, extended or updated. With the holder, unless the key has gone to somebody else meanwhile.
    Held(Option<Holder>),
    /// It was given up, or settled after it died.
    Released,
    /// Its lease ended by itself.
    Expired,
}

impl From<Notice> for Noticed {
    fn from(Notice { key, token, turn }: Notice) -> Self {
        let change = match turn {
            Turn::Held(holder) => Change::Held(holder.map(Holder::from)),
            Turn::Released => Change::Released,
            Turn::Expired => Change::Expired,
        };
        Self { key, token, change }
    }
}

/// Why a watch has come to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchEnd {
    /// Changes came faster than they were read, and some are lost.
    #[error("changes came faster than they were read, and some are lost")]
    Lagged,
    /// The connection to the node ended, and what happened since is lost.
    #[error("the connection to the node ended")]
    Disconnected,
    /// The node did not take the watch on.
    #[error("not watched: {0}")]
    NotDone(Reason),
    /// The caller may not watch these keys.
    #[error("not allowed: {0}")]
    NotAllowed(String),
}

/// The changes of keys that start with a prefix, by one node's own records; see [`Client::watch`](crate::Client::watch).
#[derive(Debug)]
#[must_use = "nothing is watched once this is dropped"]
pub struct Watch {
    notices: Receiver<Notice>,
    end: oneshot::Receiver<WatchEnd>,
    connection: Arc<Connection>,
    call: u64,
}

/// The connection's end of a watch.
#[derive(Debug)]
pub(crate) struct Watcher {
    notices: Sender<Notice>,
    begun: Option<oneshot::Sender<()>>,
    end: oneshot::Sender<WatchEnd>,
}

impl Watch {
    /// A watch over this connection: the caller's end, what tells that it has begun, and the connection's end.
    pub(crate) fn new(
        cluster: &Cluster,
        connection: Arc<Connection>,
    ) -> (Self, oneshot::Receiver<()>, Watcher) {
        let call = cluster.next_call();
        let (notices_in, notices) = channel(QUEUE);
        let (begun_in, begun) = oneshot::channel();
        let (end_in, end) = oneshot::channel();
        let watcher = Watcher { notices: notices_in, begun: Some(begun_in), end: end_in };
        (Self { notices, end, connection, call }, begun, watcher)
    }

    /// The name of the call.
    pub(crate) const fn call(&self) -> u64 {
        self.call
    }

    /// The next change, in the order in which that node saw them. Cancel safe.
    ///
    /// # Errors
    ///
    /// Why there will be no more. What had come before the end is handed out before it.
    pub async fn next(&mut self) -> Result<Noticed, WatchEnd> {
        match self.notices.recv().await {
            Some(notice) => Ok(notice.into()),
            None => Err((&mut self.end).await.unwrap_or(WatchEnd::Disconnected)),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.connection.abandon(self.call, None);
    }
}

impl Watcher {
    /// The node has taken the watch on.
    pub(crate) fn begin(&mut self) {
        if let Some(begun) = self.begun.take() {
            // Nobody waits for it if the watch was dropped, which its connection learns by itself.
            begun.send(()).unwrap_or_default();
        }
    }

    /// Hands a change on. Returns whether it did; if not, the watch is over.
    pub(crate) fn tell(&self, notice: Notice) -> bool {
        match self.notices.try_send(notice) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => false,
        }
    }

    /// The watch is over.
    pub(crate) fn end(self, end: WatchEnd) {
        // Without a receiver nobody watches any more.
        drop(self.end.send(end));
    }

    /// The watch is over, because it was answered like an operation.
    pub(crate) fn refuse(self, reply: Reply) {
        let reason = match reply {
            Reply::NotAllowed(why) => return self.end(WatchEnd::NotAllowed(why)),
            Reply::Outcome(Outcome::NotDone(NotDone::Limit(limit))) => limit.into(),
            Reply::Outcome(Outcome::NotDone(NotDone::Draining)) => Reason::Draining,
            Reply::Outcome(_)
            | Reply::Local(_)
            | Reply::Status(_)
            | Reply::Page(_)
            | Reply::Waiting(_)
            | Reply::Declined(_)
            | Reply::Hosted(_)
            | Reply::Posted(_)
            | Reply::Unmet(_) => Reason::Nonsense,
        };
        self.end(WatchEnd::NotDone(reason));
    }
}
