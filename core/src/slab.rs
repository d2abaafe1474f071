//! Numbered places for things that come and go, and an index of such things by key.

#![expect(
    clippy::indexing_slicing,
    reason = "slots come from this module and die with their thing"
)]

use alloc::vec::Vec;
use core::hash::{Hash, Hasher};
use core::ops::{Index, IndexMut};

use crate::bytes::Key;
use crate::hash::Seeded;
use crate::index::HashIndex;

/// A place in a slab. It is used again once its thing is gone.
pub(crate) type Slot = u32;

/// How many things a piece of a row holds.
const PIECE: usize = 1 << PIECE_BITS;
const PIECE_BITS: u32 = 10;

/// So many things and the index of them do not fit the nearer caches.
const FAR: Slot = 8_192;

/// A long row of things, kept in pieces: it grows without moving what is there, so never needs room for twice as much.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Row<T>(Vec<Vec<T>>);

impl<T> Row<T> {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn len(&self) -> usize {
        let before = self.0.len().saturating_sub(1) << PIECE_BITS;
        before + self.0.last().map_or(0, Vec::len)
    }

    pub(crate) fn push(&mut self, thing: T) {
        match self.0.last_mut() {
            Some(piece) if piece.len() < PIECE => piece.push(thing),
            // The first one grows as it fills, since most rows stay short.
            None => self.0.push(Vec::from([thing])),
            Some(_) => {
                let mut piece = Vec::with_capacity(PIECE);
                piece.push(thing);
                self.0.push(piece);
            }
        }
    }

    #[inline]
    pub(crate) fn get(&self, slot: Slot) -> Option<&T> {
        let slot = slot as usize;
        self.0.get(slot >> PIECE_BITS)?.get(slot % PIECE)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        let slot = slot as usize;
        self.0.get_mut(slot >> PIECE_BITS)?.get_mut(slot % PIECE)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flatten()
    }
}

impl<T> Index<Slot> for Row<T> {
    type Output = T;

    #[inline]
    fn index(&self, slot: Slot) -> &T {
        let slot = slot as usize;
        &self.0[slot >> PIECE_BITS][slot % PIECE]
    }
}

impl<T> IndexMut<Slot> for Row<T> {
    #[inline]
    fn index_mut(&mut self, slot: Slot) -> &mut T {
        let slot = slot as usize;
        &mut self.0[slot >> PIECE_BITS][slot % PIECE]
    }
}

/// Things in numbered places.
#[derive(Clone, Debug)]
pub(crate) struct Slab<T> {
    places: Row<Option<T>>,
    empty: Vec<Slot>,
}

/// The things and where they stand. In which order empty places are taken again changes nothing but numbers.
impl<T: Hash> Hash for Slab<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for taken in self.iter() {
            taken.hash(state);
        }
    }
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { places: Row::new(), empty: Vec::new() }
    }

    pub(crate) fn insert(&mut self, thing: T) -> Slot {
        if let Some(slot) = self.empty.pop() {
            self.places[slot] = Some(thing);
            return slot;
        }
        let slot = self.places();
        self.places.push(Some(thing));
        slot
    }

    pub(crate) fn remove(&mut self, slot: Slot) -> Option<T> {
        let thing = self.places.get_mut(slot)?.take()?;
        self.empty.push(slot);
        Some(thing)
    }

    /// Drops the thing where it is. Whether there was one.
    pub(crate) fn clear(&mut self, slot: Slot) -> bool {
        let place = self.places.get_mut(slot).filter(|place| place.is_some());
        let there = place.map(|place| *place = None).is_some();
        if there {
            self.empty.push(slot);
        }
        there
    }

    #[inline]
    pub(crate) fn get(&self, slot: Slot) -> Option<&T> {
        self.places.get(slot)?.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.places.get_mut(slot)?.as_mut()
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.empty.len()
    }

    /// How many places there are, empty ones included.
    pub(crate) fn places(&self) -> Slot {
        Slot::try_from(self.places.len()).unwrap_or(Slot::MAX)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        (0..).zip(self.places.iter()).filter_map(|(slot, place)| Some((slot, place.as_ref()?)))
    }
}

impl<T> Index<Slot> for Slab<T> {
    type Output = T;

    #[expect(clippy::expect_used, reason = "a slot without its thing is a broken invariant")]
    fn index(&self, slot: Slot) -> &T {
        self.get(slot).expect("slot is taken")
    }
}

impl<T> IndexMut<Slot> for Slab<T> {
    #[expect(clippy::expect_used, reason = "a slot without its thing is a broken invariant")]
    fn index_mut(&mut self, slot: Slot) -> &mut T {
        self.get_mut(slot).expect("slot is taken")
    }
}

/// A thing that belongs to one key.
pub(crate) trait Keyed {
    fn key(&self) -> &Key;
}

/// A slab with an index by key. Never iterated where order can be seen.
#[derive(Clone, Debug)]
pub(crate) struct Shelf<T> {
    slab: Slab<T>,
    index: HashIndex,
    hasher: Seeded,
}

impl<T: Hash> Hash for Shelf<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.slab.hash(state);
    }
}

impl<T: Keyed> Shelf<T> {
    pub(crate) const fn new(hasher: Seeded) -> Self {
        Self { slab: Slab::new(), index: HashIndex::new(), hasher }
    }

    /// The hash of a key.
    pub(crate) fn hash(&self, key: &[u8]) -> u32 {
        self.hasher.of(key)
    }

    pub(crate) fn find(&self, key: &[u8]) -> Option<Slot> {
        if self.len() == 0 {
            return None;
        }
        self.find_hashed(key, self.hash(key))
    }

    /// The same for a key whose hash, by this node's seed, is known.
    #[inline]
    pub(crate) fn find_hashed(&self, key: &[u8], hash: u32) -> Option<Slot> {
        self.index.find(hash, |slot| **self.slab[slot].key() == *key)
    }

    /// Whether its things, with their index, are more than the nearer caches hold.
    pub(crate) fn is_far(&self) -> bool {
        self.places() >= FAR
    }

    /// Reads what operations on keys of these hashes will read first: all index lines, then all things, as `touch` does with a slot
    /// and what is there. What is read at once is waited for at once, however far it is.
    pub(crate) fn foresee(&self, hashes: &[u32], touch: impl Fn(Slot, &T)) {
        hashes.iter().for_each(|&hash| self.index.touch(hash));
        for &hash in hashes {
            // Another key of this hash is one in thousands.
            let Some(slot) = self.index.find(hash, |_| true) else { continue };
            if let Some(thing) = self.slab.get(slot) {
                touch(slot, thing);
            }
        }
    }

    /// Puts `thing` on the shelf; nothing with its key, which has this hash, is there.
    pub(crate) fn insert(&mut self, hash: u32, thing: T) -> Slot {
        let slot = self.slab.insert(thing);
        self.index.insert(hash, slot);
        slot
    }

    /// Drops the thing of this slot, if there is one.
    pub(crate) fn remove(&mut self, slot: Slot) {
        let Some(thing) = self.slab.get(slot) else { return };
        self.index.remove(self.hash(thing.key()), slot);
        self.slab.clear(slot);
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<&T> {
        self.slab.get(slot)
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(crate) fn places(&self) -> Slot {
        self.slab.places()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        self.slab.iter()
    }
}

impl<T> Index<Slot> for Shelf<T> {
    type Output = T;

    fn index(&self, slot: Slot) -> &T {
        &self.slab[slot]
    }
}

impl<T> IndexMut<Slot> for Shelf<T> {
    fn index_mut(&mut self, slot: Slot) -> &mut T {
        &mut self.slab[slot]
    }
}
