//! What happened, in lines for people: true time, local time, who, what. Nothing is formatted unless asked for.

use std::fmt::Write;

use leasehold_core::Instant;

use crate::dice::mix;

/// A trace that may be off, and a hash of the run that never is.
#[derive(Debug, Default)]
pub struct Trace {
    text: Option<String>,
    hash: u64,
}

impl Trace {
    /// A trace that keeps its lines if `wanted`.
    #[must_use]
    pub fn new(wanted: bool) -> Self {
        Self { text: wanted.then(String::new), hash: 0 }
    }

    /// Mixes what happened into the hash of the run.
    pub fn fold(&mut self, what: u64) {
        self.hash = mix(self.hash.rotate_left(7) ^ what);
    }

    /// The hash of the run so far.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// A line, if anybody reads it.
    pub fn line(
        &mut self,
        time: u64,
        local: Option<Instant>,
        who: impl FnOnce() -> String,
        what: impl FnOnce() -> String,
    ) {
        let Some(text) = &mut self.text else { return };
        let (seconds, micros) = (time / 1_000_000, time % 1_000_000);
        let local = local.map_or_else(String::new, |local| local.as_micros().to_string());
        // Writing to a string does not fail.
        let _written =
            writeln!(text, "{seconds:>4}.{micros:06} {local:>14} {:<4} {}", who(), what());
    }

    /// The lines so far.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text.unwrap_or_default()
    }
}
