//! The end of a node: it stops being a home, finishes what it has begun, gives back what waits, and goes.

use leasehold_core::wire::{ClientItem, NodeItem};
use leasehold_core::{Input, Instant, NotDone, Outcome, Span};
use tracing::info;

use super::Driver;
use crate::metrics::{Ending, Op};

/// What is not answered after so long waits for somebody else: it is given back, so that its client asks another node
/// while there still is time.
const HAND_OVER: Span = Span::from_secs(1);
/// The end comes at the latest after so long.
const DRAIN: Span = Span::from_secs(3);
/// The last answers are on their way for so long.
const LINGER: Span = Span::from_millis(100);

/// A node that comes to its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopping {
    hand_over_at: Option<Instant>,
    until: Instant,
    /// Nothing is under way any more.
    idle: bool,
}

impl Stopping {
    /// When something has to be done.
    pub(super) fn deadline(&self) -> Instant {
        self.hand_over_at.map_or(self.until, |at| at.min(self.until))
    }
}

impl Driver {
    /// The node was told to end.
    pub(super) fn stop(&mut self, now: Instant) {
        if self.stopping.is_some() {
            return;
        }
        info!("stopping");
        self.handle(now, Input::Drain);
        for ticket in self.parts.founding.take_all() {
            self.parts.desk.reply(ticket, Outcome::NotDone(NotDone::Draining));
        }
        let (hand_over_at, until) = (Some(now.after(HAND_OVER)), now.after(DRAIN));
        self.stopping = Some(Stopping { hand_over_at, until, idle: false });
    }

    /// Goes on with coming to an end. Whether it has come.
    pub(super) fn has_stopped(&mut self, now: Instant) -> bool {
        let Some(mut stopping) = self.stopping else { return false };
        if stopping.hand_over_at.is_some_and(|at| at <= now) {
            stopping.hand_over_at = None;
            for ticket in self.parts.desk.tickets() {
                self.cancel(now, ticket);
            }
            self.settle(now);
        }
        let idle = self.parts.desk.pending() == 0 && self.parts.core.status(now).operations == 0;
        if idle && !stopping.idle {
            stopping.idle = true;
            stopping.until = stopping.until.min(now.after(LINGER));
        }
        self.stopping = Some(stopping);
        stopping.until <= now
    }

    /// Refuses what a client asks for before anything was done about it. What else it says is heard.
    pub(super) fn refuse(
        &mut self,
        now: Instant,
        connection: u64,
        item: ClientItem,
        reason: NotDone,
    ) {
        let (call, op) = match item {
            ClientItem::Request { call, request } => (call, Op::of(&request.action)),
            ClientItem::Init { call, .. } => (call, Op::Init),
            ClientItem::Amend { call, .. } => (call, Op::Members),
            other @ (ClientItem::Hello(_)
            | ClientItem::Cancel { .. }
            | ClientItem::Status { .. }
            | ClientItem::Beat
            | ClientItem::LocalRead { .. }
            | ClientItem::List { .. }
            | ClientItem::Waiting { .. }
            | ClientItem::Watch { .. }
            | ClientItem::Host { .. }
            | ClientItem::Post { .. }
            | ClientItem::Receipt { .. }) => return self.client_item(now, connection, other),
        };
        let counters = &self.parts.counters;
        counters.metrics.ended(op, Ending::NotDone);
        if reason != NotDone::Draining {
            counters.requests_shed.add(1);
        }
        let outcome = Outcome::NotDone(reason);
        self.parts.desk.push(connection, &NodeItem::Reply { call, outcome });
    }
}
