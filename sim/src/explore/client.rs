//! Clients that follow a plan, what they know, and what the judges know of them.

use std::hash::{Hash, Hasher};

use leasehold_core::faults::Rule;
use leasehold_core::{Action, Bytes, Key, KeyRequest, OpId, Outcome, Owner, Span, Token};

use super::scope::Scope;
use crate::check::{Violation, exclusion, linear, tokens};
use crate::history::{Belief, Call, History, Op, OpIndex, Verdict};

/// What a client wants.
#[derive(Clone, Debug)]
pub enum Want {
    /// Acquire the key for so long.
    Lock(Span),
    /// Keep what it acquired for so long.
    Extend(Span),
    /// Give up what it acquired.
    Release,
    /// Free the key from whoever holds it under the value of this client.
    Free(usize),
    /// Read by quorum.
    Read,
    /// An operator: let these nodes be the masters.
    Masters(Vec<usize>),
}

/// A request that a client will make.
#[derive(Clone, Debug)]
pub struct Planned {
    /// What it asks for.
    pub want: Want,
    /// The nodes that it may ask.
    pub via: Vec<usize>,
    /// If there are any: it runs to its end in one step, within one of these sets of nodes.
    pub within: Vec<Vec<usize>>,
    /// Whether the client waits for the answer to its last request first.
    pub patient: bool,
    /// Accepts to this node come whenever they want, also if the request is atomic.
    pub late_at: Option<usize>,
}

impl Planned {
    /// A request whose messages go their own ways.
    #[must_use]
    pub fn free(want: Want, via: &[usize]) -> Self {
        let (via, within) = (via.to_vec(), Vec::new());
        Self { want, via, within, patient: true, late_at: None }
    }

    /// A request that runs to its end in one step.
    #[must_use]
    pub fn atomic(want: Want, via: &[usize], within: &[&[usize]]) -> Self {
        let within = within.iter().map(|nodes| nodes.to_vec()).collect();
        Self { within, ..Self::free(want, via) }
    }

    /// The same, without waiting for the answer to what was asked before.
    #[must_use]
    pub fn hasty(self) -> Self {
        Self { patient: false, ..self }
    }
}

/// History counts steps within one microsecond, so that what happened before what is never in doubt.
pub(super) const STEPS: u64 = 1_000;

#[derive(Clone, Debug, Default)]
struct Client {
    /// Requests made.
    made: usize,
    /// The identity of its last operation.
    id: OpId,
    token: Option<Token>,
    /// It has sent a release of what it holds: whatever comes, it believes no more.
    given_up: bool,
    /// The last request, until it is answered.
    open: Option<OpIndex>,
}

/// What clients did and were told.
#[derive(Clone, Debug, Default)]
pub(super) struct Book {
    clients: Vec<Client>,
    pub(super) history: History,
    /// For each request, the node that owes the answer and its boot; none once it was answered.
    owed: Vec<Option<(usize, u64)>>,
    /// When each request was made, true time, what the clock of its client runs at, and the lease it asks for.
    made: Vec<(u64, u64, u64)>,
    steps: u64,
    pub(super) answers: Answers,
}

/// How many answers of each kind there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// It took effect.
    pub done: u64,
    /// It found the key held.
    pub held: u64,
    /// It found the key free, or not held by its owner.
    pub free: u64,
    /// Nobody can tell.
    pub unknown: u64,
    /// It certainly did nothing.
    pub nothing: u64,
}

impl Answers {
    const fn count(&mut self, verdict: &Verdict) {
        let count = match verdict {
            Verdict::Done { .. } => &mut self.done,
            Verdict::Held { .. } => &mut self.held,
            Verdict::Free => &mut self.free,
            Verdict::Unknown => &mut self.unknown,
            Verdict::Nothing => &mut self.nothing,
        };
        *count += 1;
    }

    /// These, and what came between the two others.
    #[must_use]
    pub const fn plus(self, later: Self, earlier: Self) -> Self {
        Self {
            done: self.done + later.done - earlier.done,
            held: self.held + later.held - earlier.held,
            free: self.free + later.free - earlier.free,
            unknown: self.unknown + later.unknown - earlier.unknown,
            nothing: self.nothing + later.nothing - earlier.nothing,
        }
    }
}

/// The states of clients are told apart by all that they or a judge may look at.
impl Hash for Book {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for client in &self.clients {
            (client.made, client.id, client.token, client.given_up, client.open).hash(state);
        }
        for op in &self.history.ops {
            (op.client, op.invoked, op.answered, op.bound).hash(state);
            op.call.owner().hash(state);
            match &op.verdict {
                Verdict::Unknown => 0_u8.hash(state),
                Verdict::Nothing => 1_u8.hash(state),
                Verdict::Done { token, repeated } => (2_u8, token, repeated).hash(state),
                Verdict::Held { token, value, meta } => (3_u8, token, value, meta).hash(state),
                Verdict::Free => 4_u8.hash(state),
            }
        }
        for belief in &self.history.beliefs {
            (belief.client, belief.token, belief.from, belief.until).hash(state);
        }
        self.owed.hash(state);
    }
}

fn value_of(client: usize) -> Bytes {
    Bytes::from(format!("c{client}"))
}

fn wide(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// The only key.
pub(super) fn key() -> Key {
    Key::from("k")
}

impl Book {
    pub(super) fn new(clients: usize) -> Self {
        Self { clients: vec![Client::default(); clients], ..Self::default() }
    }

    /// What the client asks next, if it may now.
    pub(super) fn next<'a>(&self, scope: &'a Scope, client: usize) -> Option<&'a Planned> {
        let state = &self.clients[client];
        let planned = scope.clients[client].get(state.made)?;
        let ready = !planned.patient || state.open.is_none();
        let owner = match planned.want {
            Want::Extend(_) | Want::Release => state.token.is_some() && !state.given_up,
            Want::Lock(_) | Want::Free(_) | Want::Read | Want::Masters(_) => true,
        };
        (ready && owner).then_some(planned)
    }

    /// Whether no request will ever be made or answered any more.
    pub(super) fn is_closed(&self, scope: &Scope) -> bool {
        let done = |(client, state): (usize, &Client)| match scope.clients[client].get(state.made) {
            None => true,
            Some(planned) => match planned.want {
                // What it would be about was never acquired, or is given up.
                Want::Extend(_) | Want::Release => {
                    state.open.is_none() && (state.token.is_none() || state.given_up)
                }
                Want::Lock(_) | Want::Free(_) | Want::Read | Want::Masters(_) => false,
            },
        };
        self.owed.iter().all(Option::is_none) && self.clients.iter().enumerate().all(done)
    }

    /// A node has died: what it owed at another boot it will never answer.
    pub(super) fn died(&mut self, node: usize, boot: u64) {
        for owed in &mut self.owed {
            *owed = owed.filter(|&(by, at)| by != node || at == boot);
        }
    }

    fn moment(&mut self, now: u64) -> u64 {
        self.steps += 1;
        now * STEPS + self.steps % STEPS
    }

    /// Time has moved.
    pub(super) const fn moved(&mut self) {
        self.steps = 0;
    }

    /// The client's next request, made of `node` at its `boot`. `rate` is that of the client's clock.
    pub(super) fn ask(
        &mut self,
        scope: &Scope,
        client: usize,
        (node, boot): (usize, u64),
        (now, rate): (u64, u64),
    ) -> Option<(OpIndex, KeyRequest)> {
        let planned = scope.clients[client].get(self.clients[client].made)?;
        let invoked = self.moment(now);
        let state = &mut self.clients[client];
        state.made += 1;
        let new = OpId { chain: (wide(client) + 1, wide(state.made)), step: 0 };
        let own = Owner { value: None, token: state.token };
        let mut id = OpId { step: state.id.step + 1, ..state.id };
        let (action, call) = match &planned.want {
            Want::Lock(lease) => {
                (id, state.id, state.token, state.given_up) = (new, new, None, false);
                let meta = Bytes::from(format!("{client}.{}", new.chain.1));
                let value = value_of(client);
                let (lease, delay, wait) = (*lease, Span::ZERO, Span::ZERO);
                let call = Call::Lock { value: value.clone(), meta: meta.clone() };
                (Action::Lock { id, value, meta, lease, delay, wait }, call)
            }
            Want::Extend(lease) => {
                state.id = id;
                let call = Call::Extend { owner: own.clone() };
                (Action::Extend { id, owner: own, lease: *lease }, call)
            }
            Want::Release => {
                (state.id, state.given_up) = (id, true);
                (Action::Release { id, owner: own.clone() }, Call::Release { owner: own })
            }
            Want::Free(whose) => {
                id = new;
                let owner = Owner { value: Some(value_of(*whose)), token: None };
                (Action::Release { id, owner: owner.clone() }, Call::Release { owner })
            }
            Want::Read => (Action::Read, Call::Read),
            Want::Masters(_) => return None,
        };
        let given_up = state.given_up.then_some(state.token).flatten();
        let op = self.history.ops.len();
        state.open = Some(op);
        if let Some(token) = given_up {
            self.history.disbelieve(0, client, token, invoked);
        }
        self.history.ops.push(Op {
            key: 0,
            client,
            id: if matches!(call, Call::Read) { OpId::default() } else { id },
            call,
            invoked,
            answered: None,
            verdict: Verdict::Unknown,
            delay: Span::ZERO,
            local: None,
            bound: invoked,
            cancelled: false,
        });
        self.owed.push(Some((node, boot)));
        let lease = match planned.want {
            Want::Lock(lease) | Want::Extend(lease) => lease,
            Want::Release | Want::Free(_) | Want::Read | Want::Masters(_) => Span::ZERO,
        };
        self.made.push((now, rate, lease.as_micros()));
        let patience = scope.timing.op_timeout;
        Some((op, KeyRequest { key: key(), patience, action }))
    }

    /// The operator's next request was made.
    pub(super) fn changed(&mut self, client: usize) {
        self.clients[client].made += 1;
    }

    /// A node answers, and the judges look at what is known now.
    pub(super) fn answer(
        &mut self,
        (node, boot): (usize, u64),
        op: OpIndex,
        outcome: &Outcome,
        now: u64,
    ) -> Result<(), Violation> {
        let owed = self.owed.get_mut(op).and_then(|owed| owed.take_if(|o| *o == (node, boot)));
        if owed.is_none() {
            let story = format!("node {node} answered request {op}, which it did not owe");
            return Err(Violation { rule: "one answer each", story });
        }
        let at = self.moment(now);
        let (made, rate, lease) = self.made[op];
        let valid = match outcome {
            Outcome::Done(done) => done.valid_for.map(Span::as_micros),
            Outcome::Found(_)
            | Outcome::Woken(_)
            | Outcome::Refused(_)
            | Outcome::NotDone(_)
            | Outcome::Unknown
            | Outcome::Founded(_)
            | Outcome::Configured { .. } => None,
        };
        let valid = valid.map(|span| if Rule::Belief.is_out() { span.max(lease) } else { span });
        // The last true microsecond at which the client's clock does not show more.
        let until = valid.map(|span| (made + span * 1_000_000 / rate) * STEPS);
        let record = &mut self.history.ops[op];
        record.answered = Some(at);
        record.verdict = Verdict::of(outcome);
        record.bound = record.bound.max(until.unwrap_or(0));
        let (client, verdict) = (record.client, record.verdict.clone());
        self.answers.count(&verdict);
        let lock = matches!(record.call, Call::Lock { .. });
        let state = &mut self.clients[client];
        if state.open == Some(op) {
            state.open = None;
        }
        if let Verdict::Done { token, repeated: false } = verdict {
            if lock {
                state.token = Some(token);
            }
            if let Some(until) = until.filter(|_| !state.given_up) {
                self.history.believe(Belief { key: 0, client, token, from: at, until });
            }
        }
        self.judge()
    }

    fn judge(&self) -> Result<(), Violation> {
        let mut found = Vec::new();
        let all: Vec<OpIndex> = (0..self.history.ops.len()).collect();
        exclusion::check(&self.history.beliefs, &mut found);
        tokens::check(&self.history.ops, &all, &mut found);
        if found.is_empty()
            && linear::check(&self.history.ops, &all, &mut found) == linear::Judgement::GaveUp
        {
            let story = "the search for an order was given up".to_owned();
            return Err(Violation { rule: "small enough to judge", story });
        }
        found.pop().map_or(Ok(()), Err)
    }
}
