//! What happened at this node, counted.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::metrics::Metrics;

/// One number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The count so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }
}

/// All counters of a node.
#[derive(Debug, Default)]
pub struct Counters {
    /// Frames for a peer that were dropped because its queue was full.
    pub frames_dropped: Counter,
    /// Messages of peers that were dropped because the driver's queue was full.
    pub messages_dropped: Counter,
    /// Handshakes of peers that were refused, here or there.
    pub handshakes_refused: Counter,
    /// Connections that sent bytes that make no sense.
    pub malformed: Counter,
    /// Clients that were disconnected because they did not read their answers.
    pub clients_dropped: Counter,
    /// Connections that were turned away because there were too many.
    pub connections_refused: Counter,
    /// Times that a handshake had to wait, because strangers took as much of the processor as they may.
    pub handshakes_delayed: Counter,
    /// Clients that were turned away because this node does not know them.
    pub clients_refused: Counter,
    /// Requests of clients that lacked the right.
    pub requests_denied: Counter,
    /// Requests that were refused at once because the node did not keep up.
    pub requests_shed: Counter,
    /// Times that certificates or tokens changed and could not be used.
    pub reloads_failed: Counter,
    /// Times that this process stood still for more than a second.
    pub pauses: Counter,
    /// Times that the wall clock was set by more than a second.
    pub wall_clock_jumps: Counter,
    /// Times that the monotonic clock went back, which it must not.
    pub clock_went_back: Counter,
    /// Writes of the node file that failed.
    pub writes_failed: Counter,
    /// Watches that were cut off because their client did not read as fast as things changed.
    pub watches_lagged: Counter,
    /// What it did for its clients.
    pub metrics: Metrics,
}
