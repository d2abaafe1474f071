//! Guarantee 1: at no instant of true time do two clients hold valid beliefs that they own a key.
//!
//! Beliefs about one acquisition may overlap: that is one owner, known by one token.

use super::Violation;
use crate::history::Belief;

/// Looks for two acquisitions of one key that are believed in at the same time. Returns how many pairs of
/// neighbours it compared.
pub fn check(beliefs: &[Belief], found: &mut Vec<Violation>) -> u64 {
    let mut sorted: Vec<&Belief> = beliefs.iter().filter(|b| b.from < b.until).collect();
    sorted.sort_by_key(|belief| (belief.key, belief.from));
    let mut judged = 0;
    // The belief that lasts longest of those seen for this key, and the longest about any other token.
    let mut longest: [Option<&Belief>; 2] = [None, None];
    for belief in sorted {
        if longest[0].is_some_and(|b| b.key != belief.key) {
            longest = [None, None];
        }
        for other in longest.into_iter().flatten().filter(|b| b.token != belief.token) {
            judged += 1;
            if other.until > belief.from {
                found.push(overlap(other, belief));
            }
        }
        longest = match longest {
            [Some(first), _] if first.token == belief.token => {
                [if belief.until > first.until { Some(belief) } else { Some(first) }, longest[1]]
            }
            [first, _] if first.is_none_or(|b| b.until <= belief.until) => [Some(belief), first],
            [first, second] => [
                first,
                if second.is_none_or(|b| b.until <= belief.until) { Some(belief) } else { second },
            ],
        };
    }
    judged
}

fn overlap(first: &Belief, second: &Belief) -> Violation {
    let story = format!(
        "key k{} was owned twice from {} to {} µs: client c{} believed in token {}, client c{} in {}",
        first.key,
        second.from,
        first.until.min(second.until),
        first.client,
        first.token,
        second.client,
        second.token,
    );
    Violation { rule: super::EXCLUSION, story }
}

#[cfg(test)]
mod tests {
    use leasehold_core::Token;

    use super::*;

    fn belief(token: u64, from: u64, until: u64) -> Belief {
        Belief { key: 0, client: 0, token: Token(token), from, until }
    }

    fn bad(beliefs: &[Belief]) -> usize {
        let mut found = Vec::new();
        check(beliefs, &mut found);
        found.len()
    }

    #[test]
    fn one_owner_at_a_time_is_fine() {
        assert_eq!(bad(&[belief(1, 0, 10), belief(2, 10, 20), belief(3, 25, 30)]), 0);
        // The same acquisition, believed in by two, or with a gap.
        assert_eq!(bad(&[belief(1, 0, 10), belief(1, 5, 20), belief(1, 30, 40)]), 0);
    }

    #[test]
    fn two_owners_at_once_are_found() {
        assert_eq!(bad(&[belief(1, 0, 10), belief(2, 9, 20)]), 1);
        // Hidden behind a shorter belief that came later.
        assert_eq!(bad(&[belief(1, 0, 100), belief(1, 5, 20), belief(2, 50, 60)]), 1);
        assert_eq!(
            bad(&[
                belief(1, 0, 100),
                belief(2, 100, 101),
                belief(1, 101, 103),
                belief(2, 102, 109)
            ]),
            1
        );
    }

    #[test]
    fn keys_do_not_mix() {
        let other = Belief { key: 1, ..belief(2, 5, 15) };
        assert_eq!(bad(&[belief(1, 0, 10), other]), 0);
    }

    #[test]
    fn agrees_with_comparing_all_pairs() {
        use crate::dice::{Dice, Stream};
        for seed in 0..2_000 {
            let mut roll = Dice::new(seed).roll(Stream::Scenario, 0);
            let beliefs: Vec<_> = (0..6)
                .map(|_| {
                    let from = roll.below(30);
                    belief(roll.below(3), from, from + 1 + roll.below(8))
                })
                .collect();
            let pairs = |a: &Belief| {
                beliefs.iter().any(|b| a.token != b.token && a.from < b.until && b.from < a.until)
            };
            assert_eq!(beliefs.iter().any(pairs), bad(&beliefs) > 0, "{beliefs:?}");
        }
    }
}
