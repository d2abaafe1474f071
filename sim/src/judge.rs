//! The end of a run: everything that can only be judged when all is known.

use leasehold_core::{Lag, NodeId, Standing, Token};

use crate::check;
use crate::dice::Stream;
use crate::host::Host;
use crate::marks::Mark;
use crate::scenario::MS;
use crate::world::{Happening, World};

/// How often the end looks whether all records are gone, and how much longer than a horizon that may take.
const LOOK_EVERY: u64 = 500 * MS;
const LONGER: u64 = 10 * LOOK_EVERY;

/// One seed of so many is silent for a whole horizon at its end, whether or not anything is left. The others end as soon
/// as nothing is: what comes back later, these see, and silence is what a campaign spends most of its events on.
const SILENT: u64 = 4;

/// One seed of so many is judged by a second checker of orders, too.
const SAMPLE: u64 = 16;

/// A replica that lags behind, in the words of a master.
fn behind(host: &Host) -> Option<(NodeId, Lag)> {
    let lags = host.node.as_ref()?.status(host.last).lags;
    lags.into_iter().find(|(_, lag)| lag.entries > 0)
}

impl World<'_> {
    /// Everything was asked for that will be: the end is near.
    pub(crate) fn begin_end(&mut self) {
        self.silent_until = self.now + self.silence();
        let silent = self.dice.roll(Stream::Operator, u64::MAX).one_in(SILENT);
        let first = if silent { self.silent_until } else { self.now + LOOK_EVERY };
        self.queue.push(first, Happening::End);
    }

    /// After a horizon of silence nothing is left to remember. A key that is being settled just now gets a little
    /// more time.
    pub(crate) fn judge_records(&mut self) {
        let left = |host: &Host| host.node.as_ref().map_or(0, leasehold_core::Node::records);
        let (soon, late) = (self.silent_until, self.silent_until + LONGER);
        if self.now < late && self.hosts.iter().any(|host| left(host) > 0)
            || self.now < soon && self.hosts.iter().any(|host| behind(host).is_some())
        {
            self.queue.push(self.now + LOOK_EVERY, Happening::End);
            return;
        }
        self.ended = true;
        for number in 0..self.hosts.len() {
            self.counts.meet(Mark::RecordsJudged);
            let left = left(&self.hosts[number]);
            if left > 0 {
                let story =
                    format!("n{number} still keeps {left} records after a horizon of silence");
                self.violate("bounded memory", story);
            }
            if let Some((replica, lag)) = behind(&self.hosts[number]) {
                let story = format!("n{number} says that {replica:?} lags behind by {lag:?}");
                self.violate("replicas converge", story);
            }
        }
    }

    /// After a horizon of silence every master votes, every replica learns, and nobody else does.
    pub(crate) fn judge_standings(&mut self) {
        let mut epochs = Vec::new();
        for number in (0..self.hosts.len()).filter(|node| !self.lame.has(*node)).collect::<Vec<_>>()
        {
            let host = &self.hosts[number];
            let status = host.node.as_ref().map(|node| node.status(host.last));
            let standing = status.as_ref().map(|status| status.standing);
            let (master, replica) = (self.operator.master(number), self.operator.replica(number));
            let as_wished = match standing {
                Some(Standing::Active) => master,
                Some(Standing::Replica) => replica,
                Some(Standing::Fresh | Standing::Unknown | Standing::Outside) => {
                    !master && !replica
                }
                Some(Standing::Joining | Standing::Draining) | None => false,
            };
            if !as_wished {
                let story = format!("n{number} is {standing:?} after a horizon of silence");
                self.violate("liveness", story);
            }
            epochs.extend(status.filter(|_| master || replica).map(|status| status.epoch));
        }
        epochs.dedup();
        if epochs.len() != 1 {
            self.violate("liveness", format!("members are in different epochs: {epochs:?}"));
        }
    }

    /// What all masters know of a key that is held, replicas know by now.
    pub(crate) fn judge_replicas(&mut self, key: usize, token: Token) {
        let left = |world: &mut Self, number: usize| {
            let now = world.read_clock(number, world.now);
            let node = world.hosts[number].node.as_ref();
            let view = node.and_then(|node| node.peek(now, &world.around.keys[key]));
            view.filter(|view| view.entry.token() == token).map_or(0, |v| v.remaining.as_micros())
        };
        for number in
            (0..self.hosts.len()).filter(|node| self.operator.master(*node)).collect::<Vec<_>>()
        {
            // Its lease is nearly over, or it was not held under this token any more.
            if left(self, number) < 60 * MS {
                return;
            }
        }
        for number in
            (0..self.hosts.len()).filter(|node| self.operator.replica(*node)).collect::<Vec<_>>()
        {
            self.counts.meet(Mark::ReplicasJudged);
            if left(self, number) == 0 {
                let story = format!("n{number} does not know that k{key} is held under {token}");
                self.violate("replicas converge", story);
            }
        }
    }

    /// Judges the history.
    pub(crate) fn judge(&mut self) {
        let mut found = Vec::new();
        let in_contract = self.plan.in_contract();
        if !in_contract {
            self.counts.meet(Mark::OutOfContract);
        }
        // A sample, by seed: what it costs must not be what a campaign costs.
        let second = self.plan.seed.is_multiple_of(SAMPLE);
        let scope = check::Scope { orders: in_contract && !self.hasty, second };
        let judged = check::all(&self.history, self.plan.keys, scope, &mut found);
        for (mark, count) in [
            (Mark::BeliefsJudged, judged.beliefs),
            (Mark::TokensJudged, judged.tokens),
            (Mark::RepeatsJudged, judged.repeats),
            (Mark::AppliedAgain, judged.again),
            (Mark::SecondOpinions, judged.second),
            (Mark::OrdersJudged, judged.orders),
            (Mark::OrdersGivenUp, judged.given_up),
        ] {
            self.counts.add(mark, count);
        }
        for violation in found {
            self.violate(violation.rule, violation.story);
        }
    }
}
