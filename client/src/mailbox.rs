//! Where a call hears what became of its sendings.
//!
//! Nearly every call has one sending and one arrival. So this is one piece of memory with room for one arrival in
//! place, where a channel would bring room for dozens.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use crate::cluster::lock_up;
use crate::connection::Arrival;

/// The end of a mailbox that connections have: as many as there are sendings.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    state: Arc<Mutex<State>>,
    /// Whether the call wants to know that a node fell quiet.
    suspicious: bool,
}

/// The end that the call has.
#[derive(Debug)]
pub(crate) struct Mailbox(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    first: Option<Arrival>,
    /// What arrived after that. Empty if there is no first.
    later: VecDeque<Arrival>,
    waker: Option<Waker>,
}

impl State {
    fn take(&mut self) -> Option<Arrival> {
        let next = self.later.pop_front();
        std::mem::replace(&mut self.first, next)
    }
}

impl Slot {
    /// Puts in what became of a sending. If the call is over, nobody will look.
    pub(crate) fn put(&self, arrival: Arrival) {
        let mut state = lock_up(&self.state);
        if state.first.is_none() {
            state.first = Some(arrival);
        } else {
            state.later.push_back(arrival);
        }
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Slot {
    /// Puts in word that a node fell quiet, if the call wants to know.
    pub(crate) fn put_if_wanted(&self, arrival: Arrival) {
        if self.suspicious {
            self.put(arrival);
        }
    }
}

impl Mailbox {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    /// An end for a connection.
    pub(crate) fn slot(&self) -> Slot {
        Slot { state: Arc::clone(&self.0), suspicious: false }
    }

    /// The same, for a call that asks somebody else when a node falls quiet.
    pub(crate) fn suspicious_slot(&self) -> Slot {
        Slot { suspicious: true, ..self.slot() }
    }

    /// What arrived, if anything did.
    pub(crate) fn try_take(&mut self) -> Option<Arrival> {
        lock_up(&self.0).take()
    }

    /// Waits for what arrives next. Cancel safe.
    pub(crate) async fn take(&mut self) -> Arrival {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&self, context: &Context<'_>) -> Poll<Arrival> {
        let mut state = lock_up(&self.0);
        match state.take() {
            Some(arrival) => Poll::Ready(arrival),
            None => {
                let waker = context.waker();
                if state.waker.as_ref().is_none_or(|known| !known.will_wake(waker)) {
                    state.waker = Some(waker.clone());
                }
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(call: u64) -> Arrival {
        Arrival::Lost { call, written: false }
    }

    fn call(arrival: &Arrival) -> u64 {
        match arrival {
            Arrival::Lost { call, .. }
            | Arrival::Reply { call, .. }
            | Arrival::TooLarge { call }
            | Arrival::Quiet { call } => *call,
        }
    }

    #[tokio::test]
    async fn arrivals_come_out_in_the_order_in_which_they_came() {
        let mut mailbox = Mailbox::new();
        let (one, other) = (mailbox.slot(), mailbox.slot());
        for number in 0..3 {
            let slot = if number == 1 { &other } else { &one };
            slot.put(lost(number));
        }
        for number in 0..3 {
            assert_eq!(call(&mailbox.take().await), number);
        }
        assert!(mailbox.try_take().is_none());
    }

    #[tokio::test]
    async fn who_waits_is_woken_again_and_again() {
        let mut mailbox = Mailbox::new();
        let slot = mailbox.slot();
        for number in 0..2 {
            let put = async {
                tokio::task::yield_now().await;
                slot.put(lost(number));
            };
            let (taken, ()) = tokio::join!(mailbox.take(), put);
            assert_eq!(call(&taken), number);
        }
    }
}
