//! Log lines that would repeat themselves: each is said at once, and then every half minute at most. Strangers who think
//! of ever new ways to be refused get a bounded number of lines, too.

use std::collections::HashMap;

use leasehold_core::{Instant, Span};

/// How long the same words are not said again.
const PAUSE: Span = Span::from_secs(30);
/// Different words in that time; more are not said.
const MEMORY: usize = 32;

/// Remembers what was said.
#[derive(Debug, Default)]
pub(crate) struct Quiet(HashMap<String, Instant>);

impl Quiet {
    /// Whether `words` should be said now.
    pub(crate) fn lets(&mut self, now: Instant, words: &str) -> bool {
        if self.0.get(words).is_some_and(|said| now.since(*said) < PAUSE) {
            return false;
        }
        if self.0.len() >= MEMORY {
            self.0.retain(|_, said| now.since(*said) < PAUSE);
        }
        if self.0.len() >= MEMORY {
            return false;
        }
        self.0.insert(words.to_owned(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_words_wait_half_a_minute() {
        let mut quiet = Quiet::default();
        let at = |seconds: u64| Instant::from_micros(seconds * 1_000_000);
        assert!(quiet.lets(at(0), "a"));
        assert!(!quiet.lets(at(29), "a"));
        assert!(quiet.lets(at(29), "b"));
        assert!(quiet.lets(at(30), "a"));
    }

    #[test]
    fn ever_new_words_are_not_all_said() {
        let mut quiet = Quiet::default();
        let mut said = |seconds: u64, word: &str| {
            let now = Instant::from_micros(seconds * 1_000_000);
            (0..1_000).filter(|i| quiet.lets(now, &format!("{word}{i}"))).count()
        };
        assert_eq!(said(0, "a"), MEMORY);
        assert_eq!(said(1, "b"), 0);
        assert_eq!(said(30, "c"), MEMORY);
    }
}
