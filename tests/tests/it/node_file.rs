//! The few bytes that a node keeps. Whatever the disk makes of them, a changed file is refused.

use leasehold_core::wire::{Malformed, decode_file, encode_file};
use leasehold_core::{Epoch, NodeId};
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

/// Of a node `a` that founded a cluster with `b` and made `b` a replica, as the first format had it.
const FIRST: &str = "4c45415345484431b9671fa6f890b7e4016191888ac5ece2db841b01d2af8dd7ee9c95e2a30192c9dfb8dfe78596d4\
    01a7f9d2c5caac980301020191888ac5ece2db841b01610f3132372e302e302e313a32313130310f3132372e302e302e313a32313130300f3132\
    372e302e302e313a323131303201bfecadbe85aef3d0ac0101620f3132372e302e302e313a32313131310f3132372e302e302e313a3231313130\
    0f3132372e302e302e313a32313131320291888ac5ece2db841bbfecadbe85aef3d0ac010102000000";

#[test]
fn a_file_of_the_first_format_is_read() {
    let digits = FIRST.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).unwrap());
    let bytes: Vec<u8> = digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
    let file = decode_file(&bytes).unwrap();
    let (a, b) = (NodeId(0x1b09_6f16_c8a2_8411), NodeId(0xaca1_cd70_57cb_763f));
    assert_eq!((file.name.as_str(), file.id, file.active_in), ("a", a, Some(Epoch(2))));
    let config = file.config.clone().unwrap();
    assert_eq!((config.epoch, config.before.as_slice()), (Epoch(2), [a, b].as_slice()));
    assert_eq!((config.masters[0].id, config.replicas[0].id), (a, b));
    assert_eq!(config.replicas[0].http, "127.0.0.1:21112");
    assert!(config.former.is_empty());
    assert_eq!(decode_file(&encode_file(&file)), Ok(file), "it is written in the newest format");
    let mut renamed = bytes;
    renamed[7] = b'2';
    assert_eq!(decode_file(&renamed), Err(Malformed::File));
}
