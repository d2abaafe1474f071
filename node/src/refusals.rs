//! Who refused a link with this node lately, and in what words.
//!
//! A node that lost its node file, or was removed, is a stranger to the members. It cannot see that by itself: it looks
//! like a node of a cluster that is still to be founded. What the members say when they refuse it tells the two apart, so
//! that nobody is sent to `leasehold init` who should replace a node.

use std::collections::BTreeMap;

use leasehold_core::{ClusterId, Instant, Span};

/// Refusals that are remembered, and for how long. A node that is refused dials again every two seconds.
const MOST: usize = 32;
const REMEMBERED: Span = Span::from_secs(30);

/// The last refusal of each node.
#[derive(Debug, Default)]
pub(crate) struct Refusals(BTreeMap<String, Refusal>);

#[derive(Debug)]
struct Refusal {
    why: String,
    /// The cluster that the other node belongs to, once it said so.
    cluster: Option<ClusterId>,
    at: Instant,
}

impl Refusals {
    /// The node of this name refused this one.
    pub(crate) fn note(&mut self, now: Instant, name: &str, cluster: Option<ClusterId>, why: &str) {
        self.0.retain(|_, refusal| now.since(refusal.at) < REMEMBERED);
        let before = self.0.get(name).and_then(|refusal| refusal.cluster);
        if self.0.len() < MOST || self.0.contains_key(name) {
            let refusal = Refusal { why: why.to_owned(), cluster: cluster.or(before), at: now };
            self.0.insert(name.to_owned(), refusal);
        }
    }

    /// The node of this name is linked.
    pub(crate) fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }

    fn recent(&self, now: Instant) -> impl Iterator<Item = (&String, &Refusal)> {
        self.0.iter().filter(move |(_, refusal)| now.since(refusal.at) < REMEMBERED)
    }

    /// The cluster whose members refuse this node, if one says that it belongs to any.
    pub(crate) fn cluster(&self, now: Instant) -> Option<ClusterId> {
        self.recent(now).find_map(|(_, refusal)| refusal.cluster)
    }

    /// Who refused this node, and why.
    pub(crate) fn lately(&self, now: Instant) -> Vec<(String, String)> {
        self.recent(now).map(|(name, refusal)| (name.clone(), refusal.why.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_remembered_until_it_is_old_or_the_node_is_linked() {
        let (mut refusals, start) = (Refusals::default(), Instant::default());
        refusals.note(start, "a", Some(ClusterId(1, 2)), "a stranger");
        let later = start.after(Span::from_secs(20));
        // The next one does not say where its sender belongs.
        refusals.note(later, "a", None, "no node `c`");
        refusals.note(later, "b", None, "other constants");
        let at = |seconds| start.after(Span::from_secs(seconds));
        assert_eq!(refusals.cluster(at(45)), Some(ClusterId(1, 2)));
        let words = |name: &str, why: &str| (name.to_owned(), why.to_owned());
        let all = [words("a", "no node `c`"), words("b", "other constants")];
        assert_eq!(refusals.lately(at(45)), all);
        refusals.forget("a");
        assert_eq!((refusals.cluster(at(45)), refusals.lately(at(45)).len()), (None, 1));
        assert_eq!(refusals.lately(at(51)), []);
    }
}
