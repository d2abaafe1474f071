//! What happened in a run, in true time: the history that the judges of `leasehold-sim` know, and a story for people.
//!
//! Sendings and answers are noted where they pass a node's door ([`door`](crate::door)), beliefs where the client library
//! tells its user that a key is held.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use leasehold_client::{Belief, Lost, clock, labels};
use leasehold_core::{Action, Bytes, Instant, Key, KeyRequest, OpId, Outcome, Span, Token};
use leasehold_sim::check::{self, Violation};
use leasehold_sim::clock::Clock;
use leasehold_sim::dice::mix;
use leasehold_sim::history::{self, Call, History, Op, OpIndex, Verdict};

use crate::plan::Plan;

/// What every task of a run shares.
pub(crate) type Shared = Arc<Mutex<Record>>;

/// By machine. Apart from the record, so that it can be read by whoever holds that.
pub(crate) type Clocks = Arc<Mutex<Vec<Clock>>>;

/// Nothing panics while it holds one of these, but for a run that is over anyway.
pub(crate) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What happened.
#[derive(Debug)]
pub(crate) struct Record {
    plan: Plan,
    pub(crate) history: History,
    clocks: Clocks,
    keys: Vec<Key>,
    /// Sendings that were not answered, by connection and call.
    open: BTreeMap<(u64, u64), OpIndex>,
    beliefs: Vec<Believed>,
    pub(crate) violations: Vec<Violation>,
    pub(crate) marks: BTreeMap<&'static str, u64>,
    hash: u64,
    connections: u64,
    /// Whether there is a cluster.
    pub(crate) founded: bool,
    /// A node that lost its disk, and has not been given its place back.
    pub(crate) lost: Option<usize>,
    /// Machines that were paused.
    pub(crate) paused: BTreeSet<usize>,
}

/// Until when somebody may believe, as the library says.
#[derive(Clone, Debug)]
pub(crate) enum Until {
    /// As long as a guard does.
    Guard(Belief),
    /// Until its own clock shows this.
    Lease(Instant),
}

#[derive(Debug)]
struct Believed {
    key: usize,
    machine: usize,
    token: Token,
    from: u64,
    until: Until,
    /// When it was given up.
    over: Option<u64>,
}

impl Record {
    pub(crate) fn new(plan: &Plan, clocks: &Clocks) -> Shared {
        Arc::new(Mutex::new(Self {
            clocks: Arc::clone(clocks),
            keys: (0..plan.keys).map(|key| Key::from(format!("k{key}"))).collect(),
            plan: plan.clone(),
            history: History::default(),
            open: BTreeMap::new(),
            beliefs: Vec::new(),
            violations: Vec::new(),
            marks: BTreeMap::new(),
            hash: 0,
            connections: 0,
            founded: false,
            lost: None,
            paused: BTreeSet::new(),
        }))
    }

    pub(crate) const fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(crate) fn key(&self, number: usize) -> Key {
        self.keys[number].clone()
    }

    /// Counts something that happened.
    pub(crate) fn meet(&mut self, mark: &'static str) {
        *self.marks.entry(mark).or_default() += 1;
    }

    /// Tells the next line of the story.
    pub(crate) fn tell(&mut self, who: &str, what: &str) {
        let line = format!("{:>12} {who:<4} {what}", clock::simulated::elapsed());
        for chunk in line.as_bytes().chunks(8) {
            let word = chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
            self.hash = mix(self.hash.rotate_left(5) ^ word);
        }
        println!("{line}");
    }

    /// A hash of the story so far.
    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn violate(&mut self, rule: &'static str, story: String) {
        self.tell("", &format!("VIOLATED: {rule}: {story}"));
        self.violations.push(Violation { rule, story });
    }

    /// A name for a connection of a client.
    pub(crate) const fn connection(&mut self) -> u64 {
        self.connections += 1;
        self.connections
    }

    /// A request has come to a node's door.
    pub(crate) fn sent(&mut self, connection: u64, machine: usize, call: u64, asked: &KeyRequest) {
        self.tell(&format!("c{machine}"), &format!("asks {connection}.{call}: {asked:?}"));
        let Some(key) = self.keys.iter().position(|key| *key == asked.key) else { return };
        let (none, now) = (OpId::default(), clock::simulated::elapsed());
        let (id, call_of, lease, delay) = match &asked.action {
            Action::Lock { id, value, meta, lease, delay, .. } => {
                let call = Call::Lock { value: value.clone(), meta: unsigned(meta) };
                (*id, call, Some(*lease), *delay)
            }
            Action::Extend { id, owner, lease } => {
                (*id, Call::Extend { owner: owner.clone() }, Some(*lease), Span::ZERO)
            }
            Action::Update { id, owner, value, .. } => {
                let call = Call::Update { owner: owner.clone(), value: value.clone() };
                (*id, call, None, Span::ZERO)
            }
            Action::Release { id, owner } => {
                (*id, Call::Release { owner: owner.clone() }, None, Span::ZERO)
            }
            Action::Read => (none, Call::Read, None, Span::ZERO),
            Action::WaitHeld | Action::WaitReleased => return,
        };
        self.meet("requests");
        let kept = lease.map(|lease| self.plan.timing.max_clock_drift.believed(lease.plus(delay)));
        self.open.insert((connection, call), self.history.ops.len());
        self.history.ops.push(Op {
            key,
            client: machine,
            id,
            call: call_of,
            invoked: now,
            answered: None,
            verdict: Verdict::Unknown,
            delay,
            local: None,
            bound: kept.map_or(0, |kept| now + kept.as_micros()),
            cancelled: false,
        });
    }

    /// The node was told that nobody waits for this answer.
    pub(crate) fn cancelled(&mut self, connection: u64, call: u64) {
        if let Some(op) = self.open.get(&(connection, call)) {
            self.history.ops[*op].cancelled = true;
            self.meet("cancelled");
        }
    }

    /// A node has answered.
    pub(crate) fn answered(&mut self, connection: u64, call: u64, outcome: &Outcome) {
        self.tell("", &format!("{connection}.{call} is answered {outcome:?}"));
        let Some(op) = self.open.remove(&(connection, call)) else { return };
        let mut verdict = Verdict::of(outcome);
        if let Verdict::Held { meta, .. } = &mut verdict {
            *meta = unsigned(meta);
        }
        self.count(op, outcome);
        if let Outcome::Done(done) = outcome
            && let Some(valid) = done.valid_for
        {
            let delay = self.delay_of(op, done.token);
            let kept = valid.plus(self.plan.timing.max_clock_drift.believed(delay));
            let op = &mut self.history.ops[op];
            // No clock of a master runs so fast that its lease ends before.
            op.bound = op.invoked + kept.as_micros();
        }
        let op = &mut self.history.ops[op];
        op.answered = Some(clock::simulated::elapsed());
        op.verdict = verdict;
    }

    /// The lock-delay of an ownership.
    fn delay_of(&self, op: OpIndex, token: Token) -> Span {
        let locks = |other: &&Op| {
            let acquired = Verdict::Done { token, repeated: false };
            matches!(other.call, Call::Lock { .. }) && other.verdict == acquired
        };
        let op = &self.history.ops[op];
        let lock = self.history.ops.iter().filter(locks).find(|lock| lock.key == op.key);
        lock.map_or(op.delay, |lock| lock.delay)
    }

    fn count(&mut self, op: OpIndex, outcome: &Outcome) {
        let mark = match (&self.history.ops[op].call, outcome) {
            (Call::Lock { .. }, Outcome::Done(done)) if done.waited > Span::ZERO => "waited locks",
            (Call::Lock { .. }, Outcome::Done(_)) => "locks",
            (Call::Extend { .. }, Outcome::Done(_)) => "extensions",
            (Call::Update { .. }, Outcome::Done(_)) => "updates",
            (Call::Release { .. }, Outcome::Done(_)) => "releases",
            (_, Outcome::Found(_)) => "reads",
            (_, Outcome::Refused(_)) => "refusals",
            (_, Outcome::Unknown) => "unknown outcomes",
            (_, Outcome::NotDone(_)) => "not done",
            _ => "other answers",
        };
        self.meet(mark);
        if matches!(outcome, Outcome::Done(done) if done.repeated) {
            self.meet("repeated answers");
        }
    }

    /// The library has told a client that it holds a key. A name for that belief.
    pub(crate) fn believe(
        &mut self,
        machine: usize,
        key: usize,
        token: Token,
        until: Until,
    ) -> usize {
        let from = clock::simulated::elapsed();
        self.tell(&format!("c{machine}"), &format!("believes that it holds k{key} under {token}"));
        self.beliefs.push(Believed { key, machine, token, from, until, over: None });
        self.beliefs.len() - 1
    }

    /// A lease was extended.
    pub(crate) fn prolong(&mut self, belief: usize, until: Instant) {
        if self.beliefs[belief].over.is_none() {
            self.beliefs[belief].until = Until::Lease(until);
        }
    }

    /// The client gives a belief up.
    pub(crate) fn give_up(&mut self, belief: usize) {
        let now = clock::simulated::elapsed();
        let belief = &mut self.beliefs[belief];
        if belief.over.is_none() {
            belief.over = Some(now);
            belief.freeze();
            let (machine, key, token) = (belief.machine, belief.key, belief.token);
            self.tell(&format!("c{machine}"), &format!("gives up k{key} under {token}"));
        }
    }

    /// The library has told a client that it does not hold a key any more.
    pub(crate) fn lost(&mut self, belief: usize, why: &Lost) {
        match why {
            // It may be believed until the very end, although the library gives up before.
            Lost::Expired(_) => {
                let believed = &mut self.beliefs[belief];
                believed.freeze();
                let (machine, token) = (believed.machine, believed.token);
                self.tell(&format!("c{machine}"), &format!("lets {token} run out"));
                self.meet("expired beliefs");
            }
            Lost::Taken(_) | Lost::Released | Lost::Ended => self.give_up(belief),
        }
    }

    /// A machine is gone, and all that was believed there.
    pub(crate) fn gone(&mut self, machine: usize) {
        for belief in 0..self.beliefs.len() {
            if self.beliefs[belief].machine == machine {
                self.give_up(belief);
            }
        }
    }

    /// Whether what runs on a machine may have missed its time for no fault of its own.
    pub(crate) fn stood_still(&self, machine: usize) -> bool {
        self.paused.contains(&machine)
    }

    /// Has all that happened judged.
    pub(crate) fn judge(&mut self) {
        for belief in &mut self.beliefs {
            belief.freeze();
            let Until::Lease(until) = belief.until else { continue };
            let until = lock(&self.clocks)[belief.machine].when(until);
            self.history.believe(history::Belief {
                key: belief.key,
                client: belief.machine,
                token: belief.token,
                from: belief.from,
                until: until.min(belief.over.unwrap_or(u64::MAX)),
            });
        }
        let mut found = Vec::new();
        let scope = check::Scope { orders: true, second: self.plan.seed.is_multiple_of(4) };
        let judged = check::all(&self.history, self.plan.keys, scope, &mut found);
        for (mark, count) in [
            ("pairs of beliefs judged", judged.beliefs),
            ("tokens judged", judged.tokens),
            ("repeats judged", judged.repeats),
            ("operations put in order", judged.orders),
            ("orders given up", judged.given_up),
            ("second opinions", judged.second),
        ] {
            *self.marks.entry(mark).or_default() += count;
        }
        for violation in found {
            self.violate(violation.rule, violation.story);
        }
    }
}

impl Believed {
    /// Later answers do not change anything any more.
    fn freeze(&mut self) {
        if let Until::Guard(belief) = &self.until {
            self.until = Until::Lease(belief.valid_until());
        }
    }
}

/// A description without what the node adds to it.
fn unsigned(meta: &Bytes) -> Bytes {
    let Some(mut labels) = labels::decode(meta) else { return meta.clone() };
    labels.remove("client_address");
    labels::encode(&labels)
}
