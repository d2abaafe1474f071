//! A complete driver over channels: three masters in three threads, one lock.
//!
//! Everything that an embedding has to do is here: read the clock after receiving, call the door, carry out the
//! effects in their order, and come back at the deadline. A real one puts messages on a network, the node file on a
//! disk, and draws its identities at random.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "an example shows and stops"
)]

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant as Clock};

use leasehold_core::{
    Action, Boot, ClusterId, Config, Effect, Epoch, Input, Instant, KeyRequest, Member, Node,
    NodeFile, NodeId, OpId, Outcome, Owner, Request, Settings, Span, Standing, Ticket,
};

/// What a node's thread receives.
enum Mail {
    /// For the core, as it is.
    Input(Input),
    /// A client's request, and where its answer goes.
    Call(Request, Sender<Outcome>),
    /// Who wants to know when this node votes.
    Active(Sender<()>),
}

type Network = BTreeMap<NodeId, Sender<Mail>>;

#[expect(clippy::disallowed_methods, reason = "a driver is where clocks are read")]
fn read(start: Clock) -> Instant {
    Instant::from_micros(
        u64::try_from(Clock::now().duration_since(start).as_micros()).unwrap_or(u64::MAX),
    )
}

fn run(id: NodeId, start: Clock, mail: &Receiver<Mail>, network: &Network) {
    let file = NodeFile::new(format!("n{}", id.0), id);
    // Unique per boot, and seeds that strangers cannot guess, in a real driver.
    let boot = Boot { wall_clock: 1_700_000_000_000_000, proposer: id.0, seed: (id.0, 42), file };
    let mut node = Node::new(Settings::default(), boot, read(start));
    let (mut effects, mut calls, mut next) = (Vec::new(), BTreeMap::new(), 0);
    let mut waiting: Vec<Sender<()>> = Vec::new();
    loop {
        let now = read(start);
        let patience = node.deadline().map_or(Span::from_secs(1), |at| at.since(now));
        let input = match mail.recv_timeout(Duration::from(patience)) {
            Ok(Mail::Input(input)) => input,
            Ok(Mail::Call(request, answer)) => {
                next += 1;
                calls.insert(Ticket(next), answer);
                Input::Request { ticket: Ticket(next), request }
            }
            Ok(Mail::Active(answer)) => {
                waiting.push(answer);
                Input::Tick
            }
            Err(RecvTimeoutError::Timeout) => Input::Tick,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            // The clock is read after the input was received: the driver's duty.
            node.handle(read(start), input, &mut effects);
            for effect in effects.drain(..) {
                match effect {
                    // A closed channel is a node that is gone; loss is in the model.
                    Effect::Send { to, message } => {
                        let input = Input::Message { from: id, message };
                        if let Some(peer) = network.get(&to) {
                            drop(peer.send(Mail::Input(input)));
                        }
                    }
                    Effect::Reply { ticket, outcome } => {
                        drop(calls.remove(&ticket).map(|answer| answer.send(outcome)));
                    }
                    // Memory is this example's disk.
                    Effect::Persist(mark, _file) => inputs.push(Input::Persisted(mark)),
                    Effect::Event(event) => println!("n{}: {event:?}", id.0),
                }
            }
        }
        if node.status(read(start)).standing == Standing::Active {
            waiting.drain(..).for_each(|answer| answer.send(()).unwrap_or(()));
        }
    }
}

fn call(node: &Sender<Mail>, request: Request) -> Outcome {
    let (answer, outcome) = channel();
    node.send(Mail::Call(request, answer)).expect("the node runs");
    outcome.recv().expect("every request is answered once")
}

fn on_key(key: &str, action: Action) -> Request {
    Request::Key(KeyRequest { key: key.into(), patience: Span::from_secs(5), action })
}

#[expect(clippy::disallowed_methods, reason = "a driver is where clocks are read")]
pub(crate) fn main() {
    let start = Clock::now();
    let ids = [NodeId(1), NodeId(2), NodeId(3)];
    let (network, mails): (Network, Vec<_>) = ids
        .iter()
        .map(|&id| {
            let (sender, mail) = channel();
            ((id, sender), (id, mail))
        })
        .unzip();
    for (id, mail) in mails {
        let network = network.clone();
        thread::spawn(move || run(id, start, &mail, &network));
    }
    for (id, mail) in &network {
        for &peer in ids.iter().filter(|peer| *peer != id) {
            mail.send(Mail::Input(Input::Link { peer, up: true })).expect("the node runs");
        }
    }
    let member = |id: NodeId| Member { id, name: format!("n{}", id.0), ..Member::default() };
    let masters = ids.map(member).to_vec();
    let config = Config { epoch: Epoch(1), masters, ..Config::default() };
    let first = &network[&ids[0]];
    println!("init: {:?}", call(first, Request::Init { cluster: ClusterId(7, 7), config }));
    for node in network.values() {
        let (answer, active) = channel();
        node.send(Mail::Active(answer)).expect("the node runs");
        active.recv().expect("every master becomes active");
    }
    let id = |step| OpId { chain: (1, 2), step };
    let (value, meta, lease) = ("me".into(), "".into(), Span::from_secs(30));
    let (delay, wait) = (Span::ZERO, Span::ZERO);
    let lock = Action::Lock { id: id(0), value, meta, lease, delay, wait };
    let Outcome::Done(done) = call(first, on_key("job", lock)) else { panic!("the key is free") };
    println!("lock: token {}, valid for {:?}", done.token, done.valid_for);
    let owner = Owner { value: None, token: Some(done.token) };
    let released = call(&network[&ids[1]], on_key("job", Action::Release { id: id(1), owner }));
    assert!(matches!(released, Outcome::Done(_)), "the holder releases: {released:?}");
    println!("release: {released:?}");
}
