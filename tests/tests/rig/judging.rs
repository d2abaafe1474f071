//! The judges see what is wrong, in accounts as client processes write them.

use leasehold_core::Drift;
use leasehold_tests::rig::judge::{Account, judge};
use leasehold_tests::rig::record::{Asked, By, Line, Said};
use leasehold_tests::rig::skew::Skew;

/// A client's call on the one key, from `at.0` to `at.1`.
fn call(call: u64, client: usize, at: (u64, u64), asked: Asked, said: Said) -> [Line; 2] {
    let key = "job".to_owned();
    [Line::Call { call, client, key, at: at.0, asked }, Line::Answer { call, at: at.1, said }]
}

/// A lock that was granted, and what it lets its client believe.
fn granted(number: u64, client: usize, at: (u64, u64), token: u64, until: u64) -> Vec<Line> {
    let (value, meta) = (format!("v{number}"), format!("m{number}"));
    let asked = Asked::Lock { value, meta, delay: 0 };
    let key = "job".to_owned();
    let mut lines = call(number, client, at, asked, Said::Done { token, until }).to_vec();
    lines.push(Line::Belief { client, key, token, from: at.1, until });
    lines
}

fn rules(lines: Vec<Line>, skew: Skew, in_contract: bool) -> Vec<&'static str> {
    let account = Account { process: 0, lines, skew };
    let judgement = judge(&[account], Drift::DEFAULT, in_contract, &[]);
    judgement.violations.iter().map(|violation| violation.rule).collect()
}

#[test]
fn one_owner_after_the_other_is_fine() {
    let mut lines = granted(1, 0, (10, 20), 5, 1_000);
    lines.extend(granted(2, 1, (500, 1_100), 7, 3_000));
    assert_eq!(rules(lines, Skew::default(), true), [""; 0]);
}

#[test]
fn two_owners_at_once_are_found() {
    let mut lines = granted(1, 0, (10, 20), 5, 1_000);
    lines.extend(granted(2, 1, (500, 900), 7, 3_000));
    let found = rules(lines.clone(), Skew::default(), true);
    assert!(found.contains(&"mutual exclusion"), "{found:?}");
    // Both checkers of orders see it as well.
    assert_eq!(found.iter().filter(|rule| **rule == "linearizability").count(), 2, "{found:?}");
    assert_eq!(
        rules(lines, Skew::default(), false),
        [""; 0],
        "nobody promised more, out of contract"
    );
}

#[test]
fn tokens_that_do_not_grow_are_found_in_and_out_of_contract() {
    let mut lines = granted(1, 0, (10, 20), 9, 1_000);
    lines.extend(granted(2, 1, (2_000, 2_100), 7, 3_000));
    assert!(rules(lines.clone(), Skew::default(), true).contains(&"token order"));
    assert_eq!(rules(lines, Skew::default(), false), ["token order"]);
}

#[test]
fn beliefs_are_compared_in_true_time() {
    // By its own clock the first client's belief is over at 1,000; that clock is slow, so it is not.
    let mut slow = Skew::default();
    slow.bend(0, 0, -500_000);
    let first = Account { process: 0, lines: granted(1, 0, (10, 20), 5, 1_000), skew: slow };
    let lines = granted(2, 1, (500, 1_100), 7, 3_000);
    let second = Account { process: 1, lines, skew: Skew::default() };
    let judgement = judge(&[first, second], Drift::DEFAULT, true, &[]);
    assert!(judgement.violations.iter().any(|violation| violation.rule == "mutual exclusion"));
}

#[test]
fn a_read_of_what_certainly_was_not_done_is_found() {
    let asked = Asked::Lock { value: "v1".into(), meta: "m1".into(), delay: 0 };
    let mut lines = call(1, 0, (10, 20), asked, Said::Nothing("no quorum".into())).to_vec();
    let held = Said::Held { token: 5, value: "v1".into(), meta: "m1".into() };
    lines.extend(call(2, 1, (30, 40), Asked::Read, held));
    let found = rules(lines, Skew::default(), true);
    assert!(found.contains(&"linearizability"), "{found:?}");
}

#[test]
fn what_a_killed_client_asked_for_may_have_happened() {
    let asked = Asked::Lock { value: "v1".into(), meta: "m1".into(), delay: 0 };
    let key = "job".to_owned();
    let mut lines = vec![Line::Call { call: 1, client: 0, key, at: 10, asked }];
    let held = Said::Held { token: 5, value: "v1".into(), meta: "m1".into() };
    lines.extend(call(2, 1, (30, 40), Asked::Read, held));
    lines.extend(granted(3, 1, (50, 60), 7, 900));
    let by = By { value: None, token: Some(7) };
    lines.extend(call(4, 1, (70, 80), Asked::Release(by), Said::Done { token: 7, until: 0 }));
    lines.extend(call(5, 0, (90, 99), Asked::Read, Said::Free));
    assert_eq!(rules(lines, Skew::default(), true), [""; 0]);
}

/// A lock that was granted and released, and that others saw again under another token at these times.
fn seen_again(at: &[u64], answered: bool) -> Vec<Line> {
    let mut lines = Vec::new();
    if answered {
        lines.extend(granted(1, 0, (10, 20), 5, 900));
        let by = By { value: None, token: Some(5) };
        lines.push(Line::Over { client: 0, key: "job".into(), token: 5, at: 29 });
        lines.extend(call(2, 0, (30, 40), Asked::Release(by), Said::Done { token: 5, until: 0 }));
    } else {
        let asked = Asked::Lock { value: "v1".into(), meta: "m1".into(), delay: 0 };
        lines.extend(call(1, 0, (10, 20), asked, Said::Nothing("no quorum".into())));
    }
    for (number, at) in (3..).zip(at) {
        let held = Said::Held { token: 9, value: "v1".into(), meta: "m1".into() };
        lines.extend(call(number, 1, (*at, at + 10), Asked::Read, held));
    }
    let (last, after) = (at.last().unwrap() + 100, u64::try_from(at.len()).unwrap() + 3);
    lines.extend(call(after, 1, (last, last + 10), Asked::Read, Said::Free));
    lines
}

#[test]
fn a_second_grant_may_be_seen_for_a_moment() {
    assert_eq!(rules(seen_again(&[50, 400_000], true), Skew::default(), true), [""; 0]);
    // What was certainly not done is not granted at all.
    let found = rules(seen_again(&[50, 400_000], false), Skew::default(), true);
    assert!(found.contains(&"linearizability"), "{found:?}");
}

#[test]
fn a_second_grant_that_stands_is_found_unless_something_else_was_wrong() {
    let lines = seen_again(&[50, 400_000, 1_200_000], true);
    assert_eq!(rules(lines.clone(), Skew::default(), true), ["given back"]);
    let account = Account { process: 0, lines, skew: Skew::default() };
    let judgement = judge(&[account], Drift::DEFAULT, true, &[(100, 300_000)]);
    assert!(judgement.violations.is_empty(), "{:?}", judgement.violations);
    assert_eq!((judgement.judged.again, judgement.judged.again_stood), (1, 900_040));
}

#[test]
fn a_second_grant_does_not_make_room_for_another_owner() {
    // Somebody else owns the key between the release and the second grant, and still does.
    let mut lines = seen_again(&[5_000], true);
    lines.extend(granted(9, 2, (50, 60), 7, 8_000));
    let found = rules(lines, Skew::default(), true);
    assert!(found.contains(&"linearizability"), "{found:?}");
}
