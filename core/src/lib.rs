//! The Leasehold protocol as a pure state machine.
#![no_std]

extern crate alloc;

mod acceptor;
mod ballot;
mod bytes;
mod clock;
mod coordinator;
mod decide;
mod disk;
mod effect;
mod entry;
pub mod faults;
mod feed;
mod founding;
pub mod hash;
mod members;
mod membership;
mod message;
mod node;
mod peers;
mod rates;
mod relay;
mod request;
mod round;
mod settings;
mod slab;
mod sync;
mod time;
mod timers;
mod view;
mod waiters;
pub mod wire;

pub use ballot::{Ballot, COUNTER_END, Token};
pub use bytes::{Bytes, Key};
pub use effect::{Boot, Effect, Effects, Event, Input, Mark};
pub use entry::{Entry, Held, OpId};
pub use members::{ClusterId, Config, ConfigVote, Epoch, Member, NodeFile, NodeId};
pub use message::{
    Accepted, Answer, Ask, Body, Change, Copied, Feed, Found, Message, Presence, Relay, Snapshot,
    Source, Tell,
};
pub use node::{Node, View};
pub use request::{
    Action, Done, Holder, Invalid, KeyRequest, Lag, Limit, NotDone, Outcome, Owner, Peer, Refusal,
    Request, Standing, Status, Ticket,
};
pub use settings::{Limits, MIN_LEASE, Settings, Timing};
pub use time::{Drift, Instant, Span};
pub use view::{Cursor, Heard, Page, Waiter, Waiting, Wants};
