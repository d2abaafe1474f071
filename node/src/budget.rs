//! The memory that all connections of clients together may fill with bytes on their way.
//!
//! Each connection may hold [`FREE`] bytes whatever the others do, so that many greedy ones never starve a modest one.
//! What it wants beyond that comes out of one budget for all. So the bound for all is the budget and `FREE` for each
//! connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a connection may hold in any case, in each direction.
pub(crate) const FREE: usize = 64 << 10;

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
