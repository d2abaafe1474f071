//! Judges of a finished history. They see true time, which nobody in the run does, and know nothing of the protocol.

pub mod exclusion;
pub mod linear;
pub mod once;
pub mod second;
pub mod tokens;

use crate::history::{History, Verdict};

/// The name of guarantee 1.
pub const EXCLUSION: &str = "mutual exclusion";

/// Whether a promise holds even where clocks drift beyond the bound and clients sleep through their leases: the order of
/// fencing tokens, and what needs no clock at all.
#[must_use]
pub fn holds_always(rule: &str) -> bool {
    [
        tokens::RULE,
        "one answer each",
        "answers in time",
        "the door",
        "the wire",
        "a panic",
        "an end",
    ]
    .contains(&rule)
}

/// What a judge found wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which promise was broken.
    pub rule: &'static str,
    /// How, in a sentence.
    pub story: String,
}

/// How much of a history is to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// Whether operations are to fit an order. Leases that end too early fit none, and where clocks do not keep to their
    /// bound nobody promised otherwise.
    pub orders: bool,
    /// Whether a second opinion is wanted where a key's history is short enough.
    pub second: bool,
}

/// How much the judges had to judge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// Pairs of beliefs.
    pub beliefs: u64,
    /// Acquisitions whose token was compared.
    pub tokens: u64,
    /// Sendings of an operation that had been sent before.
    pub repeats: u64,
    /// Locks of which two sendings acquired the key.
    pub again: u64,
    /// Operations that were put in order.
    pub orders: u64,
    /// Searches for an order that were given up.
    pub given_up: u64,
    /// Operations that the second checker put in order as well.
    pub second: u64,
}

/// Has all judges look at a history of so many keys.
pub fn all(history: &History, keys: usize, scope: Scope, found: &mut Vec<Violation>) -> Judged {
    let beliefs = exclusion::check(&history.beliefs, found);
    let mut judged = Judged { beliefs, ..Judged::default() };
    let mut by_key = vec![Vec::new(); keys];
    for (index, op) in history.ops.iter().enumerate() {
        if op.verdict != Verdict::Nothing {
            by_key[op.key].push(index);
        }
    }
    for of_key in &by_key {
        judged.tokens += tokens::check(&history.ops, of_key, found);
        let once = once::check(&history.ops, of_key, found);
        judged.repeats += once.repeats;
        judged.again += once.again;
        if !scope.orders {
            continue;
        }
        if scope.second {
            judged.second += second::check(&history.ops, of_key, found).unwrap_or(0);
        }
        match linear::check(&history.ops, of_key, found) {
            linear::Judgement::Fits(count) => judged.orders += count,
            linear::Judgement::Broken => {}
            linear::Judgement::GaveUp => judged.given_up += 1,
        }
    }
    judged
}

#[cfg(test)]
pub(crate) mod samples {
    //! Short ways to write histories by hand.

    use leasehold_core::{Bytes, OpId, Owner, Token};

    use crate::history::{Call, Op, Verdict};

    pub(crate) fn id(chain: u64, step: u32) -> OpId {
        OpId { chain: (chain, 0), step }
    }

    pub(crate) fn by(token: u64) -> Owner {
        Owner { value: None, token: Some(Token(token)) }
    }

    pub(crate) fn done(token: u64) -> Verdict {
        Verdict::Done { token: Token(token), repeated: false }
    }

    pub(crate) fn repeated(token: u64) -> Verdict {
        Verdict::Done { token: Token(token), repeated: true }
    }

    /// Held by the acquisition of `chain`.
    pub(crate) fn held(token: u64, chain: u64) -> Verdict {
        Verdict::Held { token: Token(token), value: Bytes::from("v"), meta: meta(chain) }
    }

    pub(crate) fn meta(chain: u64) -> Bytes {
        Bytes::from(chain.to_string())
    }

    pub(crate) fn lock(chain: u64) -> (OpId, Call) {
        (id(chain, 0), Call::Lock { value: Bytes::from("v"), meta: meta(chain) })
    }

    /// An operation sent at `from`, answered at `to` (never, if 0), whose lease cannot end before `bound`.
    pub(crate) fn op(from: u64, to: u64, what: (OpId, Call), verdict: Verdict, bound: u64) -> Op {
        Op {
            key: 0,
            client: 0,
            id: what.0,
            call: what.1,
            invoked: from,
            answered: (to > 0).then_some(to),
            verdict,
            delay: leasehold_core::Span::ZERO,
            local: None,
            bound,
            cancelled: false,
        }
    }
}
