//! A node: routes what comes through the door to the roles.

use crate::bytes::Key;
use crate::effect::{Boot, Effects, Input};
use crate::entry::Entry;
use crate::message::Message;
use crate::request::Status;
use crate::settings::Settings;
use crate::time::{Instant, Span};

/// One node of the cluster: everything the protocol needs to remember, and nothing else.
#[derive(Clone, Debug)]
pub struct Node {
    settings: Settings,
}

/// A local record, as it stands here and now: it may be stale, or not agreed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View<'a> {
    /// What was accepted here.
    pub entry: &'a Entry,
    /// How much longer this node keeps it; zero if it is dead or free.
    pub remaining: Span,
}

impl Node {
    /// A node that has just started, `now` by its own clock.
    #[must_use]
    pub fn new(settings: Settings, boot: Boot, now: Instant) -> Self {
        let _ = (boot, now);
        Self { settings }
    }

    /// Takes one input, and appends to `out` what is to be done about it. `now` never goes backwards.
    pub fn handle(&mut self, now: Instant, input: Input, out: &mut Effects) {
        let _ = (now, input, out, self.settings);
    }

    /// When to call [`Node::handle`] with [`Input::Tick`] at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        None
    }

    /// The local record of `key`, if it is held here.
    #[must_use]
    pub fn peek(&self, now: Instant, key: &[u8]) -> Option<View<'_>> {
        let _ = (now, key);
        None
    }

    /// What this node knows of itself and its peers.
    #[must_use]
    pub fn status(&self, now: Instant) -> Status {
        let _ = now;
        Status::default()
    }

    /// Panics if a promise that this node keeps to itself is broken. For simulations: walks all records.
    ///
    /// # Panics
    ///
    /// When an invariant is broken.
    pub fn check(&self, now: Instant) {
        let _ = now;
    }

    /// Records of any kind kept here, promises alone included.
    #[must_use]
    pub fn records(&self) -> usize {
        0
    }

    #[expect(dead_code, reason = "draft")]
    fn draft(_: Key, _: Message) {}
}
