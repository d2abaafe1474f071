//! Telling watchers what changes, on the way from the core's events to the desk.

use leasehold_core::wire::NodeItem;
use leasehold_core::{
    Bytes, Instant, Invalid, Key, Limit, NotDone, Notice, Outcome, Span, Token, Turn,
};

use super::Driver;
use crate::metrics::{Ending, Op};
use crate::watch::NoWatch;

/// What became of an ownership, before anybody looked who has it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    Held,
    Released,
    Expired,
}

impl Driver {
    /// Tells those who watch `key` what became of an ownership.
    pub(super) fn notice(&mut self, now: Instant, key: Key, token: Token, change: Change) {
        if self.watches.is_empty() {
            return;
        }
        let watchers = self.watches.of(&key);
        if watchers.is_empty() {
            return;
        }
        let turn = match change {
            Change::Held => {
                let holder = self.parts.core.holder(now, &key);
                Turn::Held(holder.filter(|holder| holder.token == token))
            }
            Change::Released => Turn::Released,
            Change::Expired => Turn::Expired,
        };
        let notice = Notice { key, token, turn };
        for (connection, call) in watchers {
            if self.parts.desk.waiting(connection) > self.parts.watch_queue {
                self.watches.end(connection, call);
                self.parts.counters.watches_lagged.add(1);
                self.parts.desk.push(connection, &NodeItem::Lagged { call });
            } else {
                let notice = notice.clone();
                self.parts.desk.push(connection, &NodeItem::Notice { call, notice });
            }
        }
    }

    /// Somebody wants to be told of what changes.
    pub(super) fn watch(&mut self, connection: u64, call: u64, prefix: Bytes) {
        let desk = &mut self.parts.desk;
        let longest = self.parts.settings.limits.key;
        if u32::try_from(prefix.len()).map_or(true, |length| length > longest) {
            let outcome = Outcome::NotDone(NotDone::Invalid(Invalid::KeyTooLong(longest)));
            self.parts.counters.metrics.answered(Op::Watch, &outcome, Span::ZERO);
            return desk.push(connection, &NodeItem::Reply { call, outcome });
        }
        if desk.find(connection, call).is_some() {
            return desk.drop_client(connection, "it used a call's name twice");
        }
        match self.watches.begin(connection, call, prefix) {
            Ok(()) => {
                self.parts.counters.metrics.ended(Op::Watch, Ending::Done);
                desk.push(connection, &NodeItem::Watching { call });
            }
            Err(NoWatch::Twice) => desk.drop_client(connection, "it used a call's name twice"),
            Err(NoWatch::Full) => {
                let outcome = Outcome::NotDone(NotDone::Limit(Limit::Waiters));
                self.parts.counters.metrics.answered(Op::Watch, &outcome, Span::ZERO);
                desk.push(connection, &NodeItem::Reply { call, outcome });
            }
        }
    }
}
