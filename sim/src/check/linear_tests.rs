//! Histories written by hand, good and bad: each sentence of the module's idea has one that breaks it.

use leasehold_core::{Bytes, Owner};

use super::super::samples::{by, done, held, id, lock, meta, op, repeated};
use super::*;

fn fits(ops: &[Op]) -> bool {
    let all: Vec<_> = (0..ops.len()).collect();
    let mut found = Vec::new();
    let judgement = check(ops, &all, &mut found);
    assert_ne!(judgement, Judgement::GaveUp);
    assert_eq!(judgement == Judgement::Broken, !found.is_empty());
    found.is_empty()
}

fn release(chain: u64, token: u64) -> (leasehold_core::OpId, Call) {
    (id(chain, 9), Call::Release { owner: by(token) })
}

fn extend(chain: u64, step: u32, token: u64) -> (leasehold_core::OpId, Call) {
    (id(chain, step), Call::Extend { owner: by(token) })
}

fn read() -> (leasehold_core::OpId, Call) {
    (id(0, 0), Call::Read)
}

#[test]
fn taking_turns_fits() {
    assert!(fits(&[
        op(1, 2, lock(1), done(5), 100),
        op(3, 4, lock(2), held(5, 1), 0),
        op(5, 6, release(1, 5), done(5), 0),
        op(7, 8, lock(2), done(6), 100),
        op(9, 10, read(), held(6, 2), 0),
    ]));
}

#[test]
fn a_second_owner_before_the_first_lease_can_have_ended_is_found() {
    assert!(!fits(&[op(1, 2, lock(1), done(5), 100), op(3, 4, lock(2), done(6), 100)]));
    assert!(fits(&[op(1, 2, lock(1), done(5), 100), op(3, 100, lock(2), done(6), 200)]));
}

#[test]
fn an_extension_moves_the_bound() {
    let start = [op(1, 2, lock(1), done(5), 100), op(3, 4, extend(1, 1, 5), done(5), 200)];
    let [a, b] = start;
    assert!(!fits(&[a.clone(), b.clone(), op(5, 150, lock(2), done(6), 300)]));
    assert!(fits(&[a, b, op(5, 250, lock(2), done(6), 300)]));
}

#[test]
fn free_before_the_bound_is_found() {
    assert!(!fits(&[op(1, 2, lock(1), done(5), 100), op(3, 4, read(), Verdict::Free, 0)]));
    assert!(fits(&[op(1, 2, lock(1), done(5), 100), op(3, 101, read(), Verdict::Free, 0)]));
}

#[test]
fn a_stale_read_is_found() {
    let start = [op(1, 2, lock(1), done(5), 100), op(3, 4, release(1, 5), done(5), 0)];
    let [a, b] = start;
    assert!(!fits(&[a.clone(), b.clone(), op(5, 6, read(), held(5, 1), 0)]));
    assert!(fits(&[a, b, op(3, 6, read(), held(5, 1), 0)]));
}

#[test]
fn a_lease_that_was_seen_to_end_does_not_come_back() {
    assert!(!fits(&[
        op(1, 2, lock(1), done(5), 10),
        op(11, 12, read(), Verdict::Free, 0),
        op(13, 14, read(), held(5, 1), 0),
    ]));
    assert!(!fits(&[
        op(1, 2, lock(1), done(5), 10),
        op(11, 12, read(), Verdict::Free, 0),
        op(9, 14, extend(1, 1, 5), Verdict::Unknown, 100),
        op(15, 16, read(), held(5, 1), 0),
    ]));
}

#[test]
fn an_unknown_operation_took_effect_late_or_never() {
    let unknown = op(1, 0, lock(1), Verdict::Unknown, 100);
    assert!(fits(&[unknown.clone(), op(3, 4, read(), Verdict::Free, 0)]));
    assert!(fits(&[
        unknown.clone(),
        op(3, 4, read(), Verdict::Free, 0),
        op(5, 6, read(), held(5, 1), 0),
    ]));
    // But only once.
    assert!(!fits(&[
        unknown,
        op(5, 6, read(), held(5, 1), 0),
        op(7, 8, release(1, 5), done(5), 0),
        op(9, 10, read(), held(7, 1), 0),
    ]));
}

#[test]
fn an_operation_that_was_certainly_not_done_has_no_effect() {
    assert!(!fits(&[op(1, 2, lock(1), Verdict::Nothing, 100), op(3, 4, read(), held(5, 1), 0),]));
}

#[test]
fn a_repeated_answer_needs_an_effect() {
    // Of another sending, or of its own, which the node could not tell from another's.
    assert!(fits(&[op(3, 4, lock(1), repeated(5), 0), op(5, 6, read(), held(5, 1), 0)]));
    let early = op(1, 2, read(), held(9, 2), 0);
    assert!(!fits(&[
        op(1, 0, lock(2), Verdict::Unknown, 9),
        early,
        op(3, 4, lock(1), repeated(5), 0)
    ]));
    assert!(fits(&[op(1, 0, lock(1), Verdict::Unknown, 9), op(3, 4, lock(1), repeated(5), 0)]));
    // The ownership is the one that the answer names.
    assert!(!fits(&[op(3, 4, lock(1), repeated(5), 0), op(5, 6, read(), held(6, 1), 0)]));
}

#[test]
fn an_operation_that_only_a_repeat_shows_may_have_taken_effect() {
    // A lock and an extension of it, both of unknown outcome, and the extension sent again after the lease ended.
    assert!(fits(&[
        op(1, 0, lock(1), Verdict::Unknown, 10),
        op(2, 0, extend(1, 1, 5), Verdict::Unknown, 20),
        op(30, 31, read(), Verdict::Free, 0),
        op(32, 33, extend(1, 1, 5), repeated(5), 40),
        op(34, 35, read(), Verdict::Free, 0),
    ]));
    assert!(!fits(&[
        op(2, 0, extend(1, 1, 5), Verdict::Unknown, 20),
        op(32, 33, extend(1, 1, 5), repeated(5), 40),
    ]));
}

#[test]
fn an_unknown_release_may_free_the_key() {
    assert!(fits(&[
        op(1, 2, lock(1), done(5), 100),
        op(3, 0, release(1, 5), Verdict::Unknown, 0),
        op(5, 6, lock(2), done(6), 100),
    ]));
    // Not one of another ownership.
    assert!(!fits(&[
        op(1, 2, lock(1), done(5), 100),
        op(3, 0, release(1, 4), Verdict::Unknown, 0),
        op(5, 6, lock(2), done(6), 100),
    ]));
}

#[test]
fn a_late_step_does_not_undo_a_later_one() {
    let update =
        |step, value: &str| (id(1, step), Call::Update { owner: by(5), value: Bytes::from(value) });
    let with =
        |value: &str| Verdict::Held { token: Token(5), value: Bytes::from(value), meta: meta(1) };
    let start = [
        op(1, 2, lock(1), done(5), 100),
        op(3, 0, update(1, "a"), Verdict::Unknown, 0),
        op(4, 5, update(2, "b"), done(5), 0),
    ];
    let then = |value| {
        let [a, b, c] = start.clone();
        [a, b, c, op(6, 7, read(), with(value), 0)]
    };
    assert!(fits(&then("b")));
    assert!(!fits(&then("a")));
}

#[test]
fn owners_are_not_refused_and_strangers_are() {
    assert!(!fits(&[op(1, 2, lock(1), done(5), 100), op(3, 4, extend(1, 1, 5), held(5, 1), 100),]));
    assert!(!fits(&[op(1, 2, lock(1), done(5), 100), op(3, 4, extend(2, 1, 4), done(5), 100)]));
    let other = Owner { value: Some(Bytes::from("w")), token: None };
    assert!(!fits(&[
        op(1, 2, lock(1), done(5), 100),
        op(3, 4, (id(2, 0), Call::Release { owner: other }), done(5), 0),
    ]));
    // A release by token that finds another ownership says "not held".
    assert!(fits(&[op(1, 2, lock(1), done(5), 100), op(3, 4, release(2, 4), Verdict::Free, 0),]));
}

#[test]
fn a_cancelled_lock_may_be_given_back_at_once() {
    let cancelled = Op { cancelled: true, ..op(1, 2, lock(1), done(5), 100) };
    assert!(fits(&[cancelled, op(3, 4, lock(2), done(6), 100)]));
}

#[test]
fn a_late_extension_may_come_between_two_sendings_of_another() {
    let by_value = Owner { value: Some(Bytes::from("v")), token: None };
    let late = (id(2, 1), Call::Extend { owner: by_value });
    let twice = [
        op(1, 2, lock(1), done(5), 100),
        op(4, 5, extend(1, 1, 5), done(5), 100),
        op(8, 9, extend(1, 1, 5), done(5), 100),
    ];
    assert!(!fits(&twice), "the second sending finds the first");
    let [lock, first, second] = twice;
    assert!(fits(&[
        lock.clone(),
        op(3, 0, late.clone(), Verdict::Unknown, 0),
        first.clone(),
        second.clone()
    ]));
    // Not one that was sent too late, nor one of another owner.
    assert!(!fits(&[
        lock.clone(),
        first.clone(),
        second.clone(),
        op(10, 0, late, Verdict::Unknown, 0)
    ]));
    assert!(!fits(&[lock, op(3, 0, extend(2, 1, 4), Verdict::Unknown, 0), first, second]));
}
