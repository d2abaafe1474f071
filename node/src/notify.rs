//! What the service manager is told: that the node runs, that it works, that it stops.
//!
//! It is told that the node works only while the node's inner loop answers, so that a node that is stuck is restarted.
//! Without a service manager that asked for it, nothing is said.

use leasehold_core::Span;
use leasehold_node::Running;
use leasehold_node::clock::Clock;
use sd_notify::NotifyState;
use tracing::{debug, error};

/// A node that has not answered for so long is stuck.
const STUCK: Span = Span::from_secs(5);

/// Says one thing.
fn say(state: &NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(std::slice::from_ref(state)) {
        debug!(%error, "the service manager cannot be told");
    }
}

/// The node listens.
pub(crate) fn ready() {
    say(&NotifyState::Ready);
}

/// The node is about to end.
pub(crate) fn stopping() {
    say(&NotifyState::Stopping);
}

/// Tells the service manager, as often as it wants, that the node works.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watchdog {
    clock: Clock,
    /// None if it does not want to know.
    every: Option<Span>,
}

impl Watchdog {
    pub(crate) fn new() -> Self {
        // Twice within the time that it waits.
        let every = sd_notify::watchdog_enabled().map(|within| Span::from(within).split(2));
        Self { clock: Clock::system(), every }
    }

    /// Waits until something should be said. Cancel safe.
    pub(crate) async fn due(self) {
        match self.every {
            Some(every) => self.clock.sleep(every).await,
            None => std::future::pending().await,
        }
    }

    /// Says that the node works, if it does.
    pub(crate) async fn tell(self, running: &Running) {
        match self.clock.limit(STUCK, running.status()).await {
            Some(Some(_)) => say(&NotifyState::Watchdog),
            Some(None) | None => error!("the node's inner loop does not answer"),
        }
    }
}
