//! A scope: a small world, how it begins, and what may happen in it.

use leasehold_core::{Span, Timing};

use super::client::Planned;

/// A jump of time that may happen anywhere.
#[derive(Clone, Copy, Debug)]
pub struct Jump {
    /// By how much true time moves on.
    pub by: Span,
    /// How often at most.
    pub times: u8,
}

/// What may go wrong besides the order and the loss of messages.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    /// Jumps of time.
    pub jumps: Vec<Jump>,
    /// Nodes that may restart, with nothing but their file.
    pub fragile: Vec<usize>,
    /// Restarts in all.
    pub restarts: u8,
    /// Messages that arrive once more.
    pub copies: u8,
}

/// Something that happens before everything is tried.
#[derive(Clone, Copy, Debug)]
pub enum First {
    /// This client makes its next request, an atomic one.
    Ask(usize),
    /// This node restarts.
    Restart(usize),
}

/// A small world and all that may happen in it.
#[derive(Clone, Debug)]
pub struct Scope {
    /// What it is called.
    pub name: &'static str,
    /// What it is about, in a sentence.
    pub about: &'static str,
    /// The constants of the protocol.
    pub timing: Timing,
    /// How many nodes there are.
    pub nodes: usize,
    /// How many of them are masters of the first epoch.
    pub masters: usize,
    /// Microseconds that a node's wall clock shows at its first boot, and at every later one. Nodes that are not named
    /// here show zero.
    pub walls: Vec<(u64, u64)>,
    /// For each possible world, how much faster each node's clock runs, and then each client's, in parts per million;
    /// who is not named keeps true time. None: one world in which all do.
    pub rates: Vec<Vec<i64>>,
    /// What happens before all else, one after the other, with the time that passes before each.
    pub prelude: Vec<(Span, First)>,
    /// What each client asks, in this order. The prelude takes from here, too.
    pub clients: Vec<Vec<Planned>>,
    /// What may go wrong.
    pub budget: Budget,
    /// The rules that cannot be taken out without being missed here.
    pub finds: &'static [&'static str],
}
