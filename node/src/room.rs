//! How many connections there is room for: in all, and from one address, so that one machine leaves room for others.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts the connections that stand.
#[derive(Debug)]
pub(crate) struct Room {
    all: usize,
    per_address: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: HashMap<IpAddr, usize>,
}

impl Room {
    pub(crate) fn new(all: usize, per_address: usize) -> Arc<Self> {
        Arc::new(Self { all, per_address, taken: Mutex::default() })
    }

    /// A place for a connection from this address, if there is room.
    pub(crate) fn place(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = site(address);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = taken.by.get(&address).copied().unwrap_or_default();
        if taken.all >= self.all || of_address >= self.per_address {
            return None;
        }
        taken.all += 1;
        taken.by.insert(address, of_address + 1);
        Some(Place { room: Arc::clone(self), address })
    }
}

/// Who has one address of version 6 has the 2^64 beside it.
pub(crate) fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let bits = v6.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// The place of a connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    room: Arc<Room>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.room.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(1);
        if let Some(count) = taken.by.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.by.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_leaves_room_for_others_and_what_goes_makes_room() {
        let room = Room::new(3, 2);
        let first = room.place(at("10.0.0.1")).unwrap();
        let _second = room.place(at("::ffff:10.0.0.1")).unwrap();
        assert!(room.place(at("10.0.0.1")).is_none());
        let _third = room.place(at("10.0.0.2")).unwrap();
        assert!(room.place(at("10.0.0.3")).is_none());
        drop(first);
        room.place(at("10.0.0.1")).unwrap();
        assert_eq!(room.taken.lock().unwrap().by.len(), 2);
    }

    #[test]
    fn neighbours_of_version_6_count_together() {
        let room = Room::new(9, 1);
        let _one = room.place(at("2001:db8::1")).unwrap();
        assert!(room.place(at("2001:db8::ffff:1")).is_none());
        assert!(room.place(at("2001:db8:0:1::1")).is_some());
    }
}
