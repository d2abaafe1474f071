//! Locks that were granted for nobody: a node that was slow, and beside which another one had been asked, did late what it was asked.
//!
//! The protocol allows that (to it each sending is an operation of its own), and nobody believes in such a grant. But the client
//! is told of it and gives it back at once, or its node does if the client is gone. So it is seen for a moment at most, while
//! nothing else is wrong; if it stood until its lease ends, the key would be held for nobody.

use leasehold_core::{Bytes, Span};
use leasehold_sim::check::Violation;
use leasehold_sim::history::{Call, Op, Verdict};

/// The promise.
pub const RULE: &str = "given back";

/// A grant may be seen for so long, beside the time in which something else was wrong.
const MOMENT: Span = Span::from_secs(1);

/// A grant for nobody, as others saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again {
    /// The lock that was granted, by its place among the operations of its key.
    pub lock: usize,
    /// The token under which it was granted for nobody.
    pub token: u64,
    /// Microseconds for which it certainly stood while nothing was wrong.
    pub stood: u64,
}

/// The locks among these operations, all of one key, that were answered and must have been granted another time, too:
/// somebody saw a token that no answer to a lock has. `troubled`: when something was wrong, from when until when.
#[must_use]
pub fn find(ops: &[Op], troubled: &[(u64, u64)]) -> Vec<Again> {
    let mut again = Vec::new();
    for (token, seen) in strangers(ops) {
        for (lock, _) in ops.iter().enumerate().filter(|(_, op)| may_be(op, &seen)) {
            // It stood from when it had been seen first to when somebody asked who saw it last.
            let from = seen.iter().filter_map(|op| op.answered).min().unwrap_or(u64::MAX);
            let until = seen.iter().map(|op| op.invoked).max().unwrap_or(0);
            again.push(Again { lock, token, stood: undisturbed(from, until, troubled) });
        }
    }
    again
}

/// What is wrong with these.
pub fn check(ops: &[Op], again: &[Again], found: &mut Vec<Violation>) {
    for late in again.iter().filter(|late| late.stood > MOMENT.as_micros()) {
        let op = &ops[late.lock];
        let story = format!(
            "the lock of c{} asked for at {} µs was granted a second time, under token {}, and that stood for {} µs",
            op.client, op.invoked, late.token, late.stood
        );
        found.push(Violation { rule: RULE, story });
    }
}

/// Tokens that no lock was answered with, each with the answers that show it.
fn strangers(ops: &[Op]) -> Vec<(u64, Vec<&Op>)> {
    let granted = |token: u64| {
        ops.iter().any(|op| {
            matches!((&op.call, &op.verdict), (Call::Lock { .. }, Verdict::Done { token: of, .. })
                if of.0 == token)
        })
    };
    let mut strangers: Vec<(u64, Vec<&Op>)> = Vec::new();
    for op in ops {
        let (Verdict::Held { token, .. } | Verdict::Done { token, .. }) = &op.verdict else {
            continue;
        };
        if let Some((_, seen)) = strangers.iter_mut().find(|(of, _)| *of == token.0) {
            seen.push(op);
        } else if !granted(token.0) {
            strangers.push((token.0, vec![op]));
        }
    }
    strangers
}

/// Whether this lock, which was answered, may have been granted once more, to be seen so.
fn may_be(op: &Op, seen: &[&Op]) -> bool {
    let Call::Lock { meta, .. } = &op.call else { return false };
    let answered = matches!(op.verdict, Verdict::Done { .. } | Verdict::Held { .. });
    fn shown<'a>(of: &&'a Op) -> Option<&'a Bytes> {
        match &of.verdict {
            Verdict::Held { meta, .. } => Some(meta),
            Verdict::Done { .. } | Verdict::Free | Verdict::Nothing | Verdict::Unknown => None,
        }
    }
    // Some answers show a token only. If all do, who saw it is who had asked for it.
    let mut shown = seen.iter().filter_map(shown).peekable();
    match shown.peek() {
        Some(_) => answered && shown.all(|shown| shown == meta),
        None => answered && seen.iter().any(|of| of.client == op.client),
    }
}

/// How much of this time nothing was wrong in.
fn undisturbed(from: u64, until: u64, troubled: &[(u64, u64)]) -> u64 {
    let mut spans: Vec<(u64, u64)> = troubled.to_vec();
    spans.sort_unstable();
    let (mut at, mut calm) = (from, 0);
    for (began, over) in spans {
        if at >= until {
            break;
        }
        calm += began.min(until).saturating_sub(at);
        at = at.max(over);
    }
    calm + until.saturating_sub(at)
}

#[cfg(test)]
mod tests {
    use super::undisturbed;

    #[test]
    fn trouble_does_not_count() {
        assert_eq!(undisturbed(10, 50, &[]), 40);
        assert_eq!(undisturbed(10, 50, &[(0, 20), (15, 25), (40, 45)]), 20);
        assert_eq!(undisturbed(10, 50, &[(30, 90), (60, 70)]), 20);
        assert_eq!(undisturbed(10, 50, &[(0, 90)]), 0);
        assert_eq!(undisturbed(50, 10, &[(0, 5)]), 0);
    }
}
