//! Who waits for a local record to become held or free (protocol, section 11).
//!
//! Waits are about what this node knows, like a local read: woken by accepts, releases and expiry here.

#![expect(clippy::indexing_slicing, reason = "slots are kept only while their things are there")]

use alloc::vec::Vec;

use hashbrown::HashMap;

use crate::bytes::Key;
use crate::hash::Seeded;
use crate::request::Ticket;
use crate::slab::{Keyed, Shelf, Slab, Slot};
use crate::time::Instant;
use crate::timers::Wheel;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Waiter {
    ticket: Ticket,
    room: Slot,
    /// Whether it waits for the key to be held, rather than free.
    held: bool,
}

/// All that wait for one key.
#[derive(Clone, Debug)]
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
    by_ticket: HashMap<Ticket, Slot, Seeded>,
    per_key: usize,
}

impl Waiters {
    pub(crate) fn new(per_key: u32, seed: (u64, u64), now: Instant) -> Self {
        Self {
            rooms: Shelf::new(Seeded(seed)),
            waiters: Slab::new(),
            timers: Wheel::new(now),
            by_ticket: HashMap::with_hasher(Seeded(seed)),
            per_key: usize::try_from(per_key).unwrap_or(usize::MAX),
        }
    }

    /// Lets `ticket` wait. Whether there was room.
    pub(crate) fn wait(&mut self, ticket: Ticket, key: Key, held: bool, until: Instant) -> bool {
        let room = match self.rooms.find(&key) {
            Some(room) => room,
            None => self.rooms.insert(Room { key, waiters: Vec::new() }),
        };
        if self.rooms[room].waiters.len() >= self.per_key {
            return false;
        }
        let slot = self.waiters.insert(Waiter { ticket, room, held });
        self.rooms[room].waiters.push(slot);
        self.by_ticket.insert(ticket, slot);
        self.timers.set(slot, until);
        true
    }

    /// Takes all who wait for the key to be held, or to be free.
    pub(crate) fn wake(&mut self, key: &[u8], held: bool) -> Vec<Ticket> {
        let Some(room) = self.rooms.find(key) else { return Vec::new() };
        let woken = |slot: &Slot| self.waiters[*slot].held == held;
        let woken: Vec<Slot> = self.rooms[room].waiters.iter().copied().filter(woken).collect();
        woken.into_iter().filter_map(|slot| self.remove(slot)).collect()
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
        let waiter = self.waiters.remove(slot)?;
        self.timers.clear(slot);
        self.by_ticket.remove(&waiter.ticket);
        let room = &mut self.rooms[waiter.room];
        room.waiters.retain(|&other| other != slot);
        if room.waiters.is_empty() {
            self.rooms.remove(waiter.room);
        }
        Some(waiter.ticket)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.timers.deadline()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiters.len()
    }
}
