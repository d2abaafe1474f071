//! Nothing applies twice (protocol, section 5.2): two sendings of one lock are not both answered as the one that took
//! effect.
//!
//! Only locks are judged here. What the masters remember of the other operations is the last one, so that one of another
//! chain may come between two sendings; the search for an order knows which did (`linear`).
//!
//! A lock whose ownership has ended and was forgotten may be acquired once more by a sending that comes very late:
//! then the tokens differ, and so it is an acquisition of its own. It is counted, not condemned.

use super::Violation;
use crate::history::{Call, Op, OpIndex, Verdict};

/// What was seen of operations that were sent more than once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// Sendings of an operation that had been sent before, and were answered.
    pub repeats: u64,
    /// Locks of which two sendings acquired the key, one after the other.
    pub again: u64,
}

/// Looks at the sendings of one key.
pub fn check(ops: &[Op], of_key: &[OpIndex], found: &mut Vec<Violation>) -> Judged {
    let mut done: Vec<&Op> = of_key
        .iter()
        .filter_map(|i| ops.get(*i))
        .filter(|op| matches!(op.verdict, Verdict::Done { .. }))
        .filter(|op| matches!(op.call, Call::Lock { .. }))
        .collect();
    done.sort_by_key(|op| (op.id, matches!(op.verdict, Verdict::Done { repeated: true, .. })));
    let mut judged = Judged::default();
    for pair in done.windows(2) {
        let [first, second] = pair else { continue };
        if first.id != second.id {
            continue;
        }
        judged.repeats += 1;
        let (
            Verdict::Done { token: one, repeated: false },
            Verdict::Done { token: other, repeated: false },
        ) = (&first.verdict, &second.verdict)
        else {
            continue;
        };
        if one == other {
            let story = format!(
                "operation {:?} on token {one} was answered at {:?} and {:?} µs, both times as if it had just taken effect",
                first.id, first.answered, second.answered
            );
            found.push(Violation { rule: "nothing applies twice", story });
        } else {
            judged.again += 1;
        }
    }
    judged
}

#[cfg(test)]
mod tests {
    use super::super::samples::{done, lock, op, repeated};
    use super::*;

    fn judge(ops: &[Op]) -> (usize, Judged) {
        let mut found = Vec::new();
        let all: Vec<_> = (0..ops.len()).collect();
        let judged = check(ops, &all, &mut found);
        (found.len(), judged)
    }

    #[test]
    fn a_repeat_that_says_so_is_fine() {
        let ops = [op(1, 2, lock(1), done(5), 9), op(3, 4, lock(1), repeated(5), 9)];
        assert_eq!(judge(&ops), (0, Judged { repeats: 1, again: 0 }));
    }

    #[test]
    fn a_repeat_that_does_not_is_found() {
        let ops = [op(1, 2, lock(1), done(5), 9), op(3, 4, lock(1), done(5), 9)];
        assert_eq!(judge(&ops).0, 1);
        let ops = [op(1, 2, lock(1), done(5), 9), op(3, 4, lock(1), done(6), 9)];
        assert_eq!(judge(&ops), (0, Judged { repeats: 1, again: 1 }));
    }
}
