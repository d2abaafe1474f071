//! What a seed contains, drawn once and then plain data.
//!
//! Swarm testing (Groce and others, 2012): a run in which everything goes wrong a little finds less than many runs
//! in each of which a few things go wrong a lot. So a seed draws a profile, the profile says how likely each kind of
//! fault is to be on at all, and what is on draws its magnitude log-uniformly.

use leasehold_core::{Drift, Limits, Settings, Span, Timing};

use crate::dice::{Dice, Roll, Stream, wide};
use crate::fault::{self, Fault, Nodes};
use crate::focus::Focus;
use crate::operator::{self, Change};
use crate::script::Script;

/// Milliseconds in microseconds.
pub const MS: u64 = 1_000;
/// Seconds in microseconds.
pub const SECOND: u64 = 1_000 * MS;

/// The kinds of bad days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Hardly anything goes wrong.
    Calm,
    /// Messages are lost, doubled, late.
    Lossy,
    /// The network falls apart, in every way it can.
    Partitions,
    /// Single nodes crash.
    Crash,
    /// A majority, or all, crash at once.
    MajorityCrash,
    /// Disks, links and processes are slow.
    Slow,
    /// Clocks at their extremes, leases short against delays.
    Edge,
    /// Members come and go, some without their files.
    Reconfigure,
    /// Nodes that are all the home of one key, and counters far ahead of all clocks.
    Rivals,
    /// Some of everything.
    Mixed,
    /// The constants that a cluster has unless told otherwise, and half an hour of its life.
    Ordinary,
    /// Clocks and clients that do not keep the contract.
    Beyond,
}

impl Profile {
    /// All of them, with how many seeds of a hundred have them, and what they are called.
    pub const ALL: [(u64, Self, &'static str); 12] = [
        (4, Self::Calm, "calm"),
        (9, Self::Lossy, "lossy"),
        (9, Self::Partitions, "partitions"),
        (12, Self::Crash, "crash"),
        (9, Self::MajorityCrash, "majority-crash"),
        (6, Self::Slow, "slow"),
        (9, Self::Edge, "edge"),
        (16, Self::Reconfigure, "reconfigure"),
        (6, Self::Rivals, "rivals"),
        (15, Self::Mixed, "mixed"),
        (1, Self::Ordinary, "ordinary"),
        (6, Self::Beyond, "beyond"),
    ];

    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, profile, _)| *profile == self).map_or("", |(_, _, name)| name)
    }
}

/// How messages travel while nothing in particular is wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// The shortest delay, in microseconds.
    pub base: u64,
    /// What may come on top, evenly.
    pub jitter: u64,
    /// Messages lost, of a million.
    pub loss: u64,
    /// Messages that arrive twice, of a million.
    pub duplicates: u64,
    /// Messages that are much too late, of a million.
    pub late: u64,
    /// How late those are at most.
    pub latest: u64,
}

/// The nature of one client.
#[derive(Clone, Copy, Debug, Default)]
pub struct Habits {
    /// Whether it calls itself what others call themselves, too.
    pub shared: bool,
    /// Which node it talks to.
    pub choice: Choice,
    /// Operations it begins before it retires.
    pub operations: u64,
    /// Longest pause between two operations, in microseconds.
    pub pause: u64,
    /// Longest lease it asks for.
    pub lease: u64,
    /// Whether it always asks for the longest lease.
    pub longest: bool,
    /// Whether all its locks wait, and it releases most of what it was granted.
    pub brisk: bool,
    /// Longest lock-delay it asks for.
    pub delay: u64,
    /// Longest time it waits for a key; zero if it never does.
    pub waits: u64,
    /// Longest patience.
    pub patience: u64,
    /// Operations that are cancelled when they take too long, of a million.
    pub cancels: u64,
    /// Operations that are sent again when they took too long, of a million.
    pub resends: u64,
}

/// Which node a client talks to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The same until it fails.
    Sticky,
    /// The key's home.
    Home,
    /// Any.
    #[default]
    Any,
}

/// Everything that a seed contains but the dice of single decisions.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The seed.
    pub seed: u64,
    /// The kind of bad day.
    pub profile: Profile,
    /// What the draw was biased towards.
    pub focus: Focus,
    /// How many masters the first configuration has. They come first among the nodes.
    pub masters: usize,
    /// How many replicas it has. They come next.
    pub replicas: usize,
    /// How many nodes belong to no cluster at first.
    pub spares: usize,
    /// What the operator changes about the members.
    pub changes: Vec<Change>,
    /// How many keys.
    pub keys: usize,
    /// The cluster's settings.
    pub settings: Settings,
    /// The clients.
    pub clients: Vec<Habits>,
    /// Clocks that are held at an extreme (`true`: fast), nodes first, then clients.
    pub pinned: Vec<Option<bool>>,
    /// How far clocks really drift, in ppm: the bound of the settings, or beyond it.
    pub drift: u64,
    /// How far wall clocks may be off at a boot, in microseconds.
    pub wall_error: u64,
    /// Whether some boots find a wall clock that starts in 1970.
    pub dead_clocks: bool,
    /// The longest that a write of the node file usually takes.
    pub disk: u64,
    /// Whether a node file that was not written yet gives way to a newer one, as in the driver.
    pub coalesce: bool,
    /// How many messages fit on a link, and in front of a node that stands still; zero for any number.
    pub room: u32,
    /// Masters, a minority, that stay down while it is first judged whether everything works again.
    pub lame: Nodes,
    /// The network between nodes.
    pub weather: Weather,
    /// The network between clients and nodes.
    pub client_weather: Weather,
    /// Nodes that never hear that a link is up, so that each is the home of all keys in its own eyes.
    pub deaf: Nodes,
    /// When the operator founds the cluster.
    pub founding: u64,
    /// When clients stop and all faults end.
    pub quiet: u64,
    /// What goes wrong when.
    pub faults: Vec<Fault>,
    /// One message in so many is encoded and decoded on its way.
    pub wire: u64,
    /// Whether clients wait for keys.
    pub blocking: bool,
    /// What is written out instead of drawn.
    pub script: Option<Script>,
}

impl Scenario {
    /// What `seed` contains.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        Self::focused(seed, Focus::Everything)
    }

    /// What `seed` contains when the draw is biased towards a mechanism.
    #[must_use]
    pub fn focused(seed: u64, focus: Focus) -> Self {
        let dice = Dice::new(seed);
        let mut roll = dice.roll(Stream::Scenario, 0);
        let weights =
            Profile::ALL.map(|(weight, profile, _)| (focus.weight(weight, profile), profile));
        let profile = roll.weighted(&weights).unwrap_or(Profile::Mixed);
        let (masters, replicas, spares) = draw_sizes(&mut roll, profile);
        let nodes = masters + replicas + spares;
        let keys = match roll.below(20) {
            0..=7 => 1,
            _ if profile == Profile::Rivals => 1,
            8..=12 => 2,
            13..=16 => 3 + roll.index(2),
            _ => 5 + roll.index(12),
        };
        let timing = draw_timing(&mut dice.roll(Stream::Scenario, 1), profile);
        let mut roll = dice.roll(Stream::Scenario, 2);
        let weather = draw_weather(&mut roll, profile, &timing);
        let mut client_weather = draw_weather(&mut roll, profile, &timing);
        client_weather.duplicates = 0;
        let mut roll = dice.roll(Stream::Scenario, 3);
        let ordinary = profile == Profile::Ordinary;
        let length = if ordinary { (400, 900) } else { (6, 16) };
        let quiet = roll.between(length.0 * SECOND, length.1 * SECOND);
        let blocking = dice.roll(Stream::Scenario, 6).one_in(3);
        let clients = draw_clients(dice, &mut roll, profile, quiet, &timing, blocking);
        let rivals = profile == Profile::Rivals;
        let ahead = 7_200 * SECOND;
        let limits = draw_limits(&mut dice.roll(Stream::Scenario, 7), keys);
        let mut scenario = Self {
            seed,
            profile,
            focus,
            masters,
            replicas,
            spares,
            changes: operator::draw(dice, spares > 0 || replicas > 0, profile, quiet),
            keys,
            settings: Settings { timing, limits },
            drift: draw_drift(&mut dice.roll(Stream::Scenario, 8), profile, &timing),
            pinned: draw_pins(&mut dice.roll(Stream::Scenario, 4), profile),
            clients,
            wall_error: roll
                .weighted(&[(6, 50 * MS), (3, 5 * SECOND), (1, ahead)])
                .map_or(0, |error| if rivals { ahead } else { error }),
            dead_clocks: dice.roll(Stream::Scenario, 9).one_in(12),
            disk: roll.magnitude(100, 20 * MS),
            coalesce: dice.roll(Stream::Scenario, 13).one_in(2),
            room: draw_room(&mut dice.roll(Stream::Scenario, 10)),
            lame: draw_lame(&mut dice.roll(Stream::Scenario, 11), masters),
            weather,
            client_weather,
            deaf: draw_deaf(&mut dice.roll(Stream::Scenario, 5), nodes, rivals),
            founding: 20 * MS,
            quiet,
            faults: Vec::new(),
            wire: roll.magnitude(16, 256),
            blocking,
            script: None,
        };
        if scenario.settings.limits.records < Limits::default().records {
            // With one master down, what was released stays for a horizon, and few records are soon too few.
            scenario.lame = Nodes::default();
        }
        focus.bias(&mut scenario, &mut dice.roll(Stream::Scenario, 12));
        scenario.faults = fault::draw(dice, &scenario);
        scenario
    }

    /// Whether clocks and clients keep the contract, so that all guarantees must hold.
    #[must_use]
    pub const fn in_contract(&self) -> bool {
        !matches!(self.profile, Profile::Beyond)
    }

    /// How many nodes there are.
    #[must_use]
    pub const fn nodes(&self) -> usize {
        self.masters + self.replicas + self.spares
    }
}

/// How many masters, replicas and spare nodes.
fn draw_sizes(roll: &mut Roll, profile: Profile) -> (usize, usize, usize) {
    let changing = profile == Profile::Reconfigure || (profile != Profile::Calm && roll.one_in(8));
    let changing = changing && profile != Profile::Ordinary;
    let sizes: &[(u64, usize)] = if profile == Profile::Ordinary {
        &[(1, 3)]
    } else if changing {
        &[(62, 3), (10, 5), (8, 1), (10, 2), (10, 4)]
    } else {
        &[(60, 3), (18, 5), (6, 1), (5, 2), (6, 4), (5, 7)]
    };
    let masters = roll.weighted(sizes).unwrap_or(3);
    let replicas = if roll.one_in(3) { 1 + roll.index(3) } else { 0 };
    let replicas = replicas.min(fault::MAX_NODES - masters);
    let spares = if changing { 1 + roll.index(4) } else { 0 };
    (masters, replicas, spares.min(fault::MAX_NODES - masters - replicas))
}

fn draw_timing(roll: &mut Roll, profile: Profile) -> Timing {
    let span = |roll: &mut Roll, low, high| Span::from_micros(roll.magnitude(low, high));
    if profile == Profile::Ordinary {
        return Timing::default();
    }
    let longest = if profile == Profile::Slow { 2 * SECOND } else { SECOND };
    let drifts: &[(u64, u32)] = if profile == Profile::Edge {
        &[(1, 1_000), (2, 10_000), (3, 50_000)]
    } else {
        &[(1, 100), (4, 1_000), (2, 10_000), (1, 50_000)]
    };
    Timing {
        max_lease: span(roll, 400 * MS, 4 * SECOND),
        op_timeout: span(roll, 150 * MS, longest),
        promise_timeout: span(roll, 150 * MS, longest),
        sync_timeout: span(roll, 50 * MS, 500 * MS),
        max_clock_drift: Drift::from_ppm(roll.weighted(drifts).unwrap_or(1_000)),
    }
}

fn draw_weather(roll: &mut Roll, profile: Profile, timing: &Timing) -> Weather {
    let round = timing.op_timeout.as_micros().min(timing.promise_timeout.as_micros());
    let base = roll.magnitude(50, round / 60);
    let jitter = roll.magnitude(10, round / 30);
    // What is on at all, then how much of it.
    let on = |roll: &mut Roll, percent: u64, most: u64| {
        let amount = roll.magnitude(1_000, most);
        if roll.below(100) < percent { amount } else { 0 }
    };
    let (likely, most) = match profile {
        Profile::Calm => (5, 2_000),
        Profile::Lossy => (90, 250_000),
        Profile::Mixed => (60, 100_000),
        Profile::Slow | Profile::Partitions | Profile::Ordinary => (40, 50_000),
        Profile::Crash
        | Profile::MajorityCrash
        | Profile::Edge
        | Profile::Reconfigure
        | Profile::Beyond
        | Profile::Rivals => (35, 50_000),
    };
    let latest = match roll.below(12) {
        0 => timing.horizon().times(2).as_micros(),
        1..=5 => timing.max_lease.plus(timing.op_timeout).as_micros(),
        _ => round.saturating_mul(2),
    };
    Weather {
        base,
        jitter,
        loss: on(roll, likely, most),
        duplicates: on(roll, likely, most),
        late: on(roll, likely, most),
        latest,
    }
}

fn draw_clients(
    dice: Dice,
    roll: &mut Roll,
    profile: Profile,
    quiet: u64,
    timing: &Timing,
    blocking: bool,
) -> Vec<Habits> {
    let count = 1 + roll.below(4) + if roll.one_in(3) { roll.below(5) } else { 0 };
    let total = roll.between(130, 290);
    let rivals = profile == Profile::Rivals;
    let (count, total) = if rivals { (4 + roll.below(5), 400) } else { (count, total) };
    (100..100 + count)
        .map(|number| {
            let mut roll = dice.roll(Stream::Scenario, number);
            let habits = draw_habits(&mut roll, total / count, quiet, timing, blocking);
            if !rivals {
                return habits;
            }
            // As many at once at as many nodes as can be, so that coordinators meet at the same counter.
            let pause = roll.magnitude(2 * MS, 100 * MS);
            Habits { choice: Choice::Any, pause, ..habits }
        })
        .collect()
}

fn draw_habits(roll: &mut Roll, share: u64, quiet: u64, timing: &Timing, blocking: bool) -> Habits {
    let operations = share.max(12);
    let lease = timing.max_lease.as_micros();
    let mean_pause = quiet / operations;
    let delay = roll.magnitude(1, lease / 4);
    let patience = timing.op_timeout.as_micros();
    let waits = blocking && !roll.one_in(3);
    let choices = [(4, Choice::Sticky), (3, Choice::Home), (3, Choice::Any)];
    Habits {
        shared: roll.one_in(3),
        choice: roll.weighted(&choices).unwrap_or(Choice::Any),
        operations,
        pause: roll.magnitude(mean_pause / 2, mean_pause * 3),
        lease: roll.magnitude((lease / 8).max(150 * MS), lease * 3 / 4),
        longest: false,
        brisk: false,
        delay: if roll.one_in(5) { delay } else { 0 },
        waits: if waits { roll.magnitude(50 * MS, lease * 2) } else { 0 },
        patience: roll.magnitude(patience / 2, patience * 2),
        cancels: if roll.one_in(3) { roll.magnitude(10_000, 900_000) } else { 0 },
        resends: if roll.one_in(4) { 0 } else { roll.magnitude(100_000, 950_000) },
    }
}

/// Limits so low that they are reached, in one run of six each. What must work after all faults needs a few records.
fn draw_limits(roll: &mut Roll, keys: usize) -> Limits {
    let mut limit = |usual: u32, low: u64, high: u64| {
        let few = roll.magnitude(low, high);
        if roll.one_in(6) { u32::try_from(few).unwrap_or(usual) } else { usual }
    };
    let usual = Limits::default();
    let keys = wide(keys);
    Limits {
        records: limit(usual.records, (keys / 2).max(3), (keys * 2).max(4)),
        waiters_per_key: limit(usual.waiters_per_key, 2, 6),
        waiters: limit(usual.waiters, 2, 6),
        operations: limit(usual.operations, 2, 12),
        snapshot_part: limit(usual.snapshot_part, 1, 400),
        ..usual
    }
}

/// In contract as far as the bound allows; beyond it, much further.
fn draw_drift(roll: &mut Roll, profile: Profile, timing: &Timing) -> u64 {
    let bound = u64::from(timing.max_clock_drift.ppm());
    // In some of these runs the clocks are right, and only clients sleep.
    if profile != Profile::Beyond || roll.one_in(4) {
        return bound;
    }
    bound + roll.magnitude(bound.max(1_000), 600_000)
}

/// Room on links is scarce in one run of eight.
fn draw_room(roll: &mut Roll) -> u32 {
    let room = roll.magnitude(2, 64);
    if roll.one_in(8) { u32::try_from(room).unwrap_or(0) } else { 0 }
}

/// In one run of four some masters stay down for longer, but never so many that there is no quorum.
fn draw_lame(roll: &mut Roll, masters: usize) -> Nodes {
    let most = (masters - 1) / 2;
    if !roll.one_in(4) || most == 0 {
        return Nodes::default();
    }
    let (first, count) = (roll.index(masters), 1 + roll.index(most));
    (0..count).fold(Nodes::default(), |set, i| set.with((first + i) % masters))
}

/// In most runs no node is deaf. Where some are, coordinators get in each other's way all the time.
fn draw_deaf(roll: &mut Roll, nodes: usize, rivals: bool) -> Nodes {
    let all = roll.one_in(2) || rivals;
    let none = !roll.one_in(6) && !rivals;
    (0..nodes).fold(Nodes::default(), |set, node| {
        let deaf = roll.one_in(2) || all;
        if deaf && !none { set.with(node) } else { set }
    })
}

fn draw_pins(roll: &mut Roll, profile: Profile) -> Vec<Option<bool>> {
    let all = profile == Profile::Edge || roll.one_in(8);
    let some = roll.one_in(2);
    (0..24)
        .map(|_| {
            let fast = roll.one_in(2);
            let pinned = roll.one_in(3);
            (all || (some && pinned)).then_some(fast)
        })
        .collect()
}
