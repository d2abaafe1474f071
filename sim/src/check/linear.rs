//! Guarantee 2: each key behaves as if its operations had happened one after the other, each at one moment between
//! its sending and its answer.
//!
//! The search of Wing and Gong (1993) with Lowe's memo (2017): take any operation that may come next, see whether
//! the register agrees, go on, go back. Three things are particular to leases:
//!
//! * **A lease may end by itself**, at any moment from its bound on: the end of its holder's belief. The end is taken
//!   as late as possible, when an operation needs the key free; earlier would never help.
//! * **An operation without an answer** took effect at one moment after its sending or never. Those that nobody could
//!   have noticed are left out beforehand, which keeps the search small.
//! * **Tokens order acquisitions**: one that is lower than one that was already placed cannot come next, and a higher one
//!   not before it. Nearly all dead ends are cut off by that.
//!
//! The state of a search is the register and which operations are placed: a prefix of those that must be placed, a
//! window behind it, and a set of those that may be. Of a state that led nowhere a hash of 128 bits is kept: memory for the
//! states themselves took longer to come by than the search.

use std::collections::HashSet;
use std::hash::BuildHasherDefault;

use leasehold_core::Token;

use super::Violation;
use crate::dice::{mix, wide};
use crate::history::{Call, Op, OpIndex, Verdict};

/// The name of guarantee 2.
pub const RULE: &str = "linearizability";

/// Steps after which a search is given up.
const BUDGET: u64 = 100_000;
/// The most operations that may or may not have taken effect.
const MAYBE: usize = 64;

/// How a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// So many operations fit an order.
    Fits(u64),
    /// No order fits.
    Broken,
    /// The search was given up.
    GaveUp,
}

/// Looks for an order of the operations `of_key` among `ops`.
pub fn check(ops: &[Op], of_key: &[OpIndex], found: &mut Vec<Violation>) -> Judgement {
    let mut search = Search::new(ops, of_key);
    if search.maybe.len() > MAYBE {
        return Judgement::GaveUp;
    }
    let start = Placed { prefix: 0, window: 0, maybe: 0, register: Register::FREE };
    let order = search.place(start);
    if search.given_up {
        return Judgement::GaveUp;
    }
    if order {
        return Judgement::Fits(u64::try_from(search.must.len()).unwrap_or(0));
    }
    found.push(search.violation());
    Judgement::Broken
}

/// What the register holds.
#[derive(Clone, Copy, Debug)]
struct Register {
    /// The places in `ops` of what acquired the key, set its value, and changed it last. `None`: free.
    held: Option<[u16; 3]>,
    /// The token of the ownership; zero while nobody has seen it.
    token: u64,
    /// The highest token so far.
    highest: u64,
    /// When the lease can end by itself.
    bound: u64,
}

impl Register {
    const FREE: Self = Self { held: None, token: 0, highest: 0, bound: 0 };
}

/// How far a search has come.
#[derive(Clone, Copy, Debug)]
struct Placed {
    prefix: usize,
    window: u128,
    maybe: u64,
    register: Register,
}

impl Placed {
    fn digest(&self) -> u128 {
        let Register { held, token, highest, bound } = self.register;
        let held = held.map_or(u64::MAX, |places| {
            places.into_iter().fold(0, |all, place| all << 16 | u64::from(place))
        });
        let half = |shift: u32| u64::try_from(self.window >> shift & u128::from(u64::MAX));
        let window = [half(0), half(64)].map(Result::unwrap_or_default);
        let parts =
            [wide(self.prefix), window[0], window[1], self.maybe, held, token, highest, bound];
        let [one, other] = parts.into_iter().fold([0, 1], |[one, other], part| {
            [mix(one ^ part), mix(other.rotate_left(23) ^ part)]
        });
        u128::from(one) << 64 | u128::from(other)
    }
}

/// For what is a hash already.
#[derive(Default)]
struct Quick(u64);

impl std::hash::Hasher for Quick {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        let half = bytes.first_chunk().copied().unwrap_or_default();
        self.0 = u64::from_le_bytes(half);
    }
}

struct Search<'a> {
    ops: &'a [Op],
    /// Those that have an answer, by the time of their sending.
    must: Vec<u16>,
    /// Of each of them and all that were sent later: the highest token after which none of these is too late.
    lowest: Vec<u64>,
    /// Those that may have taken effect.
    maybe: Vec<u16>,
    /// Where nothing led on.
    seen: HashSet<u128, BuildHasherDefault<Quick>>,
    steps: u64,
    given_up: bool,
    /// The furthest that any order came, for the report.
    furthest: usize,
}

impl<'a> Search<'a> {
    fn new(ops: &'a [Op], of_key: &[OpIndex]) -> Self {
        let mut must = Vec::new();
        let mut unknown = Vec::new();
        for &index in of_key {
            let (Ok(short), Some(op)) = (u16::try_from(index), ops.get(index)) else { continue };
            match op.verdict {
                Verdict::Nothing => {}
                Verdict::Unknown => unknown.push(short),
                Verdict::Done { .. } | Verdict::Held { .. } | Verdict::Free => must.push(short),
            }
        }
        must.sort_by_key(|i| ops[usize::from(*i)].invoked);
        let mut lowest: Vec<u64> = must.iter().map(|i| last_turn(&ops[usize::from(*i)])).collect();
        for place in (1..lowest.len()).rev() {
            lowest[place - 1] = lowest[place - 1].min(lowest[place]);
        }
        let noticed = Noticed::by(ops, &must);
        unknown.retain(|i| noticed.may_matter(&ops[usize::from(*i)]));
        Self {
            ops,
            must,
            lowest,
            maybe: unknown,
            seen: HashSet::default(),
            steps: 0,
            given_up: false,
            furthest: 0,
        }
    }

    fn op(&self, index: u16) -> &'a Op {
        &self.ops[usize::from(index)]
    }

    /// Whether the operations that are not placed yet can follow.
    fn place(&mut self, mut at: Placed) -> bool {
        while at.window & 1 == 1 {
            at.window >>= 1;
            at.prefix += 1;
        }
        self.furthest = self.furthest.max(at.prefix);
        if at.prefix == self.must.len() {
            return true;
        }
        self.steps += 1;
        if self.steps > BUDGET {
            self.given_up = true;
            return false;
        }
        if self.too_late(&at) || (!self.seen.is_empty() && self.seen.contains(&at.digest())) {
            return false;
        }
        let deadline = self.deadline(&at);
        for place in at.prefix..self.must.len() {
            let bit = place - at.prefix;
            let index = self.must[place];
            if self.op(index).invoked > deadline {
                break;
            }
            if bit >= 128 {
                self.given_up = true;
                break;
            }
            if at.window & (1 << bit) != 0 {
                continue;
            }
            for register in self.apply(&at, index, deadline).into_iter().flatten() {
                if self.place(Placed { window: at.window | 1 << bit, register, ..at }) {
                    return true;
                }
            }
        }
        for bit in 0..self.maybe.len() {
            let index = self.maybe[bit];
            if at.maybe & (1 << bit) == 0
                && self.op(index).invoked <= deadline
                && let [Some(register), _] = self.apply(&at, index, deadline)
                && self.place(Placed { maybe: at.maybe | 1 << bit, register, ..at })
            {
                return true;
            }
        }
        // Nothing leads back to where a search stands, so only what failed is ever met again.
        self.seen.insert(at.digest());
        false
    }

    /// Whether an operation that is not placed can only come before one that is: a token came in between.
    fn too_late(&self, at: &Placed) -> bool {
        let window = usize::try_from(128 - at.window.leading_zeros()).unwrap_or(128);
        let behind = self.lowest.get(at.prefix + window).copied().unwrap_or(u64::MAX);
        let skipped = self.must[at.prefix..].iter().take(window).enumerate();
        let skipped = skipped.filter(|(bit, _)| at.window & (1 << bit) == 0);
        let highest = at.register.highest;
        behind < highest || skipped.map(|(_, i)| last_turn(self.op(*i))).any(|last| last < highest)
    }

    /// The first answer among the operations that are not placed: what comes next comes before it.
    fn deadline(&self, at: &Placed) -> u64 {
        let mut first = u64::MAX;
        for (bit, &index) in self.must[at.prefix..].iter().enumerate() {
            let op = self.op(index);
            if op.invoked > first {
                break;
            }
            if bit >= 128 || at.window & (1 << bit) == 0 {
                first = first.min(op.answered.unwrap_or(u64::MAX));
            }
        }
        first
    }

    /// Whether a sending of `op`'s operation that took effect is placed.
    fn took_effect(&self, at: &Placed, op: &Op) -> bool {
        let effect = |index: u16| {
            let other = self.op(index);
            other.id == op.id && matches!(other.verdict, Verdict::Unknown | Verdict::Done { .. })
        };
        let behind = self.must[..at.prefix].iter().any(|i| effect(*i));
        let window = self.must[at.prefix..].iter().take(128).enumerate();
        let ahead = window.filter(|(bit, _)| at.window & (1 << bit) != 0).any(|(_, i)| effect(*i));
        let maybe = self.maybe.iter().enumerate();
        behind
            || ahead
            || maybe.filter(|(bit, _)| at.maybe & (1 << bit) != 0).any(|(_, i)| effect(*i))
    }

    /// What the register may hold after `index`, if that may come next, before `deadline`.
    fn apply(&self, at: &Placed, index: u16, deadline: u64) -> [Option<Register>; 2] {
        let op = self.op(index);
        let now = at.register;
        let one = match &op.verdict {
            Verdict::Nothing => None,
            Verdict::Held { token, value, meta } => self.apply_held(now, op, *token, value, meta),
            Verdict::Free => self.apply_free(now, op, deadline),
            Verdict::Done { token, repeated: true } => {
                // The node could not tell this sending's effect from another's.
                let effect = self.apply_effect(now, index, token.0, deadline);
                if !self.took_effect(at, op) {
                    return [effect, None];
                }
                // The lock whose ownership is the current one shows its token.
                let earlier = match now.held {
                    Some([acquired, ..]) if self.op(acquired).id == op.id => {
                        with_token(now, token.0)
                    }
                    _ => Some(now),
                };
                return [earlier, effect];
            }
            Verdict::Done { token, repeated: false } => {
                self.apply_effect(now, index, token.0, deadline)
            }
            Verdict::Unknown => self.apply_effect(now, index, 0, deadline),
        };
        [one, None]
    }

    fn apply_held(
        &self,
        now: Register,
        op: &Op,
        token: Token,
        value: &leasehold_core::Bytes,
        meta: &leasehold_core::Bytes,
    ) -> Option<Register> {
        let [acquired, valued, _] = now.held?;
        let as_seen = self.value(valued)? == value && self.meta(acquired)? == meta;
        let seen = with_token(now, token.0)?;
        // What the owner asks for is not refused to the owner.
        let refused = op.call.owner().is_none_or(|_| !self.owns(seen, op));
        (as_seen && refused).then_some(seen)
    }

    fn apply_free(&self, now: Register, op: &Op, deadline: u64) -> Option<Register> {
        let Some(owner) = op.call.owner() else { return freed(now, deadline) };
        // "Not held" may also mean: not held by that acquisition any more.
        match owner.token {
            Some(token) if now.held.is_some() && now.token != 0 && now.token != token.0 => {
                Some(now)
            }
            _ => freed(now, deadline),
        }
    }

    fn apply_effect(
        &self,
        now: Register,
        index: u16,
        token: u64,
        deadline: u64,
    ) -> Option<Register> {
        let op = self.op(index);
        if matches!(op.call, Call::Lock { .. }) {
            let free = freed(now, deadline)?;
            let unknown = token == 0;
            // Whoever asked and went away may have the key given back for them at any time.
            let doubtful =
                matches!(op.verdict, Verdict::Unknown | Verdict::Done { repeated: true, .. });
            let bound = if doubtful || op.cancelled { op.invoked } else { op.bound };
            return (unknown || token > free.highest).then_some(Register {
                held: Some([index; 3]),
                token,
                highest: free.highest.max(token),
                bound,
            });
        }
        let [acquired, valued, last] = now.held?;
        let last_id = self.op(last).id;
        if op.id == last_id || op.id.is_before(last_id) {
            return None;
        }
        let now = if token == 0 { now } else { with_token(now, token)? };
        if !self.owns(now, op) {
            return None;
        }
        let now = match op.call.owner().and_then(|owner| owner.token) {
            Some(owner) => with_token(now, owner.0)?,
            None => now,
        };
        match op.call {
            Call::Extend { .. } => Some(Register {
                held: Some([acquired, valued, index]),
                bound: now.bound.max(op.bound),
                ..now
            }),
            Call::Update { .. } => Some(Register { held: Some([acquired, index, index]), ..now }),
            Call::Release { .. } => Some(Register { held: None, token: 0, bound: 0, ..now }),
            Call::Lock { .. } | Call::Read => None,
        }
    }

    /// Whether the operation's owner may be the one who holds the key.
    fn owns(&self, now: Register, op: &Op) -> bool {
        let (Some([_, valued, _]), Some(owner)) = (now.held, op.call.owner()) else { return false };
        let value = owner.value.as_ref().is_none_or(|value| self.value(valued) == Some(value));
        value && owner.token.is_none_or(|token| now.token == 0 || now.token == token.0)
    }

    fn value(&self, index: u16) -> Option<&'a leasehold_core::Bytes> {
        match &self.op(index).call {
            Call::Lock { value, .. } | Call::Update { value, .. } => Some(value),
            Call::Extend { .. } | Call::Release { .. } | Call::Read => None,
        }
    }

    fn meta(&self, index: u16) -> Option<&'a leasehold_core::Bytes> {
        match &self.op(index).call {
            Call::Lock { meta, .. } => Some(meta),
            Call::Extend { .. } | Call::Update { .. } | Call::Release { .. } | Call::Read => None,
        }
    }

    fn violation(&self) -> Violation {
        let stuck: Vec<String> = self.must[self.furthest.saturating_sub(3)..]
            .iter()
            .take(7)
            .map(|i| {
                let op = self.op(*i);
                let answered = op.answered.unwrap_or(0);
                format!(
                    "[{}..{answered} c{} step {} {:?} -> {:?}]",
                    op.invoked, op.client, op.id.step, op.call, op.verdict
                )
            })
            .collect();
        let key = self.must.first().map_or(0, |i| self.op(*i).key);
        let story = format!(
            "no order fits the {} operations on k{key}; none gets past operation {}: {}",
            self.must.len(),
            self.furthest,
            stuck.join(" ")
        );
        Violation { rule: RULE, story }
    }
}

/// The highest token that may have been seen when this operation takes effect.
const fn last_turn(op: &Op) -> u64 {
    match (&op.call, &op.verdict) {
        (Call::Lock { .. }, Verdict::Done { token, repeated: false }) => token.0.saturating_sub(1),
        (_, Verdict::Done { token, repeated: false } | Verdict::Held { token, .. }) => token.0,
        // An earlier sending may have taken effect long ago.
        (_, Verdict::Done { repeated: true, .. })
        | (_, Verdict::Unknown | Verdict::Nothing | Verdict::Free) => u64::MAX,
    }
}

/// The register once it is free, if it is or its lease may end before `deadline`.
fn freed(now: Register, deadline: u64) -> Option<Register> {
    (now.held.is_none() || now.bound <= deadline).then_some(Register {
        held: None,
        token: 0,
        bound: 0,
        highest: now.highest,
    })
}

/// The register once it is known to be owned under `token`, if it may be.
fn with_token(now: Register, token: u64) -> Option<Register> {
    if now.token == token {
        return Some(now);
    }
    (now.token == 0 && token > now.highest).then_some(Register { token, highest: token, ..now })
}

/// What answers show of operations that have none.
struct Noticed<'a> {
    ops: &'a [Op],
    /// The operations that are known to have taken effect from an answer to another sending.
    repeated: Vec<leasehold_core::OpId>,
    /// Whether two sendings of one operation took effect: another operation came between them, and hid the first.
    twice: bool,
    /// Tokens of which no answered lock is known, with the description they were seen with.
    orphans: Vec<(Token, Option<&'a leasehold_core::Bytes>)>,
    must: &'a [u16],
}

impl<'a> Noticed<'a> {
    fn by(ops: &'a [Op], must: &'a [u16]) -> Self {
        let mut locks = Vec::new();
        let mut seen = Vec::new();
        let mut repeated = Vec::new();
        let mut effects = HashSet::new();
        let mut twice = false;
        for op in must.iter().map(|i| &ops[usize::from(*i)]) {
            match &op.verdict {
                Verdict::Done { token, repeated: again } => {
                    if *again {
                        repeated.push(op.id);
                    } else {
                        twice |= !effects.insert(op.id);
                    }
                    if !*again && matches!(op.call, Call::Lock { .. }) {
                        locks.push(*token);
                    } else {
                        seen.push((*token, None));
                    }
                }
                Verdict::Held { token, meta, .. } => seen.push((*token, Some(meta))),
                Verdict::Unknown | Verdict::Nothing | Verdict::Free => {}
            }
        }
        seen.retain(|(token, _)| !locks.contains(token));
        Self { ops, repeated, twice, orphans: seen, must }
    }

    /// Whether an order of the answered operations may need this one, which has no answer.
    fn may_matter(&self, op: &Op) -> bool {
        if self.repeated.contains(&op.id) || self.twice && !matches!(op.call, Call::Read) {
            return true;
        }
        match &op.call {
            Call::Lock { meta, .. } => {
                self.orphans.iter().any(|(_, seen)| seen.is_none_or(|seen| seen == meta))
            }
            Call::Update { value, .. } => {
                self.must.iter().map(|i| &self.ops[usize::from(*i)]).any(|other| {
                    let owner = other.call.owner().and_then(|owner| owner.value.as_ref());
                    let seen = match &other.verdict {
                        Verdict::Held { value, .. } => Some(value),
                        Verdict::Done { .. }
                        | Verdict::Free
                        | Verdict::Unknown
                        | Verdict::Nothing => None,
                    };
                    owner == Some(value) || seen == Some(value)
                })
            }
            Call::Release { .. } => true,
            Call::Extend { .. } | Call::Read => false,
        }
    }
}

#[cfg(test)]
#[path = "linear_tests.rs"]
mod tests;
