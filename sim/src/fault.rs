//! The faults of a run: what goes wrong, from when until when. All drawn beforehand, so that one can be left out.

use crate::dice::{Dice, Roll, Stream};
use crate::scenario::{MS, Profile, SECOND, Scenario};

/// The most nodes that a run has.
pub const MAX_NODES: usize = 12;

/// A set of nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nodes(pub u16);

impl Nodes {
    /// Whether `node` is one of them.
    #[must_use]
    pub const fn has(self, node: usize) -> bool {
        node < MAX_NODES && self.0 & (1 << node) != 0
    }

    /// These without `node`.
    #[must_use]
    pub const fn without(self, node: usize) -> Self {
        Self(if node < MAX_NODES { self.0 & !(1 << node) } else { self.0 })
    }

    /// These and `node`.
    #[must_use]
    pub const fn with(self, node: usize) -> Self {
        Self(if node < MAX_NODES { self.0 | 1 << node } else { self.0 })
    }
}

/// Something that goes wrong for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// True time, in microseconds, at which it begins.
    pub from: u64,
    /// True time at which it is over.
    pub until: u64,
    /// What it is.
    pub kind: Kind,
    /// Which dice say how long a crashed node takes to start again.
    pub die: usize,
}

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Messages from node `i` reach none of the nodes in place `i`.
    Cut([Nodes; MAX_NODES]),
    /// Messages between these nodes and all others take so much longer, in microseconds.
    Slow(Nodes, u64),
    /// These nodes stand still while their inputs queue.
    Pause(Nodes),
    /// This client stands still while its answers queue.
    PauseClient(usize),
    /// These nodes crash, and start again with nothing but their files when the fault is over. `drain` tells
    /// them first.
    Crash {
        /// Which nodes.
        nodes: Nodes,
        /// Whether they were told before.
        drain: bool,
    },
    /// This node crashes, and its file is lost unless too many are: it comes back as a stranger.
    Lose(usize),
    /// The node is told the opposite of the truth about its link to the peer.
    WrongHint {
        /// Who is misled.
        node: usize,
        /// About whom.
        peer: usize,
    },
    /// Writing the node file takes so much longer, in microseconds.
    SlowDisk(Nodes, u64),
    /// Writing the node file fails. The driver tries again, and acknowledges nothing before it succeeds.
    FailDisk(Nodes),
    /// This client's process dies; another one takes its place when the fault is over.
    Vanish {
        /// Which client.
        client: usize,
        /// Whether the nodes notice that its connections are gone.
        noticed: bool,
    },
}

/// How many of a hundred seeds of a profile have each kind of fault on.
struct Likely {
    cut: u64,
    slow: u64,
    pause: u64,
    pause_client: u64,
    crash: u64,
    majority: u64,
    hint: u64,
    disk: u64,
    vanish: u64,
    lose: u64,
    fail: u64,
}

#[rustfmt::skip]
const fn likely(profile: Profile) -> Likely {
    let (cut, slow, pause, pause_client, crash, majority, hint, disk, vanish, lose, fail) = match profile {
        Profile::Calm          => ( 5,   5,   5,   5,  10,   0,  5,  5, 20,  0,  5),
        Profile::Lossy         => (30,  30,  20,  20,  60,  15, 20, 20, 40,  5, 10),
        Profile::Partitions    => (100, 30,  20,  20,  60,  15, 50, 20, 40, 10, 10),
        Profile::Crash         => (30,  20,  20,  20, 100,  20, 20, 40, 40, 15, 30),
        Profile::MajorityCrash => (30,  20,  20,  20, 100, 100, 20, 40, 40, 15, 30),
        Profile::Slow          => (20, 100,  80,  60,  60,  15, 30, 80, 30, 10, 40),
        Profile::Edge          => (30,  30,  50,  50,  60,  20, 20, 20, 30,  5, 10),
        Profile::Reconfigure   => (50,  20,  30,  20,  80,  15, 20, 40, 20, 60, 30),
        Profile::Rivals        => (30,  30,  20,  20,  40,  10,  0, 10, 20,  0,  5),
        Profile::Ordinary      => (30,  20,  20,  20,  60,  10, 10, 10, 30,  0, 10),
        Profile::Beyond        => (30,  20,  40, 100,  60,  20, 20, 20, 20, 10, 10),
        Profile::Mixed         => (60,  40,  60,  40,  90,  30, 40, 40, 50, 25, 25),
    };
    Likely { cut, slow, pause, pause_client, crash, majority, hint, disk, vanish, lose, fail }
}

/// The faults of `scenario`, ordered by their beginning.
#[must_use]
pub fn draw(dice: Dice, scenario: &Scenario) -> Vec<Fault> {
    let mut roll = dice.roll(Stream::Faults, 0);
    let odds = likely(scenario.profile);
    let rough_founding = roll.one_in(10);
    let kinds = [
        (odds.cut, 0),
        (odds.slow, 1),
        (odds.pause, 2),
        (odds.pause_client, 3),
        (odds.crash, 4),
        (odds.majority, 5),
        (odds.hint, 6),
        (odds.disk, 7),
        (odds.vanish, 8),
        (odds.lose, 9),
        (odds.fail, 10),
    ];
    let mut faults = Vec::new();
    for (percent, kind) in kinds {
        let on = roll.below(100) < percent;
        let count = 1 + roll.below(if kind == 4 || kind == 0 { 5 } else { 3 });
        for number in 0..if on { count } else { 0 } {
            let mut roll = dice.roll(Stream::Faults, 100 * (kind + 1) + number);
            let earliest = if rough_founding { 0 } else { 400 * MS };
            let from = roll.between(earliest, scenario.quiet * 9 / 10);
            let length = draw_length(&mut roll, kind, scenario);
            let until = (from + length).min(scenario.quiet);
            faults.push(Fault { from, until, kind: draw_kind(&mut roll, kind, scenario), die: 0 });
        }
    }
    faults.sort_by_key(|fault| fault.from);
    for (number, fault) in faults.iter_mut().enumerate() {
        fault.die = number;
    }
    faults
}

fn draw_length(roll: &mut Roll, kind: u64, scenario: &Scenario) -> u64 {
    let timing = &scenario.settings.timing;
    let short = timing.op_timeout.as_micros();
    match kind {
        2 | 3 => roll.magnitude(MS, timing.max_lease.as_micros() * 2),
        4 | 5 | 9 => roll.magnitude(MS, 2 * SECOND),
        _ => roll.magnitude(10 * MS, short.saturating_mul(6)),
    }
}

fn draw_kind(roll: &mut Roll, kind: u64, scenario: &Scenario) -> Kind {
    let nodes = scenario.nodes();
    let one = Nodes::default().with(roll.index(nodes));
    let some = draw_nodes(roll, nodes);
    let timeout = scenario.settings.timing.op_timeout.as_micros();
    match kind {
        0 => Kind::Cut(draw_cut(roll, nodes)),
        1 => Kind::Slow(one, roll.magnitude(MS, timeout * 2)),
        2 => Kind::Pause(if roll.one_in(4) { some } else { one }),
        3 => Kind::PauseClient(roll.index(scenario.clients.len())),
        4 => Kind::Crash { nodes: one, drain: roll.one_in(4) },
        5 => Kind::Crash { nodes: draw_majority(roll, scenario.masters), drain: false },
        6 => {
            let node = roll.index(nodes);
            Kind::WrongHint { node, peer: (node + 1 + roll.index(nodes - 1)) % nodes }
        }
        7 => {
            Kind::SlowDisk(if roll.one_in(2) { some } else { one }, roll.magnitude(MS, timeout * 2))
        }
        9 => Kind::Lose(roll.index(nodes)),
        10 => Kind::FailDisk(if roll.one_in(3) { some } else { one }),
        _ => {
            let client = roll.index(scenario.clients.len());
            Kind::Vanish { client, noticed: roll.one_in(2) }
        }
    }
}

fn draw_nodes(roll: &mut Roll, nodes: usize) -> Nodes {
    (0..nodes).fold(Nodes::default(), |set, node| if roll.one_in(2) { set.with(node) } else { set })
}

fn draw_majority(roll: &mut Roll, masters: usize) -> Nodes {
    let quorum = masters / 2 + 1;
    let count = if roll.one_in(3) { masters } else { quorum };
    let first = roll.index(masters);
    (0..count).fold(Nodes::default(), |set, i| set.with((first + i) % masters))
}

/// A split in two, one node alone, one direction only, or a bridge: two halves that one node still reaches.
fn draw_cut(roll: &mut Roll, nodes: usize) -> [Nodes; MAX_NODES] {
    let shape = roll.below(5);
    let alone = roll.index(nodes);
    let side = if shape == 0 { draw_nodes(roll, nodes) } else { Nodes::default().with(alone) };
    let half = draw_nodes(roll, nodes);
    let inwards = roll.one_in(2);
    let next = (alone + 1) % nodes;
    let dead = |from: usize, to: usize| match shape {
        // One direction only, of one node.
        1 => side.has(if inwards { to } else { from }),
        // A bridge.
        2 => from != alone && to != alone && half.has(from) != half.has(to),
        // A single link, one way or both.
        3 => (from, to) == (alone, next) || (!inwards && (to, from) == (alone, next)),
        _ => side.has(from) != side.has(to),
    };
    std::array::from_fn(|from| {
        let unreached = (0..nodes).filter(|to| from < nodes && *to != from && dead(from, *to));
        unreached.fold(Nodes::default(), Nodes::with)
    })
}

/// The faults of `all` that are under way when those in `active` are.
pub fn under_way<'a>(all: &'a [Fault], active: &'a [bool]) -> impl Iterator<Item = &'a Kind> {
    all.iter().zip(active).filter(|(_, on)| **on).map(|(fault, _)| &fault.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_end_before_the_quiet_time() {
        for seed in 0..300 {
            let scenario = Scenario::draw(seed);
            assert!(scenario.faults.iter().all(|f| f.from <= f.until && f.until <= scenario.quiet));
            assert!(scenario.nodes() <= MAX_NODES && scenario.clients.len() <= 8);
        }
    }
}
