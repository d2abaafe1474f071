//! Scenarios as text: files that people read and edit, and that are kept when seeds have long changed their meaning.
//!
//! A file is TOML. It holds everything that was drawn, in microseconds of true time, with nodes, clients and keys called what
//! traces call them: `n0`, `c0`, `k0`. What is still decided by dice (the jitter of messages, how long the disk takes, how long a crashed
//! node takes to come back, identities) comes from the `seed` in the file; `docs/simulation.md` lists it.
//!
//! Reading never panics and never believes a number: what is wrong is named with its line and with what is expected there.

mod check;
mod read;
mod show;

use std::fmt;

use leasehold_core::faults::Rule;

use crate::scenario::Scenario;

pub use check::complaint;
pub use read::read;
pub use show::show;

/// The version of the format that this build writes, and the only one that it reads.
pub const VERSION: u64 = 1;

/// In a written scenario one message in so many is encoded and decoded on its way.
pub const WIRE: u64 = 64;

/// A scenario and what its file says about it.
#[derive(Clone, Debug)]
pub struct Written {
    /// What it shows, in a line.
    pub title: String,
    /// What is violated without the rule; or once was.
    pub violates: Option<String>,
    /// The rule that it is about: with it nothing is violated.
    pub without: Option<&'static str>,
    /// What happens.
    pub scenario: Scenario,
}

/// Where something is wrong with a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The whole, or a number on its own.
    Whole(&'static str),
    /// A fault.
    Fault(usize),
    /// A change of the members.
    Change(usize),
    /// The fate of a message.
    Message(usize),
    /// An operation.
    Operation(usize),
}

/// What is wrong with a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Where.
    pub part: Part,
    /// What, and what is expected instead.
    pub what: String,
}

/// Why a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The line, from 1 on.
    pub line: usize,
    /// What is wrong there, and what is expected.
    pub what: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for Unreadable {}

/// The rule of the kill list that is called `name`.
#[must_use]
pub fn rule_called(name: &str) -> Option<&'static str> {
    Rule::ALL.iter().find(|(_, other)| *other == name).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Look, run};
    use crate::scribe::write_out;

    fn written(seed: u64) -> Written {
        let plan = Scenario::draw(seed);
        let film = run(&plan, Look { film: true, ..Look::default() }).film.expect("it was wanted");
        let scenario = write_out(&plan, &film);
        Written { title: format!("seed {seed}"), violates: None, without: None, scenario }
    }

    #[test]
    fn what_is_written_is_read_as_it_was() {
        for seed in 0..20 {
            let one = written(seed);
            let text = show(&one);
            let other = read(&text).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
            assert_eq!(show(&other), text, "seed {seed}");
            let look = Look { trace: true, ..Look::default() };
            let (first, second) = (run(&one.scenario, look), run(&other.scenario, look));
            assert_eq!(first.report, second.report, "seed {seed}");
        }
    }

    /// `text` with one line put in the place of the first that starts as given, or, if it is of a list, before it.
    fn with_line(text: &str, start: &str, line: &str) -> (usize, String) {
        let place = text.lines().position(|old| old.trim_start().starts_with(start));
        let place = place.unwrap_or_else(|| panic!("no line starts with {start}"));
        let mut lines: Vec<&str> = text.lines().collect();
        if line.starts_with(' ') {
            lines.insert(place, line);
        } else {
            lines[place] = line;
        }
        (place + 1, lines.join("\n"))
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let mut written = written(3);
        written.scenario.changes.clear();
        let text = show(&written);
        for (start, line, expected) in [
            ("version", "version = 9", "version 1"),
            ("seed", "seed = -1", "-1"),
            ("seed", "seed = \"x\"", "expected u64"),
            ("seed", "seed = 1\nspeed = 2", "unknown field `speed`"),
            ("masters", "masters = 0", "1 to 7 masters"),
            ("masters", "masters = 70_000", "1 to 7 masters"),
            ("keys", "keys = 1_000", "keys"),
            ("quiet", "quiet = 99_000_000_000", "3_600_000_000"),
            ("timing", "timing = { max_lease = 1 }", "missing field"),
            ("{ from", "  { from = 1, until = 2 },", "one of"),
            ("{ from", "  { from = 1, until = 2, crash = [\"n0\"], pause = [\"n1\"] },", "one of"),
            ("{ from", "  { from = 3, until = 2, crash = [\"n0\"] },", "ends before it begins"),
            ("{ from", "  { from = 1, until = 2, crash = [\"n77\"] },", "n77"),
            ("{ from", "  { from = 1, until = 2, crash = [\"x\"] },", "a node such as n0"),
            ("{ from", "  { from = 1, until = 2, cut = [\"n0/n1\"] },", "n0>n1"),
            (
                "{ at",
                "  { at = 1, client = \"c77\", read = \"k0\", to = \"n0\", patience = 1 },",
                "c77",
            ),
            (
                "{ at",
                "  { at = 1, client = \"c0\", read = \"k77\", to = \"n0\", patience = 1 },",
                "k77",
            ),
            (
                "{ at",
                "  { at = 1, client = \"c0\", extend = \"no\", lease = 1, to = \"n0\", patience = 1 },",
                "no lock",
            ),
            (
                "{ at",
                "  { at = 1, client = \"c0\", lock = \"Z\", key = \"k0\", value = \"v\", to = \"n0\", patience = 1 },",
                "lease",
            ),
            ("{ at", "  { at = 1, client = \"c0\", to = \"n0\", patience = 1 },", "one of"),
        ] {
            let (number, text) = with_line(&text, start, line);
            let error = read(&text).expect_err(line);
            assert!(error.what.contains(expected), "{line}: {error}");
            assert!((number..=number + 1).contains(&error.line), "{line}: {error}, not {number}");
        }
    }

    #[test]
    fn bad_text_is_refused_and_nothing_else() {
        let text = show(&written(7));
        let mut roll = crate::dice::Dice::new(1).roll(crate::dice::Stream::Scenario, 0);
        let (mut good, mut bad) = (0, 0);
        for _ in 0..1_000 {
            let mut bytes = text.clone().into_bytes();
            for _ in 0..=roll.below(3) {
                let place = roll.index(bytes.len());
                let digits = b"0123456789-\"{}[]=,.nck_ ";
                match roll.below(3) {
                    0 => bytes[place] = digits[roll.index(digits.len())],
                    1 => bytes.insert(place, digits[roll.index(digits.len())]),
                    _ => bytes.truncate(place.max(1)),
                }
            }
            match read(&String::from_utf8_lossy(&bytes)) {
                Ok(written) => {
                    good += 1;
                    if good % 20 == 0 {
                        let report = run(&written.scenario, Look::default()).report;
                        let panics = report.violations.iter().find(|v| v.rule == "a panic");
                        assert_eq!(panics, None, "{}", show(&written));
                    }
                }
                Err(error) => {
                    bad += 1;
                    assert!(error.line >= 1 && !error.what.is_empty());
                }
            }
        }
        assert!(good > 20 && bad > 300, "{good} good, {bad} bad");
    }
}
