//! A string of bytes as the course of a small cluster: which message arrives, who asks what, who restarts, when time
//! passes.
//!
//! Three masters, one replica, three clients, two keys, clocks that drift by as much as they may. Every byte decides
//! something, so that a fuzzer that changes a byte changes one thing. After each step every node's own `check()`
//! and the [`Oracle`] have their say. In the end the network heals, and every key must be available again.

mod clients;

use std::collections::BTreeMap;

use leasehold_core::{
    Action, Boot, Bytes, ClusterId, Config, Drift, Effect, Effects, Epoch, Input, Instant, Limits,
    Mark, Member, Message, Node, NodeFile, NodeId, Request, Settings, Span, Ticket, Timing, Token,
};

use super::Choices;
use super::oracle::Oracle;

const NODES: usize = 4;
const CLIENTS: usize = 3;
const KEYS: usize = 2;
/// As far as clocks may drift: wide, so that a margin that is missing shows.
const PPM: u32 = 50_000;
/// Messages under way at most; more are lost.
const UNDER_WAY: usize = 400;
/// How long a caller waits.
const PATIENCE: Span = Span::from_millis(600);
/// How much later than that a node may answer: its timers are up to a tick late.
const LATENESS: Span = Span::from_micros(1_100);
/// What time may jump by, in microseconds.
const JUMPS: [u64; 11] =
    [1, 1_000, 5_000, 20_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_000_000, 4_600_000];
/// How many ticks in a row a node may ask for while time stands still.
const STUCK: u32 = 10_000;

/// Plays `bytes`.
///
/// # Panics
///
/// If a promise of the protocol is broken.
pub fn door(bytes: &[u8]) {
    let mut choices = Choices { bytes };
    let mut play = Play::new(&mut choices);
    while !choices.is_over() {
        play.step(&mut choices);
        play.check();
    }
    play.heals();
}

/// Short times, so that few bytes lead far, and limits that are met.
fn settings() -> Settings {
    let timing = Timing {
        max_lease: Span::from_secs(2),
        op_timeout: Span::from_millis(500),
        promise_timeout: Span::from_millis(500),
        sync_timeout: Span::from_secs(1),
        max_clock_drift: Drift::from_ppm(PPM),
    };
    let limits = Limits {
        waiters_per_key: 4,
        waiters: 8,
        operations: 16,
        snapshot_part: 200,
        ..Limits::default()
    };
    Settings { timing, limits }
}

/// A clock of constant rate.
#[derive(Clone, Copy)]
struct Clock {
    start: u64,
    /// Microseconds of reading in a million of true time.
    rate: u64,
}

impl Clock {
    fn new(choice: u8, start: u64) -> Self {
        let drift = u64::from(PPM);
        let rate = match choice % 3 {
            0 => 1_000_000,
            1 => 1_000_000 - drift,
            _ => 1_000_000 + drift,
        };
        Self { start, rate }
    }

    fn reads(self, time: u64) -> Instant {
        let gone = u128::from(time) * u128::from(self.rate) / 1_000_000;
        Instant::from_micros(self.start + u64::try_from(gone).unwrap_or(u64::MAX >> 1))
    }

    /// The first true time at which it reads at least `local`.
    fn shows(self, local: Instant) -> u64 {
        let gone = u128::from(local.as_micros().saturating_sub(self.start));
        u64::try_from((gone * 1_000_000).div_ceil(u128::from(self.rate))).unwrap_or(u64::MAX)
    }
}

struct Machine {
    id: NodeId,
    node: Option<Node>,
    clock: Clock,
    boots: u64,
    file: NodeFile,
    unwritten: Vec<(Mark, NodeFile)>,
    slow_disk: bool,
}

/// What a client has, or may have.
#[derive(Clone)]
struct Holding {
    chain: (u64, u64),
    step: u32,
    value: Bytes,
    token: Option<Token>,
    /// Whether a release was sent: nothing is believed any more, whatever else is answered.
    over: bool,
}

struct Client {
    clock: Clock,
    holding: [Option<Holding>; KEYS],
    /// The call whose answer it waits for.
    call: Option<u64>,
}

/// An operation, sent once or several times.
struct Call {
    client: usize,
    key: usize,
    action: Action,
    /// Sendings that were not answered.
    open: u32,
    /// Whether some sending may have taken effect.
    possible: bool,
}

/// A request to a node.
struct Sending {
    call: u64,
    node: usize,
    /// The client's clock, and the moment, before it was sent.
    before: Instant,
    asked: u64,
    /// What the token of an acquisition must exceed.
    above: Token,
    /// The node's clock when it took the request.
    taken: Instant,
}

struct Play {
    /// True time, in microseconds.
    time: u64,
    /// Counts what happens, since a lot can while time stands still.
    moment: u64,
    machines: Vec<Machine>,
    clients: Vec<Client>,
    network: Vec<(NodeId, NodeId, Message)>,
    calls: BTreeMap<u64, Call>,
    sendings: BTreeMap<Ticket, Sending>,
    /// Requests of the operator.
    changes: BTreeMap<Ticket, usize>,
    /// Names for tickets, calls, chains.
    drawn: u64,
    oracle: Oracle,
    effects: Effects,
}

impl Play {
    fn new(choices: &mut Choices<'_>) -> Self {
        let machines = (0..NODES).map(|n| {
            let id = NodeId(1 + n as u64);
            Machine {
                id,
                node: None,
                clock: Clock::new(choices.byte(), 1_000_000_000 * (1 + n as u64)),
                boots: 0,
                file: NodeFile::new(format!("n{n}"), id),
                unwritten: Vec::new(),
                slow_disk: false,
            }
        });
        let machines = machines.collect();
        let clients = (0..CLIENTS).map(|_| Client {
            clock: Clock::new(choices.byte(), 77_000_000),
            holding: [const { None }; KEYS],
            call: None,
        });
        let mut play = Self {
            time: 1_000,
            moment: 0,
            machines,
            clients: clients.collect(),
            network: Vec::new(),
            calls: BTreeMap::new(),
            sendings: BTreeMap::new(),
            changes: BTreeMap::new(),
            drawn: 0,
            oracle: Oracle::default(),
            effects: Effects::new(),
        };
        for n in 0..NODES {
            play.boot(n);
        }
        let masters = (0..3).map(|n| play.member(n)).collect();
        let replicas = vec![play.member(3)];
        let config = Config { epoch: Epoch(1), masters, replicas, ..Config::default() };
        let ticket = Ticket(play.draw());
        play.changes.insert(ticket, 0);
        let request = Request::Init { cluster: ClusterId(5, 6), config };
        play.hand(0, Input::Request { ticket, request });
        play.settle();
        play
    }

    fn member(&self, n: usize) -> Member {
        let machine = &self.machines[n];
        Member { id: machine.id, name: machine.file.name.clone(), ..Member::default() }
    }

    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        self.drawn
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        match choices.byte() % 32 {
            0..=8 => self.deliver(choices, false),
            9..=11 => self.settle(),
            12 => {
                let lost = choices.below(self.network.len());
                if lost < self.network.len() {
                    self.network.remove(lost);
                }
            }
            13 => self.deliver(choices, true),
            14..=17 => {
                let jump = choices.one(&JUMPS).unwrap_or(1);
                self.pass(jump);
            }
            18 => self.pass_to_deadline(),
            19..=24 => self.ask(choices),
            25 => self.ask_again(choices),
            26 => {
                let client = choices.below(CLIENTS);
                self.give_up(client, choices.byte() & 1 == 0);
            }
            27 | 28 => self.restart(choices),
            29 => {
                let n = choices.below(NODES);
                self.machines[n].slow_disk ^= true;
                self.write(n);
            }
            30 => {
                let (n, peer) = (choices.below(NODES), choices.below(NODES));
                if n != peer {
                    let up = choices.byte() & 1 == 0;
                    self.hand(n, Input::Link { peer: self.machines[peer].id, up });
                }
            }
            _ => self.change(choices),
        }
    }

    fn check(&mut self) {
        for machine in &self.machines {
            if let Some(node) = &machine.node {
                node.check();
            }
        }
        for (ticket, sending) in &self.sendings {
            let machine = &self.machines[sending.node];
            let waited = machine.clock.reads(self.time).since(sending.taken);
            assert!(waited <= PATIENCE.plus(LATENESS), "{ticket:?} is not answered after {waited}");
        }
    }

    fn boot(&mut self, n: usize) {
        let (time, seed) = (self.time, n as u64);
        let machine = &mut self.machines[n];
        machine.boots += 1;
        let boot = Boot {
            wall_clock: 1_700_000_000_000_000 + time,
            proposer: seed << 32 | machine.boots,
            seed: (seed, machine.boots),
            file: machine.file.clone(),
        };
        machine.node = Some(Node::new(settings(), boot, machine.clock.reads(time)));
        self.links(n, true);
    }

    /// Tells a node and the others that the links between them are up or down.
    fn links(&mut self, n: usize, up: bool) {
        for other in 0..NODES {
            if other != n && self.machines[other].node.is_some() {
                self.hand(n, Input::Link { peer: self.machines[other].id, up });
                self.hand(other, Input::Link { peer: self.machines[n].id, up });
            }
        }
    }

    fn restart(&mut self, choices: &mut Choices<'_>) {
        let n = choices.below(NODES);
        let how = choices.byte();
        if self.machines[n].node.take().is_some() {
            // What was on its way to the disk is there or not.
            if how & 2 != 0
                && let Some((_, file)) = self.machines[n].unwritten.pop()
            {
                self.machines[n].file = file;
            }
            self.machines[n].unwritten.clear();
            self.links(n, false);
            let lost: Vec<Ticket> =
                self.sendings.iter().filter(|(_, s)| s.node == n).map(|(t, _)| *t).collect();
            for ticket in lost {
                let sending = self.sendings.remove(&ticket).expect("was just there");
                self.answered(sending.call, true);
            }
            self.changes.retain(|_, node| *node != n);
        }
        if how & 1 == 0 {
            self.boot(n);
        }
    }

    fn hand(&mut self, n: usize, input: Input) {
        let time = self.time;
        self.moment += 1;
        let Some(machine) = self.machines.get_mut(n) else { return };
        let now = machine.clock.reads(time);
        let Some(node) = &mut machine.node else { return };
        node.handle(now, input, &mut self.effects);
        let from = machine.id;
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Send { to, message } => {
                    assert_ne!(to, from, "no message goes to its sender");
                    if self.network.len() < UNDER_WAY {
                        self.network.push((from, to, message));
                    }
                }
                Effect::Persist(mark, file) => self.machines[n].unwritten.push((mark, *file)),
                Effect::Reply { ticket, outcome } => self.reply(n, ticket, &outcome),
                Effect::Event(_) => {}
            }
        }
        if !self.machines[n].slow_disk {
            self.write(n);
        }
    }

    /// All that was to be written is on disk.
    fn write(&mut self, n: usize) {
        if let Some((mark, file)) = self.machines[n].unwritten.pop() {
            self.machines[n].unwritten.clear();
            self.machines[n].file = file;
            self.hand(n, Input::Persisted(mark));
        }
    }

    fn tick(&mut self, n: usize) {
        for _ in 0..STUCK {
            let machine = &self.machines[n];
            let due = machine.node.as_ref().and_then(Node::deadline);
            if due.is_none_or(|due| due > machine.clock.reads(self.time)) {
                return;
            }
            self.hand(n, Input::Tick);
        }
        panic!("node {n} wants another tick for ever");
    }

    fn pass(&mut self, micros: u64) {
        self.time += micros;
        for n in 0..NODES {
            self.tick(n);
        }
    }

    /// To the time at which the first node has something to do.
    fn pass_to_deadline(&mut self) {
        let due = self
            .machines
            .iter()
            .filter_map(|machine| Some(machine.clock.shows(machine.node.as_ref()?.deadline()?)));
        let next = due.min().unwrap_or(self.time);
        self.pass(next.saturating_sub(self.time).max(1));
    }

    fn deliver(&mut self, choices: &mut Choices<'_>, twice: bool) {
        let which = choices.below(self.network.len());
        if which >= self.network.len() {
            return;
        }
        let (from, to, message) =
            if twice { self.network[which].clone() } else { self.network.remove(which) };
        self.arrive(from, to, message);
    }

    fn arrive(&mut self, from: NodeId, to: NodeId, message: Message) {
        let receiver = self.machines.iter().position(|machine| machine.id == to);
        let receiver = receiver.expect("messages go to nodes that exist");
        self.hand(receiver, Input::Message { from, message });
    }

    /// Delivers all that is under way, and what comes of it, up to a bound.
    fn settle(&mut self) {
        for _ in 0..4 * UNDER_WAY {
            if self.network.is_empty() {
                return;
            }
            let (from, to, message) = self.network.remove(0);
            self.arrive(from, to, message);
        }
    }

    fn change(&mut self, choices: &mut Choices<'_>) {
        let (n, roles) = (choices.below(NODES), choices.byte());
        let (mut masters, mut replicas) = (Vec::new(), Vec::new());
        for other in 0..NODES {
            match roles >> (2 * other) & 3 {
                0 | 1 => masters.push(self.member(other)),
                2 => replicas.push(self.member(other)),
                _ => {}
            }
        }
        if self.machines[n].node.is_some() {
            let ticket = Ticket(self.draw());
            self.changes.insert(ticket, n);
            let request = Request::Members { patience: PATIENCE, masters, replicas };
            self.hand(n, Input::Request { ticket, request });
        }
    }

    /// When everything works again, every key is available again.
    fn heals(&mut self) {
        for client in 0..CLIENTS {
            self.give_up(client, false);
            self.clients[client].holding = [const { None }; KEYS];
        }
        for n in 0..NODES {
            self.machines[n].slow_disk = false;
            self.write(n);
            if self.machines[n].node.is_none() {
                self.boot(n);
            }
            self.links(n, true);
        }
        for key in 0..KEYS {
            self.is_available(key);
        }
    }

    fn is_available(&mut self, key: usize) {
        // A horizon is less than 5 s, and a few may be needed one after the other.
        for round in 0..400 {
            self.settle();
            self.pass(50_000);
            self.check();
            let before = self.oracle.newest(key);
            self.clients[0].holding[key] = None;
            let action = self.action(0, key, 1);
            let id = self.draw();
            self.calls.insert(id, Call { client: 0, key, action, open: 0, possible: false });
            self.clients[0].call = Some(id);
            self.send(id, round % NODES);
            self.settle();
            if self.oracle.newest(key) > before {
                return;
            }
            self.give_up(0, true);
        }
        panic!("key {key} is not available 20 s after everything works again");
    }
}
