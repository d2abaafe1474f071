//! The memory that all connections of clients together may fill: with bytes on their way in or out, and with what requests
//! carry that are not answered yet.
//!
//! Each connection may hold [`FREE`] bytes of each kind whatever the others do, so that many greedy ones never starve a
//! modest one. What it wants beyond that comes out of one budget for all. So the bound for all is the budget and some `FREE`
//! for each connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use leasehold_core::{Action, Amendment, Candidate, KeyRequest, Owner};

/// What a connection may hold in any case, of each kind.
pub(crate) const FREE: usize = 64 << 10;

/// The bytes of strangers that stay in memory until a request is answered.
pub(crate) fn of_request(KeyRequest { key, action, .. }: &KeyRequest) -> usize {
    let named = |owner: &Owner| owner.value.as_ref().map_or(0, |value| value.len());
    key.len()
        + match action {
            Action::Lock { value, meta, .. } => value.len() + meta.len(),
            Action::Update { owner, value, meta, .. } => {
                named(owner) + value.len() + meta.as_ref().map_or(0, |meta| meta.len())
            }
            Action::Extend { owner, .. } | Action::Release { owner, .. } => named(owner),
            Action::Read | Action::WaitHeld | Action::WaitReleased => 0,
        }
}

/// The same of a change of the members.
pub(crate) fn of_amendment(amendment: &Amendment) -> usize {
    let of_one = |candidate: &Candidate| {
        size_of_val(candidate)
            + candidate.name.len()
            + candidate.peer.as_ref().map_or(0, String::len)
    };
    match amendment {
        Amendment::Set { masters, replicas } => masters.iter().chain(replicas).map(of_one).sum(),
        Amendment::Add(candidate) | Amendment::Replace(candidate) => of_one(candidate),
        Amendment::Promote(name) | Amendment::Demote(name) | Amendment::Remove(name) => name.len(),
    }
}

/// Bytes for all.
#[derive(Debug)]
pub(crate) struct Budget {
    left: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(bytes) })
    }

    fn take(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

/// What one connection has of it.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    taken: usize,
}

impl Share {
    pub(crate) const fn of(budget: Arc<Budget>) -> Self {
        Self { budget, taken: 0 }
    }

    /// Holds this many bytes from now on, in place of what it held. `false`, and nothing new, if that is too much.
    pub(crate) fn hold(&mut self, bytes: usize) -> bool {
        let wanted = bytes.saturating_sub(FREE);
        if wanted == self.taken {
            return true;
        }
        if wanted > self.taken {
            if !self.budget.take(wanted - self.taken) {
                return false;
            }
        } else {
            self.budget.left.fetch_add(self.taken - wanted, Ordering::Relaxed);
        }
        self.taken = wanted;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.hold(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greedy_share_a_budget_and_the_modest_need_none() {
        let budget = Budget::new(1_000);
        let mut greedy = Share::of(Arc::clone(&budget));
        let mut other = Share::of(Arc::clone(&budget));
        assert!(greedy.hold(FREE + 900));
        assert!(!other.hold(FREE + 101));
        assert!(other.hold(FREE + 100) && other.hold(FREE));
        assert!(greedy.hold(FREE + 1_000));
        drop(greedy);
        assert!(other.hold(FREE + 1_000));
        drop(other);
        assert_eq!(budget.left.load(Ordering::Relaxed), 1_000);
    }
}
