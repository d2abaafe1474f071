//! Liveness after healing: once all faults are over, every operation on every key succeeds, in bounded time.
//!
//! One more client, which takes one key after the other through lock, extend, update, read and release, asking
//! another node whenever an answer is not the one it wants. While it holds a key, replicas must know that. For the first key
//! it also lets a lease run out that somebody waits for.

use leasehold_core::{
    Action, Bytes, KeyRequest, Limit, NotDone, OpId, Outcome, Owner, Span, Token,
};

use crate::dice::{Stream, wide};
use crate::fault::Nodes;
use crate::marks::Mark;
use crate::scenario::{MS, Scenario};
use crate::world::{Happening, World};

/// Sendings that one operation may take at most.
const PATIENCE: u64 = 30;

/// The stages after the release: a short lease that is left to itself, and a lock that waits for its end.
const LOCK_AGAIN: u32 = 5;
const WAIT: u32 = 6;
const LAST: u32 = 7;

/// Sendings that all operations together may take at most.
const CALLS: u64 = 4_000;

/// Where the probe stands.
#[derive(Debug)]
pub struct Probe {
    key: usize,
    stage: u32,
    attempts: u64,
    /// The operation's identity, drawn anew for each lock.
    chain: (u64, u64),
    chains: u64,
    token: Token,
    /// The sending whose answer is awaited, and when it is not awaited any more.
    call: u64,
    calls: u64,
    wake: u64,
    active: bool,
    /// Whether replicas must know by now what was written.
    look: bool,
    lease: Span,
    patience: Span,
}

impl Probe {
    /// The probe of a run.
    #[must_use]
    pub fn new(plan: &Scenario) -> Self {
        let timing = &plan.settings.timing;
        Self {
            key: 0,
            stage: 0,
            attempts: 0,
            chain: (0, 0),
            chains: 0,
            token: Token(0),
            call: 0,
            calls: 0,
            wake: 0,
            active: false,
            look: false,
            lease: timing.max_lease,
            patience: timing.op_timeout,
        }
    }

    fn action(&self, meta: Bytes) -> Action {
        let id = OpId { chain: self.chain, step: self.stage % LOCK_AGAIN };
        let short = leasehold_core::MIN_LEASE.times(2);
        let owner = Owner { value: None, token: Some(self.token) };
        match self.stage {
            0 => Action::Lock {
                id,
                value: Bytes::from("probe"),
                meta,
                lease: self.lease,
                delay: Span::ZERO,
                wait: Span::ZERO,
            },
            LOCK_AGAIN | WAIT => Action::Lock {
                id: OpId { chain: self.chain, step: 0 },
                value: Bytes::from("probe"),
                meta,
                lease: short,
                delay: Span::ZERO,
                wait: if self.stage == WAIT { short.times(3) } else { Span::ZERO },
            },
            1 => Action::Extend { id, owner, lease: self.lease },
            2 => Action::Update { id, owner, value: Bytes::from("probe2"), meta: None },
            3 => Action::Read,
            _ => Action::Release { id, owner },
        }
    }
}

impl World<'_> {
    pub(crate) fn begin_probe(&mut self) {
        if !self.founded {
            let story = format!("the cluster was not founded in {} attempts", self.attempts);
            self.violate("liveness", story);
            self.ended = true;
            return;
        }
        if self.operator.waits(self.now) {
            self.probe.attempts += 1;
            if self.probe.attempts < PATIENCE {
                self.queue.push(self.now + 300 * MS, Happening::Probe);
                return;
            }
            self.violate("liveness", "the last change of the members was not completed".into());
        }
        self.probe.attempts = 0;
        self.trace.line(self.now, None, String::new, || "now everything must work".into());
        self.judge_standings();
        self.probe.active = true;
        self.probe_again(0);
    }

    /// Asks, again or for the first time, after a pause.
    fn probe_again(&mut self, pause: u64) {
        self.probe.wake = self.now + pause;
        self.probe.call = u64::MAX;
        let number = self.probe_number();
        self.queue.push(self.probe.wake, Happening::ClientWakes(number));
    }

    fn ask_probe(&mut self) {
        let number = self.probe_number();
        self.probe.attempts += 1;
        if self.probe.attempts > PATIENCE || self.probe.calls > CALLS {
            let (key, stage) = (self.probe.key, self.probe.stage);
            let story = format!(
                "operation {stage} on k{key} failed {PATIENCE} times after all faults were over"
            );
            self.violate("liveness", story);
            self.ended = true;
            return;
        }
        if std::mem::take(&mut self.probe.look) {
            self.judge_replicas(self.probe.key, self.probe.token);
        }
        if matches!(self.probe.stage, 0 | LOCK_AGAIN | WAIT) {
            self.probe.chains += 1;
            let mut roll = self.dice.roll(Stream::Client(number), self.probe.chains);
            self.probe.chain = (roll.bits(), roll.bits());
        }
        let waits = if self.probe.stage == WAIT { 6 } else { 0 };
        let meta = self.meta_of(OpId { chain: self.probe.chain, step: 0 });
        let action = self.probe.action(meta);
        let op = self.note(number, self.probe.key, &action);
        self.probe.call = self.probe.calls;
        self.probe.calls += 1;
        let (operator, lame) = (&self.operator, self.lame);
        // Knocking at doors that are known to be closed would take longer than a short lease lasts.
        let member =
            |node: &usize| !lame.has(*node) && (operator.master(*node) || operator.replica(*node));
        let members: Vec<usize> = (0..self.hosts.len()).filter(member).collect();
        let turn = self.probe.key + usize::try_from(self.probe.attempts).unwrap_or(0);
        let to = members[turn % members.len()];
        let request = KeyRequest {
            key: self.around.keys[self.probe.key].clone(),
            patience: self.probe.patience.plus(leasehold_core::MIN_LEASE.times(waits)),
            action,
        };
        self.probe.wake = self.now + request.patience.times(2).as_micros();
        self.dispatch(number, self.probe.call, op, to, request);
        self.queue.push(self.probe.wake, Happening::ClientWakes(number));
    }

    /// The probe's time came, or an answer (`None`: the node was not there).
    pub(crate) fn feed_probe(&mut self, answer: Option<(u64, Option<Outcome>)>) {
        if !self.probe.active {
            return;
        }
        let Some((call, outcome)) = answer else {
            if self.now == self.probe.wake {
                self.ask_probe();
            }
            return;
        };
        if call != self.probe.call {
            return;
        }
        let stage = self.probe.stage;
        match outcome {
            Some(Outcome::Done(done)) => {
                if matches!(stage, 0 | LOCK_AGAIN | WAIT) {
                    self.probe.token = done.token;
                }
                self.pass_probe();
            }
            Some(Outcome::Found(Some(_))) => self.pass_probe(),
            Some(Outcome::NotDone(NotDone::TimedOut)) if stage == WAIT => {
                let story = "a lock was not granted though its key was free".to_owned();
                self.violate("waiting", story);
                self.ended = true;
            }
            // Where messages take that long, a lease is over before it is used: any certain answer will do.
            Some(Outcome::Refused(_) | Outcome::Found(None))
                if (1..LOCK_AGAIN).contains(&stage) && self.tight() =>
            {
                self.pass_probe();
            }
            Some(Outcome::Refused(_) | Outcome::Found(None)) => {
                // An earlier sending's effect, or the lease ran out: from the start.
                self.probe.stage = 0;
                self.probe_again(self.probe.lease.as_micros() / 8 + MS);
            }
            // What was left at some masters only goes by its age.
            Some(Outcome::NotDone(NotDone::Limit(Limit::Records))) => {
                let horizon = self.plan.settings.timing.horizon();
                self.probe_again(horizon.as_micros() / (PATIENCE / 2));
            }
            Some(
                Outcome::NotDone(_)
                | Outcome::Unknown
                | Outcome::Woken(_)
                | Outcome::Founded(_)
                | Outcome::Configured { .. },
            )
            | None => self.probe_again(20 * MS),
        }
    }

    /// Whether the longest lease is short against a few operations.
    fn tight(&self) -> bool {
        let (nodes, clients) = (self.plan.weather, self.plan.client_weather);
        let trip = nodes.base + nodes.jitter + clients.base + clients.jitter;
        self.probe.lease.as_micros() < trip * 24
    }

    fn pass_probe(&mut self) {
        self.counts.meet(Mark::ProbesJudged);
        self.probe.attempts = 0;
        self.probe.stage += 1;
        let weather = self.plan.weather;
        // Until a change has reached a replica: it leaves with others, and travels.
        let settles = 24 * MS + 2 * (weather.base + weather.jitter);
        // Not if the lease would run out meanwhile.
        self.probe.look = self.probe.stage == 4 && settles * 4 < self.probe.lease.as_micros();
        match self.probe.stage {
            LOCK_AGAIN if self.probe.key > 0 => self.probe.stage = LAST,
            LAST => self.counts.meet(Mark::Granted),
            _ => {}
        }
        if self.probe.stage == LAST {
            self.probe.stage = 0;
            self.probe.key += 1;
        }
        if self.probe.key == self.around.keys.len() {
            self.probe.active = false;
            if self.lame == Nodes::default() {
                self.begin_end();
            } else {
                self.probe.key = 0;
                self.heal();
            }
        } else {
            self.trace.fold(wide(self.probe.key));
            self.probe_again(if self.probe.look { settles } else { 0 });
        }
    }
}
