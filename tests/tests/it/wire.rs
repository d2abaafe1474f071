//! Items to bytes and back, and what happens to bytes that nobody encoded.

use std::fmt::Debug;

use leasehold_core::wire::{
    self, ClientItem, FORMAT, Frame, HEADER, Item, MAX_FRAME, Malformed, NodeItem, PeerItem,
    Topology,
};
use leasehold_core::{Copied, Epoch, NodeId, Peer};
use proptest::collection::vec;
use proptest::prelude::*;

use super::arbitrary::{client_item, node_item, peer_item};

/// Allocated bytes for each byte of input at most. A list of `n` things is made when `n` bytes are there, so this is the
/// size of the largest thing in a list.
const PER_BYTE: u64 = if size_of::<Copied>() > size_of::<Peer>() {
    size_of::<Copied>() as u64
} else {
    size_of::<Peer>() as u64
};
/// What may be allocated whatever the input is.
const ANYWAY: u64 = 256;

fn framed<T: Item>(items: &[T]) -> Vec<u8> {
    let mut frame = Frame::default();
    for item in items {
        frame.push(item).unwrap();
    }
    frame.take()
}

/// All items in whole frames at the start of `bytes`, and how many bytes those were.
fn unframed<T: Item>(bytes: &[u8]) -> Result<(Vec<T>, usize), Malformed> {
    let (mut found, mut taken) = (Vec::new(), 0);
    while let Some((mut items, length)) = wire::split_frame(&bytes[taken..])? {
        while let Some(item) = wire::take_item(&mut items)? {
            found.push(item);
        }
        taken += length;
    }
    Ok((found, taken))
}

/// Items come back as they were, and byte for byte, the frames cut off anywhere.
fn comes_back<T: Item + PartialEq + Debug>(
    items: &[T],
    cut: prop::sample::Index,
) -> Result<(), TestCaseError> {
    let bytes = framed(items);
    let (found, taken) = unframed::<T>(&bytes).unwrap();
    prop_assert_eq!(taken, bytes.len());
    prop_assert_eq!(found.as_slice(), items);
    prop_assert_eq!(&framed(&found), &bytes);
    // A reader that has got some of it so far takes whole frames, and the rest once it is there.
    let so_far = cut.index(bytes.len() + 1);
    let (mut first, taken) = unframed::<T>(&bytes[..so_far]).unwrap();
    let (rest, _) = unframed::<T>(&bytes[taken..]).unwrap();
    first.extend(rest);
    prop_assert_eq!(first.as_slice(), items);
    Ok(())
}

/// Whatever the bytes are, they are taken or refused, and cost no more memory than their length allows.
fn is_survived<T: Item>(bytes: &[u8]) -> Result<(), TestCaseError> {
    let (cost, most) = (cost_of::<T>(bytes), ANYWAY + PER_BYTE * bytes.len() as u64);
    prop_assert!(cost <= most, "{} bytes for {}", cost, bytes.len());
    Ok(())
}

/// How many bytes were allocated at a time to take these bytes for items.
fn cost_of<T: Item>(bytes: &[u8]) -> u64 {
    let cost = allocation_counter::measure(|| {
        let mut items = bytes;
        while let Ok(Some(item)) = wire::take_item::<T>(&mut items) {
            // What is taken is something that may be sent on.
            assert!(item.well_formed());
        }
        drop(unframed::<T>(bytes));
    });
    cost.bytes_max
}

/// Bytes in which something was overwritten, inserted or cut off.
fn mutated(mut bytes: Vec<u8>, changes: &[(prop::sample::Index, u8, u8)]) -> Vec<u8> {
    for (at, what, byte) in changes {
        let at = at.index(bytes.len() + 1);
        match what % 4 {
            0 if at < bytes.len() => bytes[at] = *byte,
            1 => bytes.insert(at, *byte),
            2 => bytes.truncate(at),
            // The start of a long number, as a length would be.
            _ => drop(bytes.splice(at..at, [0xff, 0xff, 0xff, 0xff, *byte & 0x7f])),
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn what_nodes_send_comes_back(
        items in vec(peer_item(), 0..6), cut in any::<prop::sample::Index>(),
    ) {
        comes_back(&items, cut)?;
    }

    #[test]
    fn what_clients_send_comes_back(
        items in vec(client_item(), 0..6), cut in any::<prop::sample::Index>(),
    ) {
        comes_back(&items, cut)?;
    }

    #[test]
    fn what_clients_are_told_comes_back(
        items in vec(node_item(), 0..6), cut in any::<prop::sample::Index>(),
    ) {
        comes_back(&items, cut)?;
    }

    #[test]
    fn noise_is_survived(bytes in vec(any::<u8>(), 0..300)) {
        is_survived::<PeerItem>(&bytes)?;
        is_survived::<ClientItem>(&bytes)?;
        is_survived::<NodeItem>(&bytes)?;
    }

    #[test]
    fn changed_items_are_survived(
        peer in peer_item(), client in client_item(), node in node_item(),
        changes in vec(any::<(prop::sample::Index, u8, u8)>(), 1..4),
    ) {
        is_survived::<PeerItem>(&mutated(framed(&[peer])[HEADER..].to_vec(), &changes))?;
        is_survived::<ClientItem>(&mutated(framed(&[client])[HEADER..].to_vec(), &changes))?;
        is_survived::<NodeItem>(&mutated(framed(&[node])[HEADER..].to_vec(), &changes))?;
    }

    #[test]
    fn a_frame_that_was_cut_short_waits_for_more(
        item in peer_item(), cut in any::<prop::sample::Index>(),
    ) {
        let bytes = framed(&[item]);
        prop_assert_eq!(wire::split_frame(&bytes[..cut.index(bytes.len())]), Ok(None));
    }
}

/// A count of things in a list, and no more bytes than `filler` of them.
fn counted(count: u64, filler: usize) -> Vec<u8> {
    let members = Vec::new();
    let empty =
        Topology { cluster: None, node: NodeId::default(), epoch: Epoch::default(), members };
    let mut bytes = framed(&[NodeItem::Topology(empty)])[HEADER..].to_vec();
    bytes.pop();
    let mut left = count;
    while left >= 0x80 {
        bytes.push(u8::try_from(left & 0x7f).unwrap() | 0x80);
        left >>= 7;
    }
    bytes.push(u8::try_from(left).unwrap());
    bytes.resize(bytes.len() + filler, 0xff);
    bytes
}

#[test]
fn a_count_is_believed_only_as_far_as_there_are_bytes() {
    for filler in [0, 1, 100, 5_000, MAX_FRAME - 20] {
        let there = u64::try_from(filler).unwrap();
        is_survived::<NodeItem>(&counted(there, filler)).unwrap();
        for claim in [there + 1, 1 << 20, 1 << 40, u64::MAX] {
            let bytes = counted(claim.max(there + 1), filler);
            assert!(cost_of::<NodeItem>(&bytes) < 4_096, "{claim} things in {filler} bytes");
        }
    }
}

#[test]
fn a_length_is_refused_before_anything_is_read() {
    let length = u32::try_from(MAX_FRAME + 1).unwrap().to_le_bytes();
    assert_eq!(wire::split_frame(&length), Err(Malformed::TooLong(MAX_FRAME + 1)));
    assert_eq!(wire::split_frame(&[0, 0, 0, 0]), Err(Malformed::Format));
    assert_eq!(wire::split_frame(&[1, 0, 0, 0, FORMAT + 1]), Err(Malformed::Format));
    assert_eq!(wire::split_frame(&[1, 0, 0, 0, FORMAT]), Ok(Some((&[][..], HEADER))));
}

#[test]
fn more_items_than_a_frame_holds_go_into_several() {
    let item = |n: usize| PeerItem::Refused("x".repeat(n));
    let items = [item(MAX_FRAME / 2), item(MAX_FRAME / 2), item(MAX_FRAME / 3), item(9)];
    let bytes = framed(&items);
    let (_, first) = wire::split_frame(&bytes).unwrap().unwrap();
    assert!(first < bytes.len() && first <= MAX_FRAME + HEADER);
    assert_eq!(unframed(&bytes).unwrap(), (items.to_vec(), bytes.len()));
}

#[test]
fn an_item_too_long_for_any_frame_leaves_the_others_alone() {
    let mut frame = Frame::default();
    frame.push(&PeerItem::Beat).unwrap();
    let long = PeerItem::Refused("x".repeat(MAX_FRAME));
    assert!(matches!(frame.push(&long), Err(Malformed::TooLong(_))));
    frame.push(&PeerItem::Beat).unwrap();
    let (items, _) = unframed::<PeerItem>(&frame.take()).unwrap();
    assert_eq!(items, [PeerItem::Beat, PeerItem::Beat]);
    assert!(matches!(frame.push(&long), Err(Malformed::TooLong(_))));
    assert!(frame.is_empty(), "nothing is sent of it");
}
