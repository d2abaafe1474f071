//! What a campaign looks at most closely.
//!
//! A focus changes the odds of a seed's draw, never what is possible in principle: some profiles come more often, and a
//! few magnitudes are drawn where the mechanism is busiest. It is part of a run's name, so whoever replays a
//! seed says which focus it had.

use leasehold_core::Span;

use crate::dice::{Roll, wide};
use crate::fault::Nodes;
use crate::scenario::{Choice, MS, Profile, SECOND, Scenario, Weather};

/// What the draw of a seed is biased towards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Focus {
    /// Nothing in particular.
    #[default]
    Everything,
    /// Coordinators that get in each other's way.
    Votes,
    /// Late messages, and operations that have to vote again while short leases come and go.
    Late,
    /// Crashes, of one or of many, at clusters that forget quickly how it was.
    Restart,
    /// Changes of the members.
    Membership,
    /// Replicas and what they learn.
    Replicas,
    /// Locks that queue, and waits.
    Waits,
    /// Releases that hand the key to the next lock in one write, and have to vote again while short leases end.
    Handoff,
    /// Records that go by age while their leases can still come back.
    Forgetting,
    /// Clocks at their extremes.
    Drift,
    /// Disks that are slow or fail.
    Disk,
    /// Limits that are reached.
    Limits,
    /// The constants of a cluster that was told nothing else.
    Ordinary,
    /// Clocks and clients that do not keep the contract.
    Beyond,
}

impl Focus {
    /// All of them, and what they are called.
    pub const ALL: [(Self, &'static str); 14] = [
        (Self::Everything, "everything"),
        (Self::Votes, "votes"),
        (Self::Late, "late"),
        (Self::Restart, "restart"),
        (Self::Membership, "membership"),
        (Self::Replicas, "replicas"),
        (Self::Waits, "waits"),
        (Self::Handoff, "handoff"),
        (Self::Forgetting, "forgetting"),
        (Self::Drift, "drift"),
        (Self::Disk, "disk"),
        (Self::Limits, "limits"),
        (Self::Ordinary, "ordinary"),
        (Self::Beyond, "beyond"),
    ];

    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(focus, _)| *focus == self).map_or("", |(_, name)| name)
    }

    /// The focus of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, other)| *other == name).map(|(focus, _)| *focus)
    }

    /// How many seeds of a hundred have a profile, which `usual` many have without a focus.
    pub(crate) fn weight(self, usual: u64, profile: Profile) -> u64 {
        let favoured: &[Profile] = match self {
            Self::Everything | Self::Replicas | Self::Waits | Self::Limits => return usual,
            Self::Votes => &[Profile::Rivals, Profile::Lossy, Profile::Mixed],
            Self::Late | Self::Handoff => &[Profile::Lossy, Profile::Rivals, Profile::Slow],
            Self::Restart => &[Profile::Crash, Profile::MajorityCrash, Profile::Mixed],
            Self::Membership => &[Profile::Reconfigure],
            Self::Forgetting => &[Profile::Partitions, Profile::Lossy, Profile::Edge],
            Self::Drift => &[Profile::Edge],
            Self::Disk => &[Profile::Slow, Profile::Crash, Profile::MajorityCrash],
            Self::Ordinary => &[Profile::Ordinary],
            Self::Beyond => &[Profile::Beyond],
        };
        u64::from(favoured.contains(&profile))
    }

    /// Moves magnitudes to where the mechanism is busiest.
    pub(crate) fn bias(self, scenario: &mut Scenario, roll: &mut Roll) {
        let timing = scenario.settings.timing;
        if matches!(self, Self::Forgetting | Self::Restart | Self::Disk) {
            // What age and restarts bring about takes its time.
            scenario.quiet += 6 * SECOND;
        }
        let round = timing.op_timeout.plus(timing.promise_timeout).as_micros();
        match self {
            Self::Everything | Self::Ordinary | Self::Beyond | Self::Disk => {}
            Self::Votes => {
                hurry(scenario, roll);
                scenario.deaf = (0..scenario.nodes()).fold(Nodes::default(), Nodes::with);
            }
            Self::Late => {
                hurry(scenario, roll);
                scenario.weather.late = roll.magnitude(20_000, 300_000);
                scenario.weather.latest = round;
                scenario.weather.loss = roll.magnitude(1_000, 200_000);
                if roll.one_in(2) {
                    // An operation may outlast what others make of the key meanwhile.
                    let timing = &mut scenario.settings.timing;
                    timing.op_timeout = Span::from_micros(roll.magnitude(SECOND, 2 * SECOND));
                    timing.promise_timeout = timing.op_timeout;
                    for habits in &mut scenario.clients {
                        (habits.lease, habits.delay) = (roll.magnitude(100 * MS, 200 * MS), 0);
                        habits.patience = 2 * SECOND;
                    }
                }
            }
            Self::Restart | Self::Membership => {
                scenario.wire = 256;
            }
            Self::Replicas => {
                let room = crate::fault::MAX_NODES - scenario.masters - scenario.spares;
                let more = (1 + roll.index(3)).min(room);
                scenario.replicas = scenario.replicas.max(more);
            }
            Self::Waits => {
                scenario.blocking = true;
                let longest = timing.max_lease.as_micros() * 2;
                for habits in &mut scenario.clients {
                    habits.waits = roll.magnitude(50 * MS, longest);
                    habits.pause = habits.pause.min(200 * MS);
                }
            }
            Self::Handoff => contended(scenario, roll),
            Self::Forgetting => forgetful(scenario, roll),
            Self::Drift => {
                for pin in &mut scenario.pinned {
                    *pin = Some(roll.one_in(2));
                }
            }
            Self::Limits => {
                let limits = &mut scenario.settings.limits;
                let mut few = |low| u32::try_from(roll.magnitude(low, low * 3)).unwrap_or(9);
                limits.records = few(wide(scenario.keys / 2).max(3));
                (limits.waiters, limits.waiters_per_key) = (few(2), few(2));
                (limits.operations, limits.snapshot_part) = (few(2), few(60));
                scenario.room = few(3);
                scenario.lame = Nodes::default();
            }
        }
    }
}

/// A horizon that is as short against everything else as it can be, leases that are as long as they may be, messages that
/// are late by as much as counts, and keys that nobody touches for a while.
fn forgetful(scenario: &mut Scenario, roll: &mut Roll) {
    let timing = &mut scenario.settings.timing;
    timing.max_lease = Span::from_micros(roll.magnitude(200 * MS, 400 * MS));
    timing.op_timeout = Span::from_micros(roll.magnitude(150 * MS, 400 * MS));
    timing.promise_timeout = Span::from_micros(roll.magnitude(150 * MS, 1_200 * MS));
    timing.sync_timeout = Span::from_millis(if roll.one_in(3) { 500 } else { 50 });
    scenario.weather.base = scenario.weather.base.min(2 * MS);
    scenario.weather.jitter = scenario.weather.jitter.min(2 * MS);
    scenario.weather.late = roll.magnitude(20_000, 300_000);
    scenario.weather.latest = timing.horizon().times(2).as_micros();
    scenario.client_weather = Weather { loss: 0, late: 0, ..scenario.client_weather };
    scenario.client_weather.base = scenario.client_weather.base.min(2 * MS);
    scenario.client_weather.jitter = scenario.client_weather.jitter.min(2 * MS);
    scenario.keys = 2 + roll.index(11);
    for habits in &mut scenario.clients {
        (habits.lease, habits.longest) = (timing.max_lease.as_micros(), true);
        (habits.delay, habits.waits) = (0, 0);
        habits.pause = roll.magnitude(10 * MS, 200 * MS);
        habits.operations = 150;
    }
}

/// One key that most clients queue for at its home, with leases that end while a vote hangs, and rivals at other nodes that
/// refuse the home's writes.
fn contended(scenario: &mut Scenario, roll: &mut Roll) {
    hurry(scenario, roll);
    let round = scenario.settings.timing.op_timeout.plus(scenario.settings.timing.promise_timeout);
    scenario.weather.late = roll.magnitude(20_000, 200_000);
    scenario.weather.latest = round.as_micros();
    scenario.weather.loss = roll.magnitude(1_000, 200_000);
    scenario.blocking = true;
    if roll.one_in(2) {
        // They coordinate themselves what they are asked, so those that queue stand at several nodes.
        scenario.deaf = (0..scenario.nodes()).fold(Nodes::default(), Nodes::with);
    }
    let lease = roll.magnitude(60 * MS, 250 * MS);
    for habits in &mut scenario.clients {
        habits.brisk = !roll.one_in(3);
        habits.choice = if habits.brisk { Choice::Home } else { Choice::Any };
        (habits.lease, habits.delay) = (lease, 0);
        habits.waits = if habits.brisk { roll.magnitude(200 * MS, 2 * SECOND) } else { 0 };
        habits.patience = 2 * SECOND;
        habits.cancels = habits.cancels.min(50_000);
    }
}

/// Clients that do as much as they can, at all nodes, on one key.
fn hurry(scenario: &mut Scenario, roll: &mut Roll) {
    scenario.keys = 1;
    scenario.quiet = scenario.quiet.min(12 * SECOND);
    for habits in &mut scenario.clients {
        habits.choice = Choice::Any;
        habits.pause = roll.magnitude(2 * MS, 60 * MS);
        habits.resends = 900_000;
    }
}
