//! What a lease costs: memory, and operations with a thousand and with a million live leases, by three cores in
//! one thread with messages by value. Prints a table with ratios; times are this machine's.

#![expect(clippy::print_stdout, clippy::expect_used, clippy::panic, reason = "a benchmark prints")]
#![expect(clippy::cast_precision_loss, reason = "figures to be read by people")]

use std::collections::VecDeque;
use std::time::Instant as Clock;

use leasehold_core::{
    Action, Boot, ClusterId, Config, Effect, Effects, Epoch, Input, Instant, Key, KeyRequest,
    Member, Message, Node, NodeFile, NodeId, OpId, Outcome, Owner, Request, Settings, Span, Ticket,
};

const PATIENCE: Span = Span::from_secs(5);
const LEASE: Span = Span::from_secs(300);
const ROUNDS: u64 = 20;
/// Fewer than the keys, so that no round meets one twice.
const RUNS: u64 = 1_000;

/// Three masters, and the messages between them.
struct Cluster {
    nodes: Vec<(NodeId, Node)>,
    now: u64,
    mail: VecDeque<(NodeId, Input)>,
    effects: Effects,
    ticket: u64,
    answer: Option<Outcome>,
}

impl Cluster {
    fn new() -> Self {
        let ids = [NodeId(1), NodeId(2), NodeId(3)];
        let node = |id: NodeId| {
            let file = NodeFile::new(format!("n{}", id.0), id);
            let boot =
                Boot { wall_clock: 1_700_000_000_000_000, proposer: id.0, seed: (id.0, 7), file };
            (id, Node::new(Settings::default(), boot, Instant::from_micros(0)))
        };
        let nodes = ids.map(node).into();
        let (mail, effects) = (VecDeque::new(), Vec::new());
        let mut cluster = Self { nodes, now: 1, mail, effects, ticket: 0, answer: None };
        for id in ids {
            for peer in ids.into_iter().filter(|&peer| peer != id) {
                cluster.mail.push_back((id, Input::Link { peer, up: true }));
            }
        }
        let member = |id: NodeId| Member { id, name: format!("n{}", id.0), ..Member::default() };
        let masters = ids.map(member).to_vec();
        let config = Config { epoch: Epoch(1), masters, ..Config::default() };
        let founded = cluster.ask(ids[0], Request::Init { cluster: ClusterId(1, 2), config });
        assert!(matches!(founded, Outcome::Founded(_)), "{founded:?}");
        cluster
    }

    fn ask(&mut self, node: NodeId, request: Request) -> Outcome {
        self.ticket += 1;
        self.mail.push_back((node, Input::Request { ticket: Ticket(self.ticket), request }));
        self.settle();
        self.answer.take().expect("an answer")
    }

    fn settle(&mut self) {
        while let Some((to, input)) = self.mail.pop_front() {
            self.now += 1;
            let node = self.nodes.iter_mut().find(|(id, _)| *id == to);
            let (_, node) = node.expect("a known node");
            node.handle(Instant::from_micros(self.now), input, &mut self.effects);
            for effect in self.effects.drain(..) {
                match effect {
                    Effect::Send { to: peer, message } => {
                        self.mail.push_back((peer, from(to, message)));
                    }
                    Effect::Reply { outcome, .. } => self.answer = Some(outcome),
                    Effect::Persist(mark, _) => self.mail.push_back((to, Input::Persisted(mark))),
                    Effect::Event(_) => {}
                }
            }
        }
    }

    /// Lets time pass until `end`, waking whoever asked for it. How often somebody was woken.
    fn idle(&mut self, end: u64) -> u64 {
        let mut wakes = 0;
        while let Some((id, at)) = self
            .nodes
            .iter()
            .filter_map(|(id, node)| Some((*id, node.deadline()?)))
            .min_by_key(|&(_, at)| at)
            .filter(|(_, at)| at.as_micros() < end)
        {
            self.now = self.now.max(at.as_micros());
            self.mail.push_back((id, Input::Tick));
            self.settle();
            wakes += 1;
        }
        wakes
    }

    /// At the node that is every key's home here: a request goes where it is asked, and is forwarded from there.
    fn act(&mut self, key: u64, action: Action) -> Outcome {
        let key = Key::from(format!("key/{key:028}").as_str());
        self.ask(NodeId(1), Request::Key(KeyRequest { key, patience: PATIENCE, action }))
    }

    fn lock(&mut self, key: u64) {
        let value = format!("value/{key:026}").as_str().into();
        let (meta, lease) = ("".into(), LEASE);
        let (delay, wait) = (Span::ZERO, Span::ZERO);
        let done = self.act(key, Action::Lock { id: id(key, 0), value, meta, lease, delay, wait });
        let Outcome::Done(_) = done else { panic!("{done:?}") };
    }
}

const fn from(from: NodeId, message: Message) -> Input {
    Input::Message { from, message }
}

const fn id(key: u64, step: u32) -> OpId {
    OpId { chain: (key, 1), step }
}

/// Resident memory of this process in bytes.
fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<f64>().ok());
    pages.unwrap_or(f64::NAN) * 4_096.0
}

/// Nanoseconds per run of `work`, in rounds with a pause between them that is not counted: the same work, then, however
/// many leases there are, since no key is met again while its last write is remembered.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn time(cluster: &mut Cluster, mut work: impl FnMut(&mut Cluster, u64)) -> f64 {
    let mut nanos = 0;
    for round in 0..ROUNDS {
        cluster.idle(cluster.now + 4_000_000);
        let start = Clock::now();
        (round * RUNS..(round + 1) * RUNS).for_each(|run| work(cluster, run));
        nanos += start.elapsed().as_nanos();
    }
    nanos as f64 / (ROUNDS * RUNS) as f64
}

/// The figures with so many live leases: bytes a lease and master, and nanoseconds an operation.
fn measure(leases: u64) -> [f64; 6] {
    let before = resident();
    let mut cluster = Cluster::new();
    (0..leases).for_each(|key| cluster.lock(key));
    // The desks remember each write for some seconds; what stays is the lease.
    cluster.idle(cluster.now + 10_000_000);
    let memory = (resident() - before) / (3 * leases) as f64;
    let spread = |run: u64| run.wrapping_mul(0x9e37_79b9_7f4a_7c15) % leases;
    let cycle = time(&mut cluster, |cluster, run| {
        cluster.lock(leases + run);
        let (id, owner) = (id(leases + run, 1), Owner::default());
        cluster.act(leases + run, Action::Release { id, owner });
    });
    let mut step = 1;
    let extend = time(&mut cluster, |cluster, run| {
        step += 1;
        let (id, owner) = (id(spread(run), step), Owner::default());
        cluster.act(spread(run), Action::Extend { id, owner, lease: LEASE });
    });
    let read = time(&mut cluster, |cluster, run| {
        cluster.act(spread(run), Action::Read);
    });
    cluster.idle(cluster.now + 10_000_000);
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
    let start = Clock::now();
    let wakes = cluster.idle(cluster.now + 20_000_000);
    let idle = start.elapsed().as_nanos() as f64 / 20.0;
    [memory, cycle / 2.0, extend, read, idle, wakes as f64 / 20.0]
}

fn main() {
    let names = ["bytes per lease", "lock, release", "extend", "read", "idle ns/s", "idle wakes/s"];
    let (few, many) = (measure(1_000), measure(1_000_000));
    println!(
        "{:<16} {:>14} {:>14} {:>8}",
        "ns per operation", "1,000 leases", "1,000,000", "ratio"
    );
    for (name, (few, many)) in names.iter().zip(few.into_iter().zip(many)) {
        println!("{name:<16} {few:>14.0} {many:>14.0} {:>8.2}", many / few);
    }
}
