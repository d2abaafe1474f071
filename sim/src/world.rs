//! One run: nodes, clients, clocks and a network, and everything that happens between them in one queue.
//!
//! The world is the only one who knows true time. It carries out what nodes and clients want, as a driver would, and
//! writes down what was asked, answered and believed. A run has four parts: the founding, a time in which things go
//! wrong, a horizon of silence after which every operation must succeed again, and one more after which nothing may be
//! left.
//!
//! `nodes.rs` is the world around a node, `people.rs` around clients, `judge.rs` the end.

use leasehold_core::{
    ClusterId, Config, Effects, Epoch, Input, Key, KeyRequest, Member, NodeFile, NodeId, Outcome,
};

use crate::actor::{Actor, Player};
use crate::check::{self, Violation};
use crate::client::{Client, ClientEffect, Surroundings};
use crate::clock::Clock;
use crate::dice::{Dice, Stream, wide};
use crate::fault::{Kind, Nodes};
use crate::film::{Film, Said};
use crate::history::{History, OpIndex};
use crate::host::Host;
use crate::marks::{Counts, Mark};
use crate::network::Network;
use crate::operator::Operator;
use crate::people::Person;
use crate::probe::Probe;
use crate::queue::{Queue, Shelf};
use crate::scenario::{MS, SECOND, Scenario, Weather};
use crate::script::Move;
use crate::trace::Trace;

/// More events than any healthy run has.
const RUNAWAY: u64 = 600_000;

/// How long after all faults the operator says which members shall stay.
const LAST_CHANGE: u64 = 1_600 * MS;

/// Something that is going to happen.
///
/// A run moves millions of these, so what is large in them lies on a shelf.
#[derive(Debug)]
pub(crate) enum Happening {
    /// The message on this shelf, which is the input, reaches the node of this incarnation.
    Deliver { link: (u8, u8), letter: u32, to: NodeId, sent: u64 },
    /// A node's deadline.
    NodeWakes(usize),
    /// The node file of this boot is on disk.
    Written { node: usize, boot: u64 },
    /// A node learns how its link is.
    Hint { node: usize, peer: usize, flap: bool },
    /// A client's request reaches a node.
    Arrive(Box<Arrival>),
    /// The news that nobody waits reaches a node.
    Cancel { op: OpIndex },
    /// An answer reaches a client.
    Reply { client: usize, call: u64, outcome: Box<Outcome> },
    /// A client learns that its request reached nobody.
    Bounce { client: usize, call: u64 },
    /// A client's deadline.
    ClientWakes(usize),
    /// A scripted client's next move; `.2` when all else that happens at the same time has happened.
    Act(usize, Move, bool),
    /// A fault begins, or ends.
    Fault { number: usize, begins: bool },
    /// Nodes crash.
    Crash(Nodes),
    /// A node starts.
    Boot(usize),
    /// The operator tries to found the cluster.
    Operator,
    /// The operator wants other members.
    Change(usize),
    /// The operator asks for a change again.
    Campaign(usize),
    /// The operator wants the members that shall stay.
    LastChange,
    /// Faults and clients are at their end.
    Quiet,
    /// Everything must work again.
    Probe,
    /// Nothing may be left.
    End,
    /// The script is at its end.
    Stop,
}

// A cache line holds one, with what tells a vacant place of the queue.
const _: () = assert!(size_of::<Happening>() <= 40, "what is large lies elsewhere");

/// A client's request on its way to a node.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) client: usize,
    pub(crate) call: u64,
    pub(crate) op: OpIndex,
    pub(crate) to: usize,
    pub(crate) request: KeyRequest,
    pub(crate) sent: u64,
}

/// A run under way.
#[derive(Debug)]
pub struct World<'a> {
    pub(crate) plan: &'a Scenario,
    pub(crate) dice: Dice,
    pub(crate) now: u64,
    pub(crate) queue: Queue<Happening>,
    /// Messages between nodes that are under way.
    pub(crate) letters: Shelf<Input>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) people: Vec<Person>,
    pub(crate) probe: Probe,
    pub(crate) around: Surroundings,
    pub(crate) config: Config,
    pub(crate) operator: Operator,
    pub(crate) network: Network,
    pub(crate) active: Vec<bool>,
    pub(crate) quiet: bool,
    /// Nothing older than this matters to anybody.
    pub(crate) horizon: u64,
    /// Masters that are down though all other faults are over.
    pub(crate) lame: Nodes,
    pub(crate) founded: bool,
    pub(crate) settled: bool,
    pub(crate) attempts: u64,
    /// When a horizon of silence is over and nothing may be left.
    pub(crate) silent_until: u64,
    pub(crate) ended: bool,
    /// Whether no order of the operations is looked for at the end.
    pub(crate) hasty: bool,
    pub(crate) effects: Effects,
    pub(crate) acts: Vec<ClientEffect>,
    /// Where each sending stands in front of a node: node, boot, ticket.
    pub(crate) routes: Vec<Option<(usize, u64, leasehold_core::Ticket)>>,
    /// Ballots that were prepared lately, to tell the short path.
    pub(crate) prepared: [u64; 32],
    /// What happened, seen from outside.
    pub history: History,
    /// What was met.
    pub counts: Counts,
    /// What went wrong.
    pub violations: Vec<Violation>,
    /// What happened, in lines.
    pub trace: Trace,
    /// Things that happened.
    pub events: u64,
    /// What a picture or a script is made of, if anybody wants one.
    pub film: Option<Box<Film>>,
    /// Messages so far, by link and kind, where a script or a film counts them.
    pub(crate) said: Said,
}

impl<'a> World<'a> {
    /// The world of `plan`, before anything happened. `traced` keeps a readable trace.
    #[must_use]
    pub fn new(plan: &'a Scenario, traced: bool) -> Self {
        let dice = Dice::new(plan.seed);
        let clock = |number: usize| {
            let pinned = plan.pinned.get(number).copied().flatten();
            let clock = Clock::new(dice, number, plan.drift, pinned);
            match plan.script.as_ref().and_then(|s| s.clocks.get(number).copied().flatten()) {
                Some(ppm) => clock.steady(ppm),
                None => clock,
            }
        };
        let nodes = plan.nodes();
        let id = |number: usize| NodeId(dice.roll(Stream::Boot(number), 0).bits());
        let all: Vec<Member> = (0..nodes).map(|number| member(id(number), number)).collect();
        let hosts = all.iter().enumerate().map(|(number, member)| {
            let file = NodeFile::new(member.name.clone(), member.id);
            Host::new(file, clock(number), nodes)
        });
        let masters = all.iter().take(plan.masters).cloned().collect();
        let replicas = all.iter().skip(plan.masters).take(plan.replicas).cloned().collect();
        let people = plan.clients.iter().enumerate().map(|(number, habits)| {
            let mut clock = clock(nodes + number);
            let now = clock.read(0);
            let player = match &plan.script {
                Some(_) => Player::Scripted(Box::new(Actor::new(number, dice))),
                None => Player::Drawn(Box::new(Client::new(number, *habits, dice, nodes, now))),
            };
            Person::new(player, clock)
        });
        let mut roll = dice.roll(Stream::Operator, 0);
        let around = Surroundings {
            cluster: ClusterId(roll.bits(), roll.bits()),
            nodes,
            ids: all.iter().map(|member| member.id).collect(),
            voters: all.iter().take(plan.masters).map(|member| member.id).collect(),
            keys: (0..plan.keys).map(|number| Key::from(format!("k{number}"))).collect(),
        };
        Self {
            plan,
            dice,
            now: 0,
            queue: Queue::default(),
            letters: Shelf::default(),
            hosts: hosts.collect(),
            people: people.collect(),
            probe: Probe::new(plan),
            around,
            config: Config { epoch: Epoch(1), masters, replicas, before: Vec::new() },
            operator: Operator::new(plan.masters, plan.replicas),
            network: Network::new(dice, nodes, plan.clients.len() + 1, plan.room),
            horizon: plan.settings.timing.horizon().as_micros(),
            lame: Nodes::default(),
            active: vec![false; plan.faults.len()],
            quiet: false,
            founded: false,
            settled: false,
            attempts: 0,
            silent_until: 0,
            ended: false,
            hasty: false,
            effects: Effects::new(),
            acts: Vec::new(),
            routes: Vec::new(),
            prepared: [0; 32],
            history: History::roomy(),
            counts: Counts::default(),
            violations: Vec::new(),
            trace: Trace::new(traced),
            events: 0,
            film: None,
            said: Said::default(),
        }
    }

    /// Lets everything happen, and judges it.
    pub fn run(&mut self) {
        for node in 0..self.hosts.len() {
            self.trace.name(self.hosts[node].id, node);
            self.queue.push(0, Happening::Boot(node));
        }
        self.queue.push(self.plan.founding, Happening::Operator);
        for (number, change) in self.plan.changes.iter().enumerate() {
            self.queue.push(change.at, Happening::Change(number));
        }
        // One later: faults that end just then are over.
        self.queue.push(self.plan.quiet + 1, Happening::Quiet);
        for (number, fault) in self.plan.faults.iter().enumerate() {
            self.queue.push(fault.from, Happening::Fault { number, begins: true });
            self.queue.push(fault.until, Happening::Fault { number, begins: false });
        }
        self.begin_script();
        while !self.ended
            && let Some((time, thing)) = self.queue.pop()
        {
            self.now = time;
            self.events += 1;
            self.trace.fold(time);
            if self.events > RUNAWAY {
                self.violate("an end", format!("{RUNAWAY} events and no end: a busy loop"));
                break;
            }
            self.happen(thing);
        }
        self.film_ends();
        self.judge();
    }

    #[inline]
    fn happen(&mut self, thing: Happening) {
        match thing {
            Happening::Deliver { link: (from, node), letter, to, sent } => {
                let Some(input) = self.letters.take(letter) else { return };
                let (from, node) = (usize::from(from), usize::from(node));
                self.network.landed(from, node);
                if self.now - sent > self.horizon {
                    self.counts.meet(Mark::Strays);
                }
                // What was meant for an incarnation that is gone reaches nobody.
                if self.around.ids[node] == to {
                    self.feed(node, sent, input);
                }
            }
            Happening::NodeWakes(node) => self.node_wakes(node),
            Happening::Written { node, boot } => self.written(node, boot),
            Happening::Hint { node, peer, flap } => self.hint(node, peer, flap),
            Happening::Arrive(arrival) => self.arrive(*arrival),
            Happening::Cancel { op } => self.cancel(op),
            Happening::Reply { client, call, outcome } => self.reply(client, call, *outcome),
            Happening::Bounce { client, call } => self.bounce(client, call),
            Happening::ClientWakes(client) => self.client_wakes(client),
            Happening::Fault { number, begins } => self.fault(number, begins),
            Happening::Crash(nodes) => self.crash(nodes),
            Happening::Boot(node) => self.boot(node),
            Happening::Operator => self.found(),
            Happening::Change(number) => self.begin_change(number),
            Happening::Campaign(number) => self.campaign(number),
            Happening::LastChange => self.begin_last_change(),
            Happening::Quiet => self.be_quiet(),
            Happening::Probe => self.begin_probe(),
            Happening::End => self.judge_records(),
            Happening::Act(client, step, true) => self.act_out(client, step),
            Happening::Act(client, step, false) => {
                self.queue.push(self.now, Happening::Act(client, step, true));
            }
            Happening::Stop => self.ended = true,
        }
    }

    pub(crate) fn violate(&mut self, rule: &'static str, story: String) {
        if !self.plan.in_contract() && !check::holds_always(rule) {
            return self.counts.meet(match rule {
                check::EXCLUSION => Mark::OverlapsBeyond,
                _ => Mark::Excused,
            });
        }
        let line = format!("VIOLATION of {rule}: {story}");
        self.trace.line(self.now, None, String::new, || line);
        self.film_violation();
        self.violations.push(Violation { rule, story });
    }

    /// The weather now, between nodes or with clients.
    pub(crate) fn weather(&self, with_client: bool) -> Weather {
        let weather = if with_client { self.plan.client_weather } else { self.plan.weather };
        if self.quiet { Weather { loss: 0, duplicates: 0, late: 0, ..weather } } else { weather }
    }

    fn fault(&mut self, number: usize, begins: bool) {
        let fault = self.plan.faults[number];
        self.active[number] = begins;
        self.trace.line(self.now, None, String::new, || {
            format!("{} {:?}", if begins { "FAULT begins:" } else { "fault ends:" }, fault.kind)
        });
        match fault.kind {
            Kind::Cut(_) | Kind::Slow(..) => {
                self.network.reshape(&self.plan.faults, &self.active);
                if begins {
                    self.counts.meet(Mark::Cuts);
                }
            }
            Kind::Pause(nodes) => {
                self.pause(nodes, begins);
            }
            Kind::PauseClient(client) => self.pause_client(client, begins),
            Kind::Crash { nodes, drain: true } if begins => {
                for node in (0..self.hosts.len()).filter(|node| nodes.has(*node)) {
                    self.feed(node, self.now, Input::Drain);
                }
                let grace = ((fault.until - fault.from) / 2).min(50 * MS);
                self.queue.push(self.now + grace, Happening::Crash(nodes));
            }
            Kind::Crash { nodes, .. } if begins => self.crash(nodes),
            Kind::Lose(node) if begins => self.lose(node),
            Kind::Lose(node) => self.restart(fault.die, Nodes::default().with(node)),
            Kind::Crash { nodes, .. } => self.restart(fault.die, nodes),
            Kind::WrongHint { node, peer } if node != peer => {
                self.queue.push(self.now, Happening::Hint { node, peer, flap: false });
            }
            Kind::WrongHint { .. } | Kind::SlowDisk(..) | Kind::FailDisk(_) => {}
            Kind::Vanish { client, noticed } => self.vanish(client, noticed, begins),
        }
        self.hints();
    }

    fn restart(&mut self, die: usize, nodes: Nodes) {
        for node in (0..self.hosts.len()).filter(|node| nodes.has(*node)) {
            let mut roll = self.dice.roll(Stream::Restart(die), wide(node));
            self.queue.push(self.now + roll.magnitude(100, 100 * MS), Happening::Boot(node));
        }
    }

    /// Whether `node` is among those that a fault of this kind holds.
    pub(crate) fn held_by(&self, which: impl Fn(&Kind) -> Option<Nodes>, node: usize) -> bool {
        crate::fault::under_way(&self.plan.faults, &self.active)
            .filter_map(which)
            .any(|nodes| nodes.has(node))
    }

    fn be_quiet(&mut self) {
        self.quiet = true;
        self.network.make_room();
        self.film_moment(None, "quiet", || "all faults end, clients retire".to_owned());
        self.trace.line(self.now, None, String::new, || "all faults end, clients retire".into());
        self.retire_clients();
        if self.settled && self.operator.untouched() && self.plan.in_contract() {
            self.lame = self.plan.lame;
            self.crash(self.lame);
        }
        self.hints();
        // By then no change that was asked for before is still being pursued.
        self.queue.push(self.now + LAST_CHANGE, Happening::LastChange);
        self.queue.push(self.now + LAST_CHANGE + self.silence(), Happening::Probe);
    }

    /// All that were down for longer come back, and everything must work once more.
    pub(crate) fn heal(&mut self) {
        let lame = std::mem::take(&mut self.lame);
        self.counts.meet(Mark::MinorityJudged);
        self.trace.line(self.now, None, String::new, || format!("{lame:?} may come back"));
        for node in (0..self.hosts.len()).filter(|node| lame.has(*node)) {
            self.queue.push(self.now + MS, Happening::Boot(node));
        }
        self.queue.push(self.now + self.silence(), Happening::Probe);
    }

    /// After this every lease, every operation and every wait of a restarted node is over.
    pub(crate) fn silence(&self) -> u64 {
        let timing = &self.plan.settings.timing;
        let operations = timing.op_timeout.plus(timing.promise_timeout).times(3);
        let sum = timing.horizon().plus(operations).plus(timing.max_lease);
        timing.max_clock_drift.outlasting(sum).as_micros() + SECOND
    }
}

/// Node `number` as others know it.
pub(crate) fn member(id: NodeId, number: usize) -> Member {
    let address = |port: u16| format!("n{number}:{port}");
    let name = format!("n{number}");
    Member { id, name, peer: address(1), client: address(2), http: address(3) }
}
