//! What states are told apart by.

use std::hash::{Hash, Hasher};

use crate::dice::mix;

/// 128 bits of a hash. Of ten million states two share one with a chance of one in 10^24.
pub(super) type Digest = u128;

/// The digest of a thing.
pub(super) fn digest(thing: &impl Hash) -> Digest {
    let mut lanes = Lanes(0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f);
    thing.hash(&mut lanes);
    u128::from(mix(lanes.0)) << 64 | u128::from(mix(lanes.1))
}

/// Two hashes at once, of which either is a good one where nobody chooses the input to break it.
struct Lanes(u64, u64);

impl Hasher for Lanes {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, word: u8) {
        self.write_u64(u64::from(word));
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = mix(self.0.rotate_left(5) ^ word);
        self.1 = mix(self.1.wrapping_mul(0x9fb2_1c65_1e98_df25) ^ word.rotate_left(32));
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(u64::try_from(word).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn near_things_differ_in_both_halves() {
        let things = (0_u64..200).flat_map(|a| (0_u32..200).map(move |b| (a, b, "k", Some(a ^ 1))));
        let digests: Vec<Digest> = things.map(|thing| digest(&thing)).collect();
        let halves =
            |shift: u32| digests.iter().map(|d| d >> shift & u128::from(u64::MAX)).collect();
        let (high, low): (HashSet<u128>, HashSet<u128>) = (halves(64), halves(0));
        assert_eq!((high.len(), low.len()), (40_000, 40_000));
    }
}
