//! What a client has in each runtime, and which of it a call takes.

use std::sync::Arc;

use leasehold_core::ClusterId;
use tokio::runtime::Handle;

use super::Client;
use crate::cluster::{Cluster, lock_up};
use crate::error::Cause;
use crate::options::Credentials;
use crate::runtime::{InRuntime, Outstanding};

/// What there is in each runtime, and what they have in common.
pub(super) struct Parts {
    pub(super) all: Vec<Arc<InRuntime>>,
    pub(super) credentials: Credentials,
    /// The cluster that was reached first.
    pub(super) identity: Option<ClusterId>,
}

impl Parts {
    pub(super) fn identity(&self) -> Option<ClusterId> {
        self.identity.or_else(|| self.all.iter().find_map(|part| part.cluster().identity()))
    }
}

impl Client {
    /// The cluster of now, by the connections of the runtime at hand. What belongs together, as a lock and its releases,
    /// keeps the one that it began with.
    pub(crate) fn cluster(&self) -> Arc<Cluster> {
        Arc::clone(self.here().cluster())
    }

    /// The cluster of `own`, by the connections of the runtime at hand, also while the client is being closed.
    pub(crate) fn cluster_like(&self, own: &Arc<Cluster>) -> Arc<Cluster> {
        if own.is_forgotten() { Arc::clone(own) } else { Arc::clone(self.at_hand().cluster()) }
    }

    /// What this client has in the runtime at hand, for calls: over if none can be made.
    pub(crate) fn here(&self) -> Arc<InRuntime> {
        if self.is_closing() { self.over(Cause::ClientClosed) } else { self.at_hand() }
    }

    /// [`Client::here`], or what there is in another runtime, where this runs outside of one.
    pub(crate) fn somewhere(&self) -> Arc<InRuntime> {
        let here = self.here();
        if !here.cluster().has_ended() || self.is_closing() {
            return here;
        }
        self.parts().into_iter().find(|part| !part.cluster().has_ended()).unwrap_or(here)
    }

    /// What this client has in the runtime at hand, which is made if there is nothing yet; over outside of a runtime, or
    /// in one that has ended.
    pub(crate) fn at_hand(&self) -> Arc<InRuntime> {
        let Ok(handle) = Handle::try_current() else { return self.over(Cause::NoRuntime) };
        let mut parts = lock_up(&self.inner.parts);
        if let Some(part) = parts.all.iter().find(|part| part.is_in(&handle)) {
            return Arc::clone(part);
        }
        if self.is_closing() {
            return self.over(Cause::ClientClosed);
        }
        parts.identity = parts.identity();
        parts.all.retain(|part| !part.cluster().has_ended());
        let endpoints = self.inner.endpoints.clone();
        let (options, credentials) = (&self.inner.options, parts.credentials.clone());
        let part = InRuntime::new(&handle, endpoints, options, credentials, parts.identity);
        let part = Arc::new(part);
        parts.all.push(Arc::clone(&part));
        part
    }

    fn over(&self, why: Cause) -> Arc<InRuntime> {
        Arc::new(InRuntime::over(self.inner.endpoints.clone(), &self.inner.options, why))
    }

    /// What this client has, in all runtimes.
    pub(crate) fn parts(&self) -> Vec<Arc<InRuntime>> {
        lock_up(&self.inner.parts).all.clone()
    }

    /// From here on calls fail, but for releases.
    pub(crate) fn begin_to_close(&self) {
        self.inner.closing.send_replace(true);
    }

    pub(crate) fn is_closing(&self) -> bool {
        *self.inner.closing.borrow()
    }

    /// Returns once the client is about to be closed.
    pub(crate) async fn closing(&self) {
        // The sender is this client's.
        drop(self.inner.closing.subscribe().wait_for(|closing| *closing).await);
    }

    /// Servers that run.
    pub(crate) fn servers(&self) -> &Arc<Outstanding> {
        &self.inner.servers
    }
}
