//! The door's two sides: what a driver hands in, and what it has to do.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::ballot::Token;
use crate::bytes::Key;
use crate::members::{Epoch, NodeFile, NodeId};
use crate::message::Message;
use crate::request::{Outcome, Request, Standing, Ticket};

/// What happened outside.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// A deadline passed.
    Tick,
    /// A message arrived. The driver vouches for the sender, and read the clock afterwards.
    Message {
        /// Who sent it.
        from: NodeId,
        /// What it said.
        message: Message,
    },
    /// A client of this node asks something.
    Request {
        /// The driver's name for it, never used before at this boot.
        ticket: Ticket,
        /// The request.
        request: Request,
    },
    /// Nobody waits for this request any more. It is answered all the same, or was.
    Cancel(Ticket),
    /// A hint about a link: it moves a key's home, never safety.
    Link {
        /// The node at the other end.
        peer: NodeId,
        /// Whether it is heard.
        up: bool,
    },
    /// Stop being a home; hand back what queues.
    Drain,
    /// The node file of this mark, and with it every earlier one, is on disk.
    Persisted(Mark),
}

/// What the driver has to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Send this. It may be lost. Never to this node itself.
    Send {
        /// The receiver.
        to: NodeId,
        /// The message.
        message: Message,
    },
    /// Answer a request: exactly once for each.
    Reply {
        /// Which one.
        ticket: Ticket,
        /// The answer.
        outcome: Outcome,
    },
    /// Write the node file and sync it, then say [`Input::Persisted`]. Only the newest needs to be written.
    Persist(Mark, Box<NodeFile>),
    /// Something that watchers and metrics want to know.
    Event(Event),
}

// Every message is moved a few times on its way through a node. What is seldom sent, and larger, goes into a box.
const _: () = assert!(size_of::<Effect>() <= 264 && size_of::<Input>() <= 264, "of a usual size");

/// Numbers the versions of the node file at one boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(pub u64);

/// What changed in the local records or in the node itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// An ownership, new, extended or updated, was accepted here.
    Held {
        /// The key.
        key: Key,
        /// The ownership.
        token: Token,
    },
    /// An ownership was given up, or settled after it died.
    Released {
        /// The key.
        key: Key,
        /// The ownership.
        token: Token,
    },
    /// A lease ended by itself.
    Expired {
        /// The key.
        key: Key,
        /// The ownership.
        token: Token,
    },
    /// This node's standing is a new one.
    Standing(Standing),
    /// A configuration came into force here.
    Configured(Epoch),
    /// A peer's clock was found to run more than half of the drift bound faster or slower than this node's, or no
    /// longer does.
    ClockRate {
        /// The peer.
        peer: NodeId,
        /// By how much, in parts per million; negative for slower.
        ppm: i32,
        /// Whether that is too much.
        off: bool,
    },
}

/// The buffer for effects that the caller lends, reused for ever.
pub type Effects = Vec<Effect>;

/// What a driver knows at boot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Boot {
    /// Microseconds since the Unix epoch. Wrong wall clocks cost retries, never safety.
    pub wall_clock: u64,
    /// Random, new for every boot.
    pub proposer: u64,
    /// A random seed for jitter and for the hash of keys, which come from strangers.
    pub seed: (u64, u64),
    /// The node file as read from disk, or [`NodeFile::new`] written to disk just now.
    pub file: NodeFile,
}
