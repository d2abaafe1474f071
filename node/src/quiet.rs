//! Log lines that would repeat themselves: each is said at once, and then every half minute at most.

use std::collections::HashMap;

use leasehold_core::{Instant, Span};

/// How long the same words are not said again.
const PAUSE: Span = Span::from_secs(30);
/// Different words that are remembered.
const MEMORY: usize = 64;

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
            self.0.clear();
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
}
