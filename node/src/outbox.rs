//! Bytes on their way to a connection.
//!
//! The driver puts in what a batch has for a connection, the connection's task takes out whatever has gathered and
//! writes it in one go: the slower the other end, the larger the writes. An outbox never holds more than its limit;
//! what to do when it is full is the driver's choice.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::budget::Share;

/// Memory that was written and is kept for what comes next, at most: for connections that have a share in a budget, and
/// for the few that have none.
const SPARE: usize = 16 << 10;
const SPARE_OF_FEW: usize = 512 << 10;

/// Makes an outbox that holds at most `limit` bytes, and no more than there is a `share` for: the driver's end and the
/// connection's.
pub(crate) fn outbox(limit: usize, share: Option<Share>) -> (Sender, Receiver) {
    let state = Mutex::new(State { share, ..State::default() });
    let shared = Arc::new(Shared { limit, state, wake: Notify::new() });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

#[derive(Debug)]
struct Shared {
    limit: usize,
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    /// Bytes that were taken and are being written.
    taken: usize,
    /// Empty, with room for what is put in next.
    spare: Vec<u8>,
    share: Option<Share>,
    /// Nothing is put in any more.
    finished: bool,
    /// What is inside is not worth sending any more.
    closed: bool,
}

impl State {
    /// Whether there may be this many bytes on their way.
    fn holds(&mut self, bytes: usize) -> bool {
        self.share.as_mut().is_none_or(|share| share.hold(bytes))
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nobody panics while holding this lock; and if, the bytes are whole all the same.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The driver's end. When it goes, the connection ends after what is inside was written.
#[derive(Debug)]
pub(crate) struct Sender(Arc<Shared>);

impl Sender {
    /// Appends `bytes`, and returns memory for what comes next. `None` if they do not fit or the connection is gone.
    pub(crate) fn put(&self, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
        let mut state = self.0.state();
        let waiting = state.bytes.len().saturating_add(bytes.len());
        let all = waiting.saturating_add(state.taken);
        if state.closed || waiting > self.0.limit || !state.holds(all) {
            return None;
        }
        if state.bytes.is_empty() {
            state.bytes = bytes;
            bytes = std::mem::take(&mut state.spare);
        } else {
            state.bytes.extend_from_slice(&bytes);
            bytes.clear();
        }
        drop(state);
        self.0.wake.notify_one();
        Some(bytes)
    }

    /// Bytes that are inside.
    pub(crate) fn waiting(&self) -> usize {
        self.0.state().bytes.len()
    }

    /// Ends the connection without writing what is inside.
    pub(crate) fn close(&self) {
        self.0.state().closed = true;
        self.0.wake.notify_one();
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.state().finished = true;
        self.0.wake.notify_one();
    }
}

/// The connection's end.
#[derive(Debug)]
pub(crate) struct Receiver(Arc<Shared>);

impl Receiver {
    /// Waits for bytes to write, and takes all of them. `None` once the connection shall end. Cancel safe.
    pub(crate) async fn take(&mut self) -> Option<Vec<u8>> {
        loop {
            {
                let mut state = self.0.state();
                state.taken = 0;
                let waiting = state.bytes.len();
                // Less than before, which there is always a share for.
                state.holds(waiting);
                if state.closed {
                    return None;
                }
                if !state.bytes.is_empty() {
                    state.taken = waiting;
                    return Some(std::mem::take(&mut state.bytes));
                }
                if state.finished {
                    return None;
                }
            }
            self.0.wake.notified().await;
        }
    }

    /// Gives back the memory of what was taken.
    pub(crate) fn written(&mut self, mut bytes: Vec<u8>) {
        let mut state = self.0.state();
        let most = if state.share.is_some() { SPARE } else { SPARE_OF_FEW };
        if bytes.capacity() <= most {
            bytes.clear();
            state.spare = bytes;
        }
    }

    /// Waits until what was taken is not worth writing any more.
    pub(crate) async fn closed(&mut self) {
        while !self.0.state().closed {
            self.0.wake.notified().await;
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.closed = true;
        state.bytes = Vec::new();
        state.spare = Vec::new();
        state.share = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::{Budget, FREE};

    #[tokio::test]
    async fn what_gathers_is_taken_at_once_and_never_more_than_the_limit() {
        let (sender, mut receiver) = outbox(5, None);
        assert!(sender.put(vec![1, 2]).is_some());
        assert!(sender.put(vec![3]).is_some());
        assert!(sender.put(vec![4, 5, 6]).is_none());
        assert_eq!(receiver.take().await, Some(vec![1, 2, 3]));
        assert!(sender.put(vec![4, 5, 6]).is_some());
        drop(sender);
        assert_eq!(receiver.take().await, Some(vec![4, 5, 6]));
        assert_eq!(receiver.take().await, None);
    }

    #[tokio::test]
    async fn what_is_being_written_counts_towards_the_budget() {
        let budget = Budget::new(10);
        let (sender, mut receiver) = outbox(1 << 20, Some(Share::of(Arc::clone(&budget))));
        assert!(sender.put(vec![0; FREE + 10]).is_some());
        assert!(sender.put(vec![0]).is_none());
        assert_eq!(receiver.take().await.map(|bytes| bytes.len()), Some(FREE + 10));
        // It was taken, and may still be in memory.
        assert!(sender.put(vec![0]).is_none());
        let next = receiver.take();
        let put = async {
            // After the next look, which says that it was written.
            while sender.put(vec![0; FREE + 10]).is_none() {
                tokio::task::yield_now().await;
            }
        };
        let (bytes, ()) = tokio::join!(next, put);
        assert_eq!(bytes.map(|bytes| bytes.len()), Some(FREE + 10));
        drop(receiver);
        assert!(Share::of(budget).hold(FREE + 10));
    }

    #[tokio::test]
    async fn written_memory_comes_back_unless_it_is_large() {
        let (sender, mut receiver) = outbox(1 << 20, Some(Share::of(Budget::new(0))));
        for (capacity, kept) in [(SPARE, SPARE), (SPARE + 1, 0)] {
            let mut bytes = Vec::with_capacity(capacity);
            bytes.push(1);
            assert_eq!(sender.put(bytes), Some(Vec::new()));
            let taken = receiver.take().await.unwrap();
            receiver.written(taken);
            let spare = sender.put(vec![2]).unwrap();
            assert!(spare.is_empty());
            assert_eq!(spare.capacity(), kept);
            assert_eq!(receiver.take().await, Some(vec![2]));
        }
    }

    #[tokio::test]
    async fn a_closed_outbox_gives_and_takes_nothing() {
        let (sender, mut receiver) = outbox(5, None);
        assert!(sender.put(vec![1]).is_some());
        sender.close();
        assert_eq!(receiver.take().await, None);
        assert!(sender.put(vec![2]).is_none());
        receiver.closed().await;
    }
}
