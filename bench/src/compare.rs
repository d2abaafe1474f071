//! Drives all systems with the same loop and prints one table.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::load::{self, Load, Measured};
use crate::stage::Cluster;
use crate::system::{System, Workload};
use crate::{hung, note, print, queue};

/// All that are compared, and whether their workers share connections.
const SYSTEMS: [(System, bool); 11] = [
    (System::Leasehold, true),
    (System::Floor { rounds: 2 }, true),
    (System::Floor { rounds: 1 }, true),
    (System::Floor { rounds: 2 }, false),
    (System::Floor { rounds: 1 }, false),
    (System::Redis { servers: 1 }, true),
    (System::Redis { servers: 1 }, false),
    (System::Redis { servers: 3 }, true),
    (System::Redis { servers: 3 }, false),
    (System::ZooKeeper, true),
    (System::Etcd, true),
];

/// What to compare.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) leasehold: PathBuf,
    pub(crate) in_flight: usize,
    pub(crate) duration: Duration,
    pub(crate) rounds: usize,
    /// The names of what to measure; everything if there are none.
    pub(crate) only: Vec<String>,
}

impl Plan {
    fn has(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

/// Measures each workload on each system in turn, so many rounds, and prints medians.
pub(crate) fn compare(plan: &Plan) -> io::Result<()> {
    let clusters = start(plan)?;
    for workload in Workload::ALL.into_iter().filter(|workload| plan.has(workload.name())) {
        let table = cycle(plan, workload, &clusters)?;
        print(&show(workload, plan.in_flight, &table))?;
    }
    if plan.has("queue") {
        let mut table: Vec<(System, Vec<queue::Measured>)> = Vec::new();
        for round in 1..=plan.rounds {
            for (system, cluster) in clusters.iter().filter(|(up, _)| queue::SYSTEMS.contains(up)) {
                note(&format!("queue, round {round} of {}: {}", plan.rounds, system.name()));
                let measured = queue::run(*system, cluster, plan.in_flight, plan.duration)?;
                match table.iter_mut().find(|(known, _)| known == system) {
                    Some((_, all)) => all.push(measured),
                    None => table.push((*system, vec![measured])),
                }
            }
        }
        print(&queue::show(plan.in_flight, &table))?;
    }
    // Each of these has a cluster of its own, and nothing else runs.
    drop(clusters);
    if plan.has("hung") {
        let mut table = Vec::new();
        for system in hung::SYSTEMS {
            let measured = hung::measure(system, &plan.leasehold, plan.in_flight)?;
            table.extend(measured.map(|measured| (system, measured)));
        }
        print(&hung::show(plan.in_flight, &table))?;
    }
    Ok(())
}

/// Starts one cluster of each kind that is wanted and there.
fn start(plan: &Plan) -> io::Result<Vec<(System, Cluster)>> {
    let workloads = Workload::ALL.iter().any(|workload| plan.has(workload.name()));
    let kinds = [
        System::Leasehold,
        System::Floor { rounds: 1 },
        System::Redis { servers: 1 },
        System::Redis { servers: 3 },
        System::ZooKeeper,
        System::Etcd,
    ];
    let mut clusters = Vec::new();
    for system in kinds {
        let queues = plan.has("queue") && queue::SYSTEMS.contains(&system);
        if !(workloads || queues) {
            continue;
        }
        note(&format!("starting {}", system.name()));
        match Cluster::start(system, &plan.leasehold) {
            Ok(cluster) => clusters.push((system, cluster)),
            Err(error) if system == System::Leasehold => return Err(error),
            Err(error) => note(&format!("left out: {error}")),
        }
    }
    Ok(clusters)
}

/// How one system fared: in each round.
type Row = (System, bool, Vec<Measured>);

fn cycle(plan: &Plan, workload: Workload, clusters: &[(System, Cluster)]) -> io::Result<Vec<Row>> {
    let Plan { in_flight, duration, rounds, .. } = *plan;
    let mut table: Vec<Row> = Vec::new();
    for round in 1..=rounds {
        for (system, shared) in SYSTEMS.into_iter().filter(|(system, _)| system.does(workload)) {
            let server = match system {
                System::Floor { .. } => System::Floor { rounds: 1 },
                System::Leasehold | System::Redis { .. } | System::ZooKeeper | System::Etcd => {
                    system
                }
            };
            let Some((_, cluster)) = clusters.iter().find(|(up, _)| *up == server) else {
                continue;
            };
            note(&format!("{}, round {round} of {rounds}: {}", workload.name(), system.name()));
            let measured =
                load::run(Load { system, workload, in_flight, shared, duration }, cluster)?;
            match table.iter_mut().find(|(known, how, _)| (*known, *how) == (system, shared)) {
                Some((_, _, all)) => all.push(measured),
                None => table.push((system, shared, vec![measured])),
            }
        }
    }
    Ok(table)
}

/// The run in the middle, by rate.
fn median(all: &[Measured]) -> Option<&Measured> {
    let mut sorted: Vec<&Measured> = all.iter().collect();
    sorted.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    sorted.get(sorted.len() / 2).copied()
}

fn show(workload: Workload, in_flight: usize, table: &[Row]) -> String {
    let mut text = format!(
        "\n### {}, {in_flight} in flight\n\n| | connections | operations/s | Leasehold is | CPU s / 1,000 | p50 ms | p99 ms | failed |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        workload.name()
    );
    let own = table.iter().find(|(system, ..)| *system == System::Leasehold);
    for (system, shared, all) in table {
        let Some(middle) = median(all) else { continue };
        // Paired: each round's ratio, and of these the median.
        let pairs = own.map(|(_, _, own)| own.iter().zip(all)).into_iter().flatten();
        let mut ratios: Vec<f64> =
            pairs.map(|(own, other)| own.rate / other.rate.max(1.0)).collect();
        ratios.sort_by(f64::total_cmp);
        let ratio = ratios.get(ratios.len() / 2).copied().unwrap_or_default();
        let Measured { rate, cost, p50, p99, failed } = middle;
        let connections = if *shared { "shared" } else { "one each" };
        // Writing to a string does not fail.
        writeln!(
            text,
            "| {} | {connections} | {rate:.0} | {ratio:.2} × | {cost:.4} | {} | {} | {failed} |",
            system.name(),
            millis(*p50),
            millis(*p99)
        )
        .unwrap_or_default();
    }
    text
}

/// Microseconds in milliseconds.
fn millis(micros: u64) -> String {
    format!("{}.{:02}", micros / 1_000, micros % 1_000 / 10)
}
