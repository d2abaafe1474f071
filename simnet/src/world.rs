//! One run: a cluster is founded, used, and put through its faults; then everything is mended, everything must work, and what
//! happened is judged.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use leasehold_client::clock::simulated::elapsed;
use leasehold_client::{Amendment, Candidate, Client, Error, Refusal, Standing};
use leasehold_core::Key;
use leasehold_sim::clock::Clock;
use leasehold_sim::dice::Stream;
use madsim::net::NetSim;
use madsim::runtime::{Handle, Runtime};

use crate::machines::{Machines, connect};
use crate::plan::{Fault, Kind, MASTERS, MS, NODES, Plan, SECOND};
use crate::record::{Clocks, Record, Shared, lock};

/// No run takes longer; what does has come to a standstill.
const LONGEST: Duration = Duration::from_secs(3_600);
/// Pauses between looks of those who wait for something.
const LOOK: Duration = Duration::from_millis(50);
/// How soon a replica knows what was written before, in fine weather.
const REPLICATION: u64 = 5 * SECOND;

/// Runs a seed. What happened is in the record.
pub(crate) fn run(seed: u64) -> Shared {
    let plan = Plan::draw(seed);
    let drift = u64::from(plan.timing.max_clock_drift.ppm());
    let pinned = plan.pinned.iter().enumerate();
    let clocks = pinned.map(|(machine, pinned)| Clock::new(plan.dice, machine, drift, *pinned));
    let clocks: Clocks = Arc::new(Mutex::new(clocks.collect()));
    let shared = Record::new(&plan, &clocks);
    let mut runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
    runtime.set_time_limit(LONGEST);
    runtime.block_on(async {
        World::new(&plan, &shared, &clocks).run().await;
        lock(&shared).judge();
    });
    // What still runs would only be taken apart now, outside of any world.
    std::mem::forget(runtime);
    shared
}

struct World {
    plan: Plan,
    shared: Shared,
    machines: Machines,
}

impl World {
    fn new(plan: &Plan, shared: &Shared, clocks: &Clocks) -> Self {
        let machines = Machines::build(&Handle::current(), plan, shared, clocks);
        Self { plan: plan.clone(), shared: shared.clone(), machines }
    }

    async fn run(mut self) {
        self.weather(self.plan.latency.clone(), self.plan.loss);
        let operator = Handle::current().get_node(self.machines.id(self.plan.operator()));
        let Some(operator) = operator else { return };
        let founding = operator.spawn(operate(self.plan.clone(), self.shared.clone()));
        self.endure().await;
        self.mend();
        let probe = operator.spawn(probe(self.plan.clone(), self.shared.clone()));
        for task in [founding, probe] {
            if task.await.is_err() {
                lock(&self.shared).violate("the test itself", "the operator's task ended".into());
            }
        }
        // Beliefs that nobody ended run out, and releases arrive.
        tokio::time::sleep(Duration::from(self.plan.timing.max_lease)).await;
    }

    /// Faults begin and end, each in its time.
    async fn endure(&mut self) {
        let faults = self.plan.faults.clone();
        let mut turns: Vec<(u64, bool, usize)> = Vec::new();
        for (number, fault) in faults.iter().enumerate() {
            turns.extend([(fault.from, true, number), (fault.until, false, number)]);
        }
        turns.sort_unstable();
        for (at, begins, number) in turns {
            sleep_until(at).await;
            let Fault { kind, .. } = &faults[number];
            let what = if begins { "begins" } else { "is over" };
            lock(&self.shared).tell("", &format!("{kind:?} {what}"));
            if begins { self.begin(kind) } else { self.end(kind) }
        }
        sleep_until(self.plan.quiet).await;
    }

    fn begin(&mut self, kind: &Kind) {
        let net = NetSim::current();
        let mark = match kind {
            Kind::Crash(machines) => {
                machines.iter().for_each(|machine| self.machines.crash(*machine));
                if machines.len() > 1 { "crashes of several" } else { "crashes" }
            }
            Kind::Lose(node) => {
                self.machines.crash(*node);
                let mut record = lock(&self.shared);
                // Who is lost before there is a cluster is nobody that it could miss.
                if record.founded {
                    record.lost = Some(*node);
                    self.machines.disk(*node, |disk| disk.lose());
                }
                "lost disks"
            }
            Kind::Stop(node) => {
                self.machines.stop(*node);
                "stops"
            }
            Kind::Cut(links) => {
                for (from, to) in links {
                    net.clog_link(self.machines.id(*from), self.machines.id(*to));
                }
                "cuts"
            }
            Kind::Pause(machine) => {
                lock(&self.shared).paused.insert(*machine);
                self.machines.pause(*machine, true);
                "pauses"
            }
            Kind::Slow(latency) => {
                self.weather(latency.clone(), self.plan.loss);
                "slow networks"
            }
            Kind::Loss(loss) => {
                self.weather(self.plan.latency.clone(), *loss);
                "losses"
            }
            Kind::DeadDisk(nodes) => {
                nodes
                    .iter()
                    .for_each(|node| self.machines.disk(*node, |disk| disk.stand_still(true)));
                "dead disks"
            }
            Kind::BadDisk(node, operations) => {
                self.machines.disk(*node, |disk| disk.fail_after(Some(*operations)));
                "bad disks"
            }
        };
        lock(&self.shared).meet(mark);
    }

    fn end(&mut self, kind: &Kind) {
        let net = NetSim::current();
        match kind {
            Kind::Crash(machines) => {
                machines.iter().for_each(|machine| self.machines.start(*machine));
            }
            Kind::Stop(node) | Kind::Lose(node) => self.machines.start(*node),
            Kind::Cut(links) => {
                for (from, to) in links {
                    net.unclog_link(self.machines.id(*from), self.machines.id(*to));
                }
            }
            Kind::Pause(machine) => self.machines.pause(*machine, false),
            Kind::Slow(_) | Kind::Loss(_) => {
                self.weather(self.plan.latency.clone(), self.plan.loss);
            }
            Kind::DeadDisk(nodes) => {
                nodes
                    .iter()
                    .for_each(|node| self.machines.disk(*node, |disk| disk.stand_still(false)));
            }
            Kind::BadDisk(node, _) => {
                self.machines.disk(*node, |disk| disk.fail_after(None));
                self.machines.start(*node);
            }
        }
    }

    fn weather(&self, latency: Range<u64>, loss: u64) {
        NetSim::current().update_config(|config| {
            config.send_latency =
                Duration::from_micros(latency.start)..Duration::from_micros(latency.end);
            config.packet_loss_rate = f64::from(u32::try_from(loss).unwrap_or(0)) / 1e6;
        });
    }

    /// Nothing is wrong any more.
    fn mend(&mut self) {
        lock(&self.shared).tell("", "everything is mended");
        self.weather(MS..2 * MS, 0);
        let net = NetSim::current();
        for from in 0..self.plan.machines() {
            for to in 0..self.plan.machines() {
                net.unclog_link(self.machines.id(from), self.machines.id(to));
            }
            self.machines.pause(from, false);
        }
        for node in 0..NODES {
            self.machines.disk(node, |disk| {
                disk.stand_still(false);
                disk.fail_after(None);
                disk.slow(0..MS);
            });
            self.machines.start(node);
        }
    }
}

async fn sleep_until(at: u64) {
    let left = at.saturating_sub(elapsed());
    tokio::time::sleep(Duration::from_micros(left)).await;
}

/// The operator founds the cluster, and goes on saying so: whoever was founded once must not be founded again. A node that lost
/// its disk gets its place back.
async fn operate(plan: Plan, shared: Shared) {
    let machine = plan.operator();
    let mut roll = plan.dice.roll(Stream::Operator, 0);
    let client = connect(machine, &[0, 1, 2]).await;
    let mut cluster = None;
    loop {
        let answer = client.init().await;
        lock(&shared).tell("op", &format!("init: {answer:?}"));
        match answer {
            Ok(this) | Err(Error::Refused(Refusal::AlreadyFounded { cluster: this, .. }))
                if cluster.is_some_and(|known| known != this) =>
            {
                let story = format!("{cluster:?} was founded once more, as {this:?}");
                return lock(&shared).violate("a cluster is founded once", story);
            }
            // Whose answer the operator did not hear.
            Ok(this) | Err(Error::Refused(Refusal::AlreadyFounded { cluster: this, .. })) => {
                cluster = Some(this);
                lock(&shared).founded = true;
            }
            Err(_) => {}
        }
        let lost = lock(&shared).lost;
        if let Some(node) = lost {
            replace(&client, node, &shared).await;
        }
        let done = cluster.is_some() && lock(&shared).lost.is_none();
        if done && elapsed() >= plan.quiet {
            return;
        }
        if !done && elapsed() > plan.quiet + plan.patience() {
            let story = format!("founded: {cluster:?}; not replaced: {:?}", lock(&shared).lost);
            return lock(&shared).violate("liveness", story);
        }
        let pause = if done { roll.magnitude(500 * MS, 8 * SECOND) } else { 50 * MS };
        tokio::time::sleep(Duration::from_micros(pause)).await;
    }
}

/// Gives the node that has this one's name now its place.
async fn replace(client: &Client, node: usize, shared: &Shared) {
    let candidate = Candidate { name: format!("n{node}"), peer: None };
    let answer = client.amend(Amendment::Replace(candidate)).await;
    let mut record = lock(shared);
    record.tell("op", &format!("replace: {answer:?}"));
    if answer.is_ok() {
        record.lost = None;
        record.meet("replaced nodes");
    }
}

/// Everything works again: every operation on every key, within the time for which the past can be in the way.
async fn probe(plan: Plan, shared: Shared) {
    let machine = plan.operator();
    let client = connect(machine, &[0, 1, 2, 3]).await;
    let replica = connect(machine, &[MASTERS]).await;
    let limit = plan.quiet + plan.patience();
    for key in 0..plan.keys {
        let name = lock(&shared).key(key);
        while let Err(why) = use_all(&client, &replica, &name, &plan).await {
            lock(&shared).tell("op", &format!("k{key}: {why}"));
            if elapsed() > limit {
                let story = format!("k{key}, long after all faults were over: {why}");
                return lock(&shared).violate("liveness", story);
            }
            tokio::time::sleep(LOOK).await;
        }
        lock(&shared).meet("keys probed");
    }
    while let Err(why) = standings(&client).await {
        if elapsed() > limit {
            return lock(&shared).violate("liveness", why);
        }
        tokio::time::sleep(LOOK).await;
    }
    lock(&shared).tell("op", "everything works");
}

/// All operations on a key.
async fn use_all(client: &Client, replica: &Client, key: &Key, plan: &Plan) -> Result<(), String> {
    let wrong = |what: &'static str| move |error: Error| format!("{what}: {error}");
    let lease = Duration::from(plan.timing.max_lease);
    let lock =
        client.lock(key.clone()).value("probe").label("is", "probe").ttl(lease).wait(lease * 2);
    let guard = lock.await.map_err(wrong("lock"))?;
    guard.extend(lease).await.map_err(wrong("extend"))?;
    guard.update("probed", None).await.map_err(wrong("update"))?;
    let holder = client.read(key.clone()).await.map_err(wrong("read"))?;
    if holder.is_none_or(|holder| holder.token != guard.token()) {
        return Err("read: somebody else holds it".into());
    }
    let limit = elapsed() + REPLICATION;
    loop {
        let seen = replica.read_local(key.clone()).await.map_err(wrong("read at the replica"))?;
        if seen.is_some_and(|seen| seen.token == guard.token() && &*seen.value == b"probed") {
            break;
        }
        if elapsed() > limit {
            return Err("the replica does not know who holds it".into());
        }
        tokio::time::sleep(LOOK).await;
    }
    guard.release().await.map_err(wrong("release"))?;
    match client.read(key.clone()).await.map_err(wrong("read"))? {
        None => Ok(()),
        Some(_) => Err("read: it is held after its release".into()),
    }
}

/// Whether every master votes and the replica learns.
async fn standings(client: &Client) -> Result<(), String> {
    let reports = client.status().await;
    if reports.len() != NODES {
        return Err(format!("{} nodes are known", reports.len()));
    }
    for report in reports {
        let status = report.status.map_err(|cause| format!("{:?}: {cause}", report.name))?;
        let master = report.name.as_deref() != Some("n3");
        let wished = if master { Standing::Active } else { Standing::Replica };
        if status.standing != wished {
            return Err(format!("{:?} is {:?}", report.name, status.standing));
        }
    }
    Ok(())
}
