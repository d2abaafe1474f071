//! Pauses of random length, so that coordinators which met do not meet again.

use crate::time::Span;

/// A small generator for pauses: `SplitMix64` (Steele et al., 2014).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Jitter(pub(super) u64);

impl Jitter {
    /// A span between half of `longest` and `longest`.
    pub(super) fn pause(&mut self, longest: Span) -> Span {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let half = longest.split(2);
        half.plus(Span::from_micros((mixed ^ (mixed >> 31)) % half.as_micros().max(1)))
    }
}
