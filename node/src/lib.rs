//! A node of a Leasehold cluster: everything around the protocol's core that touches the world.
//!
//! ```text
//!  clients ──▶ porch ──▶ clients ──▶ ┌────────┐ ──▶ links ──▶ peers ──▶ other nodes
//!                    ◀── desk    ◀── │ driver │
//!  other nodes ▶ porch ──▶ peers ──▶ └────────┘ ──▶ keeper ──▶ file
//! ```
//!
//! One task, the `driver`, owns the core. Every connection has a task of its own that reads and writes in large
//! pieces. Nothing else runs but the `keeper` of the node file. Whoever has not said yet who they are is met on another thread, the
//! `porch`, and so is HTTP.

#![cfg_attr(
    madsim,
    expect(dead_code, reason = "what only HTTP uses has no user on a simulated network")
)]

mod amending;
pub mod auth;
mod blocking;
mod budget;
mod bundle;
pub mod certs;
mod clients;
pub mod clock;
mod cluster;
pub mod config;
pub mod counters;
mod desk;
#[cfg(madsim)]
pub mod disk;
mod driver;
pub mod duration;
mod file;
mod founding;
mod handshake;
#[cfg(not(madsim))]
pub mod http;
#[cfg(madsim)]
#[path = "http/absent.rs"]
mod http;
mod intake;
mod keeper;
mod links;
mod lobby;
mod meter;
pub mod metrics;
pub mod names;
mod origin;
mod outbox;
mod peers;
mod porch;
mod post;
mod quiet;
mod rights;
mod room;
mod secure;
mod server;
mod stream;
mod task;
mod tls;
pub mod trouble;
mod watch;

pub use cluster::{Dev, DevError, DevOptions, dev};
pub use config::Config;
pub use desk::InitAnswer;
pub use file::{FILE_NAME, FileError};
pub use secure::SecureError;
pub use server::{Listeners, Running, Server, StartError};
pub use tls::TlsError;
