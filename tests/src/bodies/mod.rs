//! What the fuzzer runs, and `cargo test` as well: each body takes any bytes and panics if a promise is broken.
//!
//! A fuzz target (`fuzz/fuzz_targets`) is one call of a body. So a crash that the fuzzer found is a file for
//! `fuzz/corpus`, and every test run plays it from then on, on any toolchain.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a body fails by panicking, as tests do; its indices are drawn below the lengths"
)]

mod decoders;
mod door;
mod http;
mod oracle;
mod stranger;

pub use decoders::{client_frames, configuration, node_file, node_frames, peer_frames, scenario};
pub use door::door;
pub use http::http;
pub use stranger::stranger;

/// A body, by the name of its fuzz target and corpus.
pub type Body = (&'static str, fn(&[u8]));

/// All bodies.
pub const BODIES: [Body; 9] = [
    ("client_frames", client_frames),
    ("configuration", configuration),
    ("door", door),
    ("http", http),
    ("node_file", node_file),
    ("node_frames", node_frames),
    ("peer_frames", peer_frames),
    ("scenario", scenario),
    ("stranger", stranger),
];

/// Takes decisions off a string of bytes, and zeros when it is used up.
#[derive(Debug)]
struct Choices<'a> {
    bytes: &'a [u8],
}

impl Choices<'_> {
    fn is_over(&self) -> bool {
        self.bytes.is_empty()
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        *first
    }

    /// A number below `end`, zero if that is zero.
    fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()).checked_rem(end).unwrap_or_default()
    }

    /// One of these.
    fn one<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        of.get(self.below(of.len())).copied()
    }
}
