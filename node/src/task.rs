//! Tasks that end with their owner.

use std::future::Future;

use tokio::task::JoinHandle;

/// A task that is stopped when this is dropped.
#[derive(Debug)]
pub(crate) struct Task(JoinHandle<()>);

impl Task {
    pub(crate) fn start(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    /// Stops it and waits until it has let go of what it held.
    pub(crate) async fn stop(mut self) {
        self.0.abort();
        self.wait().await;
    }

    /// Waits for its end.
    pub(crate) async fn wait(&mut self) {
        if let Err(error) = (&mut self.0).await
            && error.is_panic()
        {
            tracing::error!(%error, "a task panicked");
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
