//! Connections that have not said yet who they are: a bounded number. When one more comes, the oldest has to go.
//!
//! It is the oldest and not the newest, since whoever is welcome says so within moments, however many come that never say
//! anything: to keep others out a stranger would have to fill the whole lobby within such a moment, and not once in the
//! time that a handshake may take.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Where connections wait until they are known.
#[derive(Debug)]
pub(crate) struct Lobby {
    most: usize,
    entered: AtomicU64,
    /// By number, the oldest first. What is dropped here has to go.
    inside: Mutex<VecDeque<(u64, oneshot::Sender<()>)>>,
}

impl Lobby {
    /// For this many at a time.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        let (entered, inside) = (AtomicU64::new(0), Mutex::default());
        Arc::new(Self { most, entered, inside })
    }

    /// Lets a stranger in, and shows the oldest out if there are too many.
    pub(crate) fn enter(self: &Arc<Self>) -> Stranger {
        let number = self.entered.fetch_add(1, Ordering::Relaxed);
        let (stays, shown_out) = oneshot::channel();
        let mut inside = self.inside();
        inside.push_back((number, stays));
        while inside.len() > self.most {
            inside.pop_front();
        }
        Stranger { lobby: Arc::clone(self), number, shown_out }
    }

    fn inside(&self) -> MutexGuard<'_, VecDeque<(u64, oneshot::Sender<()>)>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection in the lobby, until this is dropped.
#[derive(Debug)]
pub(crate) struct Stranger {
    lobby: Arc<Lobby>,
    number: u64,
    shown_out: oneshot::Receiver<()>,
}

impl Stranger {
    /// Waits until it has to go. Cancel safe.
    pub(crate) async fn shown_out(&mut self) {
        // Nothing is ever sent: the other end is dropped.
        drop((&mut self.shown_out).await);
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.lobby.inside().retain(|(number, _)| *number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_goes_and_who_is_known_makes_room() {
        let lobby = Lobby::new(2);
        let mut oldest = lobby.enter();
        let known = lobby.enter();
        let mut newest = lobby.enter();
        oldest.shown_out().await;
        drop((oldest, known));
        let _fourth = lobby.enter();
        // There was room for it.
        assert!(newest.shown_out.try_recv() == Err(oneshot::error::TryRecvError::Empty));
        let _fifth = lobby.enter();
        newest.shown_out().await;
        assert_eq!(lobby.inside().len(), 2);
    }
}
