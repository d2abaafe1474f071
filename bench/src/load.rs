//! The loop that all systems are driven by: so many workers, each with one operation under way.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use hdrhistogram::Histogram;
use leasehold_client::clock::{self, Instant};
use tokio::task::{JoinSet, LocalSet};

use crate::processor;
use crate::stage::Cluster;
use crate::system::{self, System, Worker, Workload};

/// How long to run before measuring.
pub(crate) const WARM_UP: Duration = Duration::from_millis(700);
/// Latencies up to here are told apart, in microseconds.
const LONGEST: u64 = 60_000_000;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) system: System,
    pub(crate) workload: Workload,
    pub(crate) in_flight: usize,
    /// All workers over the same connections, or each over its own.
    pub(crate) shared: bool,
    pub(crate) duration: Duration,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// Operations a second.
    pub(crate) rate: f64,
    /// Seconds of the servers' processor time for a thousand operations.
    pub(crate) cost: f64,
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) failed: u64,
}

#[derive(Debug)]
struct Tally {
    latencies: Histogram<u64>,
    failed: u64,
    begin: Instant,
    end: Instant,
}

impl Tally {
    fn add(&mut self, begun: Instant, ended: Instant, good: bool) {
        if begun < self.begin || ended >= self.end {
        } else if good {
            self.latencies.saturating_record(ended.since(begun).as_micros().max(1));
        } else {
            self.failed += 1;
        }
    }
}

/// Runs it against servers that are up.
#[expect(clippy::cast_precision_loss, reason = "shown to a few digits")]
pub(crate) fn run(load: Load, cluster: &Cluster) -> io::Result<Measured> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    let (tally, used) = local.block_on(&runtime, async {
        let ports = &cluster.ports;
        let connecting = system::workers(load.system, ports, load.in_flight, load.shared);
        let workers = connecting.await?;
        let begin = clock::now().after(WARM_UP.into());
        let end = begin.after(load.duration.into());
        let latencies = Histogram::new_with_max(LONGEST, 3).map_err(io::Error::other)?;
        let tally = Rc::new(RefCell::new(Tally { latencies, failed: 0, begin, end }));
        let mut running = JoinSet::new();
        for worker in workers {
            running.spawn_local(work(worker, load.workload, end, Rc::clone(&tally)));
        }
        clock::sleep_until(begin).await;
        let before = processor::used(&cluster.pids());
        clock::sleep_until(end).await;
        let used = processor::used(&cluster.pids()).saturating_sub(before);
        running.join_all().await;
        io::Result::Ok((tally, used))
    })?;
    let tally = tally.borrow();
    let done = tally.latencies.len() as f64;
    Ok(Measured {
        rate: done / load.duration.as_secs_f64(),
        cost: used.as_secs_f64() * 1_000.0 / done.max(1.0),
        p50: tally.latencies.value_at_quantile(0.5),
        p99: tally.latencies.value_at_quantile(0.99),
        failed: tally.failed,
    })
}

async fn work(mut worker: Worker, workload: Workload, end: Instant, tally: Rc<RefCell<Tally>>) {
    let mut held = false;
    for round in 0.. {
        let begun = clock::now();
        if begun >= end {
            break;
        }
        let good = if workload == Workload::Cycle {
            if held {
                held = false;
                worker.release().await
            } else {
                worker.turn(round);
                held = worker.acquire().await;
                held
            }
        } else if held {
            worker.step(workload).await
        } else {
            // Not one of those that are compared.
            held = worker.acquire().await;
            if !held {
                tally.borrow_mut().failed += 1;
                clock::sleep_until(begun.after(Duration::from_millis(50).into())).await;
            }
            continue;
        };
        tally.borrow_mut().add(begun, clock::now(), good);
    }
    if held {
        worker.release().await;
    }
}
