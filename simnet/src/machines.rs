//! The machines of a run: what runs on each, what clocks it has, and how it is reached.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use leasehold_client::clock::simulated::{self, Reading};
use leasehold_client::{Client, Options};
use leasehold_node::config::Address;
use leasehold_node::{Config, Server, disk};
use leasehold_sim::dice::{Stream, wide};
use madsim::net::NetSim;
use madsim::runtime::Handle;
use madsim::task::NodeId;
use tokio::sync::Notify;

use crate::door;
use crate::people;
use crate::plan::{MASTERS, NODES, Plan, SECOND};
use crate::record::{Clocks, Shared, lock};

/// Where clients find a node's door.
pub(crate) const DOOR: u16 = 7_400;
/// Where the node listens for clients; on its own machine only.
pub(crate) const CLIENTS: u16 = 7_500;
const PEERS: u16 = 7_401;

/// Wall clocks are off by up to this, at each boot differently.
const WALL_ERROR: u64 = 3_600 * SECOND;
/// When the simulation began, by a clock that is right: some day in 2023.
const EPOCH: u64 = 1_700_000_000 * SECOND;

/// All machines of a run, by number.
#[derive(Debug)]
pub(crate) struct Machines {
    handle: Handle,
    ids: Vec<NodeId>,
    /// Tells a node to end in good order.
    stops: Vec<Arc<Notify>>,
    /// Which were told to.
    stopping: Vec<bool>,
    /// How often each was started.
    boots: Vec<u64>,
    shared: Shared,
    clocks: Clocks,
    plan: Plan,
}

/// The address of a machine.
fn address(machine: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, u8::try_from(machine + 1).unwrap_or(u8::MAX))
}

/// The machine at an address.
pub(crate) fn machine_at(address: IpAddr) -> usize {
    match address {
        IpAddr::V4(address) => usize::from(address.octets()[3]) - 1,
        IpAddr::V6(_) => unreachable!("no machine here has such an address"),
    }
}

/// Where the doors of these nodes are.
pub(crate) fn doors(nodes: impl IntoIterator<Item = usize>) -> Vec<String> {
    nodes.into_iter().map(|node| format!("{}:{DOOR}", address(node))).collect()
}

/// How clients of a run behave.
pub(crate) fn options(machine: usize) -> Options {
    Options::new()
        .name(format!("c{machine}"))
        .timeout(Duration::from_secs(4))
        .connect_timeout(Duration::from_secs(1))
        .heartbeat(Duration::from_millis(300), Duration::from_millis(1_200))
}

impl Machines {
    pub(crate) fn build(handle: &Handle, plan: &Plan, shared: &Shared, clocks: &Clocks) -> Self {
        let stops: Vec<Arc<Notify>> = (0..NODES).map(|_| Arc::default()).collect();
        let mut machines = Self {
            handle: handle.clone(),
            ids: Vec::new(),
            stops,
            stopping: vec![false; plan.machines()],
            boots: vec![0; plan.machines()],
            shared: shared.clone(),
            clocks: clocks.clone(),
            plan: plan.clone(),
        };
        for number in 0..plan.machines() {
            let builder = handle.create_node().ip(address(number).into());
            let (shared, stop) = (shared.clone(), machines.stops.get(number).cloned());
            let builder = match stop {
                Some(stop) => {
                    let plan = plan.clone();
                    builder.name(format!("n{number}")).init(move || {
                        serve(number, plan.clone(), shared.clone(), Arc::clone(&stop))
                    })
                }
                None if number < plan.operator() => builder
                    .name(format!("c{number}"))
                    .init(move || people::live(number, shared.clone())),
                None => builder.name("operator"),
            };
            let id = builder.build().id();
            machines.ids.push(id);
            machines.set_clocks(number);
            if let Some(turn) = plan.turns.get(number) {
                disk::of(id, |disk| disk.slow(turn.clone()));
            }
        }
        machines
    }

    pub(crate) fn id(&self, machine: usize) -> NodeId {
        self.ids[machine]
    }

    /// Both clocks of a machine that has just been switched on.
    fn set_clocks(&mut self, machine: usize) {
        let boot = self.boots[machine];
        self.boots[machine] += 1;
        let mut roll = self.plan.dice.roll(Stream::Boot(machine), boot);
        let off = roll.below(WALL_ERROR * 2);
        let clocks = self.clocks.clone();
        simulated::give(self.ids[machine], move |elapsed| Reading {
            monotonic: lock(&clocks)[machine].read(elapsed),
            wall: EPOCH - WALL_ERROR + off + elapsed,
        });
    }

    /// The processes of a machine are gone at once; so is what its disk was not told to keep.
    pub(crate) fn crash(&self, machine: usize) {
        // Whoever is killed while it stands still is not seen to end.
        self.handle.resume(self.ids[machine]);
        self.handle.kill(self.ids[machine]);
        lock(&self.shared).gone(machine);
        if machine < NODES {
            let mut roll = self.plan.dice.roll(Stream::Disk(machine), self.boots[machine]);
            disk::of(self.ids[machine], |disk| {
                disk.crash(|sides| roll.index(sides));
                disk.slow(self.plan.turns[machine].clone());
            });
        }
    }

    /// Starts what runs on a machine, with other clocks than before, unless it runs.
    pub(crate) fn start(&mut self, machine: usize) {
        if !self.handle.is_exit(self.ids[machine]) {
            if !self.stopping[machine] {
                return;
            }
            // It takes its time to end.
            self.crash(machine);
        }
        self.stopping[machine] = false;
        // A process that ended by itself has left its ports open.
        NetSim::current().reset_node(self.ids[machine]);
        let mut roll = self.plan.dice.roll(Stream::Restart(machine), self.boots[machine]);
        if machine < NODES && roll.one_in(2) {
            let start = roll.magnitude(1_000, 1 << 40);
            lock(&self.clocks)[machine].restart(simulated::elapsed(), start);
        }
        self.set_clocks(machine);
        self.handle.restart(self.ids[machine]);
    }

    /// Tells a node to end in good order.
    pub(crate) fn stop(&mut self, node: usize) {
        if !self.handle.is_exit(self.ids[node]) {
            self.stopping[node] = true;
            self.stops[node].notify_one();
        }
    }

    pub(crate) fn pause(&self, machine: usize, still: bool) {
        if still {
            self.handle.pause(self.ids[machine]);
        } else {
            self.handle.resume(self.ids[machine]);
        }
    }

    pub(crate) fn disk(&self, node: usize, act: impl FnOnce(&mut disk::Disk)) {
        disk::of(self.ids[node], act);
    }
}

/// Runs a node until it is told to stop.
async fn serve(number: usize, plan: Plan, shared: Shared, stop: Arc<Notify>) {
    let all = |nodes: std::ops::Range<usize>| {
        let node =
            |node| Address { name: format!("n{node}"), peer: format!("{}:{PEERS}", address(node)) };
        nodes.map(node).collect()
    };
    let mut config = Config {
        name: format!("n{number}"),
        data_dir: Some("data".into()),
        cluster: "simnet".into(),
        masters: all(0..MASTERS),
        replicas: all(MASTERS..NODES),
        timing: plan.timing,
        ..Config::default()
    };
    config.listen.client = format!("127.0.0.1:{CLIENTS}");
    config.listen.peer = format!("0.0.0.0:{PEERS}");
    config.advertise.client = Some(format!("{}:{DOOR}", address(number)));
    config.advertise.peer = Some(format!("{}:{PEERS}", address(number)));
    // What an earlier process was told is not meant for this one.
    tokio::select! {
        biased;
        () = stop.notified() => {}
        () = std::future::ready(()) => {}
    }
    let mut running = match Server::start(config).await {
        Ok(running) => running,
        Err(error) => {
            // Without a disk it does not start, and is started again later.
            let mut record = lock(&shared);
            record.tell(&format!("n{number}"), &format!("does not start: {error}"));
            if !error.to_string().contains("this disk has failed") {
                record.violate("a node starts", error.to_string());
            }
            return;
        }
    };
    lock(&shared).tell(&format!("n{number}"), "runs");
    tokio::select! {
        biased;
        () = stop.notified() => {}
        () = running.ended() => {
            lock(&shared).violate("a node runs", format!("n{number} has come to an end by itself"));
        }
        error = door::keep(shared.clone()) => {
            lock(&shared).violate("the test itself", format!("no door at n{number}: {error:?}"));
        }
    }
    running.shutdown().await;
    lock(&shared).tell(&format!("n{number}"), "has stopped");
}

/// A client on this machine, as soon as it reaches a node.
pub(crate) async fn connect(machine: usize, nodes: &[usize]) -> Client {
    loop {
        match Client::connect(doors(nodes.iter().copied()), options(machine)).await {
            Ok(client) => return client,
            Err(_) => tokio::time::sleep(Duration::from_millis(50 + wide(machine))).await,
        }
    }
}
