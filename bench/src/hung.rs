//! One server of three hangs under load: how long nobody gets anything done, and how much is done then.
//!
//! Each server hangs in turn, in a cluster of its own, because with some it matters which; what is shown is the worst of them.
//! Every new cluster chooses its leader anew, if it has one: that none of the three was it is as likely as 8 in 27, and then it takes
//! another run.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use leasehold_client::clock::{self, Instant};
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::{JoinSet, LocalSet};

use crate::load::WARM_UP;
use crate::note;
use crate::stage::Cluster;
use crate::system::{self, System, Worker};

/// Those of which there are three.
pub(crate) const SYSTEMS: [System; 4] =
    [System::Leasehold, System::Redis { servers: 3 }, System::ZooKeeper, System::Etcd];
const THREE: usize = 3;
/// How long it is measured before.
const BEFORE: Duration = Duration::from_secs(3);
/// How long a server hangs: longer than any of them needs to notice.
const HUNG: Duration = Duration::from_secs(16);
/// From here on it counts how much is done.
const SETTLED: Duration = Duration::from_secs(14);
/// Who could not do something tries again no sooner.
const PAUSE: Duration = Duration::from_millis(5);

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// Operations a second before.
    before: f64,
    /// And in the last seconds.
    after: f64,
    /// The longest time without any.
    gap: Duration,
}

#[derive(Debug)]
struct Tally {
    hung_at: Instant,
    settled_at: Instant,
    last: Instant,
    before: u64,
    after: u64,
    gap: Duration,
}

impl Tally {
    fn add(&mut self, now: Instant) {
        if now < self.hung_at {
            self.before += 1;
        } else {
            self.gap = self.gap.max(now.since(self.last.max(self.hung_at)).into());
            self.after += u64::from(now >= self.settled_at);
        }
        self.last = now;
    }
}

/// Hangs one server after the other, and shows what was worst.
pub(crate) fn measure(
    system: System,
    leasehold: &Path,
    workers: usize,
) -> io::Result<Option<Measured>> {
    let mut worst: Option<Measured> = None;
    for victim in 0..THREE {
        note(&format!("{}, server {} of {THREE} hangs", system.name(), victim + 1));
        let cluster = match Cluster::start(system, leasehold) {
            Ok(cluster) => cluster,
            Err(error) if system == System::Leasehold => return Err(error),
            Err(error) => {
                note(&format!("left out: {error}"));
                return Ok(None);
            }
        };
        let measured = run(system, &cluster, victim, workers)?;
        let is_worse =
            |worst: &Measured| (measured.gap, -measured.after) > (worst.gap, -worst.after);
        if worst.as_ref().is_none_or(is_worse) {
            worst = Some(measured);
        }
    }
    Ok(worst)
}

#[expect(clippy::cast_precision_loss, reason = "shown to a few digits")]
fn run(system: System, cluster: &Cluster, victim: usize, number: usize) -> io::Result<Measured> {
    let pid = cluster.pids().get(victim).and_then(|pid| Pid::from_raw(i32::try_from(*pid).ok()?));
    let pid = pid.ok_or_else(|| io::Error::other("no server to hang"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let workers = system::workers(system, &cluster.ports, number, true).await?;
        let begin = clock::now().after(WARM_UP.into());
        let hung_at = begin.after(BEFORE.into());
        let (settled_at, end) = (hung_at.after(SETTLED.into()), hung_at.after(HUNG.into()));
        let tally =
            Tally { hung_at, settled_at, last: begin, before: 0, after: 0, gap: Duration::ZERO };
        let tally = Rc::new(RefCell::new(tally));
        let mut running = JoinSet::new();
        for worker in workers {
            running.spawn_local(work(worker, begin, Rc::clone(&tally)));
        }
        clock::sleep_until(hung_at).await;
        kill_process(pid, Signal::STOP)?;
        clock::sleep_until(end).await;
        // Some wait for the one that hangs, and would for ever.
        drop(running);
        let tally = tally.borrow();
        let gap = tally.gap.max(end.since(tally.last.max(hung_at)).into());
        Ok(Measured {
            before: tally.before as f64 / BEFORE.as_secs_f64(),
            after: tally.after as f64 / (HUNG - SETTLED).as_secs_f64(),
            gap,
        })
    })
}

async fn work(mut worker: Worker, begin: Instant, tally: Rc<RefCell<Tally>>) {
    let mut held = false;
    for round in 0.. {
        let good = if held {
            worker.release().await
        } else {
            worker.turn(round);
            worker.acquire().await
        };
        held = good && !held;
        let now = clock::now();
        if !good {
            clock::sleep_until(now.after(PAUSE.into())).await;
        } else if now >= begin {
            tally.borrow_mut().add(now);
        }
    }
}

/// What was measured as a table.
pub(crate) fn show(workers: usize, table: &[(System, Measured)]) -> String {
    let mut text = format!(
        "\n### one of three servers hangs, cycle, {workers} in flight\n\n| | nobody gets anything done for | operations/s before | \
         after {} s | kept |\n| --- | ---: | ---: | ---: | ---: |\n",
        SETTLED.as_secs()
    );
    for (system, Measured { before, after, gap }) in table {
        let kept = 100.0 * after / before.max(1.0);
        // Writing to a string does not fail.
        writeln!(
            text,
            "| {} | {:.2} s | {before:.0} | {after:.0} | {kept:.0} % |",
            system.name(),
            gap.as_secs_f64()
        )
        .unwrap_or_default();
    }
    text
}
