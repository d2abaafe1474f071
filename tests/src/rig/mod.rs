//! Real processes under real faults.
//!
//! The simulator shows that the protocol is right; this shows that the binary is. Clusters of `leasehold` processes, and
//! clients in processes of their own, run while nodes are killed, stopped, cut off, put on clocks that drift and on disks
//! that fail. Clients write down what they asked, what they were answered and what they believed ([`record`]); all of it
//! is on one clock ([`skew`]), and the simulator's judges ([`leasehold_sim::check`]) say whether it may be so ([`judge`], [`again`]).
//!
//! What a seed decides is which faults come when, and what clients try; how processes are scheduled it does not. So a seed
//! here is a mood, not a run, and what was red keeps its history in a file.
//!
//! * [`soak`] is the command: recipes, load, faults, a page at the end. A [`recipe`] is a cluster and what may happen to it.
//! * [`cluster`] is the nodes, [`worker`] the clients, [`process`] what both are, [`program`] where their binaries are.
//! * [`kind`] is what may happen to them, [`fault`] how, with [`proxy`], [`hosts`] (network namespaces), [`shuffle`] (their packets), [`room`] (disks that are full) and [`page`] (clocks
//!   and disks, by a preloaded library, `shim.c`) as tools.
//! * [`fence`] is a resource that compares tokens, and clients that sleep through their leases; [`gaps`] measures how long
//!   operations stand still.

#![expect(
    clippy::indexing_slicing,
    reason = "nodes and clients are numbered by the rig itself; a number out of range is a bug of it that should stop it"
)]

pub mod again;
pub mod cluster;
pub mod fault;
pub mod fence;
pub mod gaps;
pub mod hosts;
pub mod judge;
pub mod kind;
pub mod page;
pub mod people;
pub mod process;
pub mod program;
pub mod proxy;
pub mod recipe;
pub mod record;
pub mod room;
pub mod shuffle;
pub mod skew;
pub mod soak;
pub mod stint;
pub mod worker;
