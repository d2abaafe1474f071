//! Bytes on their way to a connection.
//!
//! The driver puts in what a batch has for a connection, the connection's task takes out whatever has gathered and
//! writes it in one go: the slower the other end, the larger the writes. An outbox never holds more than its limit;
//! what to do when it is full is the driver's choice.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Makes an outbox that holds at most `limit` bytes: the driver's end and the connection's.
pub(crate) fn outbox(limit: usize) -> (Sender, Receiver) {
    let shared = Arc::new(Shared { limit, state: Mutex::default(), wake: Notify::new() });
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
    /// Nothing is put in any more.
    finished: bool,
    /// What is inside is not worth sending any more.
    closed: bool,
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
    /// Appends `bytes`, unless they do not fit or the connection is gone.
    pub(crate) fn put(&self, bytes: Vec<u8>) -> bool {
        let mut state = self.0.state();
        if state.closed || state.bytes.len().saturating_add(bytes.len()) > self.0.limit {
            return false;
        }
        if state.bytes.is_empty() {
            state.bytes = bytes;
        } else {
            state.bytes.extend_from_slice(&bytes);
        }
        drop(state);
        self.0.wake.notify_one();
        true
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
                if state.closed {
                    return None;
                }
                if !state.bytes.is_empty() {
                    return Some(std::mem::take(&mut state.bytes));
                }
                if state.finished {
                    return None;
                }
            }
            self.0.wake.notified().await;
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_gathers_is_taken_at_once_and_never_more_than_the_limit() {
        let (sender, mut receiver) = outbox(5);
        assert!(sender.put(vec![1, 2]));
        assert!(sender.put(vec![3]));
        assert!(!sender.put(vec![4, 5, 6]));
        assert_eq!(receiver.take().await, Some(vec![1, 2, 3]));
        assert!(sender.put(vec![4, 5, 6]));
        drop(sender);
        assert_eq!(receiver.take().await, Some(vec![4, 5, 6]));
        assert_eq!(receiver.take().await, None);
    }

    #[tokio::test]
    async fn a_closed_outbox_gives_and_takes_nothing() {
        let (sender, mut receiver) = outbox(5);
        assert!(sender.put(vec![1]));
        sender.close();
        assert_eq!(receiver.take().await, None);
        assert!(!sender.put(vec![2]));
        receiver.closed().await;
    }
}
