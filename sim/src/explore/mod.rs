//! Every interleaving of a small world, up to a bound.
//!
//! Random runs meet what is likely. A few rules of the protocol are there for what is not: an accept that comes a
//! promise's whole life later, at the one master that missed what came before. Here a *scope* is a small world (three
//! masters, one key, a handful of requests) with a budget of what may go wrong, and *all* that can happen within it is
//! tried: each message arrives at any moment after it was sent, or never; time moves by chosen jumps at chosen moments;
//! nodes restart wherever they may. The nodes are the [`leasehold_core::Node`] of production.
//!
//! A state is the nodes, the messages under way, the time, what is left of the budget, and what clients know and were
//! told. States are told apart by a 128-bit hash of all of it, and one that was seen is not entered again; so the search
//! ends, and if it was not cut short it has seen every state of its scope, but for hash collisions.
//!
//! What makes it small enough, and is part of what a scope covers:
//!
//! * A message that never arrives stands for loss. A copy costs budget; what a node sends again just as it was counts
//!   as the same message.
//! * Between two jumps no time passes. After a jump every node does what became due, once.
//! * Disks are immediate. Links are silent: each node coordinates what it is asked itself, and word of one's standing
//!   is lost.
//! * An answer that changes nothing where it arrives never will (rounds only move on), so it is lost at once.
//! * An *atomic* request runs to its end within a set of nodes, in one step; what it sent to others is lost.

mod client;
mod digest;
mod known;
mod scope;
mod search;
mod story;
mod world;

pub use client::{Answers, Planned, Want};
pub use known::scopes;
pub use scope::{Budget, First, Jump, Scope};
pub use search::{Explored, Limits, explore};
