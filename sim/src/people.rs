//! The world around clients: what travels between them and nodes, and what they come to believe.

use leasehold_core::{
    Action, Bytes, Input, Instant, KeyRequest, Limit, NotDone, OpId, Outcome, Request, Span,
    Standing, Token,
};

use crate::actor::Player;
use crate::client::{ClientEffect, ClientInput};
use crate::clock::Clock;
use crate::dice::wide;
use crate::fault::Kind;
use crate::film::Spoken;
use crate::history::{Belief, Call, Op, OpIndex, Verdict};
use crate::host::Asker;
use crate::marks::Mark;
use crate::world::{Arrival, Happening, World};

/// A client with its machine.
#[derive(Debug)]
pub struct Person {
    pub(crate) client: Player,
    pub(crate) clock: Clock,
    /// Whether the process stands still, and since when.
    pub(crate) paused: bool,
    paused_at: u64,
    /// Whether it died, and has no successor yet.
    pub(crate) gone: bool,
    inbox: Vec<ClientInput>,
    wake: Option<u64>,
    /// The place in the history of each of its sendings, with its clock before it sent.
    sent: Vec<(OpIndex, Instant)>,
}

impl Person {
    /// A client and its clock.
    #[must_use]
    pub const fn new(client: Player, clock: Clock) -> Self {
        Self {
            client,
            clock,
            paused: false,
            paused_at: 0,
            gone: false,
            inbox: Vec::new(),
            wake: None,
            sent: Vec::new(),
        }
    }
}

/// Whether an operation is over with this input in any case.
fn concludes(input: &ClientInput) -> bool {
    match input {
        ClientInput::Answer { outcome, .. } => match outcome {
            Outcome::Done(_)
            | Outcome::Found(_)
            | Outcome::Woken(_)
            | Outcome::Refused(_)
            | Outcome::Founded(_)
            | Outcome::Configured { .. } => true,
            Outcome::NotDone(_) | Outcome::Unknown => false,
        },
        ClientInput::Tick | ClientInput::Bounced { .. } | ClientInput::Retire => false,
    }
}

/// A sending as the history notes it; waits are not noted.
fn noted(action: &Action) -> (OpId, Call, Option<Span>) {
    match action {
        Action::Lock { id, value, meta, lease, .. } => {
            (*id, Call::Lock { value: value.clone(), meta: meta.clone() }, Some(*lease))
        }
        Action::Extend { id, owner, lease } => {
            (*id, Call::Extend { owner: owner.clone() }, Some(*lease))
        }
        Action::Update { id, owner, value, .. } => {
            (*id, Call::Update { owner: owner.clone(), value: value.clone() }, None)
        }
        Action::Release { id, owner } => (*id, Call::Release { owner: owner.clone() }, None),
        Action::Read | Action::WaitHeld | Action::WaitReleased => {
            (OpId::default(), Call::Read, None)
        }
    }
}

impl World<'_> {
    /// The number of the probe among the clients.
    pub(crate) fn probe_number(&self) -> usize {
        self.people.len()
    }

    pub(crate) fn begin_clients(&mut self) {
        if self.founded {
            return;
        }
        self.founded = true;
        self.trace.line(self.now, None, String::new, || "the cluster is founded".into());
        self.film_moment(None, "founded", || "the cluster is founded".to_owned());
        for client in 0..self.people.len() {
            self.arrange_client(client);
        }
    }

    pub(crate) fn retire_clients(&mut self) {
        for client in 0..self.people.len() {
            self.feed_client(client, ClientInput::Retire);
        }
    }

    fn feed_client(&mut self, number: usize, input: ClientInput) {
        let person = &mut self.people[number];
        if person.gone {
            return;
        }
        if person.paused {
            person.inbox.push(input);
            return;
        }
        let now = person.clock.read(self.now);
        let who = || format!("c{number}");
        self.trace.line(self.now, Some(now), who, || format!("<- {input:?}"));
        let waited = self.film.is_some() && person.client.waits();
        let conclusive = self.film.is_some() && concludes(&input);
        person.client.handle(now, input, &self.around, &mut self.acts);
        if waited && !conclusive && !person.client.waits() {
            self.film_giving_up(number);
        }
        self.act_all(number, now);
        self.arrange_client(number);
    }

    /// Lets happen what a client wants.
    pub(crate) fn act_all(&mut self, number: usize, now: Instant) {
        let mut acts = std::mem::take(&mut self.acts);
        for act in acts.drain(..) {
            self.trace.line(
                self.now,
                Some(now),
                || format!("c{number}"),
                || format!("   -> {act:?}"),
            );
            self.act(number, now, act);
        }
        self.acts = acts;
    }

    fn act(&mut self, number: usize, now: Instant, act: ClientEffect) {
        match act {
            ClientEffect::Send { call, to, key, request } => {
                let op = self.note(number, key, &request.action);
                self.film_sending(number, call, to, key, &request);
                let person = &mut self.people[number];
                let (_, _, lease) = noted(&request.action);
                let drift = self.plan.settings.timing.max_clock_drift;
                let delay = self.history.ops[op].delay;
                let kept = lease.map(|lease| drift.believed(lease.plus(delay)));
                let bound = kept.map_or(0, |kept| person.clock.when(now.after(kept)));
                self.history.ops[op].bound = bound;
                person.sent.push((op, now));
                self.dispatch(number, call, op, to, request);
            }
            ClientEffect::Cancel { call } => {
                self.film_cancel(number, call);
                self.withdraw(number, call);
            }
            ClientEffect::Believe { key, token, until } => {
                let until = self.people[number].clock.when(until);
                let belief = Belief { key, client: number, token, from: self.now, until };
                self.history.believe(belief);
            }
            ClientEffect::Disbelieve { key, token } => {
                self.history.disbelieve(key, number, token, self.now);
            }
        }
    }

    /// Writes a sending down.
    pub(crate) fn note(&mut self, client: usize, key: usize, action: &Action) -> OpIndex {
        let (id, call, _) = noted(action);
        self.counts.meet(Mark::Sendings);
        if id == OpId::default() || !self.history.ops.iter().rev().take(64).any(|op| op.id == id) {
            self.counts.meet(Mark::Operations);
        }
        self.history.ops.push(Op {
            key,
            client,
            id,
            call,
            invoked: self.now,
            answered: None,
            verdict: Verdict::Unknown,
            delay: if let Action::Lock { delay, .. } = action { *delay } else { Span::ZERO },
            local: match action {
                Action::WaitHeld => Some(true),
                Action::WaitReleased => Some(false),
                Action::Lock { .. }
                | Action::Extend { .. }
                | Action::Update { .. }
                | Action::Release { .. }
                | Action::Read => None,
            },
            bound: 0,
            cancelled: false,
        });
        self.routes.push(None);
        self.history.ops.len() - 1
    }

    /// The lock-delay of the ownership that an operation with this answer acquired or extended.
    fn delay_of(&self, op: OpIndex, token: Token) -> Span {
        // Tokens are unique per key only.
        let (acquired, key) = (Verdict::Done { token, repeated: false }, self.history.ops[op].key);
        let lock = |op: &&Op| {
            op.key == key && op.verdict == acquired && matches!(op.call, Call::Lock { .. })
        };
        match &self.history.ops[op].call {
            Call::Extend { .. } => {
                self.history.ops.iter().rev().find(lock).map_or(Span::ZERO, |lock| lock.delay)
            }
            Call::Lock { .. } | Call::Update { .. } | Call::Release { .. } | Call::Read => {
                self.history.ops[op].delay
            }
        }
    }

    /// Sends a request on its way to a node.
    pub(crate) fn dispatch(
        &mut self,
        client: usize,
        call: u64,
        op: OpIndex,
        to: usize,
        request: KeyRequest,
    ) {
        let from = self.hosts.len() + client;
        let note = Spoken::Request(&request, self.history.ops[op].key);
        if let Some(delay) = self.travel_with_client(from, to, note) {
            let sent = self.now;
            let arrival = Arrival { client, call, op, to, request, sent };
            self.queue.push(sent + delay, Happening::Arrive(Box::new(arrival)));
        }
    }

    pub(crate) fn arrive(&mut self, arrival: Arrival) {
        let Arrival { client, call, op, to, request, sent } = arrival;
        let host = &mut self.hosts[to];
        if host.node.is_none() {
            // The connection is refused, and the client knows that nothing was done.
            self.history.ops[op].verdict = Verdict::Nothing;
            let back = self.now + self.plan.client_weather.base;
            self.queue.push(back, Happening::Bounce { client, call });
            return;
        }
        let asker = Asker::Client { client, call, op };
        let ticket = host.ask(asker, Some(request.patience));
        self.routes[op] = Some((to, host.boots, ticket));
        self.feed(to, sent, Input::Request { ticket, request: Request::Key(request) });
    }

    /// Tells the node that nobody waits for a sending any more.
    fn withdraw(&mut self, client: usize, call: u64) {
        let Some((op, _)) =
            usize::try_from(call).ok().and_then(|call| self.people[client].sent.get(call)).copied()
        else {
            return;
        };
        self.counts.meet(Mark::Cancelled);
        if self.history.ops[op].answered.is_none() {
            self.history.ops[op].cancelled = true;
        }
        let to = self.routes[op].map_or(0, |(node, ..)| node);
        let from = self.hosts.len() + client;
        let note = Spoken::Cancel(self.history.ops[op].key);
        if let Some(delay) = self.travel_with_client(from, to, note) {
            self.queue.push(self.now + delay, Happening::Cancel { op });
        }
    }

    pub(crate) fn cancel(&mut self, op: OpIndex) {
        let Some((node, boot, ticket)) = self.routes[op] else { return };
        if self.hosts[node].boots == boot {
            self.feed(node, self.now, Input::Cancel(ticket));
        }
    }

    /// A node answers a sending: note it, and send it on its way to the client.
    pub(crate) fn client_answered(
        &mut self,
        node: usize,
        client: usize,
        call: u64,
        op: OpIndex,
        outcome: Outcome,
    ) {
        let verdict = match self.history.ops[op].local {
            Some(held) => self.judge_wait(node, op, held, &outcome),
            None => Verdict::of(&outcome),
        };
        self.count_answer(op, &outcome, &verdict);
        let drift = self.plan.settings.timing.max_clock_drift;
        let delay = match &outcome {
            Outcome::Done(done) => self.delay_of(op, done.token),
            Outcome::Found(_)
            | Outcome::Woken(_)
            | Outcome::Refused(_)
            | Outcome::NotDone(_)
            | Outcome::Unknown
            | Outcome::Founded(_)
            | Outcome::Configured { .. } => Span::ZERO,
        };
        if let Outcome::Done(done) = &outcome
            && let Some(valid) = done.valid_for
            && let Some(person) = self.people.get_mut(client)
            && let Some((_, c0)) = usize::try_from(call).ok().and_then(|call| person.sent.get(call))
        {
            let delay = drift.believed(delay);
            self.history.ops[op].bound = person.clock.when(c0.after(valid.plus(delay)));
        }
        let noted = &mut self.history.ops[op];
        noted.answered = Some(self.now);
        noted.verdict = verdict;
        let to = self.hosts.len() + client;
        let note = Spoken::Outcome(&outcome, self.history.ops[op].key);
        if let Some(delay) = self.travel_with_client(node, to, note) {
            let outcome = Box::new(outcome);
            self.queue.push(self.now + delay, Happening::Reply { client, call, outcome });
        }
    }

    /// A wait may end without success only if what it waited for is not there.
    fn judge_wait(&mut self, node: usize, op: OpIndex, held: bool, outcome: &Outcome) -> Verdict {
        let host = &self.hosts[node];
        let key = &self.around.keys[self.history.ops[op].key];
        let view = host.node.as_ref().and_then(|node| node.peek(host.last, key));
        // It may time out in the very step in which the record changes, and before that.
        let changed = host.changed.contains(key);
        let is_held = view.is_some_and(|view| view.entry.held().is_some());
        // Who left the cluster knows nothing, and who just became a replica not yet.
        let standing = host.node.as_ref().map(|node| node.status(host.last).standing);
        let settled = held || self.plan.changes.is_empty();
        let knows =
            standing == Some(Standing::Active) || (standing == Some(Standing::Replica) && settled);
        match outcome {
            Outcome::Woken(holder) if holder.is_some() == held => self.counts.meet(Mark::Woken),
            Outcome::Woken(holder) => {
                let wanted = if held { "held" } else { "free" };
                let story = format!("n{node} told who waits for {wanted} of {holder:?}");
                self.violate("waiting", story);
            }
            Outcome::NotDone(NotDone::TimedOut) if is_held == held && knows && !changed => {
                let story =
                    format!("n{node} let a wait time out though what it waited for is there");
                self.violate("waiting", story);
            }
            Outcome::NotDone(NotDone::TimedOut) => self.counts.meet(Mark::WaitsJudged),
            Outcome::NotDone(_)
            | Outcome::Done(_)
            | Outcome::Found(_)
            | Outcome::Refused(_)
            | Outcome::Unknown
            | Outcome::Founded(_)
            | Outcome::Configured { .. } => {}
        }
        Verdict::Nothing
    }

    fn count_answer(&mut self, op: OpIndex, outcome: &Outcome, verdict: &Verdict) {
        let counts = &mut self.counts;
        match outcome {
            Outcome::Done(done) => {
                counts.meet(if done.repeated { Mark::Repeated } else { Mark::Done });
                if done.waited > Span::from_millis(100) {
                    counts.meet(Mark::Queued);
                }
                match self.history.ops[op].call {
                    Call::Lock { .. } if !done.repeated => counts.meet(Mark::Acquired),
                    Call::Extend { .. } => counts.meet(Mark::Extended),
                    Call::Release { .. } => counts.meet(Mark::Released),
                    Call::Lock { .. } | Call::Update { .. } | Call::Read => {}
                }
            }
            Outcome::Refused(_) => {
                counts.meet(Mark::Refused);
                if let (Call::Lock { meta, .. }, Verdict::Held { meta: other, .. }) =
                    (&self.history.ops[op].call, verdict)
                    && meta != other
                {
                    counts.meet(Mark::HeldByOther);
                }
            }
            Outcome::Found(_) => counts.meet(Mark::Reads),
            Outcome::NotDone(NotDone::NotFounded)
            | Outcome::Woken(_)
            | Outcome::Founded(_)
            | Outcome::Configured { .. } => {}
            Outcome::NotDone(why) => {
                counts.meet(Mark::NotDone);
                match why {
                    NotDone::Limit(Limit::Records) => counts.meet(Mark::FullRecords),
                    NotDone::Limit(Limit::WaitersPerKey) => counts.meet(Mark::FullQueue),
                    NotDone::Limit(Limit::Waiters) => counts.meet(Mark::FullWaiters),
                    NotDone::Limit(_) => counts.meet(Mark::FullOperations),
                    NotDone::NoQuorum
                    | NotDone::TimedOut
                    | NotDone::Cancelled
                    | NotDone::Draining
                    | NotDone::NotFounded
                    | NotDone::Invalid(_)
                    | NotDone::Unreachable(_)
                    | NotDone::Changing
                    | NotDone::NotActive => {}
                }
            }
            Outcome::Unknown => counts.meet(Mark::Unknown),
        }
    }

    pub(crate) fn reply(&mut self, client: usize, call: u64, outcome: Outcome) {
        if client == self.probe_number() {
            self.feed_probe(Some((call, Some(outcome))));
        } else {
            self.feed_client(client, ClientInput::Answer { call, outcome });
        }
    }

    pub(crate) fn bounce(&mut self, client: usize, call: u64) {
        if client == self.probe_number() {
            self.feed_probe(Some((call, None)));
        } else {
            self.feed_client(client, ClientInput::Bounced { call });
        }
    }

    fn arrange_client(&mut self, number: usize) {
        let person = &mut self.people[number];
        let Some(deadline) = person.client.deadline() else { return };
        let time = person.clock.when(deadline).max(self.now);
        if !person.paused && !person.gone && person.wake.is_none_or(|wake| time < wake) {
            person.wake = Some(time);
            self.queue.push(time, Happening::ClientWakes(number));
        }
    }

    pub(crate) fn client_wakes(&mut self, number: usize) {
        if number == self.probe_number() {
            return self.feed_probe(None);
        }
        let person = &mut self.people[number];
        if person.wake != Some(self.now) || person.paused || person.gone {
            return;
        }
        person.wake = None;
        self.tick_client(number);
    }

    fn tick_client(&mut self, number: usize) {
        let person = &mut self.people[number];
        let now = person.clock.read(self.now);
        if person.client.deadline().is_some_and(|deadline| deadline <= now) {
            self.feed_client(number, ClientInput::Tick);
        } else {
            self.arrange_client(number);
        }
    }

    pub(crate) fn pause_client(&mut self, number: usize, begins: bool) {
        let paused = begins
            || crate::fault::under_way(&self.plan.faults, &self.active)
                .any(|kind| *kind == Kind::PauseClient(number));
        let person = &mut self.people[number];
        if person.paused == paused {
            return;
        }
        person.paused = paused;
        person.wake = None;
        self.trace.fold(wide(number));
        if paused {
            person.paused_at = self.now;
        } else {
            if !self.plan.in_contract() {
                // It goes on as if no time had passed.
                let slept = (person.paused_at, self.now);
                let overslept = self.history.oversleep(number, slept);
                self.counts.add(Mark::Overslept, overslept);
            }
            let person = &mut self.people[number];
            for input in std::mem::take(&mut person.inbox) {
                self.feed_client(number, input);
            }
            self.catch_up(number);
            self.tick_client(number);
        }
    }

    /// A client's process dies, or another takes its place.
    pub(crate) fn vanish(&mut self, number: usize, noticed: bool, begins: bool) {
        let still = crate::fault::under_way(&self.plan.faults, &self.active)
            .any(|kind| matches!(kind, Kind::Vanish { client, .. } if *client == number));
        let person = &mut self.people[number];
        if !begins {
            person.gone = still;
            person.wake = None;
            if self.founded {
                self.arrange_client(number);
            }
            return;
        }
        let now = person.clock.read(self.now);
        let open = person.client.vanish(now);
        person.gone = true;
        person.inbox.clear();
        self.counts.meet(Mark::Vanished);
        if noticed {
            for call in open {
                self.withdraw(number, call);
            }
        }
    }

    pub(crate) fn meta_of(&self, id: OpId) -> Bytes {
        Bytes::from(id.chain.0.to_le_bytes().as_slice())
    }
}
