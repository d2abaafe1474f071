//! Keeps all guards of a client: gives up beliefs whose time is up, and extends leases before that.
//!
//! One task for all of them, however many there are: it sleeps until the next thing is due, by the clock that counts
//! through suspend, and never longer than a second at a time. Extensions that fall due within a moment of each other
//! leave together, so that they share frames and wake-ups. When the task ends, because the client or its runtime does,
//! all beliefs end with it: nobody would notice their deadlines any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use leasehold_core::{Instant, Span, hash};
use tokio::sync::Notify;

use crate::clock;
use crate::cluster::lock_up;
use crate::held::{Held, Lost};
use crate::identity;

/// A lease is extended when this part of it is over.
const EXTEND_AT: u64 = 3;
/// An extension that failed is tried again after this part of the lease.
const AGAIN_AT: u64 = 12;
/// Extensions that are due within this time, or a thirtieth of the lease if that is shorter, leave together.
const TOGETHER: Span = Span::from_millis(100);
const TOGETHER_PARTS: u64 = 30;

/// Names a guard among those of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(u64);

/// All guards of a client.
#[derive(Debug)]
pub(crate) struct Keeper {
    seed: (u64, u64),
    table: Mutex<Table>,
    wake: Notify,
}

/// `ends` has each guard once, under its `end`; `extensions` has those with an `extend_at`, under that.
#[derive(Debug, Default)]
struct Table {
    closed: bool,
    last: u64,
    guards: BTreeMap<Place, Kept>,
    ends: BTreeSet<(Instant, Place)>,
    extensions: BTreeSet<(Instant, Place)>,
    /// When the task looks again by itself.
    looks_at: Option<Instant>,
}

#[derive(Debug)]
struct Kept {
    held: Arc<Held>,
    end: Instant,
    extend_at: Option<Instant>,
    extending: bool,
}

impl Keeper {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { seed: identity::draw(), table: Mutex::default(), wake: Notify::new() })
    }

    /// Keeps `held` until it is let go; extends it if `extending`.
    pub(crate) fn keep(&self, held: &Arc<Held>, extending: bool) -> Place {
        let now = clock::now();
        let mut table = lock_up(&self.table);
        table.last += 1;
        let place = Place(table.last);
        if table.closed {
            drop(held.end(Lost::Ended));
            return place;
        }
        let end = now.after(held.time_left(now));
        let extend_at =
            extending.then(|| now.after(self.jittered(held.ttl().split(EXTEND_AT), now, place)));
        table.insert(place, Kept { held: Arc::clone(held), end, extend_at, extending });
        self.wake_for(&table);
        place
    }

    /// Forgets a guard.
    pub(crate) fn let_go(&self, place: Place) {
        lock_up(&self.table).remove(place);
    }

    /// Looks anew at a guard that was extended, or could not be.
    pub(crate) fn look_at(&self, place: Place, extended: bool) {
        let now = clock::now();
        let mut table = lock_up(&self.table);
        let Some(mut kept) = table.remove(place) else { return };
        if kept.held.lost(now).is_some() {
            return;
        }
        kept.end = now.after(kept.held.time_left(now));
        let parts = if extended { EXTEND_AT } else { AGAIN_AT };
        let pause = self.jittered(kept.held.ttl().split(parts), now, place);
        kept.extend_at = kept.extending.then(|| now.after(pause));
        table.insert(place, kept);
        self.wake_for(&table);
    }

    /// A time between four fifths of `most` and all of it.
    fn jittered(&self, most: Span, now: Instant, place: Place) -> Span {
        let drawn =
            hash::keyed(self.seed, &[&place.0.to_le_bytes(), &now.as_micros().to_le_bytes()]);
        let spread = most.split(5);
        most.minus(Span::from_micros(drawn % spread.as_micros().saturating_add(1)))
    }

    /// Wakes the task if it would oversleep something.
    fn wake_for(&self, table: &Table) {
        let next = table.next();
        if next.is_some_and(|next| table.looks_at.is_none_or(|looks_at| next < looks_at)) {
            self.wake.notify_one();
        }
    }

    /// Does what is due, for as long as this is polled.
    pub(crate) async fn run(self: Arc<Self>) {
        let _close = CloseOnDrop(Arc::clone(&self));
        loop {
            let (due, next) = lock_up(&self.table).look(clock::now());
            for (place, held) in due {
                tokio::spawn(extend(Arc::clone(&self), place, held));
            }
            let due = async {
                match next {
                    Some(at) => clock::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.wake.notified() => {}
                () = due => {}
            }
        }
    }

    /// Ends all beliefs.
    pub(crate) fn close(&self) {
        let mut table = lock_up(&self.table);
        table.closed = true;
        for kept in std::mem::take(&mut table.guards).into_values() {
            drop(kept.held.end(Lost::Ended));
        }
        table.ends.clear();
        table.extensions.clear();
    }
}

/// One extension in the background, unless the belief ends before its answer.
async fn extend(keeper: Arc<Keeper>, place: Place, held: Arc<Held>) {
    let extended = tokio::select! {
        biased;
        _ = held.until_lost() => false,
        extended = held.extend_again() => extended.is_ok(),
    };
    keeper.look_at(place, extended);
}

impl Table {
    fn insert(&mut self, place: Place, kept: Kept) {
        self.ends.insert((kept.end, place));
        self.extensions.extend(kept.extend_at.map(|at| (at, place)));
        self.guards.insert(place, kept);
    }

    fn remove(&mut self, place: Place) -> Option<Kept> {
        let kept = self.guards.remove(&place)?;
        self.ends.remove(&(kept.end, place));
        if let Some(at) = kept.extend_at {
            self.extensions.remove(&(at, place));
        }
        Some(kept)
    }

    /// When the next thing is due.
    fn next(&self) -> Option<Instant> {
        let first = |set: &BTreeSet<(Instant, Place)>| set.first().map(|(at, _)| *at);
        [first(&self.ends), first(&self.extensions)].into_iter().flatten().min()
    }

    /// Gives up what has ended by `now`. Returns what is to be extended, and when to look again.
    fn look(&mut self, now: Instant) -> (Vec<(Place, Arc<Held>)>, Option<Instant>) {
        while let Some((end, place)) = self.ends.first().copied()
            && end <= now
        {
            let Some(mut kept) = self.remove(place) else { break };
            // Extended meanwhile, by somebody who has not said so yet?
            if kept.held.lost(now).is_none() {
                kept.end = now.after(kept.held.time_left(now).max(Span::from_millis(1)));
                self.insert(place, kept);
            }
        }
        let soon = (now.after(TOGETHER), Place(u64::MAX));
        let near: Vec<Place> = self.extensions.range(..=soon).map(|(_, place)| *place).collect();
        let mut due = Vec::new();
        for place in near {
            let Some(kept) = self.guards.get_mut(&place) else { continue };
            let Some(at) = kept.extend_at else { continue };
            if at.since(now) <= TOGETHER.min(kept.held.ttl().split(TOGETHER_PARTS)) || at <= now {
                kept.extend_at = None;
                due.push((place, Arc::clone(&kept.held)));
                self.extensions.remove(&(at, place));
            }
        }
        self.looks_at = self.next();
        (due, self.looks_at)
    }
}

/// Closes the keeper however its task ends.
struct CloseOnDrop(Arc<Keeper>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}
