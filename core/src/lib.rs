//! The Leasehold protocol as a pure state machine: locks and leases agreed by a quorum of masters, without a
//! leader and without a log.
//!
//! The crate does no I/O, reads no clock and draws no random numbers. Time, messages and requests come in through one
//! door, [`Node::handle`], and what is to be done about them comes out as a list of [`Effect`]s in a buffer that the
//! caller lends. So the same code runs in a server, in a simulator that skews clocks and loses messages, and in
//! a runtime of your own. The protocol is described in `docs/protocol.md` of the repository.
//!
//! # Embedding it
//!
//! A *driver* is a loop that owns a [`Node`]:
//!
//! 1. Wait for an input (a message from a peer, a request of a client, news of a link, a node file that is on disk), or until
//!    [`Node::deadline`]. Then the input is [`Input::Tick`].
//! 2. **Then** read the clock: monotonic, counting through suspend, the same one for the life of the node. A clock read
//!    before the input was received can start a master's timer before its client's, and break mutual exclusion.
//! 3. Call [`Node::handle`]. It does not fail.
//! 4. Carry out the effects in their order:
//!    * [`Effect::Send`]: to that node, if you can. Loss, duplication and reordering are in the model; a forged sender is not.
//!      [`wire`] turns messages into bytes and back.
//!    * [`Effect::Reply`]: the answer to the request of that [`Ticket`], exactly once.
//!    * [`Effect::Persist`]: write the [`NodeFile`], sync it, and say [`Input::Persisted`]. Whatever depends on it comes out
//!      after that. A write may be skipped if a newer one is at hand. Never say that something is on disk that is not.
//!    * [`Effect::Event`]: for watchers and metrics, if you have any.
//!
//! At boot the driver hands in a [`Boot`]: the wall clock, random identities, and the node file as it was read from disk. A node
//! without a file gets a new one with a new random [`NodeId`], its incarnation; nobody but the founding of a cluster
//! ([`Request::Init`]) or a change of its members ([`Request::Members`]) takes it in.
//!
//! Clients read *their* clock before they send, and believe in a lease until that reading plus [`Done::valid_for`], not
//! after. Sending a release ends the belief for good. An operation is sent again with the same [`OpId`] only.
//!
//! `examples/channels.rs` is a complete driver over channels: three masters in three threads, in 150 lines.
//!
//! ```
//! use leasehold_core::{
//!     Action, Boot, ClusterId, Config, Effect, Epoch, Input, Instant, KeyRequest, Member, Node, NodeFile, NodeId,
//!     OpId, Outcome, Request, Settings, Span, Ticket,
//! };
//!
//! let id = NodeId(7);
//! let file = NodeFile::new("alone".into(), id);
//! let boot = Boot { wall_clock: 1_700_000_000_000_000, proposer: 1, seed: (2, 3), file };
//! let mut now = Instant::from_micros(0);
//! let mut node = Node::new(Settings::default(), boot, now);
//!
//! // A cluster of one: no peers to send to, and memory for a disk.
//! let mut ask = |ticket: u64, request: Request| {
//!     let (mut effects, mut answer) = (Vec::new(), None);
//!     let mut inputs = vec![Input::Request { ticket: Ticket(ticket), request }];
//!     while let Some(input) = inputs.pop() {
//!         now = now.after(Span::from_micros(1));
//!         node.handle(now, input, &mut effects);
//!         for effect in effects.drain(..) {
//!             match effect {
//!                 Effect::Persist(mark, _file) => inputs.push(Input::Persisted(mark)),
//!                 Effect::Reply { outcome, .. } => answer = Some(outcome),
//!                 Effect::Send { .. } | Effect::Event(_) => {}
//!             }
//!         }
//!     }
//!     answer
//! };
//!
//! let masters = vec![Member { id, name: "alone".into(), ..Member::default() }];
//! let config = Config { epoch: Epoch(1), masters, ..Config::default() };
//! let cluster = ClusterId(4, 5);
//! assert_eq!(ask(1, Request::Init { cluster, config }), Some(Outcome::Founded(cluster)));
//!
//! let action = Action::Lock {
//!     id: OpId { chain: (8, 9), step: 0 },
//!     value: "me".into(),
//!     meta: "".into(),
//!     lease: Span::from_secs(30),
//!     delay: Span::ZERO,
//!     wait: Span::ZERO,
//! };
//! let request = KeyRequest { key: "job".into(), patience: Span::from_secs(5), action };
//! let Some(Outcome::Done(done)) = ask(2, Request::Key(request)) else { panic!("the key is free") };
//! assert!(done.valid_for < Some(Span::from_secs(30)));
//! ```
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
mod index;
mod mail;
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
mod tally;
mod time;
mod timers;
mod view;
mod waiters;
pub mod wire;

pub use ballot::{Ballot, COUNTER_END, Token};
pub use bytes::{Bytes, Key};
pub use effect::{Boot, Effect, Effects, Event, Input, Mark};
pub use entry::{Entry, Held, OpId};
pub use mail::{Address, Delivery, MAX_MAIL, NoAddress, Parcel};
pub use members::{
    Amendment, Candidate, ClusterId, Config, ConfigVote, Epoch, Member, NodeFile, NodeId,
};
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
pub use tally::{Spread, Tally, VoteCounts};
pub use time::{Drift, Instant, Span};
pub use view::{Cursor, Heard, Notice, Page, Trouble, Turn, Waiter, Waiting, Wants};
