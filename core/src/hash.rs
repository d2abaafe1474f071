//! Keyed hashing: where a key's home is, and where its record stands.
//!
//! SipHash-2-4 (Aumasson and Bernstein, 2012), in the standard library's own implementation: it is the only
//! one at hand without another dependency, and its outcome is fixed by the paper.

#![expect(
    deprecated,
    reason = "the standard library's SipHash with chosen keys, available without std"
)]

use core::hash::{BuildHasher, Hasher, SipHasher};

use crate::members::{ClusterId, NodeId};

/// The SipHash-2-4 of `parts`, one after the other, under `key`.
#[must_use]
pub fn keyed(key: (u64, u64), parts: &[&[u8]]) -> u64 {
    let mut hasher = SipHasher::new_with_keys(key.0, key.1);
    for part in parts {
        hasher.write(part);
    }
    hasher.finish()
}

/// The home of `key` among `nodes`: the one with the highest hash of (incarnation, key) (rendezvous hashing,
/// Thaler and Ravishankar, 1998). Clients and nodes find the same one.
#[must_use]
pub fn home(
    cluster: ClusterId,
    nodes: impl IntoIterator<Item = NodeId>,
    key: &[u8],
) -> Option<NodeId> {
    nodes
        .into_iter()
        .max_by_key(|node| (keyed((cluster.0, cluster.1), &[&node.0.to_le_bytes(), key]), node.0))
}

/// Hashes map keys with a seed that strangers do not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seeded(pub (u64, u64));

impl BuildHasher for Seeded {
    type Hasher = SipHasher;

    fn build_hasher(&self) -> SipHasher {
        SipHasher::new_with_keys(self.0.0, self.0.1)
    }
}

#[cfg(test)]
mod tests {
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
