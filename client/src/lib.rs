//! The async Rust client of Leasehold, a lease store that needs neither leader nor log.
//!
//! A [`Client`] connects to any of several endpoints and stays connected. It puts every operation to the node
//! that is best placed to do it, and again to another one when a connection breaks, with the same identity, so that
//! nothing applies twice. What it cannot know it says: [`Error`] tells "refused", "certainly not done" and
//! "outcome unknown" apart.
//!
//! What must not be wrong is the *belief*: a [`Guard`] holds its key for a time on this process' own clock, counted from
//! a reading taken before the request left, and shortened by what clocks may drift. No answer that comes late and
//! no network that vanishes can make it longer.
//!
//! On top of locks there are elections ([`Election`]), names for mailboxes and messages to them ([`Registration`]), and servers
//! that run once in a cluster ([`Serve`], [`Fsm`]).
//!
//! Where things are: `client` and `operations` are the calls, `exchange` is one call with all its sendings, `cluster`
//! keeps links and knows homes, `connection` is one connection, [`clock`] the only clock.

mod answer;
mod backoff;
mod client;
pub mod clock;
mod cluster;
mod connection;
mod election;
mod error;
mod exchange;
mod frames;
mod guard;
mod held;
mod identity;
mod keeper;
pub mod labels;
mod lease;
mod line;
mod listing;
mod mailbox;
mod members;
mod operations;
mod options;
mod post;
mod question;
mod registry;
mod serve;
mod survey;
#[cfg(test)]
mod tests;
mod tls;
mod watch;

pub use answer::{
    Amended, Extended, Holder, NodeReport, Released, Updated, Votes, Waiter, Waiting, WaitingReport,
};
pub use client::Client;
pub use election::{Campaign, Election, Leader, Leadership, Observer};
pub use error::{Cause, Doubt, Error, Fault, Reason, Refusal, Unreachable};
pub use guard::{Belief, Guard};
pub use held::Lost;
pub use labels::Labels;
pub use lease::Lease;
pub use leasehold_core::{
    Address, Amendment, Bytes, Candidate, ClusterId, Epoch, Heard, Key, Lag, MAX_MAIL, Member,
    NodeId, Owner, Peer, Span, Standing, Status, Token, Trouble, Wants,
};
pub use listing::{Listed, Listing};
pub use operations::{Call, Extend, Lock, Release, Update};
pub use options::Options;
pub use registry::{
    Mailbox, Message, Register, Registered, Registration, Request, SendError, Target,
};
pub use serve::{Context, Fsm, Machine, Serve, ServerHandle, Serving, Stopped};
pub use survey::{Behind, Lags, PROBES, Summary};
pub use tls::{Tls, TlsError};
pub use watch::{Change, Noticed, Watch, WatchEnd};
