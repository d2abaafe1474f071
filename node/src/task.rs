//! Tasks that end with their owner.

use std::future::Future;

use tokio::task::JoinHandle;

/// A task that is stopped when this is dropped.
#[derive(Debug)]
pub(crate) struct Task {
    handle: JoinHandle<()>,
    /// Its end was seen; a handle must not be asked again.
    ended: bool,
}

impl Task {
    pub(crate) fn start(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { handle: tokio::spawn(work), ended: false }
    }

    /// Stops it and waits until it has let go of what it held.
    pub(crate) async fn stop(mut self) {
        self.handle.abort();
        self.wait().await;
    }

    /// Waits for its end. Cancel safe.
    pub(crate) async fn wait(&mut self) {
        if self.ended {
            return;
        }
        let result = (&mut self.handle).await;
        self.ended = true;
        if let Err(error) = result
            && error.is_panic()
        {
            tracing::error!(%error, "a task panicked");
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}
