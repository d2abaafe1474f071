//! A second opinion on guarantee 2: a sample of short histories is also judged by a checker that we did not write.
//!
//! `todc-utils` has the search of Wing and Gong over any sequential specification, so what is ours here is the specification
//! alone, and it is told in other words than in `linear`: nothing in it knows of deadlines. That a lease may
//! end by itself is an operation of its own, sent when the lease can end at the earliest and answered when somebody
//! has seen a later ownership; if the lease is not there any more it changes nothing. An operation without an answer is
//! one that is answered when all is over, and that changes something if it can.
//!
//! Histories in which an answer is marked `repeated` are left out: such an answer does not say which sending took effect.

use leasehold_core::Bytes;
use todc_utils::linearizability::WGLChecker;
use todc_utils::linearizability::history::{Action, History};
use todc_utils::specifications::Specification;

use super::Violation;
use crate::history::{Call, Op, OpIndex, Verdict};

/// Longer histories are left to our own checker: the other one keeps no budget.
const LONGEST: usize = 40;
/// More operations without an answer than this make it slow.
const OPEN: usize = 3;

/// As many under way at one time can be put into too many orders.
const WIDEST: usize = 10;

/// Judges the sendings of one key. `None`: this history is not for the second checker.
pub fn check(ops: &[Op], of_key: &[OpIndex], found: &mut Vec<Violation>) -> Option<u64> {
    let of_key: Vec<&Op> = of_key.iter().filter_map(|index| ops.get(*index)).collect();
    let repeated = |op: &&Op| matches!(op.verdict, Verdict::Done { repeated: true, .. });
    let open = of_key.iter().filter(|op| op.verdict == Verdict::Unknown).count();
    if of_key.is_empty() || of_key.len() > LONGEST || open > OPEN || of_key.iter().any(repeated) {
        return None;
    }
    let judged = u64::try_from(of_key.len()).unwrap_or(0);
    let actions = actions(&of_key);
    if width(&actions) > WIDEST {
        return None;
    }
    if !WGLChecker::<Register>::is_linearizable(History::from_actions(actions)) {
        let key = of_key.first().map_or(0, |op| op.key);
        let story =
            format!("the second checker finds no order for the {judged} operations on k{key}");
        found.push(Violation { rule: super::linear::RULE, story });
    }
    Some(judged)
}

/// An operation as the specification knows it.
#[expect(clippy::large_enum_variant, reason = "nearly all are sendings")]
#[derive(Clone, Debug)]
enum Step {
    /// A sending, and until when the lease that it starts or prolongs cannot end by itself.
    Sent { op: Op, bound: u64 },
    /// The lease that can end from this time on ends, if nothing has prolonged it.
    End { bound: u64 },
}

/// How many are under way at one time, at most.
fn width(actions: &[(usize, Action<Step>)]) -> usize {
    let (mut open, mut widest) = (0, 0);
    for (_, action) in actions {
        match action {
            Action::Call(_) => open += 1,
            Action::Response(_) => open -= 1,
        }
        widest = widest.max(open);
    }
    widest
}

/// What happened when: calls before answers where both are at one time, because that allows more orders.
fn actions(of_key: &[&Op]) -> Vec<(usize, Action<Step>)> {
    let mut timed = Vec::new();
    let mut process = 0;
    let mut add = |from: u64, until: u64, step: &Step| {
        timed.push(((from, 0, process), Action::Call(step.clone())));
        timed.push(((until, 1, process), Action::Response(step.clone())));
        process += 1;
    };
    for op in of_key {
        let doubtful = op.verdict == Verdict::Unknown || op.cancelled;
        let lock = matches!(op.call, Call::Lock { .. });
        // Whoever asked and went away may have the key given back for them at any time.
        let bound = if doubtful && lock { op.invoked } else { op.bound };
        let over = op.answered.filter(|_| op.verdict != Verdict::Unknown).unwrap_or(u64::MAX);
        add(op.invoked, over, &Step::Sent { op: (*op).clone(), bound });
        if lock || matches!(op.call, Call::Extend { .. }) {
            add(bound, superseded(of_key, op).max(bound), &Step::End { bound });
        }
    }
    timed.sort_by_key(|(when, _)| *when);
    timed.into_iter().map(|((_, _, process), action)| (process, action)).collect()
}

/// When it was first seen that the ownership which `op` was about is over, or later than that.
fn superseded(of_key: &[&Op], op: &Op) -> u64 {
    let Some(token) = token_of(op) else { return u64::MAX };
    let later = |other: &&&Op| token_of(other).is_some_and(|other| other > token);
    of_key.iter().filter(later).filter_map(|op| op.answered).min().unwrap_or(u64::MAX)
}

const fn token_of(op: &Op) -> Option<u64> {
    match &op.verdict {
        Verdict::Done { token, .. } | Verdict::Held { token, .. } => Some(token.0),
        Verdict::Unknown | Verdict::Nothing | Verdict::Free => None,
    }
}

/// A key: who holds it, and what was seen of tokens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Held {
    value: Bytes,
    meta: Bytes,
    /// Zero while nobody has seen it.
    token: u64,
    bound: u64,
    /// The last operation, by chain and step.
    last: ((u64, u64), u32),
}

/// The sequential specification: the highest token so far, and the holder.
struct Register;

type State = (u64, Option<Held>);

impl Specification for Register {
    type State = State;
    type Operation = Step;

    fn init() -> State {
        (0, None)
    }

    fn apply(step: &Step, state: &State) -> (bool, State) {
        match step {
            Step::End { bound } => match &state.1 {
                Some(held) if held.bound == *bound => (true, (state.0, None)),
                Some(_) | None => (true, state.clone()),
            },
            Step::Sent { op, bound } => {
                let after = match &op.verdict {
                    Verdict::Unknown => {
                        return (
                            true,
                            effect(op, *bound, 0, state).unwrap_or_else(|| state.clone()),
                        );
                    }
                    Verdict::Nothing => Some(state.clone()),
                    Verdict::Done { token, .. } => effect(op, *bound, token.0, state),
                    Verdict::Held { token, value, meta } => {
                        let seen = seen(state, token.0).filter(|(_, held)| {
                            held.as_ref()
                                .is_some_and(|held| held.value == *value && held.meta == *meta)
                        });
                        seen.filter(|(_, held)| op.call.owner().is_none() || !owns(op, held))
                    }
                    Verdict::Free => free(op, state).then(|| state.clone()),
                };
                after.map_or_else(|| (false, state.clone()), |after| (true, after))
            }
        }
    }
}

/// Whether a sending may find the key free, or held under another token than the one it names.
fn free(op: &Op, (_, held): &State) -> bool {
    let Some(held) = held else { return true };
    let named = op.call.owner().and_then(|owner| owner.token);
    named.is_some_and(|named| held.token != 0 && held.token != named.0)
}

fn owns(op: &Op, held: &Option<Held>) -> bool {
    let (Some(owner), Some(held)) = (op.call.owner(), held) else { return false };
    owner.value.as_ref().is_none_or(|value| held.value == *value)
        && owner.token.is_none_or(|token| held.token == 0 || held.token == token.0)
}

/// The state once it is known that the key is held under `token`, if that may be.
fn seen((highest, held): &State, token: u64) -> Option<State> {
    let held = held.as_ref()?;
    if held.token == token || token == 0 {
        return Some((*highest, Some(held.clone())));
    }
    (held.token == 0 && token > *highest).then(|| (token, Some(Held { token, ..held.clone() })))
}

/// The state after `op` took effect, if it can.
fn effect(op: &Op, bound: u64, token: u64, state: &State) -> Option<State> {
    let last = (op.id.chain, op.id.step);
    if let Call::Lock { value, meta } = &op.call {
        let (highest, None) = state else { return None };
        let (value, meta) = (value.clone(), meta.clone());
        let held = Held { value, meta, token, bound, last };
        return (token == 0 || token > *highest).then(|| (token.max(*highest), Some(held)));
    }
    let state = seen(state, token)?;
    let named = op.call.owner().and_then(|owner| owner.token).map_or(0, |token| token.0);
    if !owns(op, &state.1) {
        return None;
    }
    let (highest, held) = seen(&state, named)?;
    let held = held.filter(|held| held.last.0 != last.0 || held.last.1 < last.1)?;
    match &op.call {
        Call::Extend { .. } => {
            Some((highest, Some(Held { bound: held.bound.max(bound), last, ..held })))
        }
        Call::Update { value, .. } => {
            Some((highest, Some(Held { value: value.clone(), last, ..held })))
        }
        Call::Release { .. } => Some((highest, None)),
        Call::Lock { .. } | Call::Read => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{by, done, held, id, lock, op};
    use super::*;

    fn bad(ops: &[Op]) -> usize {
        let mut found = Vec::new();
        let all: Vec<_> = (0..ops.len()).collect();
        assert!(check(ops, &all, &mut found).is_some(), "it was judged");
        found.len()
    }

    fn read() -> (leasehold_core::OpId, Call) {
        (leasehold_core::OpId::default(), Call::Read)
    }

    #[test]
    fn right_histories_are_fine() {
        let release = (id(1, 1), Call::Release { owner: by(5) });
        assert_eq!(
            bad(&[
                op(1, 2, lock(1), done(5), 100),
                op(3, 4, lock(2), held(5, 1), 0),
                op(5, 6, release, done(5), 0),
                op(7, 8, read(), Verdict::Free, 0),
                op(9, 10, lock(2), done(8), 100),
            ]),
            0
        );
        // The lease ran out, or was prolonged until then.
        assert_eq!(bad(&[op(1, 2, lock(1), done(5), 7), op(8, 9, lock(2), done(6), 20)]), 0);
        let extend = (id(1, 1), Call::Extend { owner: by(5) });
        let prolonged = [
            op(1, 2, lock(1), done(5), 7),
            op(3, 4, extend, done(5), 12),
            op(13, 14, lock(2), done(6), 20),
        ];
        assert_eq!(bad(&prolonged), 0);
        // A lock without an answer, which somebody then saw.
        let open = [op(1, 0, lock(1), Verdict::Unknown, 9), op(3, 4, read(), held(5, 1), 0)];
        assert_eq!(bad(&open), 0);
    }

    #[test]
    fn wrong_histories_are_found() {
        // Two owners at once.
        assert_eq!(bad(&[op(1, 2, lock(1), done(5), 50), op(8, 9, lock(2), done(6), 60)]), 1);
        // An extension was forgotten.
        let extend = (id(1, 1), Call::Extend { owner: by(5) });
        let forgotten = [
            op(1, 2, lock(1), done(5), 7),
            op(3, 4, extend, done(5), 40),
            op(13, 14, lock(2), done(6), 50),
        ];
        assert_eq!(bad(&forgotten), 1);
        // A stale read, and a read of what nobody wrote.
        let stale = [op(1, 2, lock(1), done(5), 90), op(3, 4, read(), Verdict::Free, 0)];
        assert_eq!(bad(&stale), 1);
        assert_eq!(bad(&[op(3, 4, read(), held(5, 1), 0)]), 1);
        // A token that does not grow.
        assert_eq!(bad(&[op(1, 2, lock(1), done(5), 3), op(8, 9, lock(2), done(4), 60)]), 1);
    }
}
