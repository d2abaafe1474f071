//! The few bytes that a node keeps. Whatever the disk makes of them, a changed file is refused.

use leasehold_core::wire::{Malformed, decode_file, encode_file};
use proptest::prelude::*;

use super::arbitrary::node_file;

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_file_comes_back(file in node_file()) {
        prop_assert_eq!(decode_file(&encode_file(&file)), Ok(file));
    }

    #[test]
    fn every_flipped_bit_is_noticed(file in node_file()) {
        let bytes = encode_file(&file);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(decode_file(&flipped), Err(Malformed::File), "bit {}", bit);
        }
    }

    #[test]
    fn a_file_of_another_length_is_noticed(file in node_file(), more in any::<u8>()) {
        let mut bytes = encode_file(&file);
        for length in 0..bytes.len() {
            prop_assert_eq!(decode_file(&bytes[..length]), Err(Malformed::File), "{} bytes", length);
        }
        bytes.push(more);
        prop_assert_eq!(decode_file(&bytes), Err(Malformed::File));
    }

    #[test]
    fn noise_is_no_file(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(decode_file(&bytes), Err(Malformed::File));
    }
}
