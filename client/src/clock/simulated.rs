//! The clocks of simulated machines (`cargo simnet`, docs/simulation.md): each machine has its own, which runs as wrong as
//! the test wants.
//!
//! A simulation is one thread, and so is its set of clocks. A machine that was given none sees true time.

use std::cell::RefCell;
use std::collections::BTreeMap;

use leasehold_core::Instant;
use madsim::task::NodeId;
use madsim::time::TimeHandle;

/// What the clocks of a machine show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The one that is never set.
    pub monotonic: Instant,
    /// The wall clock, in microseconds since the Unix epoch.
    pub wall: u64,
}

/// What a machine's clocks show at a true time.
type Machine = Box<dyn FnMut(u64) -> Reading>;

thread_local! {
    static MACHINES: RefCell<BTreeMap<NodeId, Machine>> = const { RefCell::new(BTreeMap::new()) };
}

/// Gives a machine its clocks, in place of those it had: `read` is handed the true time.
pub fn give(machine: NodeId, read: impl FnMut(u64) -> Reading + 'static) {
    MACHINES.with_borrow_mut(|machines| machines.insert(machine, Box::new(read)));
}

/// True time: microseconds since the simulation began.
#[must_use]
pub fn elapsed() -> u64 {
    u64::try_from(TimeHandle::current().elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// What the wall clock of the machine shows on which this is called, in microseconds since the Unix epoch.
#[must_use]
pub fn wall() -> u64 {
    look().wall
}

pub(super) fn reading() -> Instant {
    look().monotonic
}

fn look() -> Reading {
    let (elapsed, machine) = (elapsed(), madsim::plugin::node());
    MACHINES.with_borrow_mut(|machines| match machines.get_mut(&machine) {
        Some(read) => read(elapsed),
        None => Reading { monotonic: Instant::from_micros(elapsed), wall: elapsed },
    })
}
