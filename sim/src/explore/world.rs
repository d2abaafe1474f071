//! A state of a scope's world, and the steps that lead on from it.

use std::collections::VecDeque;
use std::rc::Rc;

use leasehold_core::{
    Ask, Body, Boot, ClusterId, Config, Effect, Effects, Epoch, Input, Instant, Member, Message,
    Node, NodeFile, NodeId, Outcome, Request, Settings, Ticket,
};

use super::client::{Answers, Book, Want};
use super::digest::{Digest, digest};
use super::scope::{First, Scope};
use super::story;
use crate::check::Violation;
use crate::trace::Trace;

/// True time at which a world begins, in microseconds: no clock is near its start.
const BEGINNING: u64 = 1_000_000_000;
const MILLION: u64 = 1_000_000;
/// Tickets from here on are the operator's.
const OPERATOR: u64 = 1 << 32;

/// A node with its disk and its clock.
#[derive(Clone, Debug)]
pub(super) struct Host {
    node: Node,
    file: NodeFile,
    boots: u64,
    digest: Digest,
}

/// A message under way.
#[derive(Clone, Debug, Hash)]
pub(super) struct Packet {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) message: Message,
}

/// Something that may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// This message arrives; `keep` if it will once more.
    Arrive { packet: Digest, keep: bool },
    /// Time moves by this jump of the budget.
    Jump(usize),
    /// A client makes its next request of this node, within this choice of nodes if it is atomic.
    Ask { client: usize, via: usize, within: Option<usize> },
    /// A node stops and starts again.
    Restart(usize),
}

/// Everything there is at a moment.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) now: u64,
    hosts: Vec<Rc<Host>>,
    /// What is under way, in the order of its digests, each once.
    pub(super) net: Vec<(Digest, Rc<Packet>)>,
    book: Rc<Book>,
    /// Jumps of each kind, restarts and copies so far.
    jumped: Vec<u8>,
    restarted: u8,
    copied: u8,
    /// Which of the scope's choices of clock rates this is.
    rates: usize,
}

/// How far the messages of a step go.
#[derive(Clone, Copy, Debug)]
enum Reach<'a> {
    /// Into the network.
    Network,
    /// To these nodes, at once, but for accepts to one of them, which go into the network.
    Within(&'a [usize], Option<usize>),
}

impl World {
    /// The world of a scope, founded, its prelude over.
    pub(super) fn new(scope: &Scope, rates: usize, trace: &mut Trace) -> Result<Self, Violation> {
        let mut world = Self {
            now: BEGINNING,
            hosts: Vec::new(),
            net: Vec::new(),
            book: Rc::new(Book::new(scope.clients.len())),
            jumped: vec![0; scope.budget.jumps.len()],
            restarted: 0,
            copied: 0,
            rates,
        };
        for number in 0..scope.nodes {
            let file = NodeFile::new(name(number), id_of(number));
            world.hosts.push(Rc::new(world.boot(scope, number, file, 1)));
        }
        let all: Vec<usize> = (0..scope.nodes).collect();
        let masters = members(&all[..scope.masters]);
        let config = Config { epoch: Epoch(1), masters, ..Config::default() };
        let request = Request::Init { cluster: ClusterId(1, 2), config };
        let input = Input::Request { ticket: Ticket(OPERATOR), request };
        world.run(scope, 0, input, Reach::Within(&all, None), trace)?;
        for &(passes, ref first) in &scope.prelude {
            world.pass(scope, passes.as_micros(), trace)?;
            match *first {
                First::Ask(client) => {
                    let via = world.book.next(scope, client).map_or(0, |planned| planned.via[0]);
                    world.apply(scope, Step::Ask { client, via, within: Some(0) }, trace)?;
                }
                First::Restart(node) => world.restart(scope, node, trace)?,
            }
        }
        Ok(world)
    }

    /// The answers that were given on the way here.
    pub(super) fn answers(&self) -> Answers {
        self.book.answers
    }

    /// What tells this state from others.
    pub(super) fn digest(&self) -> Digest {
        let hosts: Vec<Digest> = self.hosts.iter().map(|host| host.digest).collect();
        let net: Vec<Digest> = self.net.iter().map(|(digest, _)| *digest).collect();
        let spent = (&self.jumped, self.restarted, self.copied, self.rates);
        digest(&(self.now, hosts, net, &*self.book, spent))
    }

    /// All that may happen next, unless nobody would ever hear of it.
    pub(super) fn steps(&self, scope: &Scope) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.book.is_closed(scope) {
            return steps;
        }
        for client in 0..scope.clients.len() {
            let Some(planned) = self.book.next(scope, client) else { continue };
            for &via in &planned.via {
                let choices = 0..planned.within.len();
                let ask = |within| Step::Ask { client, via, within };
                if planned.within.is_empty() {
                    steps.push(ask(None));
                }
                steps.extend(choices.map(|choice| ask(Some(choice))));
            }
        }
        for &(packet, _) in &self.net {
            steps.push(Step::Arrive { packet, keep: false });
            if self.copied < scope.budget.copies {
                steps.push(Step::Arrive { packet, keep: true });
            }
        }
        if self.restarted < scope.budget.restarts {
            steps.extend(scope.budget.fragile.iter().map(|&node| Step::Restart(node)));
        }
        for (kind, jump) in scope.budget.jumps.iter().enumerate() {
            if self.jumped[kind] < jump.times {
                steps.push(Step::Jump(kind));
            }
        }
        steps
    }

    /// Takes a step.
    pub(super) fn apply(
        &mut self,
        scope: &Scope,
        step: Step,
        trace: &mut Trace,
    ) -> Result<(), Violation> {
        match step {
            Step::Arrive { packet, keep } => {
                // On a path that was cut short, a message may not have been sent.
                let Ok(place) = self.place(packet) else { return Ok(()) };
                let (_, packet) = if keep {
                    self.copied += 1;
                    self.net[place].clone()
                } else {
                    self.net.remove(place)
                };
                let (from, message) = (id_of(packet.from), packet.message.clone());
                self.run(scope, packet.to, Input::Message { from, message }, Reach::Network, trace)
            }
            Step::Jump(kind) => {
                self.jumped[kind] += 1;
                self.pass(scope, scope.budget.jumps[kind].by.as_micros(), trace)
            }
            Step::Ask { client, via, within } => self.ask(scope, client, via, within, trace),
            Step::Restart(number) => {
                self.restarted += 1;
                self.restart(scope, number, trace)
            }
        }
    }

    fn restart(
        &mut self,
        scope: &Scope,
        number: usize,
        trace: &mut Trace,
    ) -> Result<(), Violation> {
        trace.line(self.now, None, || name(number), || "stops, and starts with its file".into());
        let host = &self.hosts[number];
        let boots = host.boots + 1;
        let host = self.boot(scope, number, host.file.clone(), boots);
        self.hosts[number] = Rc::new(host);
        Rc::make_mut(&mut self.book).died(number, boots);
        self.run(scope, number, Input::Tick, Reach::Network, trace)
    }

    fn boot(&self, scope: &Scope, number: usize, file: NodeFile, boots: u64) -> Host {
        let wall = scope.walls.get(number).copied().unwrap_or_default();
        let boot = Boot {
            wall_clock: if boots == 1 { wall.0 } else { wall.1 },
            proposer: boots * 16 + wide(number) + 1,
            seed: (7, boots * 16 + wide(number)),
            file: file.clone(),
        };
        let settings = Settings { timing: scope.timing, ..Settings::default() };
        let node = Node::new(settings, boot, self.local(scope, number));
        let digest = digest(&(&node, boots));
        Host { node, file, boots, digest }
    }

    /// What the clock of node `number` shows.
    fn local(&self, scope: &Scope, number: usize) -> Instant {
        Instant::from_micros(self.now * self.rate(scope, number) / MILLION)
    }

    /// Microseconds of a node's clock, or of a client's behind the nodes, in a million true ones.
    fn rate(&self, scope: &Scope, number: usize) -> u64 {
        let rates = scope.rates.get(self.rates);
        let faster = rates.and_then(|rates| rates.get(number)).copied().unwrap_or(0);
        MILLION.saturating_add_signed(faster)
    }

    /// Time passes, and every node does what became due.
    fn pass(&mut self, scope: &Scope, by: u64, trace: &mut Trace) -> Result<(), Violation> {
        if by == 0 {
            return Ok(());
        }
        self.now += by;
        Rc::make_mut(&mut self.book).moved();
        trace.line(self.now, None, || "time".into(), || format!("{by} µs have passed"));
        for number in 0..self.hosts.len() {
            let due = self.hosts[number].node.deadline();
            if due.is_some_and(|at| at <= self.local(scope, number)) {
                self.run(scope, number, Input::Tick, Reach::Network, trace)?;
            }
        }
        Ok(())
    }

    fn ask(
        &mut self,
        scope: &Scope,
        client: usize,
        via: usize,
        within: Option<usize>,
        trace: &mut Trace,
    ) -> Result<(), Violation> {
        // On a path that was cut short, the client may not be that far, or further.
        let next = self.book.next(scope, client).filter(|planned| planned.via.contains(&via));
        let Some(planned) = next else { return Ok(()) };
        let reach = match within {
            None if planned.within.is_empty() => Reach::Network,
            Some(choice) if choice < planned.within.len() => {
                Reach::Within(&planned.within[choice], planned.late_at)
            }
            None | Some(_) => return Ok(()),
        };
        let what = || format!("asks {}: {:?}{}", name(via), planned.want, reach.words());
        trace.line(self.now, None, || format!("c{client}"), what);
        let rate = self.rate(scope, self.hosts.len() + client);
        let boots = self.hosts[via].boots;
        let book = Rc::make_mut(&mut self.book);
        if let Want::Masters(nodes) = &planned.want {
            book.changed(client);
            return self.change(scope, via, nodes, reach, trace);
        }
        let Some((op, request)) = book.ask(scope, client, (via, boots), (self.now, rate)) else {
            return Ok(());
        };
        let input = Input::Request { ticket: Ticket(wide(op)), request: Request::Key(request) };
        self.run(scope, via, input, reach, trace)
    }

    /// An operator wants these masters; the driver has just met all of them.
    fn change(
        &mut self,
        scope: &Scope,
        via: usize,
        nodes: &[usize],
        reach: Reach<'_>,
        trace: &mut Trace,
    ) -> Result<(), Violation> {
        for up in [true, false] {
            for peer in (0..self.hosts.len()).filter(|&peer| peer != via) {
                self.run(scope, via, Input::Link { peer: id_of(peer), up }, reach, trace)?;
            }
            if up {
                let (masters, replicas) = (members(nodes), Vec::new());
                let patience = scope.timing.op_timeout;
                let request = Request::Members { patience, masters, replicas };
                let ticket = Ticket(OPERATOR + self.hosts[via].boots);
                self.run(scope, via, Input::Request { ticket, request }, reach, trace)?;
            }
        }
        Ok(())
    }

    /// Hands a node an input, and carries out what it says; within a reach, to the end.
    fn run(
        &mut self,
        scope: &Scope,
        number: usize,
        input: Input,
        reach: Reach<'_>,
        trace: &mut Trace,
    ) -> Result<(), Violation> {
        let mut sent = VecDeque::new();
        self.handle(scope, number, input, &mut sent, trace)?;
        match reach {
            Reach::Network => {
                for packet in sent {
                    if self.matters(scope, &packet) {
                        self.send(packet);
                    }
                }
                let mut net = std::mem::take(&mut self.net);
                net.retain(|(_, packet)| packet.to != number || self.matters(scope, packet));
                self.net = net;
            }
            Reach::Within(nodes, late_at) => {
                while let Some(packet) = sent.pop_front() {
                    let ask =
                        matches!(packet.message.body, Body::Ask { ask: Ask::Accept { .. }, .. });
                    if ask && late_at == Some(packet.to) {
                        self.send(packet);
                    } else if nodes.contains(&packet.from) && nodes.contains(&packet.to) {
                        let from = id_of(packet.from);
                        let input = Input::Message { from, message: packet.message };
                        self.handle(scope, packet.to, input, &mut sent, trace)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// One call of a node, with the disk at hand. What it sends goes to `sent`.
    fn handle(
        &mut self,
        scope: &Scope,
        number: usize,
        input: Input,
        sent: &mut VecDeque<Packet>,
        trace: &mut Trace,
    ) -> Result<(), Violation> {
        let local = self.local(scope, number);
        story::input((self.now, local), number, &input, trace);
        let (mut inputs, mut effects) = (VecDeque::from([input]), Effects::new());
        while let Some(input) = inputs.pop_front() {
            let host = Rc::make_mut(&mut self.hosts[number]);
            host.node.handle(local, input, &mut effects);
            host.node.check();
            let boots = host.boots;
            for effect in effects.drain(..) {
                story::effect((self.now, local), number, &effect, trace);
                match effect {
                    Effect::Send { to, message } => {
                        let to = number_of(to);
                        // Hints, of no use where links are silent.
                        if !matches!(message.body, Body::Standing(_)) {
                            sent.push_back(Packet { from: number, to, message });
                        }
                    }
                    Effect::Persist(mark, file) => {
                        Rc::make_mut(&mut self.hosts[number]).file = *file;
                        inputs.push_back(Input::Persisted(mark));
                    }
                    Effect::Reply { ticket, outcome } => {
                        self.answer((number, boots), ticket, &outcome)?;
                    }
                    Effect::Event(_) => {}
                }
            }
        }
        let host = Rc::make_mut(&mut self.hosts[number]);
        host.digest = digest(&(&host.node, host.boots));
        Ok(())
    }

    fn answer(
        &mut self,
        from: (usize, u64),
        ticket: Ticket,
        outcome: &Outcome,
    ) -> Result<(), Violation> {
        if ticket.0 >= OPERATOR {
            return Ok(());
        }
        let op = usize::try_from(ticket.0).unwrap_or(usize::MAX);
        Rc::make_mut(&mut self.book).answer(from, op, outcome, self.now)
    }

    /// Puts a message on its way, unless it is there already, maybe with less news of the sender's clock.
    fn send(&mut self, packet: Packet) {
        let same = |other: &Packet| {
            (other.from, other.to, other.message.epoch)
                == (packet.from, packet.to, packet.message.epoch)
                && other.message.body == packet.message.body
        };
        if self.net.iter().any(|(_, other)| same(other)) {
            return;
        }
        let digest = digest(&packet);
        if let Err(place) = self.place(digest) {
            self.net.insert(place, (digest, Rc::new(packet)));
        }
    }

    fn place(&self, packet: Digest) -> Result<usize, usize> {
        self.net.binary_search_by_key(&packet, |(digest, _)| *digest)
    }

    /// Whether a message can do anything where it goes. An answer that would change nothing now never will.
    fn matters(&self, scope: &Scope, packet: &Packet) -> bool {
        if !matches!(packet.message.body, Body::Answer { .. }) {
            return true;
        }
        let host = &self.hosts[packet.to];
        let (mut node, mut effects) = (host.node.clone(), Effects::new());
        let (from, message) = (id_of(packet.from), packet.message.clone());
        let local = self.local(scope, packet.to);
        node.handle(local, Input::Message { from, message }, &mut effects);
        !effects.is_empty() || digest(&(&node, host.boots)) != host.digest
    }
}

impl Reach<'_> {
    fn words(self) -> String {
        match self {
            Self::Network => String::new(),
            Self::Within(nodes, late_at) => {
                let names: Vec<String> = nodes.iter().map(|&node| name(node)).collect();
                let but = late_at.map(|node| format!(", accepts to {} come late", name(node)));
                format!(", at once, within {}{}", names.join(" "), but.unwrap_or_default())
            }
        }
    }
}

fn wide(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// What a node is called: A, B, C and so on.
pub(super) fn name(number: usize) -> String {
    let letter = u8::try_from(number).ok().and_then(|number| b'A'.checked_add(number));
    letter.map_or_else(|| number.to_string(), |letter| char::from(letter).to_string())
}

fn id_of(number: usize) -> NodeId {
    NodeId(wide(number) + 1)
}

/// The number of a node, far out of range for a stranger's.
pub(super) fn number_of(id: NodeId) -> usize {
    usize::try_from(id.0).unwrap_or(usize::MAX).wrapping_sub(1)
}

fn members(nodes: &[usize]) -> Vec<Member> {
    let member =
        |&number: &usize| Member { id: id_of(number), name: name(number), ..Member::default() };
    nodes.iter().map(member).collect()
}
