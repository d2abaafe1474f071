//! Named recipes: a cluster, what its clients do, and what may happen to both.

use leasehold_core::{Drift, Span, Timing};

use super::cluster::{Network, Shape};
use super::kind::{Change, Cut, Kind, Many};
use super::worker::Habits;

const SECOND: u64 = 1_000_000;
const MS: u64 = 1_000;

/// A cluster, its clients, and what may happen to them.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// What it is called.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// The cluster.
    pub shape: Shape,
    /// What clients do.
    pub habits: Habits,
    /// Client processes, and clients in each.
    pub people: (usize, usize),
    /// What may happen, by weight.
    pub faults: &'static [(u64, Kind)],
    /// Faults that may hold at the same time.
    pub at_once: usize,
    /// Microseconds between two faults.
    pub every: (u64, u64),
    /// Microseconds for which a fault holds.
    pub lasts: (u64, u64),
    /// Whether clocks run at either extreme of what the contract allows.
    pub extremes: bool,
    /// Whether everything stays within the contract.
    pub in_contract: bool,
}

/// Constants with which a node votes again a second after its restart, and forgets after a few.
const QUICK: Timing = Timing {
    max_lease: Span::from_millis(3_000),
    op_timeout: Span::from_millis(500),
    promise_timeout: Span::from_millis(500),
    sync_timeout: Span::from_millis(2_000),
    max_clock_drift: Drift::DEFAULT,
};

/// Three masters and a replica.
pub const THREE: Shape = Shape {
    masters: 3,
    replicas: 1,
    network: Network::Loopback,
    shim: false,
    rooms: false,
    timing: QUICK,
};

fn habits() -> Habits {
    Habits {
        prefix: String::new(),
        hot: 6,
        brief: 400 * MS,
        lease: (100 * MS, 2 * SECOND),
        delay: 300 * MS,
        wait: SECOND,
        pause: 120 * MS,
        timeout: 2 * SECOND,
        walk_away: 10,
    }
}

fn base() -> Recipe {
    Recipe {
        name: "",
        about: "",
        shape: THREE,
        habits: habits(),
        people: (3, 4),
        faults: &[],
        at_once: 1,
        every: (100 * MS, 2 * SECOND),
        lasts: (100 * MS, 4 * SECOND),
        extremes: false,
        in_contract: true,
    }
}

/// All recipes.
#[must_use]
pub fn all() -> Vec<Recipe> {
    let mut recipes = of_processes();
    recipes.extend(of_links());
    recipes.extend(of_hosts());
    recipes.extend(of_machines());
    recipes
}

fn of_processes() -> Vec<Recipe> {
    vec![
        Recipe {
            name: "calm",
            about: "nothing happens; little load, and many who wait for short leases to end",
            habits: Habits {
                hot: 3,
                brief: 0,
                lease: (200 * MS, SECOND),
                delay: 0,
                wait: 3 * SECOND,
                pause: 400 * MS,
                walk_away: 70,
                ..habits()
            },
            people: (2, 3),
            ..base()
        },
        Recipe {
            name: "kills",
            about: "nodes are killed, one, a majority or all, and clients; they come back",
            habits: Habits { lease: (100 * MS, 3 * SECOND), ..habits() },
            faults: &[
                (4, Kind::Kill(Many::One)),
                (3, Kind::Kill(Many::Majority)),
                (1, Kind::Kill(Many::All)),
                (1, Kind::KillClient),
            ],
            at_once: 2,
            lasts: (10 * MS, 3 * SECOND),
            ..base()
        },
        Recipe {
            name: "stops",
            about: "nodes stand still for a while, and clients that hold keys",
            faults: &[
                (3, Kind::Stop(Many::One)),
                (3, Kind::Stop(Many::Majority)),
                (1, Kind::Stop(Many::All)),
                (2, Kind::StopClient),
                (1, Kind::KillClient),
            ],
            at_once: 2,
            lasts: (50 * MS, 3 * SECOND),
            ..base()
        },
        Recipe {
            name: "members",
            about: "masters are replaced, demoted, removed and taken in again, nodes restarted in turn",
            faults: &[
                (3, Kind::Operate(Change::Replace)),
                (2, Kind::Operate(Change::Demote)),
                (2, Kind::Operate(Change::Leave)),
                (2, Kind::Operate(Change::Rolling)),
                (1, Kind::Kill(Many::One)),
            ],
            ..base()
        },
    ]
}

fn of_links() -> Vec<Recipe> {
    vec![
        Recipe {
            name: "links",
            about: "through proxies: cuts of every shape, one way or both, delay, jitter, silence, resets",
            shape: Shape { network: Network::Proxied, ..THREE },
            faults: &[
                (3, Kind::Cut(Cut::Split)),
                (2, Kind::Cut(Cut::Isolate)),
                (2, Kind::Cut(Cut::OneWay)),
                (2, Kind::Cut(Cut::Bridge)),
                (3, Kind::Slow),
                (2, Kind::Reset),
            ],
            ..base()
        },
        Recipe {
            name: "five",
            about: "five masters and two replicas, through proxies, with nearly everything at once",
            shape: Shape {
                masters: 5,
                replicas: 2,
                network: Network::Proxied,
                shim: true,
                ..THREE
            },
            faults: &[
                (3, Kind::Kill(Many::One)),
                (2, Kind::Kill(Many::Majority)),
                (2, Kind::Stop(Many::One)),
                (1, Kind::Stop(Many::Majority)),
                (2, Kind::StopClient),
                (2, Kind::Cut(Cut::Split)),
                (1, Kind::Cut(Cut::Bridge)),
                (2, Kind::Slow),
                (1, Kind::Reset),
                (1, Kind::DiskFails),
                (1, Kind::DiskSlow),
                (1, Kind::Wall),
                (1, Kind::Power(Many::One)),
                (1, Kind::Operate(Change::Replace)),
            ],
            at_once: 3,
            ..base()
        },
    ]
}

fn of_hosts() -> Vec<Recipe> {
    vec![
        Recipe {
            name: "hosts",
            about: "hosts of their own: packets dropped, rejected and lost, by nftables between namespaces",
            shape: Shape { network: Network::Hosts, ..THREE },
            faults: &[
                (3, Kind::Cut(Cut::Split)),
                (2, Kind::Cut(Cut::Isolate)),
                (2, Kind::Cut(Cut::OneWay)),
                (2, Kind::Cut(Cut::Bridge)),
                (3, Kind::Loss),
                (1, Kind::Kill(Many::One)),
            ],
            ..base()
        },
        Recipe {
            name: "packets",
            about: "hosts of their own whose packets come late, in another order, or not at all (NFQUEUE)",
            shape: Shape { network: Network::Hosts, ..THREE },
            faults: &[
                (4, Kind::Shuffle),
                (1, Kind::Cut(Cut::Split)),
                (1, Kind::Kill(Many::One)),
                (1, Kind::Stop(Many::One)),
            ],
            at_once: 2,
            ..base()
        },
    ]
}

fn of_machines() -> Vec<Recipe> {
    let bent = Shape { shim: true, ..THREE };
    let wide = Timing { max_clock_drift: Drift::from_ppm(50_000), ..QUICK };
    vec![
        Recipe {
            name: "clocks",
            about: "clocks at the extremes of a wide bound, changing, wall clocks that jump; few faults else",
            shape: Shape { timing: wide, ..bent },
            habits: Habits {
                hot: 4,
                lease: (300 * MS, 3 * SECOND),
                wait: 4 * SECOND,
                delay: 0,
                walk_away: 35,
                ..habits()
            },
            faults: &[(4, Kind::Rates), (2, Kind::Wall), (1, Kind::Kill(Many::One))],
            extremes: true,
            every: (500 * MS, 3 * SECOND),
            ..base()
        },
        Recipe {
            name: "disks",
            about: "disks that are full, broken or slow, and power that is cut: what was not synced is lost",
            shape: bent,
            faults: &[
                (2, Kind::DiskFails),
                (2, Kind::DiskSlow),
                (3, Kind::Power(Many::One)),
                (2, Kind::Power(Many::Majority)),
                (2, Kind::Power(Many::All)),
                (2, Kind::Wall),
            ],
            at_once: 2,
            ..base()
        },
        Recipe {
            name: "full",
            about: "small file systems that are filled to the last byte, under nodes that run and that start",
            shape: Shape { rooms: true, ..THREE },
            faults: &[
                (6, Kind::DiskFull),
                (3, Kind::Kill(Many::One)),
                (2, Kind::Kill(Many::Majority)),
                (1, Kind::Kill(Many::All)),
                (1, Kind::Operate(Change::Demote)),
            ],
            at_once: 2,
            lasts: (500 * MS, 8 * SECOND),
            ..base()
        },
        Recipe {
            name: "beyond",
            about: "out of contract: clocks beyond every bound; only the order of tokens is judged",
            shape: bent,
            faults: &[(4, Kind::BeyondRates), (2, Kind::Wall), (1, Kind::Kill(Many::One))],
            in_contract: false,
            ..base()
        },
    ]
}
