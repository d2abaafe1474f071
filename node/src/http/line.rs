//! A line to the driver: what a connection of a client is on its port, an HTTP request's connection is here.
//!
//! So whoever comes over HTTP stands at the same desk as everybody else: the same limits, the same queue of answers, and
//! when the caller goes away, what it waits for is taken back in the same way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use leasehold_core::wire::{ClientItem, NodeItem, Topology, VERSIONS, split_frame, take_item};
use tokio::sync::mpsc;
use tracing::warn;

use super::Context;
use crate::budget::{Budget, Share};
use crate::clients::ClientArrival;
use crate::clock::Clock;
use crate::outbox;

/// Connections over HTTP are numbered from here; those of the clients' port stay below.
const FIRST: u64 = 1 << 63;

/// The node is stopping, or dropped this line because its answers were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut;

/// A line that is open.
#[derive(Debug)]
pub(super) struct Line {
    clock: Clock,
    arrivals: mpsc::Sender<ClientArrival>,
    budget: Arc<Budget>,
    connection: u64,
    outbox: outbox::Receiver,
    items: VecDeque<NodeItem>,
    calls: u64,
    topology: Option<Topology>,
}

impl Line {
    /// Opens a line, once the driver has room.
    pub(super) async fn open(context: &Arc<Context>) -> Result<Self, Cut> {
        let connection = FIRST | context.lines.fetch_add(1, Ordering::Relaxed);
        let budget = Arc::clone(&context.clients.budget);
        let share = Share::of(Arc::clone(&budget));
        let (sender, outbox) = outbox::outbox(context.clients.queue, Some(share));
        let connected = ClientArrival::Connected { connection, version: VERSIONS.newest, sender };
        context.clients.arrivals.send(connected).await.map_err(|_| Cut)?;
        let arrivals = context.clients.arrivals.clone();
        let items = VecDeque::new();
        let clock = context.clock();
        let (calls, topology) = (0, None);
        Ok(Self { clock, arrivals, budget, connection, outbox, items, calls, topology })
    }

    /// A name for the next call.
    pub(super) const fn call(&mut self) -> u64 {
        self.calls += 1;
        self.calls
    }

    pub(super) async fn send(&mut self, item: ClientItem) -> Result<(), Cut> {
        let (connection, at) = (self.connection, self.clock.now());
        // What it carries is counted where the driver takes it on, and here as part of the body that it came in.
        let (items, denied, held) = (vec![item], Vec::new(), Share::of(Arc::clone(&self.budget)));
        let items = ClientArrival::Items { connection, at, items, denied, held };
        self.arrivals.send(items).await.map_err(|_| Cut)
    }

    /// The next item for a call; news of the cluster is kept. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<NodeItem, Cut> {
        loop {
            match self.items.pop_front() {
                Some(NodeItem::Welcome(welcome)) => self.topology = Some(welcome.topology),
                Some(NodeItem::Topology(topology)) => self.topology = Some(topology),
                Some(item) => return Ok(item),
                None => {
                    let bytes = self.outbox.take().await.ok_or(Cut)?;
                    unpack(&bytes, &mut self.items);
                }
            }
        }
    }

    /// The cluster as the driver last told it; it does so before it answers anything.
    pub(super) const fn topology(&self) -> Option<&Topology> {
        self.topology.as_ref()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let (arrivals, connection) = (self.arrivals.clone(), self.connection);
        let gone = async move {
            // A driver that is gone needs no telling.
            drop(arrivals.send(ClientArrival::Gone { connection }).await);
        };
        // Without a runtime there is no driver either.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(gone);
        }
    }
}

/// The items of whole frames, which the desk has built in this process.
fn unpack(mut bytes: &[u8], into: &mut VecDeque<NodeItem>) {
    while let Ok(Some((mut items, used))) = split_frame(bytes) {
        loop {
            match take_item(&mut items) {
                Ok(Some(item)) => into.push_back(item),
                Ok(None) => break,
                Err(error) => {
                    warn!(%error, "an answer of this very node makes no sense; this is a defect");
                    break;
                }
            }
        }
        bytes = bytes.get(used..).unwrap_or_default();
    }
}
