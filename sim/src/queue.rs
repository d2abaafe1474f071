//! What is going to happen, by true time; of equal times what was put in first comes first.
//!
//! The heap moves one number for each thing, in which time, order and place are packed; the things stay where they
//! are until they happen, and are moved once. What is large lies on a shelf of its own, so that a thing is small.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Where the parts of a packed number begin. Time comes first, then the order, of which no run reaches the end.
const TIME: u32 = 64;
const ORDER: u32 = 32;

/// Things that lie in numbered places until they are taken.
#[derive(Debug)]
pub struct Shelf<T> {
    things: Vec<Option<T>>,
    vacant: Vec<u32>,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { things: Vec::new(), vacant: Vec::new() }
    }
}

impl<T> Shelf<T> {
    /// Puts `thing` somewhere: the receiver of [`Shelf::take`].
    #[inline]
    pub fn put(&mut self, thing: T) -> u32 {
        if let Some(place) = self.vacant.pop() {
            self.things[index(place)] = Some(thing);
            return place;
        }
        self.things.push(Some(thing));
        u32::try_from(self.things.len() - 1).unwrap_or(u32::MAX)
    }

    /// The thing in `place`, once.
    #[inline]
    pub fn take(&mut self, place: u32) -> Option<T> {
        self.vacant.push(place);
        self.things[index(place)].take()
    }
}

/// A queue of things that happen at a time.
#[derive(Debug)]
pub struct Queue<T> {
    heap: BinaryHeap<Reverse<u128>>,
    things: Shelf<T>,
    pushed: u32,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), things: Shelf::default(), pushed: 0 }
    }
}

impl<T> Queue<T> {
    /// `thing` happens at `time`.
    #[inline]
    pub fn push(&mut self, time: u64, thing: T) {
        let place = self.things.put(thing);
        let order = u128::from(self.pushed) << ORDER;
        self.heap.push(Reverse(u128::from(time) << TIME | order | u128::from(place)));
        self.pushed += 1;
    }

    /// What happens next, and when.
    #[inline]
    pub fn pop(&mut self) -> Option<(u64, T)> {
        let Reverse(packed) = self.heap.pop()?;
        let part = |from: u32, bits: u32| (packed >> from) & ((1 << bits) - 1);
        let time = u64::try_from(part(TIME, 64)).unwrap_or(u64::MAX);
        let place = u32::try_from(part(0, 32)).unwrap_or(u32::MAX);
        Some((time, self.things.take(place)?))
    }
}

#[inline]
fn index(place: u32) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_time_and_then_in_order() {
        let mut queue = Queue::default();
        for (time, thing) in [(5, 'c'), (1, 'a'), (5, 'd'), (2, 'b')] {
            queue.push(time, thing);
        }
        assert_eq!(queue.pop(), Some((1, 'a')));
        queue.push(5, 'e');
        let rest: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|(_, thing)| thing).collect();
        assert_eq!(rest, ['b', 'c', 'd', 'e']);
    }
}
