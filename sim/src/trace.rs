//! What happened, in lines for people: true time, local time, who, what. Nothing is formatted unless asked for.
//!
//! What a node or client does about an input stands below it, indented: so the line above says why. The words are
//! those of the types themselves, with the long numbers in them made short: `n1` for a node, `…812/3fa9` for a ballot.

use std::fmt::Write;

use leasehold_core::{Instant, NodeId};

use crate::dice::mix;

/// A trace that may be off, and a hash of the run that never is.
#[derive(Debug, Default)]
pub struct Trace {
    text: Option<String>,
    hash: u64,
    /// Incarnations of nodes, with what they are called.
    names: Vec<(NodeId, String)>,
}

impl Trace {
    /// A trace that keeps its lines if `wanted`.
    #[must_use]
    pub fn new(wanted: bool) -> Self {
        Self { text: wanted.then(String::new), hash: 0, names: Vec::new() }
    }

    /// From now on `id` is called node `number`, with a prime for each incarnation before it.
    pub fn name(&mut self, id: NodeId, number: usize) {
        let name = format!("n{number}");
        let before = self.names.iter().filter(|(_, other)| other.trim_end_matches('\'') == name);
        let primes = "'".repeat(before.count());
        self.names.push((id, name + &primes));
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
        let what = tidy(&what(), &self.names);
        // Writing to a string does not fail.
        let _written = writeln!(text, "{seconds:>4}.{micros:06} {local:>14} {:<4} {what}", who());
    }

    /// The lines so far.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text.unwrap_or_default()
    }
}

/// Long words of the types, and what is written instead of them.
const SHORT: [(&str, &str); 12] = [
    ("Input::", ""),
    ("Message { from: ", "from "),
    (", message: Message { ", ": { "),
    ("Send { to: ", "to "),
    ("Request { ticket: ", "request "),
    ("Reply { ticket: ", "reply "),
    ("Some(", "("),
    ("Span(", "("),
    ("Key(Key", "(Key"),
    ("NodeFile {", "file {"),
    ("Event(", "event ("),
    ("OpId { chain: ", "op {"),
];

/// The text with its numbers made short.
fn tidy(text: &str, names: &[(NodeId, String)]) -> String {
    let mut tidied = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        if let Some((taken, short)) = shorten(rest, names) {
            tidied.push_str(&short);
            rest = rest.get(taken..).unwrap_or_default();
        } else {
            tidied.push(next);
            rest = rest.get(next.len_utf8()..).unwrap_or_default();
        }
    }
    tidied
}

/// How much of the beginning of `text` can be written shorter, and how.
fn shorten(text: &str, names: &[(NodeId, String)]) -> Option<(usize, String)> {
    if let Some((id, length)) = number_in(text, "NodeId(", ")") {
        let name = names.iter().find(|(other, _)| other.0 == id).map(|(_, name)| name.clone());
        return Some((length, name.unwrap_or_else(|| format!("node {id:016x}"))));
    }
    if let Some((counter, first)) = number_in(text, "Ballot { counter: ", ", ")
        && let Some((proposer, second)) = number_in(text.get(first..)?, "proposer: ", " }")
    {
        return Some((first + second, format!("{}/{:04x}", tail(counter), proposer & 0xffff)));
    }
    if let Some((token, length)) = number_in(text, "Token(", ")") {
        return Some((length, format!("#{}", tail(token))));
    }
    if let Some((counter, length)) = number_in(text, "counter: ", ", ") {
        return Some((length, format!("at {}, ", tail(counter))));
    }
    if let Some((epoch, length)) = number_in(text, "Epoch(", ")") {
        return Some((length, format!("e{epoch}")));
    }
    let (long, short) = SHORT.iter().find(|(long, _)| text.starts_with(long))?;
    Some((long.len(), (*short).to_owned()))
}

/// The number between `before`, with which `text` begins, and `after`, and how long all that is.
fn number_in(text: &str, before: &str, after: &str) -> Option<(u64, usize)> {
    let rest = text.strip_prefix(before)?;
    let (number, _) = rest.split_once(after)?;
    Some((number.parse().ok()?, before.len() + number.len() + after.len()))
}

/// The last digits of a counter: the others are the same for a whole day.
fn tail(counter: u64) -> String {
    let digits = counter.to_string();
    match digits.len().checked_sub(11) {
        Some(cut) if cut > 0 => format!("…{}", digits.get(cut..).unwrap_or_default()),
        _ => digits,
    }
}

#[cfg(test)]
mod tests {
    use leasehold_core::{Ballot, Epoch, Token};

    use super::*;

    #[test]
    fn numbers_become_short_and_the_rest_stays() {
        let names = [(NodeId(77), "n1".to_owned())];
        let text = format!("{:?} {:?} {:?}", NodeId(77), Token(1_700_000_012_345_678), Epoch(3));
        assert_eq!(tidy(&text, &names), "n1 #…00012345678 e3");
        let ballot = Ballot { counter: 1_700_000_012_345_678, proposer: 0xabcd_1234 };
        assert_eq!(tidy(&format!("{ballot:?}, ü"), &names), "…00012345678/1234, ü");
        assert_eq!(tidy("NodeId(", &names), "NodeId(");
    }

    #[test]
    fn a_stranger_under_an_old_name_has_a_prime() {
        let mut trace = Trace::new(true);
        trace.name(NodeId(1), 4);
        trace.name(NodeId(2), 4);
        trace.line(1_500_000, None, || "n4".into(), || format!("{:?} {:?}", NodeId(1), NodeId(2)));
        assert_eq!(trace.into_text(), "   1.500000                n4   n4 n4'\n");
    }
}
