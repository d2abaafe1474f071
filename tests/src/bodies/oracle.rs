//! What must never be seen from outside, whatever the bytes are.
//!
//! The oracle sees true time and every client's clock. While time stands still, *moments* tell what was before what. It knows who believes to own what, and judges each answer when it
//! comes: two beliefs at one instant, a token that does not grow, an answer that a belief or a release which was
//! answered before makes impossible.

use std::collections::BTreeMap;

use leasehold_core::{Bytes, Holder, Token};

/// What an owner appends to its value when it updates it.
pub(super) const UPDATED: u8 = b'+';

/// What a client holds, as far as it knows.
#[derive(Clone, Debug)]
pub(super) struct Belief {
    /// Whose it is.
    pub client: usize,
    pub token: Token,
    /// The moment at which it began.
    pub since: u64,
    /// True time at which it is over.
    pub until: u64,
}

/// What is known of one key.
#[derive(Debug, Default)]
struct Known {
    belief: Option<Belief>,
    /// The greatest token of an acquisition that was answered.
    newest: Token,
    /// What a lock that was answered wrote, by its token.
    values: BTreeMap<Token, Bytes>,
    /// Ownerships that were given up, and the moment at which that was answered.
    given_up: BTreeMap<Token, u64>,
    /// Values of locks that certainly were not done, and since when that is known.
    never: BTreeMap<Bytes, u64>,
}

/// Judges what clients are told.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    keys: BTreeMap<usize, Known>,
}

impl Oracle {
    /// What a lock's token must exceed if the lock is asked for now.
    pub(super) fn newest(&self, key: usize) -> Token {
        self.keys.get(&key).map(|known| known.newest).unwrap_or_default()
    }

    /// A lock of `value` was granted for the first time.
    pub(super) fn acquired(&mut self, key: usize, token: Token, above: Token, value: &Bytes) {
        assert!(token > above, "a token of {token:?} after one of {above:?}");
        let known = self.keys.entry(key).or_default();
        assert!(!known.never.contains_key(value), "{value:?} was certainly not done, and is");
        let other = known.values.entry(token).or_insert_with(|| value.clone());
        assert_eq!(other, value, "two acquisitions have the token {token:?}");
        known.newest = known.newest.max(token);
    }

    /// A client believes, until some true time. Not at all if that has passed.
    pub(super) fn believes(&mut self, key: usize, now: u64, new: Belief) {
        if new.until <= now {
            return;
        }
        let known = self.keys.entry(key).or_default();
        match &mut known.belief {
            Some(old) if old.token == new.token && old.client == new.client && old.until >= now => {
                old.until = old.until.max(new.until);
            }
            Some(old) if old.until > now => panic!("{old:?} and {new:?} believe at {now}"),
            belief => *belief = Some(new),
        }
    }

    /// A client gives an ownership up, or will not rely on it any more.
    pub(super) fn gives_up(&mut self, key: usize, token: Token) {
        let known = self.keys.entry(key).or_default();
        if known.belief.as_ref().is_some_and(|belief| belief.token == token) {
            known.belief = None;
        }
    }

    /// That was answered as done.
    pub(super) fn gave_up(&mut self, key: usize, token: Token, at: u64) {
        self.keys.entry(key).or_default().given_up.entry(token).or_insert(at);
    }

    /// A lock of `value` was answered as certainly not done, at every node that it was sent to.
    pub(super) fn never(&mut self, key: usize, value: Bytes, at: u64) {
        let known = self.keys.entry(key).or_default();
        assert!(
            !known.values.values().any(|other| *other == value),
            "{value:?} was done, and then not"
        );
        known.never.entry(value).or_insert(at);
    }

    /// A quorum was asked at the moment `asked`, and says at the time `now` who holds the key.
    pub(super) fn found(&self, key: usize, asked: u64, now: u64, holder: Option<&Holder>) {
        let Some(known) = self.keys.get(&key) else { return };
        let lasting = known.belief.as_ref().filter(|b| b.since < asked && b.until >= now);
        if let Some(belief) = lasting {
            let found = holder.map(|holder| holder.token);
            assert_eq!(found, Some(belief.token), "{belief:?} holds all the while");
        }
        let Some(holder) = holder else { return };
        let given_up = known.given_up.get(&holder.token);
        assert!(given_up.is_none_or(|at| *at > asked), "{holder:?} was given up before");
        let never = known.never.get(&Bytes::from(root(&holder.value)));
        assert!(never.is_none_or(|at| *at > asked), "{holder:?} was certainly not done");
        if let Some(value) = known.values.get(&holder.token) {
            assert_eq!(root(value), root(&holder.value), "the token says whose it is");
        }
    }

    /// An owner that asked at the moment `asked`, by its token, is told at the time `now` that it owns nothing.
    pub(super) fn is_no_owner(&self, key: usize, token: Token, asked: u64, now: u64) {
        let belief = self.keys.get(&key).and_then(|known| known.belief.as_ref());
        if let Some(belief) = belief.filter(|belief| belief.token == token) {
            assert!(
                belief.since >= asked || belief.until < now,
                "{belief:?} holds all the while, and is told otherwise"
            );
        }
    }
}

/// What a lock wrote, of a value that its owner may have updated by appending to it.
fn root(value: &[u8]) -> &[u8] {
    value.split(|byte| *byte == UPDATED).next().unwrap_or_default()
}
