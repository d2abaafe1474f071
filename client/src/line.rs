//! Items on their way to a connection's writer.
//!
//! Callers stand in line, and the writer takes all of them at once: while one batch is written the next one gathers, and
//! one wake-up serves a whole batch. A line that is full makes further callers wait.

use std::sync::Mutex;

use leasehold_core::wire::ClientItem;
use tokio::sync::Notify;

use crate::cluster::lock_up;

/// Items that may stand in line; further callers wait.
const LONGEST: usize = 1 << 10;

/// An item, and the call that it is for if it is a request.
pub(crate) type Queued = (Option<u64>, ClientItem);

/// A line that callers join and one writer takes from.
#[derive(Debug, Default)]
pub(crate) struct Line {
    state: Mutex<State>,
    work: Notify,
    room: Notify,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    items: Vec<Queued>,
}

impl Line {
    /// Adds an item as soon as there is room. One that comes after the end is dropped. Cancel safe: it is added or not.
    pub(crate) async fn push(&self, item: Queued) {
        let mut item = Some(item);
        loop {
            // From here on no room that is made is missed.
            let room = self.room.notified();
            if self.join(&mut item) {
                return;
            }
            room.await;
        }
    }

    /// Adds an item, or drops it if there is no room.
    pub(crate) fn push_if_room(&self, item: Queued) {
        self.join(&mut Some(item));
    }

    /// Takes `item` unless there is no room; says whether there was.
    fn join(&self, item: &mut Option<Queued>) -> bool {
        let mut state = lock_up(&self.state);
        if state.closed {
            return true;
        }
        if state.items.len() >= LONGEST {
            return false;
        }
        state.items.extend(item.take());
        let first = state.items.len() == 1;
        drop(state);
        if first {
            self.work.notify_one();
        }
        true
    }

    /// Waits until somebody stands in line, and moves all who do into `items`, which must be empty. Cancel safe.
    pub(crate) async fn take(&self, items: &mut Vec<Queued>) {
        loop {
            {
                let mut state = lock_up(&self.state);
                if !state.items.is_empty() {
                    let full = state.items.len() >= LONGEST;
                    std::mem::swap(&mut state.items, items);
                    drop(state);
                    if full {
                        self.room.notify_waiters();
                    }
                    return;
                }
            }
            self.work.notified().await;
        }
    }

    /// Returns once nobody takes from it any more.
    pub(crate) async fn closed(&self) {
        loop {
            // From here on no end is missed: it makes room, too.
            let room = self.room.notified();
            if lock_up(&self.state).closed {
                return;
            }
            room.await;
        }
    }

    /// Nobody takes from it any more.
    pub(crate) fn close(&self) {
        let mut state = lock_up(&self.state);
        state.closed = true;
        state.items = Vec::new();
        drop(state);
        self.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(call: u64) -> Queued {
        (Some(call), ClientItem::Cancel { call })
    }

    #[tokio::test]
    async fn all_who_stand_in_line_are_taken_at_once_and_in_order() {
        let line = Line::default();
        for call in 0..3 {
            line.push(item(call)).await;
        }
        let mut items = Vec::new();
        line.take(&mut items).await;
        assert_eq!(items, [item(0), item(1), item(2)]);
    }

    #[tokio::test]
    async fn a_full_line_makes_the_next_wait_until_it_is_taken() {
        let line = Line::default();
        let longest = u64::try_from(LONGEST).unwrap();
        for call in 0..longest {
            line.push(item(call)).await;
        }
        line.push_if_room(item(longest + 1));
        let (mut items, mut more) = (Vec::new(), Vec::new());
        let take = async {
            tokio::task::yield_now().await;
            line.take(&mut items).await;
            line.take(&mut more).await;
        };
        tokio::join!(line.push(item(longest)), take);
        assert_eq!((items.len(), more), (LONGEST, vec![item(longest)]));
    }

    #[tokio::test]
    async fn nobody_waits_for_a_line_that_is_closed() {
        let line = Line::default();
        for call in 0..u64::try_from(LONGEST).unwrap() {
            line.push(item(call)).await;
        }
        let close = async {
            tokio::task::yield_now().await;
            line.close();
        };
        tokio::join!(line.push(item(0)), close, line.closed());
        line.push(item(1)).await;
    }
}
