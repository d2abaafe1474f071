//! A client that follows a script, and obeys the protocol (section 6) whatever the script says.
//!
//! The script says what is sent when and where. What the client may believe is not in the script: it follows from the answers, as
//! with a client that decides for itself. What it cannot do it leaves out: nothing is sent by a token that it was not
//! told, nothing about a lock that it did not ask for, nothing again that was answered.

use leasehold_core::faults::Rule;
use leasehold_core::{Action, Bytes, Done, Instant, KeyRequest, OpId, Outcome, Owner, Span, Token};

use crate::client::{Client, ClientEffect, ClientInput, Surroundings};
use crate::dice::{Dice, Stream, wide};
use crate::script::{By, Move, Operation, Script, What};

/// Somebody who plays a client's part.
#[derive(Clone, Debug)]
pub enum Player {
    /// Decides for itself.
    Drawn(Box<Client>),
    /// Follows the script of the run.
    Scripted(Box<Actor>),
}

impl Player {
    /// When to hand in [`ClientInput::Tick`].
    #[must_use]
    pub const fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Drawn(client) => client.deadline(),
            Self::Scripted(_) => None,
        }
    }

    /// The process dies and another takes its place, which remembers nothing. Returns the sendings that were open.
    pub fn vanish(&mut self, now: Instant) -> Vec<u64> {
        match self {
            Self::Drawn(client) => client.vanish(now),
            Self::Scripted(actor) => actor.vanish(),
        }
    }

    /// Takes one input, and appends to `out` what the client does about it.
    pub fn handle(
        &mut self,
        now: Instant,
        input: ClientInput,
        around: &Surroundings,
        out: &mut Vec<ClientEffect>,
    ) {
        match self {
            Self::Drawn(client) => client.handle(now, input, around, out),
            Self::Scripted(actor) => {
                if let ClientInput::Answer { call, outcome } = input {
                    actor.answer(call, &outcome, out);
                }
            }
        }
    }

    /// Whether it waits for an answer.
    #[must_use]
    pub const fn waits(&self) -> bool {
        match self {
            Self::Drawn(client) => client.waits(),
            Self::Scripted(actor) => actor.flight.is_some(),
        }
    }
}

/// What is known of a lock that was asked for.
#[derive(Clone, Debug)]
struct Known {
    name: String,
    chain: (u64, u64),
    steps: u32,
    token: Option<Token>,
    released: bool,
}

/// An operation whose answer is awaited.
#[derive(Clone, Debug)]
struct Flight {
    operation: usize,
    key: usize,
    action: Action,
    /// Its sendings, with the clock before each.
    calls: Vec<(u64, Instant)>,
}

/// A client that follows a script.
#[derive(Clone, Debug)]
pub struct Actor {
    number: usize,
    dice: Dice,
    next_call: u64,
    locks: Vec<Known>,
    flight: Option<Flight>,
    /// Sendings of locks that are not awaited any more, with the name of the lock.
    past: Vec<(u64, String)>,
    /// Ownerships it has given up: whatever becomes of that, it never believes in them again.
    released: Vec<Token>,
    /// What it should have done while it stood still.
    pub due: Vec<Move>,
}

impl Actor {
    /// Client number `number`.
    #[must_use]
    pub const fn new(number: usize, dice: Dice) -> Self {
        Self {
            number,
            dice,
            next_call: 0,
            locks: Vec::new(),
            flight: None,
            past: Vec::new(),
            released: Vec::new(),
            due: Vec::new(),
        }
    }

    fn vanish(&mut self) -> Vec<u64> {
        self.locks.clear();
        self.past.clear();
        self.due.clear();
        self.flight.take().map_or_else(Vec::new, |f| f.calls.iter().map(|call| call.0).collect())
    }

    /// Makes a move of `script`, if the protocol lets it.
    pub fn play(
        &mut self,
        now: Instant,
        step: Move,
        script: &Script,
        around: &Surroundings,
        out: &mut Vec<ClientEffect>,
    ) {
        match step {
            Move::Begin(number) => {
                let Some(operation) = script.operations.get(number) else { return };
                self.stop_waiting();
                let Some(action) = self.action(operation, out) else { return };
                self.flight = Some(Flight {
                    operation: number,
                    key: operation.key,
                    action,
                    calls: Vec::new(),
                });
                self.send(now, operation, operation.to, operation.patience, around, out);
            }
            Move::Again(number, time) => {
                let Some(operation) = script.operations.get(number) else { return };
                let Some(again) = operation.again.get(time).filter(|_| self.flies(number)) else {
                    return;
                };
                self.send(now, operation, again.to, again.patience, around, out);
            }
            Move::Cancel(number) if self.flies(number) => {
                let flight = self.flight.take().into_iter();
                let calls = flight.flat_map(|flight| flight.calls);
                out.extend(calls.map(|(call, _)| ClientEffect::Cancel { call }));
            }
            Move::GiveUp(number) if self.flies(number) => self.stop_waiting(),
            Move::Cancel(_) | Move::GiveUp(_) => {}
        }
    }

    fn flies(&self, operation: usize) -> bool {
        self.flight.as_ref().is_some_and(|flight| flight.operation == operation)
    }

    /// A lock that is granted later is known by its token, and not believed in.
    fn stop_waiting(&mut self) {
        let Some(Flight { action: Action::Lock { id, .. }, calls, .. }) = self.flight.take() else {
            return;
        };
        if let Some(lock) = self.locks.iter().find(|lock| lock.chain == id.chain) {
            self.past.extend(calls.iter().map(|(call, _)| (*call, lock.name.clone())));
        }
    }

    fn send(
        &mut self,
        now: Instant,
        operation: &Operation,
        to: usize,
        patience: u64,
        around: &Surroundings,
        out: &mut Vec<ClientEffect>,
    ) {
        let Some(flight) = &mut self.flight else { return };
        let call = self.next_call;
        self.next_call += 1;
        flight.calls.push((call, now));
        let request = KeyRequest {
            key: around.keys[operation.key].clone(),
            patience: Span::from_micros(patience),
            action: flight.action.clone(),
        };
        out.push(ClientEffect::Send { call, to, key: operation.key, request });
    }

    /// What is asked; `None` if this client cannot ask it now.
    fn action(&mut self, operation: &Operation, out: &mut Vec<ClientEffect>) -> Option<Action> {
        match &operation.what {
            What::Lock { name, value, lease, delay, wait } => {
                let place = wide(self.number);
                let mut roll = self.dice.roll(Stream::Chain(operation.client), operation.at);
                let chain = (roll.bits(), roll.bits() ^ place);
                self.locks.retain(|lock| lock.name != *name);
                self.locks.push(Known {
                    name: name.clone(),
                    chain,
                    steps: 0,
                    token: None,
                    released: false,
                });
                Some(Action::Lock {
                    id: OpId { chain, step: 0 },
                    value: Bytes::from(value.as_str()),
                    meta: Bytes::from(chain.0.to_le_bytes().as_slice()),
                    lease: Span::from_micros(*lease),
                    delay: Span::from_micros(*delay),
                    wait: Span::from_micros(*wait),
                })
            }
            What::Extend { of, by, lease } => {
                let (id, owner) = self.next_step(of, by)?;
                Some(Action::Extend { id, owner, lease: Span::from_micros(*lease) })
            }
            What::Update { of, by, value } => {
                let (id, owner) = self.next_step(of, by)?;
                Some(Action::Update { id, owner, value: Bytes::from(value.as_str()), meta: None })
            }
            What::Release { of, by } => {
                let (id, owner) = self.next_step(of, by)?;
                let lock = self.locks.iter_mut().find(|lock| lock.name == *of)?;
                lock.released = true;
                if let Some(token) = lock.token {
                    self.released.push(token);
                    out.push(ClientEffect::Disbelieve { key: operation.key, token });
                }
                Some(Action::Release { id, owner })
            }
            What::Read => Some(Action::Read),
            What::WaitHeld => Some(Action::WaitHeld),
            What::WaitReleased => Some(Action::WaitReleased),
        }
    }

    /// Nothing by a token that nobody told.
    fn next_step(&mut self, of: &str, by: &By) -> Option<(OpId, Owner)> {
        let lock = self.locks.iter_mut().find(|lock| lock.name == of)?;
        let token = if by.token { Some(lock.token?) } else { None };
        lock.steps += 1;
        let id = OpId { chain: lock.chain, step: lock.steps };
        Some((id, Owner { value: by.value.as_deref().map(Bytes::from), token }))
    }

    fn answer(&mut self, call: u64, outcome: &Outcome, out: &mut Vec<ClientEffect>) {
        let flight = self.flight.as_ref();
        let sent = flight.and_then(|flight| flight.calls.iter().find(|sent| sent.0 == call));
        let Some((_, c0)) = sent.copied() else { return self.late(call, outcome) };
        match outcome {
            Outcome::Done(done) => self.done(c0, *done, out),
            // Another sending may still have an effect.
            Outcome::NotDone(_) | Outcome::Unknown => {}
            Outcome::Refused(_)
            | Outcome::Found(_)
            | Outcome::Woken(_)
            | Outcome::Founded(_)
            | Outcome::Configured { .. } => self.stop_waiting(),
        }
    }

    fn late(&mut self, call: u64, outcome: &Outcome) {
        let Outcome::Done(done) = outcome else { return };
        let Some((_, name)) = self.past.iter().find(|past| past.0 == call) else { return };
        if let Some(lock) = self.locks.iter_mut().find(|lock| lock.name == *name) {
            lock.token.get_or_insert(done.token);
        }
    }

    fn done(&mut self, c0: Instant, done: Done, out: &mut Vec<ClientEffect>) {
        let Some(Flight { key, action, .. }) = self.flight.take() else { return };
        let (id, lease) = match &action {
            Action::Lock { id, lease, .. } | Action::Extend { id, lease, .. } => (*id, *lease),
            Action::Update { .. }
            | Action::Release { .. }
            | Action::Read
            | Action::WaitHeld
            | Action::WaitReleased => return,
        };
        let Some(lock) = self.locks.iter_mut().find(|lock| lock.chain == id.chain) else { return };
        if lock.released || self.released.contains(&done.token) {
            return;
        }
        lock.token = Some(done.token);
        // A repeated answer gives no belief.
        let Some(valid) = done.valid_for else { return };
        let valid = if Rule::Belief.is_out() { valid.max(lease) } else { valid };
        out.push(ClientEffect::Believe { key, token: done.token, until: c0.after(valid) });
    }
}
