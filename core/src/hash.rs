//! Keyed hashing: where a key's home is, and where its record stands.
//!
//! SipHash (Aumasson and Bernstein, 2012), whose outcome is fixed by the paper: with 2 and 4 rounds where nodes and clients
//! must find the same, with 1 and 3 for this node's own tables, as the standard library's are. It is written out here for
//! strings that lie in one piece, since the standard library's takes them byte by byte through a buffer, which was a sixth of an
//! operation's time; the tests hold it against that one. Numbers that this cluster's own nodes and drivers count
//! up need no defence against chosen collisions and get a multiplication.

use core::hash::{BuildHasher, Hasher};

use crate::members::{ClusterId, NodeId};

/// The state of a SipHash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sip([u64; 4]);

impl Sip {
    const fn new((k0, k1): (u64, u64)) -> Self {
        Self([
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ])
    }

    #[inline]
    const fn round(&mut self) {
        let [mut v0, mut v1, mut v2, mut v3] = self.0;
        v0 = v0.wrapping_add(v1);
        v2 = v2.wrapping_add(v3);
        v1 = v1.rotate_left(13) ^ v0;
        v3 = v3.rotate_left(16) ^ v2;
        v0 = v0.rotate_left(32);
        v2 = v2.wrapping_add(v1);
        v0 = v0.wrapping_add(v3);
        v1 = v1.rotate_left(17) ^ v2;
        v3 = v3.rotate_left(21) ^ v0;
        v2 = v2.rotate_left(32);
        self.0 = [v0, v1, v2, v3];
    }

    #[inline]
    const fn word<const C: usize>(&mut self, word: u64) {
        self.0[3] ^= word;
        let mut rounds = 0;
        while rounds < C {
            self.round();
            rounds += 1;
        }
        self.0[0] ^= word;
    }

    /// Takes all of `bytes`, after `before` bytes that it has taken in whole words.
    #[inline]
    fn end<const C: usize, const D: usize>(mut self, before: usize, bytes: &[u8]) -> u64 {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word::<C>(u64::from_le_bytes(*word));
        }
        // What is left of a word, and above it the length, modulo 256.
        let left = match bytes.last_chunk::<8>() {
            Some(_) if rest.is_empty() => 0,
            Some(last) => u64::from_le_bytes(*last) >> (u64::BITS as usize - 8 * rest.len()),
            None => rest.iter().rev().fold(0, |left, &byte| left << 8 | u64::from(byte)),
        };
        self.word::<C>(left | ((before + bytes.len()) as u64) << (u64::BITS - 8));
        self.0[2] ^= 0xff;
        (0..D).for_each(|_| self.round());
        let [v0, v1, v2, v3] = self.0;
        v0 ^ v1 ^ v2 ^ v3
    }
}

/// The SipHash-2-4 of `parts`, one after the other, under `key`.
#[must_use]
pub fn keyed(key: (u64, u64), parts: &[&[u8]]) -> u64 {
    match parts {
        [] => Sip::new(key).end::<2, 4>(0, &[]),
        [part] => Sip::new(key).end::<2, 4>(0, part),
        parts => Sip::new(key).end::<2, 4>(0, &parts.concat()),
    }
}

/// The home of `key` among `nodes`: the one with the highest hash of (incarnation, key) (rendezvous hashing,
/// Thaler and Ravishankar, 1998). Clients and nodes find the same one.
#[must_use]
pub fn home(
    cluster: ClusterId,
    nodes: impl IntoIterator<Item = NodeId>,
    key: &[u8],
) -> Option<NodeId> {
    let sites = nodes.into_iter().map(|node| Site::new(cluster, node));
    sites.max_by_key(|site| site.weight(key)).map(|site| site.node)
}

/// A node that keys may have their home at: what its weight for each key begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    pub(crate) node: NodeId,
    begun: Sip,
}

impl Site {
    pub(crate) const fn new(cluster: ClusterId, node: NodeId) -> Self {
        let mut begun = Sip::new((cluster.0, cluster.1));
        begun.word::<2>(node.0);
        Self { node, begun }
    }

    /// The greater, the more this is the key's home. No two nodes have the same.
    #[inline]
    pub(crate) fn weight(&self, key: &[u8]) -> (u64, u64) {
        (self.begun.end::<2, 4>(8, key), self.node.0)
    }
}

/// Hashes the keys of this node's tables with a seed that strangers do not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Seeded(pub(crate) (u64, u64));

impl Seeded {
    #[inline]
    pub(crate) fn of(self, key: &[u8]) -> u32 {
        let hash = Sip::new(self.0).end::<1, 3>(0, key) >> u32::BITS;
        u32::try_from(hash).unwrap_or(0)
    }
}

/// Hashes what is named by numbers that no stranger chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Numbers;

/// See [`Numbers`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mixer(u64);

impl BuildHasher for Numbers {
    type Hasher = Mixer;

    fn build_hasher(&self) -> Mixer {
        Mixer(0x9e37_79b9_7f4a_7c15)
    }
}

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(u64::try_from(number).unwrap_or(u64::MAX));
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        // Both halves of the product, so that high and low bits of the outcome depend on all of the number.
        let (low, high) = product(self.0 ^ number, 0xa076_1d64_78bd_642f);
        self.0 = low ^ high;
    }
}

/// The low and the high half of a product.
#[expect(clippy::cast_possible_truncation, reason = "halves are what is wanted")]
fn product(one: u64, other: u64) -> (u64, u64) {
    let product = u128::from(one) * u128::from(other);
    (product as u64, (product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn siphash_is_that_of_the_paper() {
        // Appendix A: key 00 01 … 0f, input 00 01 … 0e.
        let key = (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
        let input: [u8; 15] = core::array::from_fn(|i| u8::try_from(i).unwrap());
        assert_eq!(keyed(key, &[&input]), 0xa129_ca61_49be_45e5);
        assert_eq!(keyed(key, &[&input[..7], &input[7..]]), 0xa129_ca61_49be_45e5);
    }

    #[test]
    #[expect(deprecated, reason = "the standard library's SipHash-2-4 with chosen keys")]
    fn siphash_is_that_of_the_standard_library() {
        let text: Vec<u8> = (0..=255).collect();
        for len in 0..text.len() {
            let (key, bytes) = ((len as u64, 77), &text[..len]);
            let mut other = core::hash::SipHasher::new_with_keys(key.0, key.1);
            other.write(bytes);
            assert_eq!(keyed(key, &[bytes]), other.finish());
            other.write(&text);
            assert_eq!(keyed(key, &[bytes, &text]), other.finish());
            // A home is found by the node's number in front of the key.
            let parts = |node: u64| keyed((1, 2), &[&node.to_le_bytes(), bytes]);
            let highest = [10, 20, 30].into_iter().max_by_key(|&node| parts(node));
            let nodes = [NodeId(10), NodeId(20), NodeId(30)];
            assert_eq!(home(ClusterId(1, 2), nodes, bytes).map(|node| node.0), highest);
        }
    }

    #[test]
    fn numbers_that_are_counted_up_spread() {
        let hash = |number: u64| Numbers.hash_one(number);
        let low: BTreeSet<u64> = (0..1_000).map(|number| hash(number) % 4_096).collect();
        let high: BTreeSet<u64> = (0..1_000).map(|number| hash(number) >> 57).collect();
        assert!(low.len() > 750 && high.len() == 128, "{} {}", low.len(), high.len());
    }

    #[test]
    fn a_home_moves_only_when_its_node_goes() {
        let cluster = ClusterId(1, 2);
        let nodes = [NodeId(10), NodeId(20), NodeId(30)];
        for key in 0_u32..300 {
            let key = key.to_le_bytes();
            let home_of_three = home(cluster, nodes, &key).unwrap();
            let home_of_two = home(cluster, [nodes[0], nodes[1]], &key).unwrap();
            assert!(home_of_three == nodes[2] || home_of_three == home_of_two);
        }
    }
}
