//! The end of a cluster's connections: because its runtime ends, or its client is closed or told to forget it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Cluster, lock_up};
use crate::error::Cause;
use crate::runtime::{Outstanding, Pulse};

impl Cluster {
    /// Whether the runtime of the connections still runs.
    pub(crate) const fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// Locks under way, and what is to be given back.
    pub(crate) const fn outstanding(&self) -> &Arc<Outstanding> {
        &self.outstanding
    }

    /// Whether there will be no connections any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.over.get().is_some()
    }

    /// Ends all connections, and tells those who wait for them. What ended before ended for the first reason.
    pub(crate) fn end(&self, why: Cause) {
        if self.over.set(why).is_err() {
            return;
        }
        self.post.end();
        let links = std::mem::take(&mut lock_up(&self.state).links);
        for link in links.into_values() {
            link.task.abort();
            // The task may be in a runtime that does not run.
            if let Some(connection) = link.connection {
                connection.close();
            }
        }
        self.changed.notify_waiters();
    }

    /// Returns once there will be no connections any more.
    pub(crate) async fn ended(&self) {
        loop {
            let changed = self.changed.notified();
            if self.has_ended() {
                return;
            }
            changed.await;
        }
    }

    /// Returns once the client is about to be closed.
    pub(crate) async fn closing(&self) {
        loop {
            let changed = self.changed.notified();
            if self.closing.load(Ordering::Acquire) {
                return;
            }
            changed.await;
        }
    }

    /// Releases of what was granted to nobody.
    pub(crate) const fn returning(&self) -> &Arc<Outstanding> {
        &self.returning
    }

    /// Whether the client was told to forget this cluster.
    pub(crate) fn is_forgotten(&self) -> bool {
        self.over.get() == Some(&Cause::Forgotten)
    }

    /// Lets calls under way come to their end, but for releases: the client is about to be closed.
    pub(crate) fn give_up_calls(&self) {
        self.closing.store(true, Ordering::Release);
        for link in lock_up(&self.state).links.values() {
            if let Some(connection) = &link.connection {
                connection.give_up_calls();
            }
        }
        self.changed.notify_waiters();
    }
}
