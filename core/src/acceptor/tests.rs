//! What a master promises its neighbours, at the very edges: in time, in room, and in the order in which things come.

use alloc::format;
use alloc::vec::Vec;

use super::aging::{STALE_AFTER, STALE_QUEUE};
use super::*;
use crate::entry::Held;

const NOW: Instant = Instant::from_micros(5_000_000);
const LEASE: Span = Span::from_secs(10);

fn acceptor() -> Acceptor {
    Acceptor::new(&Settings::default(), (1, 2), Ballot::ZERO, NOW)
}

/// By the seed of [`acceptor`].
fn hash(key: &[u8]) -> u32 {
    Seeded((1, 2)).of(key)
}

fn timeout() -> Span {
    Settings::default().timing.promise_timeout
}

const fn at(counter: u64) -> Ballot {
    Ballot { counter, proposer: 1 }
}

fn held(token: u64) -> Entry {
    let (value, meta, last_op) = ("me".into(), "".into(), OpId::default());
    Entry::Held(Held { value, meta, lease: LEASE, delay: Span::ZERO, token: Token(token), last_op })
}

fn free(token: u64) -> Entry {
    Entry::Free { last_op: OpId::default(), token: Token(token) }
}

fn promises(acceptor: &mut Acceptor, now: Instant, key: &Key, counter: u64) -> bool {
    matches!(acceptor.prepare(now, (key, hash(key)), at(counter)), Answer::Promise { .. })
}

fn accepts(
    acceptor: &mut Acceptor,
    now: Instant,
    key: &Key,
    ballot: Ballot,
    entry: &Entry,
) -> bool {
    acceptor.accept(now, (key, hash(key)), ballot, (entry, LEASE), |_| {}).is_ok()
}

/// Works off all that is due by then, as a driver does.
fn run(acceptor: &mut Acceptor, now: Instant) {
    while acceptor.deadline().is_some_and(|due| due <= now) {
        acceptor.tick(now, 256, |_| {});
    }
}

/// The moment before.
fn before(at: Instant) -> Instant {
    Instant::from_micros(at.as_micros() - 1)
}

#[test]
fn a_promise_is_honoured_until_its_time_is_up_and_no_moment_longer() {
    let key = "k".into();
    let over = NOW.after(timeout());
    for (now, taken) in [(before(over), true), (over, false)] {
        let mut acceptor = acceptor();
        assert!(promises(&mut acceptor, NOW, &key, 7));
        assert_eq!(accepts(&mut acceptor, now, &key, at(7), &held(7)), taken, "{now:?}");
    }
}

#[test]
fn an_extension_without_a_vote_comes_in_time_or_not_at_all() {
    let key = "k".into();
    // Shorter than the promise lasts, so that it is the lease that ends.
    let lease = Span::from_secs(2);
    let over = NOW.after(lease);
    for (now, taken) in [(before(over), true), (over, false)] {
        let mut acceptor = acceptor();
        assert!(promises(&mut acceptor, NOW, &key, 7));
        let first = acceptor.accept(NOW, (&key, hash(&key)), at(7), (&held(7), lease), |_| {});
        assert_eq!(first, Ok(()));
        assert!(acceptor.implied_by(b"k", hash(b"k"), at(7)));
        assert_eq!(accepts(&mut acceptor, now, &key, at(8), &held(7)), taken, "{now:?}");
    }
}

#[test]
fn only_the_promise_that_the_accept_implied_leads_on_from_it() {
    let (key, mut acceptor) = ("k".into(), acceptor());
    assert!(promises(&mut acceptor, NOW, &key, 7));
    assert!(!acceptor.implied_by(b"k", hash(b"k"), at(7)), "nothing is accepted yet");
    assert!(accepts(&mut acceptor, NOW, &key, at(7), &held(7)));
    assert!(
        acceptor.implied_by(b"k", hash(b"k"), at(7))
            && !acceptor.implied_by(b"other", hash(b"other"), at(7))
    );
    let mut closed = acceptor.clone();
    closed.abort(b"k", at(8));
    assert!(!closed.implied_by(b"k", hash(b"k"), at(7)), "it was given up");
    assert!(promises(&mut acceptor, NOW, &key, 9));
    assert!(!acceptor.implied_by(b"k", hash(b"k"), at(7)), "somebody else was promised more");
}

#[test]
fn what_all_agreed_to_forget_stays_while_something_newer_is_under_way() {
    let (key, mut acceptor) = ("k".into(), acceptor());
    assert!(promises(&mut acceptor, NOW, &key, 7));
    assert!(accepts(&mut acceptor, NOW, &key, at(7), &free(3)));
    assert!(promises(&mut acceptor, NOW, &key, 9));
    let over = NOW.after(timeout());
    acceptor.forget(before(over), b"k", at(7));
    assert_eq!(acceptor.records(), 1, "somebody votes on it");
    acceptor.forget(over, b"k", at(6));
    assert_eq!(acceptor.records(), 1, "it is not what was agreed");
    acceptor.forget(over, b"k", at(7));
    assert_eq!((acceptor.records(), acceptor.floor()), (0, at(9)));
}

#[test]
fn a_promise_alone_stays_as_long_as_it_is_open() {
    let (key, mut acceptor) = ("k".into(), acceptor());
    assert!(promises(&mut acceptor, NOW, &key, 7));
    // The timer is the first promise's, the record's time is the second's.
    let later = NOW.after(Span::from_secs(1));
    assert!(promises(&mut acceptor, later, &key, 9));
    let over = later.after(timeout());
    for now in [NOW.after(timeout().plus(Span::from_millis(2))), before(over)] {
        acceptor.tick(now, 256, |_| {});
        assert_eq!(acceptor.records(), 1, "{now:?}");
    }
    // At the wheel's next turn, with room for its tick.
    acceptor.tick(over.after(Span::from_millis(2)), 256, |_| {});
    assert_eq!((acceptor.records(), acceptor.floor()), (0, at(9)));
}

#[test]
fn of_one_write_what_ends_first_counts_whatever_comes_first() {
    let copy = |ballot: u64, promised: u64, remaining: u64| Copied {
        key: "k".into(),
        promised: at(promised),
        accepted: Accepted {
            ballot: at(ballot),
            entry: held(5),
            remaining: Span::from_millis(remaining),
        },
    };
    let copies = [copy(5, 6, 900), copy(7, 8, 800), copy(7, 12, 300), copy(6, 30, 100)];
    for turned in 0..copies.len() {
        for reversed in [false, true] {
            let mut order: Vec<_> = copies.to_vec();
            order.rotate_left(turned);
            if reversed {
                order.reverse();
            }
            let mut acceptor = acceptor();
            for copied in order {
                acceptor.absorb(NOW, copied, |_| {});
                acceptor.check(u64::MAX);
            }
            let known = acceptor.accepted(NOW, b"k", hash(b"k")).unwrap();
            assert_eq!((known.ballot, known.remaining), (at(7), Span::from_millis(300)));
            assert_eq!((acceptor.leases(), acceptor.highest()), (1, 30));
            // The highest promise binds, and nobody may use it.
            assert!(!promises(&mut acceptor, NOW, &"k".into(), 29));
            assert!(!accepts(&mut acceptor, NOW, &"k".into(), at(30), &held(5)));
        }
    }
}

#[test]
fn a_new_owner_that_is_taken_over_ends_the_one_before() {
    let (mut acceptor, key) = (acceptor(), Key::from("k"));
    let mut told = Vec::new();
    for (ballot, token) in [(5, 5), (6, 5), (7, 7)] {
        let accepted = Accepted { ballot: at(ballot), entry: held(token), remaining: LEASE };
        let copied = Copied { key: key.clone(), promised: at(ballot), accepted };
        acceptor.absorb(NOW, copied, |event| told.push(event));
    }
    let held = |token| Event::Held { key: key.clone(), token: Token(token) };
    let released = Event::Released { key: key.clone(), token: Token(5) };
    assert_eq!(told, [held(5), held(5), released, held(7)]);
    assert_eq!(acceptor.leases(), 1);
}

#[test]
fn what_was_taken_over_of_a_floor_binds_and_it_only_rises() {
    let (key, mut acceptor) = ("k".into(), acceptor());
    acceptor.raise_floor(at(40));
    acceptor.raise_floor(at(30));
    assert_eq!((acceptor.floor(), acceptor.highest()), (at(40), 40));
    assert!(!promises(&mut acceptor, NOW, &key, 40) && promises(&mut acceptor, NOW, &key, 41));
}

#[test]
fn leases_are_counted_whatever_goes() {
    let (key, mut acceptor) = ("k".into(), acceptor());
    assert!(promises(&mut acceptor, NOW, &key, 7));
    assert!(accepts(&mut acceptor, NOW, &key, at(7), &held(7)));
    assert_eq!(acceptor.leases(), 1);
    // No coordinator asks for that. Whoever does takes the lease with it.
    acceptor.forget(NOW, b"k", at(7));
    assert_eq!((acceptor.records(), acceptor.leases()), (0, 0));
    acceptor.check(u64::MAX);
}

#[test]
fn keys_that_wait_to_be_settled_are_bounded_and_named_once() {
    let mut acceptor = acceptor();
    let stale_after = acceptor.timing.promise_timeout.max(STALE_AFTER);
    let many = u64::try_from(STALE_QUEUE).unwrap() + 3;
    for name in 0..many {
        let key = format!("{name}").as_str().into();
        assert!(promises(&mut acceptor, NOW, &key, name + 1));
        assert!(accepts(&mut acceptor, NOW, &key, at(name + 1), &held(name + 1)));
    }
    assert!(!acceptor.has_stale());
    let ended = NOW.after(LEASE);
    run(&mut acceptor, ended.after(stale_after.minus(Span::from_millis(10))));
    assert!(!acceptor.has_stale(), "their homes may still do it by themselves");
    let written = acceptor.records.iter().filter_map(|(_, record)| record.accepted.as_ref());
    let given_up = written.filter(|written| written.ended && written.reported).count();
    assert_eq!(given_up, 3, "what ends in a crowd goes by age, and is looked at for nothing else");
    run(&mut acceptor, ended.after(stale_after.plus(Span::from_millis(10))));
    assert!(acceptor.has_stale());
    let named = core::iter::from_fn(|| acceptor.next_stale()).count();
    assert_eq!((named, acceptor.has_stale()), (STALE_QUEUE, false));
    run(&mut acceptor, ended.after(stale_after.times(4)));
    assert!(!acceptor.has_stale(), "each key once");
    // Whatever ends when the crowd is over is settled as before.
    let (key, now) = ("late".into(), ended.after(stale_after.times(4)));
    assert!(promises(&mut acceptor, now, &key, many + 1));
    assert!(accepts(&mut acceptor, now, &key, at(many + 1), &held(many + 1)));
    let ended = now.after(LEASE.plus(Span::from_millis(10)));
    run(&mut acceptor, ended);
    run(&mut acceptor, ended.after(stale_after));
    assert_eq!(acceptor.next_stale(), Some((key, Token(many + 1))));
}

#[test]
fn a_tick_looks_at_no_more_records_than_it_may() {
    let mut acceptor = acceptor();
    for name in 1..=200 {
        let key = format!("{name}").as_str().into();
        assert!(promises(&mut acceptor, NOW, &key, name));
        assert!(accepts(&mut acceptor, NOW, &key, at(name), &held(name)));
    }
    let (ended, mut ticks) = (NOW.after(LEASE.plus(Span::from_millis(10))), Vec::new());
    while acceptor.leases() > 0 {
        let mut told = 0;
        acceptor.tick(ended, 32, |_| told += 1);
        ticks.push(told);
    }
    assert_eq!((ticks.iter().max(), ticks.iter().sum()), (Some(&32), 200), "{ticks:?}");
}
