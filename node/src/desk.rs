//! The driver's side of the connections of clients: who asked what, and the answers that wait for the end of a batch.

// Whose order is the seed's on a simulated network.
#[cfg(madsim)]
use std::collections::HashMap;
use std::sync::Arc;

#[cfg(not(madsim))]
use hashbrown::HashMap;
use leasehold_core::wire::{Frame, NodeItem};
use leasehold_core::{Instant, Limit, NotDone, Outcome, Span, Ticket};
use tokio::sync::oneshot;
use tracing::{debug, warn};

use crate::budget::{Budget, Share};
use crate::counters::Counters;
use crate::metrics::{Ending, Op};
use crate::outbox::Sender;

/// The answer to `init`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InitAnswer {
    /// What the cluster said.
    Outcome(Outcome),
    /// These configured masters were not met in time; nothing was done.
    Unmet(Vec<String>),
}

/// Who waits for an answer of the core.
#[derive(Debug)]
enum Caller {
    Client { connection: u64, call: u64, op: Op, asked: Instant, bytes: usize },
    Here(oneshot::Sender<InitAnswer>),
}

#[derive(Debug)]
struct Connection {
    sender: Sender,
    frame: Frame,
    /// What is not answered yet.
    calls: HashMap<u64, Ticket>,
    /// Bytes that this carries, and the memory for them.
    bytes: usize,
    held: Share,
}

impl Connection {
    /// Whether there is memory for calls that carry this many bytes.
    fn carry(&mut self, bytes: usize) -> bool {
        let fits = self.held.hold(bytes);
        if fits {
            self.bytes = bytes;
        }
        fits
    }
}

/// All clients of a node.
#[derive(Debug)]
pub(crate) struct Desk {
    connections: HashMap<u64, Connection>,
    pending: HashMap<Ticket, Caller>,
    last_ticket: u64,
    /// Connections with a frame to send.
    unsent: Vec<u64>,
    /// Requests of one connection that may be unanswered.
    calls: usize,
    /// The memory for what they all carry.
    budget: Arc<Budget>,
    /// The clock at this batch.
    now: Instant,
    counters: Arc<Counters>,
}

impl Desk {
    pub(crate) fn new(calls: usize, budget: Arc<Budget>, counters: Arc<Counters>) -> Self {
        Self {
            connections: HashMap::new(),
            pending: HashMap::new(),
            last_ticket: 0,
            unsent: Vec::new(),
            calls,
            budget,
            now: Instant::default(),
            counters,
        }
    }

    /// Another batch begins.
    pub(crate) const fn begin(&mut self, now: Instant) {
        self.now = now;
    }

    /// A client is there.
    pub(crate) fn connected(&mut self, connection: u64, sender: Sender) {
        let held = Share::of(Arc::clone(&self.budget));
        let (frame, calls) = (Frame::default(), HashMap::new());
        self.connections.insert(connection, Connection { sender, frame, calls, bytes: 0, held });
    }

    /// A client is gone. Returns what it waited for.
    pub(crate) fn gone(&mut self, connection: u64) -> Vec<Ticket> {
        match self.connections.remove(&connection) {
            Some(gone) => gone.calls.into_values().collect(),
            None => Vec::new(),
        }
    }

    /// Whether a client is there.
    pub(crate) fn has(&self, connection: u64) -> bool {
        self.connections.contains_key(&connection)
    }

    fn ticket(&mut self, caller: Caller) -> Ticket {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.pending.insert(ticket, caller);
        ticket
    }

    /// Names a request of a client for the core, which carries this many bytes. `None` if the client is gone, misbehaves,
    /// or has asked too much already, or all of them have, which is answered here.
    pub(crate) fn open(
        &mut self,
        connection: u64,
        call: u64,
        op: Op,
        bytes: usize,
    ) -> Option<Ticket> {
        let client = self.connections.get_mut(&connection)?;
        if client.calls.contains_key(&call) {
            self.drop_client(connection, "it used a call's name twice");
            return None;
        }
        let limit = if client.calls.len() >= self.calls {
            Some(Limit::OperationsPerClient)
        } else {
            (!client.carry(client.bytes.saturating_add(bytes))).then_some(Limit::Operations)
        };
        if let Some(limit) = limit {
            let outcome = Outcome::NotDone(NotDone::Limit(limit));
            self.counters.metrics.answered(op, &outcome, Span::ZERO);
            self.push(connection, &NodeItem::Reply { call, outcome });
            return None;
        }
        let asked = self.now;
        let ticket = self.ticket(Caller::Client { connection, call, op, asked, bytes });
        self.connections.get_mut(&connection)?.calls.insert(call, ticket);
        Some(ticket)
    }

    /// Names a request of this process for the core.
    pub(crate) fn open_here(&mut self, answer: oneshot::Sender<InitAnswer>) -> Ticket {
        self.ticket(Caller::Here(answer))
    }

    /// The name of a request that is not answered yet.
    pub(crate) fn find(&self, connection: u64, call: u64) -> Option<Ticket> {
        self.connections.get(&connection)?.calls.get(&call).copied()
    }

    /// Requests that are not answered yet.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The names of requests that are not answered yet.
    pub(crate) fn tickets(&self) -> Vec<Ticket> {
        self.pending.keys().copied().collect()
    }

    /// Clients that are there.
    pub(crate) fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Answers a request.
    pub(crate) fn reply(&mut self, ticket: Ticket, outcome: Outcome) {
        match self.close(ticket) {
            Some(Caller::Client { connection, call, op, asked, bytes: _ }) => {
                self.counters.metrics.answered(op, &outcome, self.now.since(asked));
                self.push(connection, &NodeItem::Reply { call, outcome });
            }
            Some(Caller::Here(answer)) => tell(answer, InitAnswer::Outcome(outcome)),
            None => warn!(?ticket, "an answer that nobody waits for"),
        }
    }

    /// Answers an `init` that did not meet these masters.
    pub(crate) fn unmet(&mut self, ticket: Ticket, masters: Vec<String>) {
        match self.close(ticket) {
            Some(Caller::Client { connection, call, op, .. }) => {
                self.counters.metrics.ended(op, Ending::NotDone);
                self.push(connection, &NodeItem::Unmet { call, masters });
            }
            Some(Caller::Here(answer)) => tell(answer, InitAnswer::Unmet(masters)),
            None => warn!(?ticket, "an answer that nobody waits for"),
        }
    }

    /// Answers a request that makes no sense as things are.
    pub(crate) fn decline(&mut self, ticket: Ticket, why: String) {
        match self.close(ticket) {
            Some(Caller::Client { connection, call, op, .. }) => {
                self.counters.metrics.ended(op, Ending::Refused);
                self.push(connection, &NodeItem::Declined { call, why });
            }
            Some(Caller::Here(_)) | None => warn!(?ticket, "an answer that nobody waits for"),
        }
    }

    fn close(&mut self, ticket: Ticket) -> Option<Caller> {
        let caller = self.pending.remove(&ticket)?;
        if let Caller::Client { connection, call, bytes, .. } = caller
            && let Some(client) = self.connections.get_mut(&connection)
        {
            client.calls.remove(&call);
            // Less than before, which there is always memory for.
            client.carry(client.bytes.saturating_sub(bytes));
        }
        Some(caller)
    }

    /// Adds an item to the next frame of a client.
    pub(crate) fn push(&mut self, connection: u64, item: &NodeItem) {
        let Some(client) = self.connections.get_mut(&connection) else { return };
        if client.frame.is_empty() {
            self.unsent.push(connection);
        }
        if let Err(error) = client.frame.push(item) {
            warn!(%error, "an answer does not fit a frame");
            self.drop_client(connection, "its answer does not fit a frame");
        }
    }

    /// Adds an item to the next frame of every client.
    pub(crate) fn push_all(&mut self, item: &NodeItem) {
        let all: Vec<u64> = self.connections.keys().copied().collect();
        for connection in all {
            self.push(connection, item);
        }
    }

    /// Hands each client's frame to its connection.
    pub(crate) fn flush(&mut self) {
        let mut unsent = std::mem::take(&mut self.unsent);
        for connection in unsent.drain(..) {
            let Some(client) = self.connections.get_mut(&connection) else { continue };
            match client.sender.put(client.frame.take()) {
                Some(spare) => drop(client.frame.swap(spare)),
                None => self.drop_client(connection, "it does not read its answers"),
            }
        }
        self.unsent = unsent;
    }

    /// Bytes that wait for a client.
    pub(crate) fn waiting(&self, connection: u64) -> usize {
        let client = self.connections.get(&connection);
        client.map_or(0, |client| client.frame.len() + client.sender.waiting())
    }

    /// Ends a connection; its task says when it is gone.
    pub(crate) fn drop_client(&mut self, connection: u64, reason: &str) {
        if let Some(client) = self.connections.get(&connection) {
            self.counters.clients_dropped.add(1);
            debug!("a client is disconnected: {reason}");
            client.sender.close();
        }
    }
}

/// An answer whose receiver went away is of no use to anybody.
fn tell(answer: oneshot::Sender<InitAnswer>, what: InitAnswer) {
    if answer.send(what).is_err() {
        debug!("nobody waits for the answer to init any more");
    }
}

#[cfg(test)]
mod tests {
    use leasehold_core::wire::{split_frame, take_item};

    use super::*;
    use crate::budget::FREE;
    use crate::outbox::{Receiver, outbox};

    fn desk(calls: usize, queue: usize) -> (Desk, Receiver) {
        let mut desk = Desk::new(calls, Budget::new(1_000), Arc::default());
        let (sender, receiver) = outbox(queue, None);
        desk.connected(1, sender);
        (desk, receiver)
    }

    async fn items(receiver: &mut Receiver) -> Vec<NodeItem> {
        let bytes = receiver.take().await.unwrap();
        let (mut rest, used) = split_frame(&bytes).unwrap().unwrap();
        assert_eq!(used, bytes.len());
        std::iter::from_fn(|| take_item(&mut rest).unwrap()).collect()
    }

    #[tokio::test]
    async fn the_answers_of_a_batch_leave_in_one_frame() {
        let (mut desk, mut receiver) = desk(10, 1 << 20);
        let tickets: Vec<_> = (0..3).filter_map(|call| desk.open(1, call, Op::Get, 9)).collect();
        for ticket in tickets {
            desk.reply(ticket, Outcome::Unknown);
        }
        desk.flush();
        let reply = |call| NodeItem::Reply { call, outcome: Outcome::Unknown };
        assert_eq!(items(&mut receiver).await, [reply(0), reply(1), reply(2)]);
        assert_eq!(desk.pending(), 0);
    }

    #[tokio::test]
    async fn too_many_calls_are_an_answer() {
        let (mut desk, mut receiver) = desk(1, 1 << 20);
        desk.open(1, 0, Op::Get, 9).unwrap();
        assert_eq!(desk.open(1, 1, Op::Get, 9), None);
        desk.flush();
        let outcome = Outcome::NotDone(NotDone::Limit(Limit::OperationsPerClient));
        assert_eq!(items(&mut receiver).await, [NodeItem::Reply { call: 1, outcome }]);
    }

    #[tokio::test]
    async fn calls_that_carry_too_much_are_an_answer_and_what_is_answered_makes_room() {
        let (mut desk, mut receiver) = desk(10, 1 << 20);
        let (other, _other) = outbox(1 << 20, None);
        desk.connected(2, other);
        let large = desk.open(1, 0, Op::Lock, FREE + 900).unwrap();
        assert_eq!(desk.open(1, 1, Op::Lock, 101), None);
        // Whoever asks for little is served all the same.
        desk.open(2, 0, Op::Lock, FREE).unwrap();
        assert_eq!(desk.open(2, 1, Op::Lock, 101), None);
        desk.reply(large, Outcome::Unknown);
        desk.open(2, 2, Op::Lock, 1_000).unwrap();
        desk.gone(2);
        desk.open(1, 2, Op::Lock, FREE + 1_000).unwrap();
        desk.flush();
        let outcome = Outcome::NotDone(NotDone::Limit(Limit::Operations));
        let unknown = NodeItem::Reply { call: 0, outcome: Outcome::Unknown };
        assert_eq!(items(&mut receiver).await, [NodeItem::Reply { call: 1, outcome }, unknown]);
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_dropped_and_its_requests_are_known() {
        let (mut desk, mut receiver) = desk(10, 3);
        let lost = desk.open(1, 7, Op::Get, 9).unwrap();
        let answered = desk.open(1, 8, Op::Get, 9).unwrap();
        desk.reply(answered, Outcome::Unknown);
        desk.flush();
        assert_eq!(receiver.take().await, None);
        assert_eq!(desk.gone(1), [lost]);
        desk.reply(lost, Outcome::Unknown);
        assert_eq!(desk.pending(), 0);
    }
}
