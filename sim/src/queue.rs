//! What is going to happen, by true time; of equal times what was put in first comes first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A queue of things that happen at a time. The heap moves small numbers; the things stay where they are.
#[derive(Debug)]
pub struct Queue<T> {
    heap: BinaryHeap<Reverse<(u64, u64, usize)>>,
    things: Vec<Option<T>>,
    vacant: Vec<usize>,
    pushed: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), things: Vec::new(), vacant: Vec::new(), pushed: 0 }
    }
}

impl<T> Queue<T> {
    /// `thing` happens at `time`.
    pub fn push(&mut self, time: u64, thing: T) {
        let place = if let Some(place) = self.vacant.pop() {
            self.things[place] = Some(thing);
            place
        } else {
            self.things.push(Some(thing));
            self.things.len() - 1
        };
        self.heap.push(Reverse((time, self.pushed, place)));
        self.pushed += 1;
    }

    /// What happens next, and when.
    pub fn pop(&mut self) -> Option<(u64, T)> {
        let Reverse((time, _, place)) = self.heap.pop()?;
        self.vacant.push(place);
        self.things[place].take().map(|thing| (time, thing))
    }
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
