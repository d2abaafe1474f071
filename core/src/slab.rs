//! Numbered places for things that come and go, and an index of such things by key.

#![expect(
    clippy::indexing_slicing,
    reason = "slots come from this module and die with their thing"
)]

use alloc::vec::Vec;
use core::hash::BuildHasher;
use core::ops::{Index, IndexMut};

use hashbrown::HashTable;

use crate::bytes::Key;
use crate::hash::Seeded;

/// A place in a slab. It is used again once its thing is gone.
pub(crate) type Slot = u32;

/// Things in numbered places.
#[derive(Clone, Debug)]
pub(crate) struct Slab<T> {
    places: Vec<Option<T>>,
    empty: Vec<Slot>,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { places: Vec::new(), empty: Vec::new() }
    }

    pub(crate) fn insert(&mut self, thing: T) -> Slot {
        if let Some(slot) = self.empty.pop() {
            self.places[slot as usize] = Some(thing);
            return slot;
        }
        self.places.push(Some(thing));
        Slot::try_from(self.places.len() - 1).unwrap_or(Slot::MAX)
    }

    pub(crate) fn remove(&mut self, slot: Slot) -> Option<T> {
        let thing = self.places.get_mut(slot as usize)?.take()?;
        self.empty.push(slot);
        Some(thing)
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<&T> {
        self.places.get(slot as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.places.get_mut(slot as usize)?.as_mut()
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.empty.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        (0..).zip(&self.places).filter_map(|(slot, place)| Some((slot, place.as_ref()?)))
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
    index: HashTable<Slot>,
    hasher: Seeded,
}

impl<T: Keyed> Shelf<T> {
    pub(crate) const fn new(hasher: Seeded) -> Self {
        Self { slab: Slab::new(), index: HashTable::new(), hasher }
    }

    pub(crate) fn find(&self, key: &[u8]) -> Option<Slot> {
        let hash = self.hasher.hash_one(key);
        self.index.find(hash, |&slot| **self.slab[slot].key() == *key).copied()
    }

    /// Puts `thing` on the shelf; nothing with its key is there.
    pub(crate) fn insert(&mut self, thing: T) -> Slot {
        let hash = self.hasher.hash_one(&**thing.key());
        let slot = self.slab.insert(thing);
        let (slab, hasher) = (&self.slab, self.hasher);
        self.index.insert_unique(hash, slot, |&other| hasher.hash_one(&**slab[other].key()));
        slot
    }

    pub(crate) fn remove(&mut self, slot: Slot) -> Option<T> {
        let thing = self.slab.remove(slot)?;
        let hash = self.hasher.hash_one(&**thing.key());
        if let Ok(entry) = self.index.find_entry(hash, |&other| other == slot) {
            entry.remove();
        }
        Some(thing)
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<&T> {
        self.slab.get(slot)
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
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
