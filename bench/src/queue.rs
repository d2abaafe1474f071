//! All workers want one key and queue for it: how often it changes hands in a second, and how fairly.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use leasehold_client::clock::{self, Instant};
use tokio::task::{JoinSet, LocalSet};

use crate::load::WARM_UP;
use crate::stage::Cluster;
use crate::system::{self, System, Worker};

/// One after the other in order, but for Redis, where everybody tries again until it is free.
pub(crate) const SYSTEMS: [System; 4] =
    [System::Leasehold, System::ZooKeeper, System::Etcd, System::Redis { servers: 1 }];
/// Who could not queue tries again no sooner.
const PAUSE: Duration = Duration::from_millis(5);

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// Acquisitions a second.
    pub(crate) rate: f64,
    /// Jain's index of the workers' acquisitions: 1 if all had as many, and one part in so many if one had all.
    pub(crate) jain: f64,
}

/// Lets so many workers queue for so long.
#[expect(clippy::cast_precision_loss, reason = "shown to a few digits")]
pub(crate) fn run(
    system: System,
    cluster: &Cluster,
    workers: usize,
    duration: Duration,
) -> io::Result<Measured> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    let counts = local.block_on(&runtime, async {
        let connecting = system::workers(system, &cluster.ports, workers, true);
        let workers = connecting.await?;
        let counts = Rc::new(RefCell::new(vec![0_u64; workers.len()]));
        let begin = clock::now().after(WARM_UP.into());
        let end = begin.after(duration.into());
        let mut running = JoinSet::new();
        for (number, worker) in workers.into_iter().enumerate() {
            running.spawn_local(work(worker, number, (begin, end), Rc::clone(&counts)));
        }
        clock::sleep_until(end).await;
        // Whoever still queues is let in by those before, who give up what they have.
        running.join_all().await;
        io::Result::Ok(counts)
    })?;
    let counts: Vec<f64> = counts.borrow().iter().map(|count| *count as f64).collect();
    let all: f64 = counts.iter().sum();
    let squares: f64 = counts.iter().map(|count| count * count).sum();
    let jain = all * all / (counts.len() as f64 * squares).max(1.0);
    Ok(Measured { rate: all / duration.as_secs_f64(), jain })
}

async fn work(
    mut worker: Worker,
    number: usize,
    (begin, end): (Instant, Instant),
    counts: Rc<RefCell<Vec<u64>>>,
) {
    while clock::now() < end {
        if !worker.take_turn(end).await {
            clock::sleep_until(clock::now().after(PAUSE.into())).await;
            continue;
        }
        let now = clock::now();
        if begin <= now
            && now < end
            && let Some(count) = counts.borrow_mut().get_mut(number)
        {
            *count += 1;
        }
        worker.end_turn().await;
    }
}

/// The medians as a table, with ratios of the same repetition.
pub(crate) fn show(workers: usize, table: &[(System, Vec<Measured>)]) -> String {
    let mut text = format!(
        "\n### one key, {workers} clients queue\n\n| | acquisitions/s | Leasehold is | Jain index |\n| --- | ---: | ---: | ---: |\n"
    );
    let own = table.iter().find(|(system, _)| *system == System::Leasehold);
    for (system, all) in table {
        let mut sorted = all.clone();
        sorted.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        let Some(Measured { rate, jain }) = sorted.get(sorted.len() / 2) else { continue };
        let pairs = own.map(|(_, own)| own.iter().zip(all)).into_iter().flatten();
        let mut ratios: Vec<f64> =
            pairs.map(|(own, other)| own.rate / other.rate.max(1.0)).collect();
        ratios.sort_by(f64::total_cmp);
        let ratio = ratios.get(ratios.len() / 2).copied().unwrap_or_default();
        // Writing to a string does not fail.
        writeln!(text, "| {} | {rate:.0} | {ratio:.2} × | {jain:.3} |", system.name())
            .unwrap_or_default();
    }
    text
}
