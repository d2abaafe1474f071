//! Where the client draws randomness: identities of operations, and a seed for jitter.

use leasehold_core::OpId;
#[cfg(madsim)]
use madsim::rand::random;
#[cfg(not(madsim))]
use rand::random;

/// The first step of a chain that nobody else has.
pub(crate) fn new_chain() -> OpId {
    OpId { chain: draw(), step: 0 }
}

/// The step after `id` in the same chain.
pub(crate) const fn next_step(id: OpId) -> OpId {
    OpId { chain: id.chain, step: id.step.saturating_add(1) }
}

/// 128 bits from a generator that the operating system seeds.
#[cfg_attr(
    not(madsim),
    expect(
        clippy::disallowed_methods,
        reason = "an operation gets its identity here, which must differ from every other client's"
    )
)]
pub(crate) fn draw() -> (u64, u64) {
    random()
}
