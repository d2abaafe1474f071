//! What went wrong lately, for `leasehold status`: the last warnings and errors of the log.
//!
//! There is one log in a process, and so there is one memory of it: in a development cluster every node shows the
//! same. What is said again only becomes younger. The memory is bounded by `MOST` entries of `LONGEST` bytes.

use std::collections::VecDeque;
use std::fmt::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use leasehold_core::{Instant, Trouble};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::clock::Clock;

/// Entries that are kept.
const MOST: usize = 8;
/// Bytes of one.
const LONGEST: usize = 300;

static MEMORY: Memory = Memory(Mutex::new(VecDeque::new()));

#[derive(Debug)]
struct Memory(Mutex<VecDeque<(Instant, String)>>);

impl Memory {
    fn entries(&self) -> MutexGuard<'_, VecDeque<(Instant, String)>> {
        // Entries are whole, whoever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, now: Instant, words: String) {
        let mut entries = self.entries();
        entries.retain(|(_, said)| *said != words);
        entries.truncate(MOST - 1);
        entries.push_front((now, words));
    }

    fn lately(&self, now: Instant) -> Vec<Trouble> {
        let trouble =
            |(at, words): &(Instant, String)| Trouble { ago: now.since(*at), words: words.clone() };
        self.entries().iter().map(trouble).collect()
    }
}

/// The last warnings and errors, the newest first.
pub(crate) fn lately(now: Instant) -> Vec<Trouble> {
    MEMORY.lately(now)
}

/// Remembers warnings and errors on their way into the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct Remember(());

impl Remember {
    /// To be added to the subscriber of the process.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

impl<S: Subscriber> Layer<S> for Remember {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        if *event.metadata().level() > Level::WARN {
            return;
        }
        let mut words = Words::default();
        event.record(&mut words);
        MEMORY.add(Clock::system().now(), words.whole());
    }
}

/// An event as one line: the message, then the fields.
#[derive(Debug, Default)]
struct Words {
    message: String,
    fields: String,
}

impl Words {
    fn whole(self) -> String {
        let mut words = self.message;
        if words.is_empty() {
            words = self.fields.trim_start().to_owned();
        } else {
            words.push_str(&self.fields);
        }
        let mut end = words.len().min(LONGEST);
        while !words.is_char_boundary(end) {
            end -= 1;
        }
        words.truncate(end);
        words
    }
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        if field.name() == "message" {
            write!(self.message, "{value:?}").unwrap_or_default();
        } else {
            write!(self.fields, " {}={value:?}", field.name()).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn the_newest_are_kept_once_each_and_short() {
        let memory = Memory(Mutex::default());
        let at = |second: u64| Instant::from_micros(second * 1_000_000);
        for second in 0..20 {
            memory.add(at(second), format!("trouble {second}"));
        }
        memory.add(at(20), "trouble 15".into());
        let lately = memory.lately(at(21));
        assert_eq!(lately.len(), MOST);
        assert_eq!((lately[0].words.as_str(), lately[0].ago.as_millis()), ("trouble 15", 1_000));
        assert_eq!(lately[1].words, "trouble 19");
        assert_eq!(lately.iter().filter(|trouble| trouble.words == "trouble 15").count(), 1);
        let long = Words { message: "\u{e9}".repeat(LONGEST), fields: String::new() };
        assert_eq!(long.whole().len(), LONGEST);
    }

    #[test]
    fn warnings_are_remembered_and_the_rest_is_not() {
        let subscriber = tracing_subscriber::registry().with(Remember::new());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("a test says nothing of weight");
            tracing::warn!(peer = "b", "a test complains");
        });
        let words: Vec<String> =
            lately(Clock::system().now()).into_iter().map(|trouble| trouble.words).collect();
        assert!(words.contains(&"a test complains peer=\"b\"".to_owned()), "{words:?}");
        assert!(!words.iter().any(|words| words.contains("weight")), "{words:?}");
    }
}
