//! Keeps the node file up to date, away from the driver.
//!
//! The driver leaves the newest file, this task writes it and says so. Only the newest matters: one that was
//! replaced before it was written never is. A write that fails is tried again, ever more slowly, and until one
//! succeeds nothing is acknowledged, so that no vote leaves that the disk does not know of.

use std::io;
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

/// Writes what `pending` holds, for as long as the driver listens. When this ends, the directory is let go.
pub(crate) async fn run(
    dir: Arc<DataDir>,
    pending: Arc<Pending>,
    driver: mpsc::Sender<Control>,
    clock: Clock,
    counters: Arc<Counters>,
) {
    let mut retry = FIRST_RETRY;
    let mut failing: Option<(Mark, NodeFile)> = None;
    loop {
        // A newer file takes the place of one that could not be written.
        let Some((mark, file)) = pending.take().or_else(|| failing.take()) else {
            if pending.finished.load(Ordering::Acquire) {
                return;
            }
            pending.wake.notified().await;
            continue;
        };
        match write(&dir, &file).await {
            Ok(()) => {
                if retry > FIRST_RETRY {
                    info!("the node file is written again");
                    retry = FIRST_RETRY;
                }
                if driver.send(Control::Persisted(mark)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                counters.writes_failed.add(1);
                error!(%error, "writing the node file failed: this node stops voting until it succeeds");
                failing = Some((mark, file));
                clock.sleep(retry).await;
                retry = retry.times(2).min(LAST_RETRY);
            }
        }
    }
}

/// One write, on a thread that may block.
async fn write(dir: &Arc<DataDir>, file: &NodeFile) -> io::Result<()> {
    let (dir, file) = (Arc::clone(dir), file.clone());
    blocking::run(move || dir.write(&file)).await.flatten()
}
