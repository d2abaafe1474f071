//! Nodes as their neighbours see them: over real sockets, with real files.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::let_underscore_must_use,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking, and names only what it expects"
)]

mod attack;
mod bench;
mod binary;
mod clients;
mod command_line;
mod conformance;
mod elections;
mod examples;
mod exec;
mod exec_in_time;
mod files;
mod garbage;
mod guards;
mod health;
mod http;
mod life;
mod members;
mod operators;
mod packaging;
mod peers;
mod raw;
mod reach;
mod reading;
mod registry;
mod restarts;
mod rolling;
mod secure;
mod servers;
mod strain;
mod surveys;
mod three_nodes;
mod times;
mod tour;
mod trio;
mod watching;
mod web;
