//! Who waits for a local record to become held or free (protocol, section 11).
//!
//! Waits are about what this node knows, like a local read: woken by accepts, releases and expiry here.

#![expect(clippy::indexing_slicing, reason = "slots are kept only while their things are there")]

use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use hashbrown::HashMap;

use crate::bytes::{Bytes, Key};
use crate::hash::{Numbers, Seeded};
use crate::request::Ticket;
use crate::slab::{Keyed, Shelf, Slab, Slot};
use crate::time::Instant;
use crate::timers::Wheel;
use crate::view::{self, Wants};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Waiter {
    ticket: Ticket,
    room: Slot,
    /// Whether it waits for the key to be held, rather than free.
    held: bool,
    since: Instant,
    until: Instant,
}

/// All that wait for one key.
#[derive(Clone, Debug, Hash)]
struct Room {
    key: Key,
    waiters: Vec<Slot>,
}

impl Keyed for Room {
    fn key(&self) -> &Key {
        &self.key
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Waiters {
    rooms: Shelf<Room>,
    waiters: Slab<Waiter>,
    timers: Wheel,
    by_ticket: HashMap<Ticket, Slot, Numbers>,
    per_key: usize,
}

impl Hash for Waiters {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { rooms, waiters, timers, by_ticket: _, per_key: _ } = self;
        (rooms, waiters, timers).hash(state);
    }
}

impl Waiters {
    pub(crate) fn new(per_key: u32, seed: (u64, u64), now: Instant) -> Self {
        Self {
            rooms: Shelf::new(Seeded(seed)),
            waiters: Slab::new(),
            timers: Wheel::new(now),
            by_ticket: HashMap::with_hasher(Numbers),
            per_key: usize::try_from(per_key).unwrap_or(usize::MAX),
        }
    }

    /// Lets `ticket` wait. Whether there was room.
    pub(crate) fn wait(
        &mut self,
        ticket: Ticket,
        key: Key,
        held: bool,
        (since, until): (Instant, Instant),
    ) -> bool {
        let hash = self.rooms.hash(&key);
        let room = self.rooms.find_hashed(&key, hash);
        if room.map_or(0, |room| self.rooms[room].waiters.len()) >= self.per_key {
            return false;
        }
        let new = || Room { key, waiters: Vec::new() };
        let room = room.unwrap_or_else(|| self.rooms.insert(hash, new()));
        let slot = self.waiters.insert(Waiter { ticket, room, held, since, until });
        self.rooms[room].waiters.push(slot);
        self.by_ticket.insert(ticket, slot);
        self.timers.set(slot, until);
        true
    }

    /// Takes all who wait for the key to be held, or to be free.
    pub(crate) fn wake(&mut self, key: &[u8], held: bool) -> Vec<Ticket> {
        let Some(room) = self.rooms.find(key) else { return Vec::new() };
        let all = core::mem::take(&mut self.rooms[room].waiters);
        let (woken, stay): (Vec<Slot>, Vec<Slot>) =
            all.into_iter().partition(|&slot| self.waiters[slot].held == held);
        self.rooms[room].waiters = stay;
        self.leave_empty(room);
        woken.into_iter().filter_map(|slot| self.take(slot)).map(|waiter| waiter.ticket).collect()
    }

    /// Who waits for the key, in the order in which they came.
    pub(crate) fn waiting(&self, now: Instant, key: &[u8]) -> impl Iterator<Item = view::Waiter> {
        let room = self.rooms.find(key);
        let slots = room.into_iter().flat_map(|room| &self.rooms[room].waiters);
        slots.map(move |&slot| {
            let waiter = &self.waiters[slot];
            view::Waiter {
                wants: if waiter.held { Wants::Held } else { Wants::Released },
                value: Bytes::EMPTY,
                meta: Bytes::EMPTY,
                age: now.since(waiter.since),
                left: waiter.until.since(now),
            }
        })
    }

    /// The keys that are waited for, in the order in which they were first.
    pub(crate) fn keys(&self) -> Vec<Key> {
        self.rooms.iter().map(|(_, room)| room.key.clone()).collect()
    }

    /// Takes one whose time is up.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Ticket> {
        let slot = self.timers.pop(now)?;
        self.remove(slot)
    }

    /// Takes one whose caller is gone. Whether it was here.
    pub(crate) fn cancel(&mut self, ticket: Ticket) -> bool {
        let slot = self.by_ticket.get(&ticket).copied();
        slot.and_then(|slot| self.remove(slot)).is_some()
    }

    fn remove(&mut self, slot: Slot) -> Option<Ticket> {
        let waiter = self.take(slot)?;
        self.rooms[waiter.room].waiters.retain(|&other| other != slot);
        self.leave_empty(waiter.room);
        Some(waiter.ticket)
    }

    /// Takes a waiter out of everything but its room.
    fn take(&mut self, slot: Slot) -> Option<Waiter> {
        let waiter = self.waiters.remove(slot)?;
        self.timers.clear(slot);
        self.by_ticket.remove(&waiter.ticket);
        Some(waiter)
    }

    fn leave_empty(&mut self, room: Slot) {
        if self.rooms[room].waiters.is_empty() {
            self.rooms.remove(room);
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.timers.deadline()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiters.len()
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;
    use crate::time::Span;

    const NOW: Instant = Instant::from_micros(1_000_000);

    fn waiters(per_key: u32) -> Waiters {
        Waiters::new(per_key, (1, 2), NOW)
    }

    fn wait(waiters: &mut Waiters, ticket: u64, key: &str, held: bool) -> bool {
        let until = NOW.after(Span::from_secs(ticket));
        waiters.wait(Ticket(ticket), key.into(), held, (NOW, until))
    }

    #[test]
    fn a_key_has_so_much_room_and_no_empty_room_stays() {
        let mut waiters = waiters(2);
        assert!(wait(&mut waiters, 1, "a", true) && wait(&mut waiters, 2, "a", false));
        assert!(!wait(&mut waiters, 3, "a", true));
        assert!(wait(&mut waiters, 3, "b", true), "another key has its own");
        assert!(waiters.cancel(Ticket(1)) && !waiters.cancel(Ticket(1)));
        assert!(wait(&mut waiters, 4, "a", true));
        assert_eq!(waiters.wake(b"a", true), [Ticket(4)]);
        assert_eq!(waiters.wake(b"a", false), [Ticket(2)]);
        assert_eq!((waiters.keys(), waiters.len()), (alloc::vec!["b".into()], 1));
        let mut none = Waiters::new(0, (1, 2), NOW);
        assert!(!wait(&mut none, 1, "a", true) && none.keys().is_empty());
    }

    #[test]
    fn who_waits_is_shown_in_order_and_woken_in_order() {
        let mut waiters = waiters(100);
        for ticket in 1..=5 {
            assert!(wait(&mut waiters, ticket, "a", ticket % 2 == 1));
        }
        let now = NOW.after(Span::from_secs(1));
        let shown: Vec<view::Waiter> = waiters.waiting(now, b"a").collect();
        let wants: Vec<Wants> = shown.iter().map(|waiter| waiter.wants).collect();
        assert_eq!(
            wants,
            [Wants::Held, Wants::Released, Wants::Held, Wants::Released, Wants::Held]
        );
        assert!(shown.iter().all(|waiter| waiter.age == Span::from_secs(1)));
        assert_eq!(shown[3].left, Span::from_secs(3));
        assert_eq!(waiters.waiting(now, b"b").count(), 0);
        assert_eq!(waiters.wake(b"a", true), [1, 3, 5].map(Ticket));
        assert_eq!(waiters.pop(NOW.after(Span::from_secs(9))), Some(Ticket(2)));
    }

    #[test]
    fn a_crowd_is_woken_without_looking_at_it_over_and_over() {
        let mut waiters = waiters(u32::MAX);
        for ticket in 0..50_000 {
            assert!(wait(&mut waiters, ticket, "a", true));
        }
        assert_eq!(waiters.wake(b"a", true).len(), 50_000);
        assert_eq!(waiters.len(), 0);
        for ticket in 0..1_000 {
            assert!(wait(&mut waiters, ticket, &format!("{ticket}"), true));
        }
        assert_eq!(waiters.keys().len(), 1_000);
    }
}
