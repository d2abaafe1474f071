//! A hierarchical timing wheel (Varghese and Lauck, 1987) over the slots of a slab.
//!
//! Every slot has at most one timer. Setting, clearing and firing cost the same with ten timers or ten million,
//! and nothing is allocated per timer but its place in one row. A timer fires at the first *tick* (1,024 µs)
//! that is not before it is due: never early, at most a tick late. Whoever needs to know whether something is
//! over compares times itself; the wheel only sees to it that somebody looks.
//!
//! Invariant: every timer's tick is later than `current`, or the timer is in the list of those that fire now.

#![expect(clippy::indexing_slicing, reason = "slots and buckets come from the wheel's own links")]

use alloc::vec;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};
use core::hint::black_box;

use crate::slab::{Row, Slot};
use crate::time::Instant;

const TICK_BITS: u32 = 10;
const LEVEL_BITS: u32 = 6;
const BUCKETS: usize = 1 << LEVEL_BITS;
/// Enough for every tick that an [`Instant`] can fall into.
const LEVELS: usize = 9;
/// The bucket of timers that fire now.
const FIRING: usize = LEVELS * BUCKETS;
/// No slot.
const NONE: Slot = Slot::MAX;
/// The bucket of slots without a timer.
const UNSET: usize = (1 << BUCKET_BITS) - 1;
const BUCKET_BITS: u32 = TICK_BITS;

/// A slot's timer, in a quarter of a cache line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Timer {
    /// When it fires, and below that the bucket it is in: the bits that a tick leaves of an instant are enough.
    tick_and_bucket: u64,
    previous: u32,
    next: u32,
}

const FREE: Timer = Timer { tick_and_bucket: UNSET as u64, previous: NONE, next: NONE };

impl Timer {
    const fn tick(self) -> u64 {
        self.tick_and_bucket >> BUCKET_BITS
    }

    fn bucket(self) -> usize {
        usize::try_from(self.tick_and_bucket % (1 << BUCKET_BITS)).unwrap_or(UNSET)
    }
}

/// Timers by slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wheel {
    timers: Row<Timer>,
    /// The first timer of each bucket, level by level, and of those that fire now.
    heads: Vec<u32>,
    /// Which buckets of each level hold timers.
    occupied: [u64; LEVELS],
    current: u64,
    /// The bucket that starts at `current`, while its timers are on the way to where they belong.
    open: Option<usize>,
    /// The tick at which the first bucket with timers starts; `current` while a bucket is open, or timers fire.
    next: u64,
}

/// How many timers a call moves to lower levels at most, unless it says otherwise. A million leases that end in the same seconds
/// stand in one bucket: moving all of them would keep a node from everything else for a tenth of a second.
const MOVES: u32 = 512;

/// The last tick there is room for: half a million years after the clock's start.
const LAST_TICK: u64 = (1 << (u64::BITS - BUCKET_BITS)) - 1;
/// No tick at all.
const NEVER: u64 = u64::MAX;

/// When what fires: how the wheel is laid out at the moment is nobody's business.
impl Hash for Wheel {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for (slot, timer) in self.timers.iter().enumerate().filter(|(_, t)| t.bucket() != UNSET) {
            (slot, timer.tick()).hash(state);
        }
    }
}

impl Wheel {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            timers: Row::new(),
            heads: vec![NONE; FIRING + 1],
            occupied: [0; LEVELS],
            current: now.as_micros() >> TICK_BITS,
            open: None,
            next: NEVER,
        }
    }

    /// Sets the timer of `slot`, in place of any other it has.
    pub(crate) fn set(&mut self, slot: Slot, due: Instant) {
        self.clear(slot);
        while self.timers.get(slot).is_none() {
            self.timers.push(FREE);
        }
        self.link(slot, tick_of(due));
    }

    /// Sets the timer of `slot` unless it has an earlier one.
    pub(crate) fn set_sooner(&mut self, slot: Slot, due: Instant) {
        let timer = self.timers.get(slot);
        if timer.is_none_or(|t| t.bucket() == UNSET || tick_of(due) < t.tick()) {
            self.set(slot, due);
        }
    }

    /// Whether `slot` has a timer, and one that fires by `due` if that is given.
    pub(crate) fn fires_by(&self, slot: Slot, due: Option<Instant>) -> bool {
        let timer = self.timers.get(slot).filter(|timer| timer.bucket() != UNSET);
        timer.is_some_and(|timer| due.is_none_or(|due| timer.tick() <= tick_of(due)))
    }

    /// Reads the line where the timer of `slot` is.
    #[inline]
    pub(crate) fn touch(&self, slot: Slot) {
        black_box(self.timers.get(slot).map(|timer| timer.next));
    }

    /// Takes the timer of `slot` away, if it has one.
    pub(crate) fn clear(&mut self, slot: Slot) {
        let Some(&timer) = self.timers.get(slot) else { return };
        if timer.bucket() == UNSET {
            return;
        }
        if timer.previous == NONE {
            self.set_head(timer.bucket(), timer.next);
        } else {
            self.timers[timer.previous].next = timer.next;
        }
        if timer.next != NONE {
            self.timers[timer.next].previous = timer.previous;
        }
        self.timers[slot] = FREE;
    }

    /// Whether [`Wheel::pop`] has something to do at `now`.
    #[inline]
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        let now = now.as_micros() >> TICK_BITS;
        let due = now >= self.next;
        if !due {
            self.current = self.current.max(now);
        }
        due
    }

    /// The slot of a timer that is due at `now`, if there is one; its timer is gone. None also when there is more to
    /// do than one call should: then the deadline has passed already.
    #[inline]
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Slot> {
        let mut moves = MOVES;
        self.pop_within(now, &mut moves)
    }

    /// The same, with so many moves to lower levels at most, which become less.
    #[inline]
    pub(crate) fn pop_within(&mut self, now: Instant, moves: &mut u32) -> Option<Slot> {
        if self.is_due(now) { self.pop_due(now.as_micros() >> TICK_BITS, moves) } else { None }
    }

    #[inline(never)]
    fn pop_due(&mut self, now: u64, moves: &mut u32) -> Option<Slot> {
        loop {
            if let Some(bucket) = self.open {
                // Everything in this bucket either fires now or moves to a lower level, in its order.
                let slot = self.heads[bucket];
                if slot == NONE {
                    self.open = None;
                    self.look_ahead();
                } else if *moves == 0 {
                    return None;
                } else {
                    *moves -= 1;
                    let tick = self.timers[slot].tick();
                    self.clear(slot);
                    self.link(slot, tick);
                }
                continue;
            }
            let firing = self.heads[FIRING];
            if firing != NONE {
                self.clear(firing);
                return Some(firing);
            }
            let Some((bucket, tick)) = self.next_bucket().filter(|&(_, tick)| tick <= now) else {
                self.current = self.current.max(now);
                return None;
            };
            self.current = tick;
            self.open = Some(bucket);
            self.look_ahead();
        }
    }

    /// When [`Wheel::pop`] has something to do. Not later than the first timer's tick.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let tick = self.next;
        (tick != NEVER).then(|| Instant::from_micros(tick.saturating_mul(1 << TICK_BITS)))
    }

    fn link(&mut self, slot: Slot, tick: u64) {
        let bucket = if tick <= self.current {
            FIRING
        } else {
            let level = (tick ^ self.current).ilog2() / LEVEL_BITS;
            level as usize * BUCKETS + bucket_in_level(tick >> (level * LEVEL_BITS))
        };
        let next = self.heads[bucket];
        if next != NONE {
            self.timers[next].previous = slot;
        }
        let tick_and_bucket = tick << BUCKET_BITS | bucket as u64;
        self.timers[slot] = Timer { tick_and_bucket, previous: NONE, next };
        self.set_head(bucket, slot);
    }

    /// The first bucket with timers, and the tick at which it starts. A level's buckets all come before those of
    /// the next.
    fn next_bucket(&self) -> Option<(usize, u64)> {
        let level = self.occupied.iter().position(|&occupied| occupied != 0)?;
        let shift = u32::try_from(level).unwrap_or(0) * LEVEL_BITS;
        let at = self.current >> shift;
        let ahead = self.occupied[level] >> bucket_in_level(at);
        let place = at + u64::from(ahead.trailing_zeros());
        Some((level * BUCKETS + bucket_in_level(place), place << shift))
    }

    fn set_head(&mut self, bucket: usize, slot: Slot) {
        let before = core::mem::replace(&mut self.heads[bucket], slot);
        if (before == NONE) == (slot == NONE) {
            return;
        }
        if let Some(level) = self.occupied.get_mut(bucket / BUCKETS) {
            *level ^= 1_u64 << (bucket % BUCKETS);
        }
        self.look_ahead();
    }

    fn look_ahead(&mut self) {
        let now = self.open.is_some() || self.heads[FIRING] != NONE;
        self.next = match now {
            true => self.current,
            false => self.next_bucket().map_or(NEVER, |(_, tick)| tick),
        };
    }
}

fn tick_of(due: Instant) -> u64 {
    due.as_micros().div_ceil(1 << TICK_BITS).min(LAST_TICK)
}

/// The bucket within its level of a tick that was shifted to that level.
fn bucket_in_level(shifted: u64) -> usize {
    usize::try_from(shifted % (1 << LEVEL_BITS)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Set(Slot, u64),
        Sooner(Slot, u64),
        Clear(Slot),
        Advance(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let span = prop_oneof![0_u64..5_000, 0_u64..10_000_000, 0_u64..1 << 45];
        prop_oneof![
            (0_u32..20, span.clone()).prop_map(|(slot, after)| Step::Set(slot, after)),
            (0_u32..20, span.clone()).prop_map(|(slot, after)| Step::Sooner(slot, after)),
            (0_u32..20).prop_map(Step::Clear),
            span.prop_map(Step::Advance),
        ]
    }

    proptest! {
        /// Against a plain map: every timer fires at its tick, none early, none twice, none lost.
        #[test]
        fn fires_what_a_map_would(
            start in 0_u64..1 << 50,
            steps in prop::collection::vec(step(), 1..200),
        ) {
            let mut now = start;
            let mut wheel = Wheel::new(Instant::from_micros(now));
            let mut model = BTreeMap::<Slot, u64>::new();
            for step in steps {
                match step {
                    Step::Set(slot, after) => {
                        wheel.set(slot, Instant::from_micros(now + after));
                        model.insert(slot, tick_of(Instant::from_micros(now + after)));
                    }
                    Step::Sooner(slot, after) => {
                        wheel.set_sooner(slot, Instant::from_micros(now + after));
                        let tick = tick_of(Instant::from_micros(now + after));
                        let entry = model.entry(slot).or_insert(tick);
                        *entry = tick.min(*entry);
                    }
                    Step::Clear(slot) => {
                        wheel.clear(slot);
                        model.remove(&slot);
                    }
                    Step::Advance(by) => now += by,
                }
                let mut fired = alloc::collections::BTreeSet::new();
                while let Some(slot) = wheel.pop(Instant::from_micros(now)) {
                    prop_assert!(fired.insert(slot));
                }
                let tick = now >> TICK_BITS;
                let due = model.iter().filter(|&(_, &at)| at <= tick).map(|(&slot, _)| slot);
                prop_assert_eq!(&fired, &due.collect());
                model.retain(|_, at| *at > tick);
                let first = model.values().min().map(|tick| tick << TICK_BITS);
                let deadline = wheel.deadline().map(Instant::as_micros);
                prop_assert_eq!(first.is_some(), deadline.is_some());
                prop_assert!(deadline <= first && deadline.is_none_or(|d| d > now));
            }
        }
    }
}
