//! How faults are brought about, and how they are undone.

use std::io;

use leasehold_client::clock;
use leasehold_core::{Instant, Span};
use leasehold_sim::dice::Roll;

use super::cluster::{Cluster, pause};
use super::hosts::{Hosts, Packets};
use super::kind::{Change, Cut, Kind, Many};
use super::page::Page;
use super::process::Process;
use super::proxy::{End, Proxies, Rule};
use super::room::Room;
use super::shuffle::{Shuffle, Treatment};
use super::stint::Stint;

/// A fault that holds.
#[derive(Debug)]
pub struct Holds {
    /// What.
    pub kind: Kind,
    /// Until when.
    pub until: Instant,
    since: Instant,
    undo: Undo,
}

#[derive(Debug)]
enum Undo {
    Nothing,
    Start(Vec<usize>),
    GoOn(Vec<usize>),
    Client(usize),
    Links,
    Disk(Vec<usize>),
    Room(Vec<usize>),
    Packets(Vec<Shuffle>),
}

/// `no space left on device` and `input/output error`.
const ERRORS: [i32; 2] = [28, 5];
/// After a fault, links and votes take so long to come back.
const SETTLING: Span = Span::from_millis(500);
/// An operator gives up after so long.
const OPERATOR: Span = Span::from_secs(20);

impl Stint {
    /// Lets something happen, unless it makes no sense as things are.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub async fn inflict(&mut self, kind: Kind, roll: &mut Roll) -> io::Result<()> {
        if kind.is_of_links() && self.holds.iter().any(|other| other.kind.is_of_links()) {
            return Ok(());
        }
        let (low, high) = self.recipe.lasts;
        let since = clock::now();
        let until = clock::now().after(Span::from_micros(roll.magnitude(low, high)));
        let Some((undo, told)) = self.act(kind, roll).await? else { return Ok(()) };
        self.tell(&format!("{}: {told}", kind.name()));
        *self.faults.entry(kind.name()).or_default() += 1;
        self.holds.push(Holds { kind, until, since, undo });
        Ok(())
    }

    /// Does it. `None` if it makes no sense as things are.
    async fn act(&mut self, kind: Kind, roll: &mut Roll) -> io::Result<Option<(Undo, String)>> {
        match kind {
            Kind::Kill(many) | Kind::Power(many) | Kind::Stop(many) => {
                self.strike(kind, many, roll).map(Some)
            }
            Kind::StopClient | Kind::KillClient => self.touch_client(kind, roll),
            Kind::Cut(cut) => {
                let links = links(cut, self.cluster.seats.len(), roll);
                self.cut(&links, roll)?;
                Ok(Some((Undo::Links, format!("{links:?}"))))
            }
            Kind::Slow => Ok(self.slow_links(roll)),
            Kind::Reset => {
                let proxies = self.cluster.proxies.as_ref();
                proxies.into_iter().for_each(Proxies::break_all);
                Ok(proxies.map(|_| (Undo::Nothing, "all connections".into())))
            }
            Kind::Loss => self.lose_packets(roll),
            Kind::Shuffle => self.shuffle_packets(roll),
            Kind::Wall => self.set_wall_clock(roll),
            Kind::Rates => {
                let bound = self.cluster.drift().ppm();
                self.bend_all(roll, |roll| (0, extreme(bound, roll)))?;
                Ok(Some((Undo::Nothing, format!("all clocks, within {bound} ppm"))))
            }
            Kind::BeyondRates => {
                self.bend_all(roll, |roll| {
                    let jump = if roll.one_in(4) { roll.magnitude(1_000, 10_000_000) } else { 0 };
                    (jump, i64::try_from(roll.below(900_000)).unwrap_or(0) - 450_000)
                })?;
                Ok(Some((Undo::Nothing, "all clocks, within no bound".into())))
            }
            Kind::DiskFails | Kind::DiskSlow => self.hurt_disks(kind, roll).map(Some),
            Kind::DiskFull => {
                let many = if roll.one_in(3) { Many::Majority } else { Many::One };
                let nodes = self.some(many, roll);
                self.rooms(&nodes).try_for_each(Room::fill)?;
                let told = format!("{nodes:?}");
                Ok(Some((Undo::Room(nodes), told)))
            }
            Kind::Operate(change) => {
                let master = roll.index(self.cluster.shape().masters);
                Ok(Some((Undo::Nothing, self.operate(change, master).await?)))
            }
        }
    }

    fn strike(&mut self, kind: Kind, many: Many, roll: &mut Roll) -> io::Result<(Undo, String)> {
        let nodes = self.some(many, roll);
        let told = format!("{nodes:?}");
        let stops = matches!(kind, Kind::Stop(_));
        for &node in &nodes {
            if stops {
                self.cluster.seats[node].process.iter_mut().for_each(Process::stop);
            } else if matches!(kind, Kind::Power(_)) {
                self.cluster.cut_power(node)?;
            } else {
                self.cluster.kill(node);
            }
        }
        Ok((if stops { Undo::GoOn(nodes) } else { Undo::Start(nodes) }, told))
    }

    fn slow_links(&self, roll: &mut Roll) -> Option<(Undo, String)> {
        let (proxies, count) = (self.cluster.proxies.as_ref()?, self.cluster.seats.len());
        let (delay, jitter) = (roll.magnitude(1_000, 800_000), roll.magnitude(1_000, 800_000));
        let (from, all) = (roll.index(count), roll.one_in(3));
        for (a, b) in pairs(count).filter(|(a, _)| all || *a == from) {
            proxies.set(End::Node(a), End::Node(b), Rule { delay, jitter, ..Rule::default() });
        }
        let told = format!("from {from} (all: {all}) by {delay} to {} µs", delay + jitter);
        Some((Undo::Links, told))
    }

    fn lose_packets(&self, roll: &mut Roll) -> io::Result<Option<(Undo, String)>> {
        let Some(hosts) = &self.cluster.hosts else { return Ok(None) };
        let percent = u8::try_from(roll.between(1, 40)).unwrap_or(1);
        for (from, to) in pairs(self.cluster.seats.len()) {
            hosts.treat(&Hosts::address(from), to, Packets::Lost(percent))?;
        }
        Ok(Some((Undo::Links, format!("{percent} % of all packets between nodes"))))
    }

    fn shuffle_packets(&self, roll: &mut Roll) -> io::Result<Option<(Undo, String)>> {
        let Some(hosts) = &self.cluster.hosts else { return Ok(None) };
        let (late, lost) = (roll.magnitude(500, 200_000), roll.below(10));
        let mut shuffles = Vec::new();
        for node in 0..self.cluster.seats.len() {
            let (host, treatment) = (hosts.name(node), Treatment { late, lost, seed: roll.bits() });
            shuffles.push(Shuffle::begin(host, Hosts::CLIENTS, &self.program, treatment)?);
        }
        let told = format!("all between nodes by up to {late} µs, {lost} % lost");
        Ok(Some((Undo::Packets(shuffles), told)))
    }

    fn set_wall_clock(&self, roll: &mut Roll) -> io::Result<Option<(Undo, String)>> {
        let node = roll.index(self.cluster.seats.len());
        let ahead = i64::try_from(roll.magnitude(1_000, 7_200_000_000)).unwrap_or(0);
        let ahead = if roll.one_in(2) { ahead } else { -ahead };
        let Some(page) = &self.cluster.seats[node].page else { return Ok(None) };
        page.set_wall(ahead)?;
        Ok(Some((Undo::Nothing, format!("{node} is {ahead} µs ahead"))))
    }

    fn hurt_disks(&self, kind: Kind, roll: &mut Roll) -> io::Result<(Undo, String)> {
        let many = if roll.one_in(3) { Many::Majority } else { Many::One };
        let nodes = self.some(many, roll);
        let errno = ERRORS[roll.index(ERRORS.len())];
        let by = u32::try_from(roll.magnitude(1_000, 900_000)).unwrap_or(0);
        let fails = kind == Kind::DiskFails;
        for page in self.pages(&nodes) {
            if fails {
                page.fail_disk(errno)?;
            } else {
                page.slow_disk(by)?;
            }
        }
        let how = if fails { format!("with error {errno}") } else { format!("by {by} µs") };
        let told = format!("{nodes:?} {how}");
        Ok((Undo::Disk(nodes), told))
    }

    /// Undoes what has held long enough; `all`: undoes everything.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub async fn heal(&mut self, all: bool) -> io::Result<()> {
        let now = clock::now();
        let (over, on) = std::mem::take(&mut self.holds)
            .into_iter()
            .partition(|holds| all || holds.until <= now);
        self.holds = on;
        let over: Vec<Holds> = over;
        for holds in over {
            self.tell(&format!("over: {}", holds.kind.name()));
            let settled = clock::now().after(SETTLING);
            self.troubled.push((holds.since.as_micros(), settled.as_micros()));
            match holds.undo {
                Undo::Nothing => {}
                Undo::Start(nodes) => {
                    for node in nodes {
                        self.cluster.start_node(node)?;
                    }
                }
                Undo::GoOn(nodes) => {
                    for node in nodes {
                        self.cluster.seats[node].process.iter_mut().for_each(Process::go_on);
                    }
                }
                Undo::Client(number) => self.people.go_on(number),
                Undo::Links => self.mend_links()?,
                Undo::Packets(shuffles) => {
                    for shuffle in shuffles {
                        let seen = shuffle.end()?;
                        self.tell(&format!("{seen:?}"));
                        self.overtaken += seen.overtaken;
                    }
                }
                Undo::Room(nodes) => self.rooms(&nodes).try_for_each(Room::empty)?,
                Undo::Disk(nodes) => {
                    for page in self.pages(&nodes) {
                        page.fail_disk(0)?;
                        page.slow_disk(0)?;
                    }
                }
            }
        }
        if all {
            self.mend_links()?;
        }
        Ok(())
    }

    fn mend_links(&self) -> io::Result<()> {
        if let Some(proxies) = &self.cluster.proxies {
            proxies.heal();
        }
        self.cluster.hosts.as_ref().map_or(Ok(()), Hosts::heal)
    }

    fn pages(&self, nodes: &[usize]) -> impl Iterator<Item = &Page> {
        nodes.iter().filter_map(|node| self.cluster.seats[*node].page.as_ref())
    }

    fn rooms(&self, nodes: &[usize]) -> impl Iterator<Item = &Room> {
        nodes.iter().filter_map(|node| self.cluster.seats[*node].room.as_ref())
    }

    /// Nodes that run and do not stand still.
    fn some(&self, many: Many, roll: &mut Roll) -> Vec<usize> {
        let seats = &self.cluster.seats;
        let runs = |node: &usize| seats[*node].process.as_ref().is_some_and(|it| !it.is_stopped());
        let masters = self.cluster.shape().masters;
        let (most, count) = match many {
            Many::One => (seats.len(), 1),
            Many::Majority => (masters, masters / 2 + 1),
            Many::All => (seats.len(), seats.len()),
        };
        let mut nodes: Vec<usize> = (0..most).filter(runs).collect();
        while nodes.len() > count {
            nodes.swap_remove(roll.index(nodes.len()));
        }
        nodes
    }

    fn touch_client(&mut self, kind: Kind, roll: &mut Roll) -> io::Result<Option<(Undo, String)>> {
        let Some(number) = self.people.any(roll) else { return Ok(None) };
        let told = format!("process {number}");
        if kind == Kind::StopClient {
            self.people.stop(number);
            return Ok(Some((Undo::Client(number), told)));
        }
        self.people.kill(number);
        self.add_people()?;
        Ok(Some((Undo::Nothing, told)))
    }

    /// Cuts links, silently or not.
    fn cut(&self, links: &[(End, End)], roll: &mut Roll) -> io::Result<()> {
        let refused = roll.one_in(2);
        for &(from, to) in links {
            if let Some(proxies) = &self.cluster.proxies {
                proxies.set(from, to, Rule { silent: !refused, refused, ..Rule::default() });
            }
            if let (Some(hosts), End::Node(to)) = (&self.cluster.hosts, to) {
                let from = match from {
                    End::Node(from) => Hosts::address(from),
                    End::Clients => Hosts::CLIENTS.to_owned(),
                };
                let packets = if refused { Packets::Rejected } else { Packets::Dropped };
                hosts.treat(&from, to, packets)?;
            }
        }
        Ok(())
    }

    /// Bends the clocks of all nodes and clients.
    ///
    /// # Errors
    ///
    /// As for [`Page::bend`].
    pub fn bend_all(
        &mut self,
        roll: &mut Roll,
        mut how: impl FnMut(&mut Roll) -> (u64, i64),
    ) -> io::Result<()> {
        let nodes = self.cluster.seats.iter_mut().filter_map(|seat| seat.page.as_mut());
        for page in nodes.chain(self.people.pages()) {
            let (jump, ppm) = how(roll);
            page.bend(jump, ppm)?;
        }
        Ok(())
    }

    /// Does what an operator does; gives up after a while.
    async fn operate(&mut self, change: Change, master: usize) -> io::Result<String> {
        let name = format!("n{master}");
        let there = format!("{name}={}", self.cluster.peer(master));
        match change {
            Change::Replace => {
                if self.cluster.seats[master].process.is_none() {
                    return Ok("not now".into());
                }
                self.cluster.kill(master);
                self.cluster.wipe(master)?;
                self.cluster.start_node(master)?;
                self.strangers.insert(master);
                let done = self.replace(master).await?;
                Ok(format!("{name}, done: {done}"))
            }
            Change::Demote => {
                let down = insist(&self.cluster, &["members", "demote", &name]).await?;
                pause(Span::from_millis(300)).await;
                let up = insist(&self.cluster, &["members", "promote", &name]).await?;
                Ok(format!("{name}, done: {down}, {up}"))
            }
            Change::Leave => {
                let left = insist(&self.cluster, &["members", "remove", &name]).await?;
                pause(Span::from_millis(300)).await;
                let back = insist(&self.cluster, &["members", "add", &there]).await?;
                let up = insist(&self.cluster, &["members", "promote", &name]).await?;
                Ok(format!("{name}, done: {left}, {back}, {up}"))
            }
            Change::Rolling => {
                let mut well = Vec::new();
                for node in 0..self.cluster.seats.len() {
                    if let Some(process) = &mut self.cluster.seats[node].process {
                        process.end();
                        wait_for_end(process).await;
                        self.cluster.start_node(node)?;
                        // As readiness gates an upgrade.
                        well.push(self.cluster.until_well(OPERATOR).await.is_ok());
                    }
                }
                Ok(format!("in turn, each well again in time: {well:?}"))
            }
        }
    }

    /// Lets a node that lost its file be a member again.
    async fn replace(&mut self, node: usize) -> io::Result<bool> {
        let there = format!("n{node}={}", self.cluster.peer(node));
        let done = insist(&self.cluster, &["members", "replace", &there]).await?;
        if done {
            self.strangers.remove(&node);
        }
        Ok(done)
    }

    /// Lets the members be what they were in the beginning.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub async fn restore_members(&mut self) -> io::Result<bool> {
        // While something else was wrong an operator may have tried in vain.
        for stranger in self.strangers.clone() {
            self.replace(stranger).await?;
        }
        let cluster = &self.cluster;
        let named = |nodes: std::ops::Range<usize>| {
            let named = |node: usize| format!("n{node}={}", cluster.peer(node));
            nodes.map(named).collect::<Vec<_>>().join(",")
        };
        let masters = cluster.shape().masters;
        let (masters, replicas) = (named(0..masters), named(masters..cluster.seats.len()));
        insist(cluster, &["members", "set", "--masters", &masters, "--replicas", &replicas]).await
    }
}

/// Repeats an operator's command until it succeeds, for a while.
async fn insist(cluster: &Cluster, command: &[&str]) -> io::Result<bool> {
    let end = clock::now().after(OPERATOR);
    let command = [&["--timeout", "3s"], command].concat();
    while clock::now() < end {
        if cluster.ask(&command).await?.code == 0 {
            return Ok(true);
        }
        pause(Span::from_millis(100)).await;
    }
    Ok(false)
}

async fn wait_for_end(process: &mut Process) {
    let end = clock::now().after(OPERATOR);
    while process.ended().is_none() && clock::now() < end {
        pause(Span::from_millis(5)).await;
    }
}

/// A rate at one end of the bound or at the other, or in between.
#[must_use]
pub fn extreme(bound: u32, roll: &mut Roll) -> i64 {
    let bound = i64::from(bound);
    match roll.below(5) {
        0 | 1 => bound,
        2 | 3 => -bound,
        _ => i64::try_from(roll.below(2 * bound.unsigned_abs() + 1)).unwrap_or(0) - bound,
    }
}

fn pairs(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).flat_map(move |a| (0..count).map(move |b| (a, b))).filter(|(a, b)| a != b)
}

/// The links that a cut is about, each in one direction.
fn links(cut: Cut, count: usize, roll: &mut Roll) -> Vec<(End, End)> {
    let odd = roll.index(count);
    let group: Vec<bool> = (0..count).map(|_| roll.one_in(2)).collect();
    let node = |(a, b): (usize, usize)| (End::Node(a), End::Node(b));
    let apart = |(a, b): &(usize, usize)| group[*a] != group[*b];
    match cut {
        Cut::Split => pairs(count).filter(apart).map(node).collect(),
        Cut::Bridge => {
            let around = |(a, b): &(usize, usize)| *a != odd && *b != odd;
            pairs(count).filter(apart).filter(around).map(node).collect()
        }
        Cut::OneWay => {
            let one = |(a, b): &(usize, usize)| group[*a] && !group[*b];
            pairs(count).filter(one).map(node).collect()
        }
        Cut::Isolate => {
            let mut links: Vec<_> =
                pairs(count).filter(|(a, b)| *a == odd || *b == odd).map(node).collect();
            if roll.one_in(2) {
                links.extend([(End::Clients, End::Node(odd)), (End::Node(odd), End::Clients)]);
            }
            links
        }
    }
}
