//! Where things stand, by the hashes of their keys: an index that answers from one place of memory.
//!
//! A table of a million leases does not fit a cache, so an operation costs as much as the far places that it looks at. Here
//! a hash and its slot lie side by side in eight bytes: a look-up reads one line of the index, and then the thing
//! itself. It is extendible hashing (Fagin, Nievergelt, Pippenger and Strong, 1979): a small directory leads from the first bits
//! of a hash to a *segment*, and in there linear probing leads to the place. A segment that is full grows, or
//! becomes two. Either takes some microseconds, however many things there are, since the hashes lie in it
//! and no thing has to be looked at.
//!
//! Invariant: in its segment no empty place lies between a hash's home and where it is.

#![expect(clippy::indexing_slicing, reason = "places come from hashes, cut to the length")]

use alloc::vec;
use alloc::vec::Vec;
use core::hint::black_box;

use crate::slab::Slot;

/// A hash in the upper half, a slot in the lower one.
type Place = u64;
/// No slot has this number.
const EMPTY: Place = u64::MAX;
/// A segment doubles from its first length on, then grows in steps, and becomes two of these instead of getting longer.
const FIRST: usize = 8;
const DOUBLES_TO: usize = 512;
const STEP: usize = 128;
const LONGEST: usize = 1_024;
const HALF: usize = 640;
/// The most bits that a directory tells apart: enough for 50 million things. After that segments grow.
const MOST_BITS: u32 = 16;

/// Slots by hash.
#[derive(Clone, Debug)]
pub(crate) struct HashIndex {
    /// How many bits of a hash the directory tells apart.
    bits: u32,
    /// By those bits, the number of a segment. Nothing as long as there is one segment.
    directory: Vec<u32>,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug)]
struct Segment {
    /// How many of their first bits all hashes in here have in common.
    bits: u32,
    taken: usize,
    places: Vec<Place>,
}

impl HashIndex {
    pub(crate) const fn new() -> Self {
        Self { bits: 0, directory: Vec::new(), segments: Vec::new() }
    }

    /// The slot with this hash of which `is` says that it is the one.
    #[inline]
    pub(crate) fn find(&self, hash: u32, is: impl FnMut(Slot) -> bool) -> Option<Slot> {
        self.segments.get(self.number(hash))?.find(hash, is)
    }

    /// Reads the line where a search for this hash begins, so that it is near when the search comes.
    #[inline]
    pub(crate) fn touch(&self, hash: u32) {
        let segment = self.segments.get(self.number(hash));
        black_box(segment.and_then(|segment| segment.places.get(segment.home(hash)).copied()));
    }

    /// Puts in a slot that is not there.
    pub(crate) fn insert(&mut self, hash: u32, slot: Slot) {
        if self.segments.is_empty() {
            self.segments.push(Segment { bits: 0, taken: 0, places: Vec::new() });
        }
        let mut number = self.number(hash);
        while self.segments[number].is_full() {
            let segment = &mut self.segments[number];
            if segment.places.len() < LONGEST || segment.bits == MOST_BITS {
                segment.grow();
            } else {
                self.split(number);
                number = self.number(hash);
            }
        }
        self.segments[number].insert(place(hash, slot));
    }

    /// Takes a slot out, if it is there.
    pub(crate) fn remove(&mut self, hash: u32, slot: Slot) {
        let number = self.number(hash);
        if let Some(segment) = self.segments.get_mut(number) {
            segment.remove(place(hash, slot));
        }
    }

    /// The number of the segment of this hash.
    #[inline]
    fn number(&self, hash: u32) -> usize {
        let beginning = u64::from(hash) >> (u32::BITS - self.bits);
        let number = usize::try_from(beginning).ok().and_then(|at| self.directory.get(at));
        number.map_or(0, |&number| number as usize)
    }

    /// Makes two segments of a full one.
    fn split(&mut self, number: usize) {
        let bits = self.segments[number].bits;
        if bits == self.bits {
            let twice = |&number: &u32| [number, number];
            self.directory = match self.directory.as_slice() {
                [] => vec![0, 0],
                numbers => numbers.iter().flat_map(twice).collect(),
            };
            self.bits += 1;
        }
        let half = || Segment { bits: bits + 1, taken: 0, places: vec![EMPTY; HALF] };
        let (old, mut upper) = (core::mem::replace(&mut self.segments[number], half()), half());
        let lower = &mut self.segments[number];
        let mut beginning = 0;
        for place in old.taken() {
            beginning = u64::from(hash_of(place)) >> (u32::BITS - bits);
            let goes_up = (hash_of(place) << bits) >> (u32::BITS - 1) == 1;
            let half = if goes_up { &mut upper } else { &mut *lower };
            // As a rule half of them go there; where hashes begin alike it may be all.
            if half.is_full() {
                half.grow();
            }
            half.insert(place);
        }
        // What began like the old segment lies side by side in the directory; the upper half of it is the new one's.
        let side_by_side = 1_usize << (self.bits - bits);
        let first = usize::try_from(beginning).unwrap_or(0) * side_by_side;
        let new = u32::try_from(self.segments.len()).unwrap_or(u32::MAX);
        self.directory[first + side_by_side / 2..first + side_by_side].fill(new);
        self.segments.push(upper);
    }
}

impl Segment {
    #[inline]
    fn find(&self, hash: u32, mut is: impl FnMut(Slot) -> bool) -> Option<Slot> {
        let places = self.places.as_slice();
        let mut at = self.home(hash);
        loop {
            match *places.get(at)? {
                EMPTY => return None,
                place if hash_of(place) == hash && is(slot_of(place)) => {
                    return Some(slot_of(place));
                }
                _ => at = self.after(at),
            }
        }
    }

    /// Whether it is as full as it may be: four of five.
    fn is_full(&self) -> bool {
        self.taken >= self.places.len() / 5 * 4
    }

    fn insert(&mut self, place: Place) {
        let mut at = self.home(hash_of(place));
        while self.places[at] != EMPTY {
            at = self.after(at);
        }
        self.places[at] = place;
        self.taken += 1;
    }

    fn remove(&mut self, place: Place) {
        if self.places.is_empty() {
            return;
        }
        let mut hole = self.home(hash_of(place));
        while self.places[hole] != place {
            if self.places[hole] == EMPTY {
                return;
            }
            hole = self.after(hole);
        }
        // What lies behind the hole moves into it, unless that is before its home.
        let mut at = self.after(hole);
        while self.places[at] != EMPTY {
            let home = self.home(hash_of(self.places[at]));
            if self.distance(home, at) >= self.distance(hole, at) {
                self.places[hole] = self.places[at];
                hole = at;
            }
            at = self.after(at);
        }
        self.places[hole] = EMPTY;
        self.taken -= 1;
    }

    fn grow(&mut self) {
        let len = match self.places.len() {
            0 => FIRST,
            len if len < DOUBLES_TO => len * 2,
            len => len + STEP,
        };
        let longer = Self { bits: self.bits, taken: 0, places: vec![EMPTY; len] };
        let old = core::mem::replace(self, longer);
        old.taken().for_each(|place| self.insert(place));
    }

    fn taken(&self) -> impl Iterator<Item = Place> {
        self.places.iter().copied().filter(|&place| place != EMPTY)
    }

    /// Where the search for a hash begins: hashes lie about in their order.
    #[inline]
    fn home(&self, hash: u32) -> usize {
        let rest = u64::from(hash << self.bits);
        usize::try_from((rest * self.places.len() as u64) >> u32::BITS).unwrap_or(0)
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        if at + 1 == self.places.len() { 0 } else { at + 1 }
    }

    /// How many steps it is from one place on to another.
    fn distance(&self, from: usize, to: usize) -> usize {
        if from <= to { to - from } else { to + self.places.len() - from }
    }
}

#[inline]
fn place(hash: u32, slot: Slot) -> Place {
    u64::from(hash) << u32::BITS | u64::from(slot)
}

#[inline]
const fn hash_of(place: Place) -> u32 {
    (place >> u32::BITS) as u32
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the lower half")]
const fn slot_of(place: Place) -> Slot {
    place as Slot
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Every hash with its slots, as a plain map knows them, is found; and nothing else is there.
    fn assert_same(index: &HashIndex, model: &BTreeMap<(u32, Slot), ()>) {
        for &(hash, slot) in model.keys() {
            index.touch(hash);
            assert_eq!(index.find(hash, |other| other == slot), Some(slot));
        }
        let taken: usize = index.segments.iter().map(|segment| segment.taken).sum();
        let there: usize = index.segments.iter().map(|segment| segment.taken().count()).sum();
        assert_eq!((taken, there), (model.len(), model.len()));
    }

    #[test]
    fn nothing_is_found_in_nothing() {
        let mut index = HashIndex::new();
        index.touch(7);
        assert_eq!(index.find(7, |_| true), None);
        index.remove(7, 1);
        index.insert(7, 1);
        assert_eq!(index.find(7, |_| true), Some(1));
        assert_eq!((index.find(7, |_| false), index.find(8, |_| true)), (None, None));
        index.remove(7, 2);
        index.remove(7, 1);
        assert_eq!(index.find(7, |_| true), None);
    }

    /// Whatever the hashes, also if they begin alike or are all the same: only the work differs.
    #[test]
    fn segments_split_until_the_bits_are_used_up() {
        let spread = |run: u32| run.wrapping_mul(0x9e37_79b9);
        let hashes: [fn(u32) -> u32; 3] = [|_| u32::MAX, |run| run, |run| run << 18];
        for (kind, hash) in hashes.into_iter().chain([spread as fn(u32) -> u32]).enumerate() {
            let (mut index, mut model) = (HashIndex::new(), BTreeMap::new());
            let count = if kind == 3 { 50_000 } else { 2_000 };
            for slot in 0..count {
                index.insert(hash(slot), slot);
                model.insert((hash(slot), slot), ());
            }
            assert_same(&index, &model);
            // The first two begin with the same sixteen bits.
            assert!(index.bits <= MOST_BITS && (kind > 1) == (index.bits < MOST_BITS));
            for slot in (0..count).filter(|slot| slot % 3 > 0) {
                index.remove(hash(slot), slot);
                model.remove(&(hash(slot), slot));
                assert_eq!(index.find(hash(slot), |other| other == slot), None);
            }
            assert_same(&index, &model);
        }
    }

    #[test]
    fn a_large_index_takes_eleven_bytes_a_thing() {
        let mut index = HashIndex::new();
        for slot in 0..300_000_u32 {
            index.insert(slot.wrapping_mul(0x9e37_79b9), slot);
        }
        let places: usize = index.segments.iter().map(|segment| segment.places.len()).sum();
        assert!(places * size_of::<Place>() < 300_000 * 13, "{places}");
    }

    proptest! {
        /// Against a plain map, with few enough hashes that they meet, come again and wrap around.
        #[test]
        fn finds_what_a_map_would(
            steps in prop::collection::vec((any::<bool>(), 0_u32..40, 0_u32..4), 1..400),
            shift in 0_u32..28,
        ) {
            let (mut index, mut model) = (HashIndex::new(), BTreeMap::new());
            for (comes, hash, slot) in steps {
                let hash = !(hash << shift);
                if !comes {
                    index.remove(hash, slot);
                    model.remove(&(hash, slot));
                } else if model.insert((hash, slot), ()).is_none() {
                    index.insert(hash, slot);
                }
                assert_same(&index, &model);
                let first = model.range((hash, 0)..=(hash, Slot::MAX)).next();
                prop_assert_eq!(index.find(hash, |_| true).is_some(), first.is_some());
            }
        }
    }
}
