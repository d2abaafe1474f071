//! Leasehold in a simulated world.
//!
//! Nodes are the same [`leasehold_core::Node`] that production runs, driven through the same door. Around them: a
//! clock for each node and client that drifts as far as the contract allows, a network that loses, doubles, delays
//! and splits, crashes that leave nothing but the node file, pauses, and clients that obey the protocol. One thread
//! a run, no async, every decision a hash of the seed ([`dice`]); so a seed is a whole run, on every machine.
//!
//! What came of it is judged from outside, in true time ([`check`]), and by counts of what was met ([`marks`]).
//!
//! ```
//! let report = leasehold_sim::run_seed(7);
//! assert!(report.violations.is_empty());
//! ```

#![expect(
    clippy::indexing_slicing,
    reason = "nodes, clients, faults and sendings are numbered by this crate itself; a number out of range is a bug of \
              the simulator that should stop it"
)]

pub mod actor;
pub mod campaign;
pub mod check;
pub mod client;
pub mod clock;
pub mod dice;
mod disk;
pub mod explore;
pub mod fault;
pub mod film;
pub mod focus;
pub mod history;
pub mod host;
mod judge;
pub mod marks;
pub mod network;
mod nodes;
pub mod operator;
pub mod people;
pub mod picture;
pub mod probe;
pub mod queue;
pub mod report;
pub mod run;
pub mod scenario;
pub mod scribe;
pub mod script;
pub mod shrink;
pub mod trace;
pub mod world;
pub mod written;

pub use report::{Report, Tally};
pub use run::{replay, run_focused, run_seed};
