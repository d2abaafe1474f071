//! Which desk or question a round's number stands for.
//!
//! Rounds are numbered one after the other and end within seconds, so what they stand for is kept in a queue in the order
//! of the numbers: no table, and nothing to hash. Numbers are not used twice at a boot.

use alloc::collections::VecDeque;

use crate::slab::Slot;

/// What a round's number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Turn {
    Desk(Slot),
    Query(Slot),
}

/// The rounds under way, by number.
#[derive(Clone, Debug, Hash)]
pub(super) struct Turns {
    /// The number of the first in the queue.
    first: u64,
    turns: VecDeque<Option<Turn>>,
}

impl Turns {
    pub(super) const fn new() -> Self {
        Self { first: 1, turns: VecDeque::new() }
    }

    /// Numbers a round.
    pub(super) fn begin(&mut self, turn: Turn) -> u64 {
        self.turns.push_back(Some(turn));
        self.first.saturating_add(self.turns.len() as u64) - 1
    }

    pub(super) fn find(&self, round: u64) -> Option<Turn> {
        *self.turns.get(self.place(round)?)?
    }

    pub(super) fn end(&mut self, round: u64) {
        if let Some(turn) = self.place(round).and_then(|place| self.turns.get_mut(place)) {
            *turn = None;
        }
        while let Some(None) = self.turns.front() {
            self.turns.pop_front();
            self.first += 1;
        }
    }

    fn place(&self, round: u64) -> Option<usize> {
        usize::try_from(round.checked_sub(self.first)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_known_until_it_ends_and_none_is_kept_longer() {
        let mut turns = Turns::new();
        let rounds: [u64; 3] = core::array::from_fn(|_| turns.begin(Turn::Desk(7)));
        assert_eq!((rounds, turns.find(2)), ([1, 2, 3], Some(Turn::Desk(7))));
        turns.end(2);
        assert_eq!((turns.find(1), turns.find(2)), (Some(Turn::Desk(7)), None));
        turns.end(2);
        turns.end(1);
        assert_eq!((turns.turns.len(), turns.begin(Turn::Query(9))), (1, 4));
        assert_eq!((turns.find(4), turns.find(0)), (Some(Turn::Query(9)), None));
        // What a stranger makes up is no round.
        turns.end(u64::MAX);
        assert_eq!((turns.find(5), turns.find(u64::MAX)), (None, None));
        turns.end(3);
        turns.end(4);
        assert_eq!(turns.turns.len(), 0);
    }
}
