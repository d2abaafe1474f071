//! Records in pieces: parts of snapshots for other nodes, and pages of listings.
//!
//! Both walk the places in which records stand, in no order that means anything, and do a bounded amount of work at
//! a time, so that neither stops the node. A record keeps its place as long as it is there.

use alloc::vec::Vec;

use super::Acceptor;
use crate::ballot::Ballot;
use crate::bytes::Key;
use crate::entry::{Entry, Held};
use crate::message::Copied;
use crate::slab::Slot;
use crate::time::{Instant, Span};

/// How many places a part of a snapshot covers at most: some hundred microseconds.
const PART_PLACES: Slot = 4_096;
/// How many places a page of a listing covers at most. Clients ask for them, behind one another and without end.
const PAGE_PLACES: Slot = 1_024;
/// About how many bytes a page carries: with one more entry it still fits a frame.
const PAGE_BYTES: usize = 128 << 10;
/// About what a record takes besides its key, value and description.
const RECORD_BYTES: usize = 64;

/// An ownership in a page, with how much longer it is kept.
pub(crate) type Listed<'a> = (&'a Key, Held, Span);

impl Acceptor {
    /// A part of a snapshot: the records from place `cursor` on, the floor for all that it leaves out, and where the
    /// next part starts. A record that stays is in one of the parts; one that goes raises the floor, which is why
    /// the last part's floor is the one that counts.
    pub(crate) fn export(&self, now: Instant, cursor: Slot) -> (Vec<Copied>, Ballot, Option<Slot>) {
        let (mut copies, mut floor, mut bytes) = (Vec::new(), self.floor, 0);
        for slot in cursor..self.records.places() {
            if bytes >= self.part || slot - cursor >= PART_PLACES {
                return (copies, floor, Some(slot));
            }
            let Some(record) = self.records.get(slot) else { continue };
            let Some(written) = &record.accepted else {
                floor = floor.max(record.promised);
                continue;
            };
            let copied = Copied {
                key: record.key.clone(),
                promised: record.promised,
                accepted: written.report(now),
            };
            let content = copied.accepted.entry.held().map_or(0, |h| h.value.len() + h.meta.len());
            bytes += copied.key.len() + content + RECORD_BYTES;
            copies.push(copied);
        }
        (copies, floor, None)
    }

    /// The ownerships of keys that start with `prefix`, from place `from` on, `most` at most, and where the next page
    /// starts.
    pub(crate) fn page(
        &self,
        now: Instant,
        prefix: &[u8],
        from: Slot,
        most: usize,
    ) -> (Vec<Listed<'_>>, Option<Slot>) {
        let (mut listed, mut bytes) = (Vec::new(), 0);
        for slot in from..self.records.places() {
            let full = listed.len() >= most.max(1) || bytes >= PAGE_BYTES;
            if full || slot - from >= PAGE_PLACES {
                return (listed, Some(slot));
            }
            let Some(record) = self.records.get(slot) else { continue };
            let Some(written) = &record.accepted else { continue };
            let remaining = written.remaining(now);
            if remaining.is_zero() || !record.key.starts_with(prefix) {
                continue;
            }
            let Entry::Held(held) = written.entry() else { continue };
            bytes += record.key.len() + held.value.len() + held.meta.len() + RECORD_BYTES;
            listed.push((&record.key, held, remaining));
        }
        (listed, None)
    }

    /// Since when it keeps records, which tells it from what stood in its place before.
    pub(crate) const fn since(&self) -> Instant {
        self.since
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::format;

    use proptest::prelude::*;

    use super::*;
    use crate::ballot::Token;
    use crate::entry::OpId;
    use crate::hash::Seeded;
    use crate::settings::{Limits, Settings};

    const NOW: Instant = Instant::from_micros(5_000_000);

    fn acceptor(part: u32) -> Acceptor {
        let limits = Limits { snapshot_part: part, ..Limits::default() };
        let settings = Settings { limits, ..Settings::default() };
        Acceptor::new(&settings, (1, 2), Ballot::ZERO, NOW)
    }

    fn key(name: usize) -> Key {
        let group = if name.is_multiple_of(2) { "even" } else { "odd" };
        format!("{group}/{name}").as_str().into()
    }

    /// The key with its hash by the acceptor's seed.
    fn hashed(key: &Key) -> (&Key, u32) {
        (key, Seeded((1, 2)).of(key))
    }

    /// Locks the key for 10 s.
    fn lock(acceptor: &mut Acceptor, name: usize, counter: u64, value: &[u8]) {
        let ballot = Ballot { counter, proposer: 1 };
        let held = Held {
            value: value.into(),
            meta: "".into(),
            lease: Span::from_secs(10),
            delay: Span::ZERO,
            token: Token(counter),
            last_op: OpId::default(),
        };
        acceptor.prepare(NOW, hashed(&key(name)), ballot);
        let held = (&Entry::Held(held), Span::from_secs(10));
        assert_eq!(acceptor.accept(NOW, hashed(&key(name)), ballot, held, |_| {}), Ok(()));
    }

    fn free(acceptor: &mut Acceptor, name: usize, counter: u64) {
        let ballot = Ballot { counter, proposer: 1 };
        let entry = Entry::Free { last_op: OpId::default(), token: Token(1) };
        acceptor.prepare(NOW, hashed(&key(name)), ballot);
        let free = (&entry, Span::ZERO);
        assert_eq!(acceptor.accept(NOW, hashed(&key(name)), ballot, free, |_| {}), Ok(()));
        acceptor.forget(NOW, &key(name), ballot);
    }

    /// All pages, each with what it lists.
    fn walk(acceptor: &Acceptor, now: Instant, prefix: &[u8], most: usize) -> Vec<Vec<Key>> {
        let (mut pages, mut from) = (Vec::new(), Some(0));
        while let Some(slot) = from {
            let (listed, next) = acceptor.page(now, prefix, slot, most);
            assert!(next.is_none_or(|next| next > slot), "every page goes on");
            pages.push(listed.into_iter().map(|(key, ..)| key.clone()).collect());
            from = next;
        }
        pages
    }

    #[test]
    fn a_snapshot_of_any_size_comes_to_its_end_and_every_record_is_in_one_part() {
        let mut acceptor = acceptor(u32::MAX);
        let places = usize::try_from(PART_PLACES).unwrap();
        let records = 2 * places + 9;
        for name in 0..records {
            lock(&mut acceptor, name, 1 + u64::try_from(name).unwrap(), b"v");
        }
        let (mut keys, mut from) = (BTreeSet::new(), Some(0));
        while let Some(cursor) = from {
            let (copies, _, next) = acceptor.export(NOW, cursor);
            assert!(copies.len() <= places && next.is_none_or(|next| next > cursor));
            keys.extend(copies.into_iter().map(|copied| copied.key));
            from = next;
        }
        assert_eq!(keys.len(), records);
    }

    #[test]
    fn a_page_is_bounded_in_number_in_bytes_and_in_work() {
        let mut acceptor = acceptor(1 << 20);
        for name in 0..5_000 {
            lock(&mut acceptor, name, 10, b"v");
        }
        let pages = walk(&acceptor, NOW, b"even/", 100);
        assert!(pages.iter().all(|page| page.len() <= 100));
        assert_eq!(pages.iter().map(Vec::len).sum::<usize>(), 2_500);
        // What matches nothing still comes back after so many places.
        let pages = walk(&acceptor, NOW, b"none", 100);
        assert_eq!(pages.len(), 5_000_usize.div_ceil(1_024));
        assert!(walk(&acceptor, NOW, b"", usize::MAX).iter().all(|page| page.len() <= 1_024));
        for name in 0..20 {
            lock(&mut acceptor, name, 20, &[0; 60_000]);
        }
        let (listed, next) = acceptor.page(NOW, b"", 0, 1_000);
        assert_eq!((listed.len(), next), (3, Some(3)));
        // None at all would be no page: at least one is listed.
        assert_eq!(acceptor.page(NOW, b"", 0, 0).0.len(), 1);
    }

    #[test]
    fn what_is_over_is_not_listed() {
        let mut acceptor = acceptor(1 << 20);
        lock(&mut acceptor, 1, 10, b"v");
        lock(&mut acceptor, 2, 10, b"v");
        let entry = Entry::Free { last_op: OpId::default(), token: Token(10) };
        let ballot = Ballot { counter: 20, proposer: 1 };
        acceptor.prepare(NOW, hashed(&key(2)), ballot);
        let free = (&entry, Span::ZERO);
        assert_eq!(acceptor.accept(NOW, hashed(&key(2)), ballot, free, |_| {}), Ok(()));
        assert_eq!(walk(&acceptor, NOW, b"", 10), [[key(1)]]);
        let later = NOW.after(Span::from_secs(10));
        assert_eq!(walk(&acceptor, later, b"", 10), [Vec::<Key>::new()]);
    }

    #[test]
    fn a_part_of_a_snapshot_is_as_large_as_its_limit_says() {
        let mut acceptor = acceptor(1_000);
        for name in 0..100 {
            lock(&mut acceptor, name, 10, &[0; 100]);
        }
        let (mut seen, mut from) = (0, Some(0));
        while let Some(slot) = from {
            let (copies, _, next) = acceptor.export(NOW, slot);
            assert!(copies.len() <= 6, "1,000 bytes and one more record");
            seen += copies.len();
            from = next;
        }
        assert_eq!(seen, 100);
    }

    proptest! {
        /// Whatever else comes and goes between pages, a key that stays held is listed exactly once.
        #[test]
        fn what_stays_is_listed_once(
            stays in proptest::collection::btree_set(0_usize..200, 1..40),
            comes in proptest::collection::vec((0_usize..200, any::<bool>()), 0..200),
            most in 1_usize..5,
        ) {
            let mut acceptor = acceptor(1 << 20);
            let mut counter = 10;
            for name in 0..100 {
                lock(&mut acceptor, name, counter, b"v");
            }
            for &name in &stays {
                counter += 2;
                lock(&mut acceptor, name, counter, b"v");
            }
            let mut comes = comes.into_iter().filter(|(name, _)| !stays.contains(name));
            let (mut listed, mut from) = (Vec::new(), Some(0));
            while let Some(slot) = from {
                let (page, next) = acceptor.page(NOW, b"", slot, most);
                listed.extend(page.into_iter().map(|(key, ..)| key.clone()));
                from = next;
                if let Some((name, held)) = comes.next() {
                    counter += 2;
                    if held {
                        lock(&mut acceptor, name, counter, b"v");
                    } else {
                        free(&mut acceptor, name, counter);
                    }
                }
            }
            for &name in &stays {
                prop_assert_eq!(listed.iter().filter(|&other| *other == key(name)).count(), 1);
            }
            let known: BTreeSet<Key> = (0..200).map(key).collect();
            prop_assert!(listed.iter().all(|key| known.contains(key)));
        }
    }
}
