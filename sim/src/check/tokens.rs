//! Guarantee 3: each acquisition of a key has a greater token than all its earlier ones.
//!
//! Earlier in real time: an acquisition is compared with every token that had been seen, by anybody, before it was
//! asked for. That needs no belief and no clock, so it holds out of contract as well.

use leasehold_core::Token;

use super::Violation;
use crate::history::{Call, Op, OpIndex, Verdict};

/// The name of guarantee 3.
pub const RULE: &str = "token order";

/// Compares the acquisitions among `ops`, all of one key, and returns how many it judged.
pub fn check(ops: &[Op], of_key: &[OpIndex], found: &mut Vec<Violation>) -> u64 {
    // When which token was seen, and when which acquisition was asked for.
    let mut seen: Vec<(u64, Token)> = Vec::new();
    let mut acquired: Vec<(u64, Token)> = Vec::new();
    for op in of_key.iter().filter_map(|i| ops.get(*i)) {
        let Some(answered) = op.answered else { continue };
        match (&op.call, &op.verdict) {
            (Call::Lock { .. }, Verdict::Done { token, repeated: false }) => {
                seen.push((answered, *token));
                acquired.push((op.invoked, *token));
            }
            (_, Verdict::Done { token, .. } | Verdict::Held { token, .. }) => {
                seen.push((answered, *token));
            }
            (_, Verdict::Unknown | Verdict::Nothing | Verdict::Free) => {}
        }
    }
    seen.sort_unstable();
    acquired.sort_unstable();
    let mut seen = seen.into_iter().peekable();
    let mut highest = Token(0);
    let mut judged = 0;
    for (invoked, token) in acquired {
        while let Some((_, earlier)) = seen.next_if(|(answered, _)| *answered < invoked) {
            highest = highest.max(earlier);
        }
        judged += 1;
        if token <= highest {
            let story = format!(
                "an acquisition asked for at {invoked} µs got token {token}, though {highest} had been seen before"
            );
            found.push(Violation { rule: RULE, story });
        }
    }
    judged
}

#[cfg(test)]
mod tests {
    use super::super::samples::{by, done, held, id, lock, op};
    use super::*;

    fn bad(ops: &[Op]) -> usize {
        let mut found = Vec::new();
        let all: Vec<_> = (0..ops.len()).collect();
        check(ops, &all, &mut found);
        found.len()
    }

    #[test]
    fn growing_tokens_are_fine() {
        assert_eq!(bad(&[op(1, 2, lock(1), done(5), 9), op(3, 4, lock(2), done(6), 9)]), 0);
        // Under way at the same time, they may come out either way.
        assert_eq!(bad(&[op(1, 4, lock(1), done(6), 9), op(3, 5, lock(2), done(5), 9)]), 0);
    }

    #[test]
    fn a_smaller_token_is_found() {
        assert_eq!(bad(&[op(1, 2, lock(1), done(5), 9), op(3, 4, lock(2), done(5), 9)]), 1);
        assert_eq!(bad(&[op(1, 2, lock(1), held(7, 3), 9), op(3, 4, lock(2), done(6), 9)]), 1);
        let release = (id(3, 1), Call::Release { owner: by(7) });
        assert_eq!(bad(&[op(1, 2, release, done(7), 9), op(3, 4, lock(2), done(6), 9)]), 1);
    }
}
