//! A client that obeys the protocol (section 6), and no more than that.
//!
//! A state machine behind one door, like the core: inputs and a reading of its own clock in, effects out. It does
//! one operation at a time. It reads its clock before it sends, believes until `c0 + valid_for`, keeps the old belief when
//! an extension fails, stops believing when it sends a release, sends an operation again only under the same id, and
//! once it has told somebody that it does not wait for a lock any more, never takes that lock for its own.

mod answers;

use leasehold_core::{
    Action, Bytes, ClusterId, Instant, Key, KeyRequest, NodeId, OpId, Outcome, Owner, Span, Token,
    hash,
};

use crate::dice::{Dice, Roll, Stream};
use crate::scenario::{Choice, Habits, MS};

/// What happened to a client.
#[derive(Clone, Debug)]
pub enum ClientInput {
    /// Its deadline passed.
    Tick,
    /// An answer to its sending `call`.
    Answer {
        /// The client's name for the sending.
        call: u64,
        /// The answer.
        outcome: Outcome,
    },
    /// The sending `call` never reached a node.
    Bounced {
        /// The client's name for the sending.
        call: u64,
    },
    /// No new operations from now on.
    Retire,
}

/// What a client does.
#[expect(
    clippy::large_enum_variant,
    reason = "most of them are requests, and none is kept for long"
)]
#[derive(Clone, Debug)]
pub enum ClientEffect {
    /// Send a request to a node.
    Send {
        /// The client's name for the sending.
        call: u64,
        /// The node's number.
        to: usize,
        /// The key's number.
        key: usize,
        /// What is asked.
        request: KeyRequest,
    },
    /// Tell the node that nobody waits for the answer to this sending.
    Cancel {
        /// The client's name for the sending.
        call: u64,
    },
    /// It believes from now on that it owns a key.
    Believe {
        /// The key's number.
        key: usize,
        /// The acquisition.
        token: Token,
        /// Until its own clock reads this.
        until: Instant,
    },
    /// It believes no more.
    Disbelieve {
        /// The key's number.
        key: usize,
        /// The acquisition.
        token: Token,
    },
}

/// What all clients of a run know.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The cluster.
    pub cluster: ClusterId,
    /// How many nodes there are.
    pub nodes: usize,
    /// Those that vote, as far as the operator says.
    pub voters: Vec<NodeId>,
    /// All nodes, as they are now.
    pub ids: Vec<NodeId>,
    /// The keys.
    pub keys: Vec<Key>,
}

/// What a client owns, or hopes to own.
#[derive(Clone, Debug)]
struct Session {
    key: usize,
    chain: (u64, u64),
    step: u32,
    token: Option<Token>,
    /// What the key holds; `None` after an update of unknown outcome.
    value: Option<Bytes>,
    until: Instant,
    /// It knows that it owns the key, but not for how long: extend first.
    extend_first: bool,
}

/// An operation under way.
#[derive(Clone, Debug)]
struct Flight {
    key: usize,
    action: Action,
    /// Its sendings: name, clock before sending, node.
    calls: Vec<(u64, Instant, usize)>,
    /// Sendings whose outcome may still be an effect.
    open: usize,
    /// When it is sent again, or given up.
    deadline: Instant,
}

/// From this draw of a hundred on an owner releases.
const RELEASES: u64 = 64;

/// One simulated client.
#[derive(Clone, Debug)]
pub struct Client {
    number: usize,
    habits: Habits,
    dice: Dice,
    decisions: u64,
    next_call: u64,
    begun: u64,
    /// Distinguishes values, so that an old release by value cannot hit a new acquisition.
    generation: u64,
    node: usize,
    session: Option<Session>,
    flight: Option<Flight>,
    /// Sendings of locks that were given up: name, key, chain.
    past: Vec<(u64, usize, (u64, u64))>,
    /// Those of them that were granted all the same: key, chain, token.
    strays: Vec<(usize, (u64, u64), Token)>,
    /// Ownerships it has given up: whatever becomes of that, it never believes in them again.
    released: Vec<Token>,
    /// A key that will be free soon, as far as was said.
    wanted: Option<usize>,
    wake: Option<Instant>,
    retired: bool,
}

impl Client {
    /// Client number `number`, which begins at `now`.
    #[must_use]
    pub fn new(number: usize, habits: Habits, dice: Dice, nodes: usize, now: Instant) -> Self {
        let mut roll = dice.roll(Stream::Client(number), u64::MAX);
        let wake = now.after(Span::from_micros(roll.below(habits.pause)));
        Self {
            number,
            habits,
            dice,
            decisions: 0,
            next_call: 0,
            begun: 0,
            generation: 0,
            node: roll.index(nodes),
            session: None,
            flight: None,
            past: Vec::new(),
            strays: Vec::new(),
            released: Vec::new(),
            wanted: None,
            wake: Some(wake),
            retired: false,
        }
    }

    /// When to hand in [`ClientInput::Tick`].
    #[must_use]
    pub const fn deadline(&self) -> Option<Instant> {
        self.wake
    }

    /// Whether it waits for an answer.
    #[must_use]
    pub const fn waits(&self) -> bool {
        self.flight.is_some()
    }

    /// The process dies and another takes its place, which remembers nothing. Returns the sendings that were open.
    pub fn vanish(&mut self, now: Instant) -> Vec<u64> {
        let open = self.flight.take().map(|flight| flight.calls).unwrap_or_default();
        self.session = None;
        self.strays.clear();
        self.past.clear();
        self.generation += 1;
        self.rest(now);
        open.into_iter().map(|(call, ..)| call).collect()
    }

    /// Takes one input, and appends to `out` what the client does about it.
    pub fn handle(
        &mut self,
        now: Instant,
        input: ClientInput,
        around: &Surroundings,
        out: &mut Vec<ClientEffect>,
    ) {
        match input {
            ClientInput::Tick => {
                if self.wake.is_none_or(|wake| now < wake) {
                    return;
                }
                if self.flight.is_some() {
                    self.take_too_long(now, around, out);
                } else {
                    self.decide(now, around, out);
                }
            }
            ClientInput::Answer { call, outcome } => self.answer(now, call, outcome, around, out),
            ClientInput::Bounced { call } => {
                if self.flight.as_ref().is_some_and(|f| f.calls.iter().any(|c| c.0 == call)) {
                    self.node = self.roll().index(around.nodes);
                    self.try_again_or_end(now, false, around, out);
                }
            }
            ClientInput::Retire => {
                self.retired = true;
            }
        }
    }

    fn roll(&mut self) -> Roll {
        self.decisions += 1;
        self.dice.roll(Stream::Client(self.number), self.decisions)
    }

    /// Does nothing for a while.
    fn rest(&mut self, now: Instant) {
        let mut roll = self.roll();
        let pause = match roll.below(8) {
            0 => 1,
            _ => roll.magnitude((self.habits.pause / 50).max(20), self.habits.pause),
        };
        self.wake = Some(now.after(Span::from_micros(pause)));
    }

    fn value(&self) -> Bytes {
        if self.habits.shared {
            Bytes::from("shared")
        } else {
            Bytes::from(format!("c{}.{}", self.number, self.generation))
        }
    }

    fn decide(&mut self, now: Instant, around: &Surroundings, out: &mut Vec<ClientEffect>) {
        self.wake = None;
        if self.begun >= self.habits.operations || self.retired {
            return;
        }
        if let Some(session) = self.session.clone() {
            return self.decide_as_owner(now, session, around, out);
        }
        let mut roll = self.roll();
        if !self.strays.is_empty() && roll.one_in(2) {
            let (key, chain, token) = self.strays.swap_remove(0);
            let owner = Owner { value: None, token: Some(token) };
            let action = Action::Release { id: OpId { chain, step: 1 }, owner };
            return self.begin(now, key, action, around, out);
        }
        // Two of three times the first key, where the others are, too.
        let any = if roll.one_in(3) { roll.index(around.keys.len()) } else { 0 };
        let key = self.wanted.take().unwrap_or(any);
        let action = match roll.below(100) {
            0..=5 if self.habits.waits > 0 => Action::WaitHeld,
            6..=11 if self.habits.waits > 0 => Action::WaitReleased,
            0..=81 => self.draw_lock(&mut roll),
            _ => Action::Read,
        };
        self.begin(now, key, action, around, out);
    }

    fn draw_lease(&self, roll: &mut Roll) -> Span {
        let low = leasehold_core::MIN_LEASE.as_micros();
        let drawn = roll.magnitude(low, self.habits.lease).max(low);
        Span::from_micros(if self.habits.longest { self.habits.lease } else { drawn })
    }

    fn draw_lock(&self, roll: &mut Roll) -> Action {
        let chain = (roll.bits(), roll.bits());
        let delay = if roll.one_in(3) { self.habits.delay } else { 0 };
        Action::Lock {
            id: OpId { chain, step: 0 },
            value: self.value(),
            meta: Bytes::from(chain.0.to_le_bytes().as_slice()),
            lease: self.draw_lease(roll),
            delay: Span::from_micros(delay),
            wait: self.draw_wait(roll),
        }
    }

    /// How long to queue for a key, if at all.
    fn draw_wait(&self, roll: &mut Roll) -> Span {
        let wait = roll.magnitude(MS, self.habits.waits);
        let waits = self.habits.waits > 0 && (self.habits.brisk || roll.one_in(2));
        Span::from_micros(if waits { wait } else { 0 })
    }

    fn decide_as_owner(
        &mut self,
        now: Instant,
        mut session: Session,
        around: &Surroundings,
        out: &mut Vec<ClientEffect>,
    ) {
        let mut roll = self.roll();
        let what = if session.extend_first {
            0
        } else if self.habits.brisk && roll.one_in(2) {
            RELEASES
        } else {
            roll.below(100)
        };
        session.step += 1;
        let id = OpId { chain: session.chain, step: session.step };
        let owner = self.draw_owner(&mut roll, &session, session.extend_first);
        let key = session.key;
        let action = match what {
            0..=41 => Action::Extend { id, owner, lease: self.draw_lease(&mut roll) },
            42..=53 => {
                let name = format!("c{}u{}", self.number, self.decisions);
                Action::Update { id, owner, value: Bytes::from(name), meta: None }
            }
            54..=63 => Action::Read,
            RELEASES..=91 => Action::Release { id, owner },
            _ => {
                // Walks away and lets the lease run out.
                self.session = None;
                return self.rest(now);
            }
        };
        if let Action::Release { owner, .. } = &action {
            if let Some(token) = session.token {
                self.released.push(token);
                out.push(ClientEffect::Disbelieve { key, token });
            }
            if owner.token.is_none() {
                self.generation += 1;
            }
            self.session = None;
        } else {
            self.session = Some(session);
        }
        self.begin(now, key, action, around, out);
    }

    /// By token, by value, or both. A shared value names nobody in particular.
    fn draw_owner(&self, roll: &mut Roll, session: &Session, by_token: bool) -> Owner {
        let value = session.value.clone();
        match (roll.below(4), session.token, value) {
            (_, None, value) => Owner { value, token: None },
            (0, Some(_), Some(value)) if !self.habits.shared && !by_token => {
                Owner { value: Some(value), token: None }
            }
            (1, token, Some(value)) => Owner { value: Some(value), token },
            (_, token, _) => Owner { value: None, token },
        }
    }

    fn begin(
        &mut self,
        now: Instant,
        key: usize,
        action: Action,
        around: &Surroundings,
        out: &mut Vec<ClientEffect>,
    ) {
        self.begun += 1;
        self.flight =
            Some(Flight { key, action, calls: Vec::new(), open: 0, deadline: Instant::default() });
        self.send(now, around, out);
    }

    /// Sends the operation under way, to the node of the client's choice.
    fn send(&mut self, now: Instant, around: &Surroundings, out: &mut Vec<ClientEffect>) {
        let mut roll = self.roll();
        let Some(flight) = &mut self.flight else { return };
        let key = &around.keys[flight.key];
        let home = hash::home(around.cluster, around.voters.iter().copied(), key);
        let home = home.and_then(|home| around.ids.iter().position(|node| *node == home));
        let to = match self.habits.choice {
            Choice::Home if flight.calls.is_empty() => home.unwrap_or(self.node),
            Choice::Any => roll.index(around.nodes),
            Choice::Sticky | Choice::Home => self.node,
        };
        let wait = match &flight.action {
            Action::Lock { wait, .. } => wait.as_micros(),
            Action::Extend { .. }
            | Action::Update { .. }
            | Action::Release { .. }
            | Action::Read
            | Action::WaitHeld
            | Action::WaitReleased => 0,
        };
        let patience = wait + roll.magnitude(20 * MS, self.habits.patience);
        let call = self.next_call;
        self.next_call += 1;
        flight.calls.push((call, now, to));
        flight.open += 1;
        flight.deadline = now.after(Span::from_micros(patience + roll.below(patience)));
        self.wake = Some(flight.deadline);
        let request = KeyRequest {
            key: key.clone(),
            patience: Span::from_micros(patience),
            action: flight.action.clone(),
        };
        out.push(ClientEffect::Send { call, to, key: flight.key, request });
    }
}
