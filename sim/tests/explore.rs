//! Small worlds, exhaustively.

#[cfg(not(leasehold_faults))]
use leasehold_core::Span;
#[cfg(not(leasehold_faults))]
use leasehold_sim::explore::{Explored, Scope};
use leasehold_sim::explore::{Limits, explore, scopes};

const LIMITS: Limits = Limits { states: 2_000_000 };

#[cfg(not(leasehold_faults))]
fn scope(name: &str) -> Scope {
    let known = scopes().into_iter().find(|scope| scope.name == name);
    known.unwrap_or_else(|| panic!("no scope is called {name}"))
}

/// All of the scope, with nothing wrong in it.
#[cfg(not(leasehold_faults))]
fn green(name: &str) -> Explored {
    let found = explore(&scope(name), LIMITS);
    if let Some((violation, path)) = &found.violation {
        panic!("{name}: {}: {}\n{path}", violation.rule, violation.story);
    }
    assert!(found.complete, "{name} was not searched to its end");
    found
}

#[test]
#[cfg(not(leasehold_faults))]
fn small_scopes_are_green_to_their_end() {
    // As many states as when this was written, or about: a scope in which nothing happens is green, too.
    let scopes =
        [("late-accept", 50_000), ("revived", 100_000), ("restart", 20_000), ("successor", 30_000)];
    for (name, least) in scopes {
        let found = green(name);
        assert!(found.states > least, "{name}: {} states", found.states);
        let answers = found.answers;
        assert!(answers.done > 1_000 && answers.nothing > 100, "{name}: {answers:?}");
    }
}

#[test]
#[cfg(not(leasehold_faults))]
fn a_search_is_the_same_every_time() {
    let (first, second) = (explore(&scope("restart"), LIMITS), explore(&scope("restart"), LIMITS));
    assert_eq!((first.states, first.transitions), (second.states, second.transitions));
    assert_eq!(first.answers, second.answers);
}

#[test]
#[cfg(not(leasehold_faults))]
fn clocks_beyond_the_contract_are_seen() {
    let mut wild = scope("drift");
    // Masters whose clocks run five times as fast as the bound allows, and a client with one as slow.
    wild.rates = vec![vec![5_000, 5_000, 5_000, -5_000]];
    wild.budget.jumps[1].by = Span::from_micros(59_800_000);
    let found = explore(&wild, LIMITS);
    let (violation, path) = found.violation.expect("two owners at once");
    assert_eq!(violation.rule, "mutual exclusion");
    assert!(path.contains("time 59800000 µs have passed"), "{path}");
}

#[test]
#[cfg(leasehold_faults)]
fn what_each_scope_is_for_is_found() {
    use leasehold_core::faults::Rule;
    for scope in scopes() {
        for &name in scope.finds {
            let (rule, _) = Rule::ALL.iter().find(|(_, known)| *known == name).expect("a rule");
            rule.take_out();
            let found = explore(&scope, LIMITS);
            assert!(found.violation.is_some(), "{} is green without {name}", scope.name);
            println!("{}: {name} is found after {} states", scope.name, found.states);
        }
    }
}
