//! Keeps the node file up to date, away from the driver.
//!
//! The driver leaves the newest file, this task writes it and says so. Only the newest matters: one that was
//! replaced before it was written never is. A write that fails is tried again, ever more slowly, and until one
//! succeeds nothing is acknowledged, so that no vote leaves that the disk does not know of. Where there is nothing to write, the same
//! file is written again every few seconds, so that a disk that has failed is known before a vote depends on it.

use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use leasehold_core::{Mark, NodeFile, Span};
use tokio::sync::{Notify, mpsc};
use tracing::{error, info};

use crate::blocking;
use crate::clock::Clock;
use crate::counters::Counters;
use crate::driver::Control;
use crate::file::DataDir;

const FIRST_RETRY: Span = Span::from_millis(100);
const LAST_RETRY: Span = Span::from_secs(5);
/// How often the directory is tried where nothing is to be written.
const TRY_EVERY: Span = Span::from_secs(5);
/// A write that takes longer is reported. Disks that are busy take hundreds of milliseconds.
const HANGS: Span = Span::from_secs(3);

/// Where the driver leaves node files.
#[derive(Debug)]
pub(crate) enum Keeper {
    /// In memory: a process' death is the whole cluster's.
    Memory,
    /// On disk, by a task of its own.
    Disk(Arc<Pending>),
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Self::Disk(pending) = self {
            pending.finished.store(true, Ordering::Release);
            pending.wake.notify_one();
        }
    }
}

/// The newest file that is not on disk yet.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    newest: Mutex<Option<(Mark, NodeFile)>>,
    wake: Notify,
    /// The driver is gone, and nothing more comes.
    finished: AtomicBool,
}

impl Pending {
    fn put(&self, mark: Mark, file: NodeFile) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some((mark, file));
        self.wake.notify_one();
    }

    fn take(&self) -> Option<(Mark, NodeFile)> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Keeper {
    /// Takes a file to keep. Says whether that is done already.
    pub(crate) fn put(&self, mark: Mark, file: NodeFile) -> bool {
        match self {
            Self::Memory => true,
            Self::Disk(pending) => {
                pending.put(mark, file);
                false
            }
        }
    }
}

/// Writes what `pending` holds, for as long as the driver listens, and tries the directory with the file that is there, `kept`,
/// where nothing is to be written. When this ends, the directory is let go.
pub(crate) async fn run(
    (dir, mut kept): (Arc<DataDir>, NodeFile),
    pending: Arc<Pending>,
    driver: mpsc::Sender<Control>,
    clock: Clock,
    counters: Arc<Counters>,
) {
    let mut retry = FIRST_RETRY;
    let mut failing: Option<(Option<Mark>, NodeFile)> = None;
    loop {
        // A newer file takes the place of one that could not be written, which must not be written after it.
        let newest = pending.take().map(|(mark, file)| (Some(mark), file));
        let failed = failing.take();
        let (mark, file) = match newest.or(failed) {
            // A file that is there already is not waited for.
            Some((None, _)) | None if pending.finished.load(Ordering::Acquire) => return,
            Some(next) => next,
            None => {
                if clock.limit(TRY_EVERY, pending.wake.notified()).await.is_some() {
                    continue;
                }
                (None, kept.clone())
            }
        };
        match attempt(&dir, &file, clock, &counters).await {
            Ok(()) => {
                retry = FIRST_RETRY;
                if counters.obstacles.disk_works() {
                    info!("the node file is written again");
                }
                kept = file;
                if let Some(mark) = mark
                    && driver.send(Control::Persisted(mark)).await.is_err()
                {
                    return;
                }
            }
            Err(error) => {
                counters.writes_failed.add(1);
                report(&dir, &error.to_string(), clock, &counters);
                failing = Some((mark, file));
                clock.sleep(retry).await;
                retry = retry.times(2).min(LAST_RETRY);
            }
        }
    }
}

/// One write. A disk that takes too long is reported while it is waited for.
async fn attempt(
    dir: &Arc<DataDir>,
    file: &NodeFile,
    clock: Clock,
    counters: &Counters,
) -> io::Result<()> {
    let mut writing = pin!(write(dir, file));
    if let Some(done) = clock.limit(HANGS, &mut writing).await {
        return done;
    }
    counters.writes_failed.add(1);
    report(dir, &format!("a write has not come back for {HANGS}"), clock, counters);
    writing.await
}

/// Says what is wrong: in the log where that is news, and in the node's state for as long as it lasts.
fn report(dir: &DataDir, why: &str, clock: Clock, counters: &Counters) {
    let words = format!(
        "data directory {}: writing the node file failed: {why}; a master stops voting within a minute, and a change \
         of the members waits",
        dir.path().display()
    );
    if counters.obstacles.disk_fails(clock.now(), words.clone()) {
        error!("{words}");
    }
}

/// One write, on a thread that may block.
async fn write(dir: &Arc<DataDir>, file: &NodeFile) -> io::Result<()> {
    let (dir, file) = (Arc::clone(dir), file.clone());
    blocking::run(move || dir.write(&file)).await.flatten()
}
