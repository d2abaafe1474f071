//! The driver: the one task that owns the core.
//!
//! It waits, takes what has arrived, and only *then* reads the clock: a reading from before a message came would start
//! a master's timer before the client's (protocol, section 6). It hands each input to the core, carries out the effects
//! in order, and gives every connection that has something to send one piece of bytes. So batches grow with the load,
//! and an idle node does nothing but beat.

mod ahead;
mod idle;
mod mail;
mod members;
mod notices;
mod stillness;
mod stopping;

use std::sync::Arc;

use leasehold_core::wire::{ClientItem, NodeItem, PeerItem, Topology, Welcome};
use leasehold_core::{
    Body, ClusterId, Cursor, Effect, Effects, Epoch, Event, Input, Instant, Limit, Mark, Member,
    Message, Node, NodeId, NotDone, Outcome, Page, Request, Settings, Span, Status, Tally, Ticket,
};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info, warn};

use self::idle::Idle;
use self::notices::Change;
use self::stillness::Clocks;
use self::stopping::Stopping;
use crate::amending::Amending;
use crate::budget;
use crate::clients::ClientArrival;
use crate::clock::Clock;
use crate::counters::Counters;
use crate::desk::{Desk, InitAnswer};
use crate::founding::Founding;
use crate::handshake::Known;
use crate::keeper::Keeper;
use crate::links::Links;
use crate::metrics::{Ending, Op};
use crate::outbox;
use crate::peers::{self, PeerArrival};
use crate::post::{PostOffice, Sender, Taker};
use crate::watch::Watches;

/// Arrivals of one kind that go into one batch. Each holds at most one read's worth of items.
const BATCH: usize = 64;
/// Pages of listings that one batch makes. Each costs as much as a hundred requests.
const PAGES: usize = 16;
/// Waiters of a key that are shown.
const WAITERS: usize = 1_000;
/// Requests that waited longer for their turn are refused. Whoever has to wait for seconds before anything is begun had
/// better ask another node, and answering so is much quicker than doing it.
const BEHIND: Span = Span::from_secs(1);
/// What the driver hears from the rest of the node.
#[derive(Debug)]
pub(crate) enum Control {
    /// The node file of this mark is on disk.
    Persisted(Mark),
    /// There is a connection to send to this peer.
    Dialled { member: Member, link: u64, sender: outbox::Sender },
    /// It ended.
    HungUp { peer: NodeId, link: u64 },
    /// Found the cluster.
    Init(oneshot::Sender<InitAnswer>),
    /// Say how this node is.
    Status(oneshot::Sender<Status>),
    /// The same, and what the core has counted.
    Measure(oneshot::Sender<Measured>),
    /// Come to an end.
    Stop,
}

/// How a node is, for those who measure it.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) status: Status,
    pub(crate) tally: Tally,
}

/// Where the driver's inputs come from.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) control: mpsc::Receiver<Control>,
    pub(crate) peers: mpsc::Receiver<PeerArrival>,
    pub(crate) clients: mpsc::Receiver<ClientArrival>,
}

/// What arrived and was not handled yet; the buffers are reused.
#[derive(Debug, Default)]
struct Arrived {
    control: Vec<Control>,
    peers: Vec<PeerArrival>,
    clients: Vec<ClientArrival>,
}

/// What a driver is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) clock: Clock,
    pub(crate) core: Node,
    pub(crate) settings: Settings,
    pub(crate) desk: Desk,
    pub(crate) links: Links,
    pub(crate) founding: Founding,
    pub(crate) keeper: Keeper,
    pub(crate) peers: Arc<peers::Context>,
    /// The identity to give a new cluster that this node founds.
    pub(crate) fresh_cluster: fn() -> ClusterId,
    /// Other nodes as the configuration file names them; whether they are masters.
    pub(crate) configured: Vec<(Known, bool)>,
    pub(crate) counters: Arc<Counters>,
    /// Bytes that may wait for a client before its watches are over.
    pub(crate) watch_queue: usize,
    /// For how long the driver stays awake when more is to be expected.
    pub(crate) idle_poll: Span,
}

/// The driver.
#[derive(Debug)]
pub(crate) struct Driver {
    parts: Parts,
    effects: Effects,
    topology: Topology,
    /// Whether the topology should be looked at again.
    stale: bool,
    /// Pages that this batch may still make.
    pages: usize,
    watches: Watches,
    amending: Amending,
    post: PostOffice,
    clocks: Clocks,
    idle: Idle,
    stopping: Option<Stopping>,
}

impl Driver {
    /// A driver that has begun: handshakes know whom to expect when this returns.
    pub(crate) fn new(parts: Parts, now: Instant) -> Self {
        let topology = Topology {
            cluster: None,
            node: NodeId::default(),
            epoch: Epoch::default(),
            members: Vec::new(),
        };
        let effects = Effects::new();
        let (pages, watches) = (PAGES, Watches::default());
        let amending = Amending::default();
        let post = PostOffice::new(parts.peers.identity().boot);
        let clocks = Clocks::new(now, parts.clock.wall());
        let idle = Idle::new(now, parts.idle_poll);
        let mut driver = Self {
            parts,
            effects,
            topology,
            stale: true,
            pages,
            watches,
            amending,
            post,
            clocks,
            idle,
            stopping: None,
        };
        driver.settle(now);
        driver
    }

    /// Runs the node until it was told to stop.
    pub(crate) async fn run(mut self, mut inputs: Inputs) {
        let mut arrived = Arrived::default();
        loop {
            self.wait(&mut inputs, &mut arrived).await;
            let now = self.parts.clock.now();
            let now = self.steady(now);
            self.batch(now, &mut arrived);
            if self.has_stopped(now) {
                return;
            }
        }
    }

    /// Handles what arrived, all of it at `now`.
    fn batch(&mut self, now: Instant, arrived: &mut Arrived) {
        self.pages = PAGES;
        self.parts.desk.begin(now);
        for control in arrived.control.drain(..) {
            self.control(now, control);
        }
        ahead::foresee(&self.parts.core, arrived);
        for PeerArrival { from, items } in arrived.peers.drain(..) {
            self.parts.links.heard(now, from);
            for item in items {
                match item {
                    PeerItem::Message(message) => {
                        self.stale |= is_about_members(&message);
                        self.handle(now, Input::Message { from, message });
                    }
                    PeerItem::Mail { mail, to, parcel } => {
                        let sender = Sender::Peer { peer: from, mail };
                        self.carry(now, sender, to, parcel);
                    }
                    PeerItem::Receipt { mail, delivery } => {
                        self.receipt(Taker::Peer(from), mail, delivery);
                    }
                    PeerItem::Hello(_) | PeerItem::Refused(_) | PeerItem::Beat => {}
                }
            }
        }
        for arrival in arrived.clients.drain(..) {
            self.client(now, arrival);
        }
        if self.parts.links.deadline() <= now {
            self.parts.links.beat(now);
            self.give_mail_up(now);
            self.stale = true;
        }
        for input in self.parts.links.changes(now) {
            if let Input::Link { peer, up: false } = input {
                self.lose_mail(Taker::Peer(peer));
            }
            debug!(?input, "a link changed");
            self.handle(now, input);
            self.stale = true;
        }
        if self.parts.core.deadline().is_some_and(|at| at <= now) {
            self.handle(now, Input::Tick);
        }
        self.found(now);
        self.go_on_amending(now);
        self.settle(now);
    }

    /// Carries out the effects, and sends what came of them.
    fn settle(&mut self, now: Instant) {
        self.carry_out(now);
        if std::mem::take(&mut self.stale) {
            self.look_around(now);
        }
        self.parts.links.flush();
        self.parts.desk.flush();
    }

    fn handle(&mut self, now: Instant, input: Input) {
        self.parts.core.handle(now, input, &mut self.effects);
    }

    fn carry_out(&mut self, now: Instant) {
        while !self.effects.is_empty() {
            let mut effects = std::mem::take(&mut self.effects);
            for effect in effects.drain(..) {
                match effect {
                    Effect::Send { to, message } => {
                        self.parts.links.push(to, &PeerItem::Message(message));
                    }
                    Effect::Reply { ticket, outcome } if self.amending.wanted.is_empty() => {
                        self.parts.desk.reply(ticket, outcome);
                    }
                    Effect::Reply { ticket, outcome } => self.answer(now, ticket, outcome),
                    Effect::Persist(mark, file) => {
                        if self.parts.keeper.put(mark, *file) {
                            self.handle(now, Input::Persisted(mark));
                        }
                    }
                    Effect::Event(Event::Standing(standing)) => {
                        info!(?standing, "this node's standing");
                        self.stale = true;
                    }
                    Effect::Event(Event::Configured(epoch)) => self.configured(now, epoch),
                    Effect::Event(Event::ClockRate { peer, ppm, off: true }) => {
                        warn!(?peer, ppm, "a peer's clock runs more than half of the bound off");
                    }
                    Effect::Event(Event::ClockRate { peer, ppm, off: false }) => {
                        info!(?peer, ppm, "a peer's clock runs right again");
                    }
                    Effect::Event(Event::Held { key, token }) => {
                        self.notice(now, key, token, Change::Held);
                    }
                    Effect::Event(Event::Released { key, token }) => {
                        self.notice(now, key, token, Change::Released);
                    }
                    Effect::Event(Event::Expired { key, token }) => {
                        self.parts.counters.metrics.expired.add(1);
                        self.notice(now, key, token, Change::Expired);
                    }
                }
            }
            // What the core said about a file that is on disk already comes after what it said before.
            if self.effects.is_empty() {
                self.effects = effects;
                return;
            }
        }
    }

    fn control(&mut self, now: Instant, control: Control) {
        match control {
            Control::Persisted(mark) => self.handle(now, Input::Persisted(mark)),
            Control::Dialled { member, link, sender } => {
                self.parts.links.dialled(now, member, link, sender);
            }
            Control::HungUp { peer, link } => self.parts.links.hung_up(peer, link),
            Control::Init(answer) => {
                let ticket = self.parts.desk.open_here(answer);
                self.init(now, ticket, Founding::PATIENCE);
            }
            Control::Status(answer) => {
                if answer.send(self.status(now)).is_err() {
                    debug!("nobody waits for the status any more");
                }
            }
            Control::Measure(answer) => {
                let (status, tally) = (self.status(now), self.parts.core.tally().clone());
                if answer.send(Measured { status, tally }).is_err() {
                    debug!("nobody measures this node any more");
                }
            }
            Control::Stop => self.stop(now),
        }
    }

    fn client(&mut self, now: Instant, arrival: ClientArrival) {
        match arrival {
            ClientArrival::Connected { connection, version, sender } => {
                self.parts.desk.connected(connection, sender);
                let Settings { timing, limits } = self.parts.settings;
                let topology = self.topology.clone();
                let welcome = Welcome { version, timing, limits, topology };
                self.parts.desk.push(connection, &NodeItem::Welcome(welcome));
            }
            ClientArrival::Items { connection, at, items, denied, held } => {
                for (call, why) in denied {
                    let call = Some(call);
                    self.parts.desk.push(connection, &NodeItem::NotAllowed { call, why });
                }
                let refusal = if self.stopping.is_some() {
                    Some(NotDone::Draining)
                } else {
                    // This node does not keep up.
                    let behind = now.since(at) > BEHIND;
                    behind.then_some(NotDone::Limit(Limit::Operations))
                };
                for item in items {
                    match refusal {
                        Some(reason) => self.refuse(now, connection, item, reason),
                        None => self.client_item(now, connection, item),
                    }
                }
                // Not before: what the items carry is counted once more where they are taken on.
                drop(held);
            }
            ClientArrival::Gone { connection } => {
                self.watches.gone(connection);
                self.lose_mail(Taker::Client(connection));
                for ticket in self.parts.desk.gone(connection) {
                    self.cancel(now, ticket);
                }
            }
        }
    }

    fn client_item(&mut self, now: Instant, connection: u64, item: ClientItem) {
        let desk = &mut self.parts.desk;
        let metrics = &self.parts.counters.metrics;
        match item {
            ClientItem::Request { call, request } => {
                let (op, bytes) = (Op::of(&request.action), budget::of_request(&request));
                if let Some(ticket) = desk.open(connection, call, op, bytes) {
                    let request = Request::Key(request);
                    self.handle(now, Input::Request { ticket, request });
                }
            }
            ClientItem::Cancel { call } => {
                if let Some(ticket) = desk.find(connection, call) {
                    self.cancel(now, ticket);
                } else {
                    self.watches.end(connection, call);
                }
            }
            ClientItem::LocalRead { call, key } => {
                metrics.ended(Op::GetLocal, Ending::Done);
                let holder = self.parts.core.holder(now, &key);
                desk.push(connection, &NodeItem::LocalRead { call, holder });
            }
            ClientItem::List { call, prefix, from, most } => {
                metrics.ended(Op::List, Ending::Done);
                let page = self.list(now, &prefix, from, most);
                self.parts.desk.push(connection, &NodeItem::Page { call, page });
            }
            ClientItem::Waiting { call, key } => {
                metrics.ended(Op::Waiters, Ending::Done);
                let waiting = self.parts.core.waiting(now, &key, WAITERS);
                desk.push(connection, &NodeItem::Waiting { call, waiting });
            }
            ClientItem::Status { call } => {
                metrics.ended(Op::Status, Ending::Done);
                let status = self.status(now);
                self.parts.desk.push(connection, &NodeItem::Status { call, status });
            }
            ClientItem::Init { call, patience } => {
                if let Some(ticket) = desk.open(connection, call, Op::Init, 0) {
                    self.init(now, ticket, patience);
                }
            }
            ClientItem::Amend { call, patience, amendment } => {
                let bytes = budget::of_amendment(&amendment);
                if let Some(ticket) = desk.open(connection, call, Op::Members, bytes) {
                    self.amend(now, ticket, patience, amendment);
                }
            }
            ClientItem::Host { call } => self.host(connection, call),
            ClientItem::Post { call, to, parcel } => {
                self.carry(now, Sender::Client { connection, call }, to, parcel);
            }
            ClientItem::Receipt { mail, delivery } => {
                self.receipt(Taker::Client(connection), mail, delivery);
            }
            ClientItem::Watch { call, prefix } => self.watch(connection, call, prefix),
            ClientItem::Beat => desk.push(connection, &NodeItem::Beat),
            ClientItem::Hello(_) => desk.drop_client(connection, "it said hello twice"),
        }
    }

    /// A page of a listing; an empty one, to be asked for again, when this batch has made as many as it may.
    fn list(&mut self, now: Instant, prefix: &[u8], from: Cursor, most: u32) -> Option<Page> {
        let Some(left) = self.pages.checked_sub(1) else {
            return Some(Page { holders: Vec::new(), next: Some(from) });
        };
        self.pages = left;
        self.parts.core.list(now, prefix, from, usize::try_from(most).unwrap_or(usize::MAX))
    }

    fn cancel(&mut self, now: Instant, ticket: Ticket) {
        if self.parts.founding.cancel(ticket) || self.amending.cancel(ticket) {
            self.parts.desk.reply(ticket, Outcome::NotDone(NotDone::Cancelled));
        } else {
            self.handle(now, Input::Cancel(ticket));
        }
    }
}

/// Whether the message may change what the topology shows.
fn is_about_members(message: &Message) -> bool {
    match message.body {
        Body::Found(_) | Body::Standing(_) | Body::Change(_) => true,
        Body::Ask { .. }
        | Body::Answer { .. }
        | Body::Tell(_)
        | Body::Relay(_)
        | Body::Snapshot(_)
        | Body::Feed(_) => false,
    }
}
