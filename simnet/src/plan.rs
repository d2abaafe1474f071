//! What a seed contains: timings, clocks, weather, faults. All of it is drawn before the run begins, each decision from
//! dice of its own, as in `leasehold-sim`.

use std::ops::Range;

use leasehold_core::{Drift, Span, Timing};
use leasehold_sim::dice::{Dice, Roll, Stream};

/// Three masters and a replica.
pub(crate) const NODES: usize = 4;
pub(crate) const MASTERS: usize = 3;

pub(crate) const MS: u64 = 1_000;
pub(crate) const SECOND: u64 = 1_000_000;

/// What a seed contains.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) dice: Dice,
    pub(crate) timing: Timing,
    /// Machines from [`NODES`] on are those of clients, and the last one is the operator's.
    pub(crate) clients: usize,
    pub(crate) keys: usize,
    /// By machine: whether its clock keeps to the slow or the fast end of the bound.
    pub(crate) pinned: Vec<Option<bool>>,
    pub(crate) latency: Range<u64>,
    pub(crate) loss: u64,
    /// Of the disks, by node.
    pub(crate) turns: Vec<Range<u64>>,
    pub(crate) faults: Vec<Fault>,
    /// When the faults are over, and clients begin nothing more.
    pub(crate) quiet: u64,
}

/// Something that is wrong for a while.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) from: u64,
    pub(crate) until: u64,
    pub(crate) kind: Kind,
}

/// What can be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// These machines crash: their processes are gone, and of their disks what was not synced may be.
    Crash(Vec<usize>),
    /// This machine crashes, and its disk is lost with it.
    Lose(usize),
    /// This node is told to end, and does so in good order.
    Stop(usize),
    /// Nothing comes from one machine to another, for each of these pairs.
    Cut(Vec<(usize, usize)>),
    /// A machine stands still.
    Pause(usize),
    /// Messages take so long.
    Slow(Range<u64>),
    /// So many of a million messages are lost and sent again.
    Loss(u64),
    /// These disks do nothing.
    DeadDisk(Vec<usize>),
    /// This disk fails, after so many operations.
    BadDisk(usize, u32),
}

impl Plan {
    pub(crate) fn draw(seed: u64) -> Self {
        let dice = Dice::new(seed);
        let mut roll = dice.roll(Stream::Scenario, 0);
        let timing = timing(&mut roll);
        let clients = 2 + roll.index(3);
        let keys = 1 + roll.index(3);
        let pinned =
            (0..=NODES + clients).map(|_| (!roll.one_in(4)).then(|| roll.one_in(2))).collect();
        let least = roll.magnitude(100, 5 * MS);
        let latency = least..least + roll.magnitude(100, 10 * MS);
        let turns = (0..NODES).map(|_| turn(&mut roll)).collect();
        let quiet = SECOND * roll.between(8, 24);
        let count = roll.below(9);
        let mut plan = Self {
            seed,
            dice,
            timing,
            clients,
            keys,
            pinned,
            latency,
            loss: if roll.one_in(3) { roll.magnitude(1_000, 50_000) } else { 0 },
            turns,
            faults: Vec::new(),
            quiet,
        };
        plan.faults = (0..count).map(|number| plan.fault(number)).collect();
        if roll.one_in(4) {
            let blackout = plan.blackout(&mut roll);
            plan.faults.extend(blackout);
        }
        // One at most: a quorum of the masters keeps its files.
        if roll.one_in(5) {
            let from = roll.between(quiet / 4, quiet);
            let until = (from + roll.magnitude(20 * MS, 4 * SECOND)).min(quiet);
            plan.faults.push(Fault { from, until, kind: Kind::Lose(roll.index(NODES)) });
        }
        plan
    }

    pub(crate) const fn machines(&self) -> usize {
        NODES + self.clients + 1
    }

    pub(crate) const fn operator(&self) -> usize {
        NODES + self.clients
    }

    /// The longest time for which everything that happened before the end of the faults can still be in the way.
    pub(crate) fn patience(&self) -> u64 {
        self.timing.horizon().as_micros() * 2 + 30 * SECOND
    }

    fn fault(&self, number: u64) -> Fault {
        let mut roll = self.dice.roll(Stream::Faults, number);
        let from = roll.below(self.quiet);
        let until = (from + roll.magnitude(20 * MS, 8 * SECOND)).min(self.quiet);
        let node = roll.index(NODES);
        let kind = match roll.below(18) {
            0..4 => Kind::Crash(vec![node]),
            4 => Kind::Crash((0..MASTERS).filter(|_| !roll.one_in(3)).collect()),
            5 => Kind::Crash(vec![NODES + roll.index(self.clients)]),
            6 => Kind::Stop(node),
            7..11 => Kind::Cut(self.cut(&mut roll)),
            11 => Kind::Pause(node),
            12 => Kind::Pause(NODES + roll.index(self.clients)),
            13 => {
                let least = roll.magnitude(MS, 200 * MS);
                Kind::Slow(least..least * 2)
            }
            14 => Kind::Loss(roll.magnitude(10_000, 500_000)),
            15 => Kind::DeadDisk(vec![node]),
            16 => Kind::DeadDisk((0..NODES).collect()),
            _ => Kind::BadDisk(node, u32::try_from(roll.below(20)).unwrap_or(0)),
        };
        Fault { from, until, kind }
    }

    /// All masters at once, often soon after the cluster was founded, and often before their disks have done anything of
    /// late.
    fn blackout(&self, roll: &mut Roll) -> Vec<Fault> {
        let masters: Vec<usize> = (0..MASTERS).collect();
        let latest = if roll.one_in(2) { 4 * SECOND } else { self.quiet };
        let from = roll.between(SECOND / 2, latest);
        let until = (from + roll.magnitude(20 * MS, 2 * SECOND)).min(self.quiet);
        let mut faults = vec![Fault { from, until, kind: Kind::Crash(masters.clone()) }];
        if roll.one_in(2) {
            let stuck = if roll.one_in(2) { 0 } else { roll.below(from) };
            faults.push(Fault { from: stuck, until: from, kind: Kind::DeadDisk(masters) });
        }
        faults
    }

    /// Machines on two sides, or single links, one way or both.
    fn cut(&self, roll: &mut Roll) -> Vec<(usize, usize)> {
        let machines = self.operator();
        if roll.one_in(3) {
            let links = 1 + roll.below(4);
            return (0..links).map(|_| (roll.index(machines), roll.index(machines))).collect();
        }
        let side: Vec<bool> = (0..machines).map(|_| roll.one_in(2)).collect();
        let one_way = roll.one_in(4);
        let pairs = (0..machines).flat_map(|from| (0..machines).map(move |to| (from, to)));
        pairs.filter(|(from, to)| side[*from] != side[*to] && (side[*from] || !one_way)).collect()
    }
}

fn timing(roll: &mut Roll) -> Timing {
    let op_timeout = Span::from_millis(roll.between(500, 2_000));
    let promise_timeout = Span::from_millis(roll.between(500, 2_000));
    let drift = [1_000, 10_000, 50_000][roll.index(3)];
    Timing {
        max_lease: Span::from_millis(roll.between(1_500, 6_000)),
        op_timeout,
        promise_timeout,
        sync_timeout: op_timeout.plus(promise_timeout),
        max_clock_drift: Drift::from_ppm(drift),
    }
}

/// How long a disk takes, before and after it does something.
fn turn(roll: &mut Roll) -> Range<u64> {
    let least = if roll.one_in(4) { roll.magnitude(MS, 1_000 * MS) } else { roll.below(MS) };
    least..least * 2 + 1
}
