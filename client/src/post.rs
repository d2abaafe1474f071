//! The client's mailboxes, and the connection at which they are.
//!
//! All mailboxes of a client are at one of its connections, its *host*; their address names it. When that connection ends,
//! another one becomes the host, and whoever has told others an address tells them the new one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use leasehold_core::wire::ClientItem;
use leasehold_core::{Address, Bytes, Delivery, Instant, Parcel, Span};
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::clock;
use crate::cluster::{Cluster, lock_up};
use crate::connection::{Arrival, Connection};
use crate::identity;
use crate::mailbox::Mailbox;
use crate::question::Reply;

/// A host is looked for again after so long without any connection.
const LOOK: Span = Span::from_secs(60);
/// A node that does not say within this time where it has the mailboxes is not asked any further.
const HOSTING: Span = Span::from_secs(5);

/// What is sent to a client.
#[derive(Debug, Default)]
pub(crate) struct Post {
    state: Mutex<State>,
    /// Where mailbox 0 is, while there is a host.
    host: watch::Sender<Option<Address>>,
}

#[derive(Debug, Default)]
struct State {
    ended: bool,
    boxes: BTreeMap<u64, Sender<Parcel>>,
    calls: BTreeMap<u64, oneshot::Sender<Bytes>>,
    hosting: Option<JoinHandle<()>>,
}

impl Post {
    /// Puts a piece where it belongs.
    pub(crate) fn deliver(&self, number: u64, parcel: Parcel) -> Delivery {
        let mut state = lock_up(&self.state);
        if let Parcel::Reply { call, body } = parcel {
            let answered = state.calls.remove(&call).is_some_and(|call| call.send(body).is_ok());
            return if answered { Delivery::Taken } else { Delivery::Nobody };
        }
        match state.boxes.get(&number).map(|inbox| inbox.try_send(parcel)) {
            Some(Ok(())) => Delivery::Taken,
            Some(Err(TrySendError::Full(_))) => Delivery::Full,
            Some(Err(TrySendError::Closed(_))) | None => Delivery::Nobody,
        }
    }

    /// Opens a mailbox: its number, which nobody can guess who was not told, and what arrives there.
    pub(crate) fn open(&self, capacity: usize) -> (u64, Receiver<Parcel>) {
        let (inbox, parcels) = channel(capacity.max(1));
        let mut state = lock_up(&self.state);
        let number = fresh(&state.boxes);
        state.boxes.insert(number, inbox);
        (number, parcels)
    }

    pub(crate) fn close(&self, number: u64) {
        lock_up(&self.state).boxes.remove(&number);
    }

    /// Expects an answer, under a name that only whoever is asked learns.
    pub(crate) fn expect(&self) -> (u64, oneshot::Receiver<Bytes>) {
        let (sender, answer) = oneshot::channel();
        let mut state = lock_up(&self.state);
        let call = fresh(&state.calls);
        state.calls.insert(call, sender);
        (call, answer)
    }

    /// Expects it no longer.
    pub(crate) fn expect_no_more(&self, call: u64) {
        lock_up(&self.state).calls.remove(&call);
    }

    /// Where this client's mailboxes are. From the first call on there is a host whenever there is a connection.
    pub(crate) fn hosted(
        &self,
        cluster: &Arc<Cluster>,
        runtime: &Handle,
    ) -> watch::Receiver<Option<Address>> {
        let mut state = lock_up(&self.state);
        if !state.ended && state.hosting.is_none() {
            state.hosting = Some(runtime.spawn(host(Arc::clone(cluster))));
        }
        self.host.subscribe()
    }

    /// Nothing arrives any more.
    pub(crate) fn end(&self) {
        let mut state = lock_up(&self.state);
        state.ended = true;
        state.boxes.clear();
        state.calls.clear();
        if let Some(hosting) = state.hosting.take() {
            hosting.abort();
        }
    }
}

/// A name that is not taken, and that nobody can guess.
fn fresh<T>(taken: &BTreeMap<u64, T>) -> u64 {
    loop {
        let (name, _) = identity::draw();
        if !taken.contains_key(&name) {
            return name;
        }
    }
}

/// Always has a host, if there is a connection.
async fn host(cluster: Arc<Cluster>) {
    let mut backoff = cluster.backoff(b"host");
    loop {
        let Some(connection) = cluster.choose_by(None, &[], clock::now().after(LOOK)).await else {
            continue;
        };
        let deadline = clock::now().after(HOSTING);
        let asked = ask(&cluster, &connection, |call| ClientItem::Host { call }, deadline).await;
        if let Asked::Answered(Reply::Hosted(address)) = asked {
            backoff.reset();
            cluster.post().host.send_replace(Some(address));
            connection.ended().await;
            cluster.post().host.send_replace(None);
        } else {
            let until = clock::now().after(backoff.pause().into());
            clock::sleep_until(until).await;
        }
    }
}

/// What became of a question to one connection.
#[derive(Debug)]
pub(crate) enum Asked {
    Answered(Reply),
    /// It never reached the node.
    NotSent,
    /// It may have reached the node.
    Unanswered,
    /// It fits no frame.
    TooLarge,
}

/// Asks over this connection and no other, once.
pub(crate) async fn ask(
    cluster: &Cluster,
    connection: &Connection,
    item: impl FnOnce(u64) -> ClientItem,
    deadline: Instant,
) -> Asked {
    let mut mailbox = Mailbox::new();
    let call = cluster.next_call();
    connection.ask(call, item(call), clock::now(), mailbox.slot()).await;
    let arrival = tokio::select! {
        biased;
        arrival = mailbox.take() => Some(arrival),
        () = clock::sleep_until(deadline) => None,
    };
    match arrival {
        Some(Arrival::Reply { reply, .. }) => Asked::Answered(reply),
        Some(Arrival::Lost { written: false, .. }) => Asked::NotSent,
        Some(Arrival::Lost { written: true, .. } | Arrival::Quiet { .. }) => Asked::Unanswered,
        Some(Arrival::TooLarge { .. }) => Asked::TooLarge,
        None if connection.abandon(call, None) => Asked::Unanswered,
        None => Asked::NotSent,
    }
}
