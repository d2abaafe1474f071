//! Work that may block, away from the thread on which the node runs.

use std::io;

/// What `work` returns, from a thread that may block. An error if that thread came to an end before.
#[cfg(not(madsim))]
pub(crate) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}

/// What `work` returns, as soon as the simulated machine's disk has done it; a crash before is one of the disk.
#[cfg(madsim)]
pub(crate) async fn run<T>(work: impl FnOnce() -> T) -> io::Result<T> {
    crate::disk::turn().await;
    let done = work();
    crate::disk::turn().await;
    Ok(done)
}
