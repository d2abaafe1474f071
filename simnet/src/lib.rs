//! The real nodes and the real client library on a simulated network, with clocks, disks and machines that fail by the seed
//! (docs/simulation.md). Without `--cfg madsim` there is nothing in this crate.
//!
//! ```sh
//! cargo simnet                                        # some hundred seeds
//! LEASEHOLD_SEEDS=1000..3000 cargo simnet             # these
//! LEASEHOLD_SEED=1017 cargo simnet -- --nocapture     # one, told line by line
//! ```
#![cfg_attr(
    madsim,
    expect(
        clippy::print_stdout,
        clippy::indexing_slicing,
        clippy::wildcard_enum_match_arm,
        reason = "a story is for people; machines, keys and beliefs are numbered here; a mark stands for a group of answers"
    )
)]

#[cfg(madsim)]
mod campaign;
#[cfg(madsim)]
mod door;
#[cfg(madsim)]
mod machines;
#[cfg(madsim)]
mod people;
#[cfg(madsim)]
mod plan;
#[cfg(madsim)]
mod record;
#[cfg(madsim)]
mod world;

#[cfg(madsim)]
pub use campaign::run;
