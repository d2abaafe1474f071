//! The node file as the core sees it: written behind, and nothing that depends on it leaves before it is there.
//!
//! Invariant: no counter is promised or accepted above a ceiling that is on disk.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use crate::ballot::COUNTER_END;
use crate::effect::{Effect, Effects, Mark};
use crate::members::{Epoch, NodeFile, NodeId};
use crate::message::Body;

/// By how much the ceiling is raised at a time: a minute's worth of counter.
const RAISE: u64 = 60_000_000;
/// The highest ceiling. Only a peer that does not follow the protocol brings a counter near it.
const HIGHEST: u64 = COUNTER_END - 1;

/// What may happen once a version of the file is on disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Then {
    /// Tell a node.
    Send(NodeId, Box<Body>),
    /// The founding is complete here: start to vote, and say so.
    Activate(NodeId),
    /// What was taken over is safe to vote on.
    Synced(Epoch),
    /// Take the file's configuration into force.
    Adopt,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Disk {
    /// The newest version, on disk or on its way.
    file: NodeFile,
    /// The ceiling that is on disk.
    ceiling: u64,
    last: Mark,
    /// Versions on their way, with their ceilings.
    on_the_way: VecDeque<(Mark, u64)>,
    waiting: VecDeque<(Mark, Then)>,
    dirty: bool,
}

impl Disk {
    pub(crate) const fn new(file: NodeFile) -> Self {
        Self {
            ceiling: file.ceiling,
            file,
            last: Mark(0),
            on_the_way: VecDeque::new(),
            waiting: VecDeque::new(),
            dirty: false,
        }
    }

    pub(crate) const fn file(&self) -> &NodeFile {
        &self.file
    }

    /// The highest counter that may be promised.
    pub(crate) const fn ceiling(&self) -> u64 {
        self.ceiling
    }

    /// Sees to it that the ceiling is well above `counter`, which is near the highest in use.
    pub(crate) fn keep_above(&mut self, counter: u64) {
        if counter >= self.raise_at() {
            self.file.ceiling = counter.saturating_add(RAISE).min(HIGHEST);
            self.dirty = true;
        }
    }

    /// Below which counter [`Disk::keep_above`] has nothing to do. A ceiling that cannot be raised stays where it is.
    pub(crate) const fn raise_at(&self) -> u64 {
        if self.file.ceiling >= HIGHEST {
            u64::MAX
        } else {
            self.file.ceiling.saturating_sub(RAISE / 2)
        }
    }

    /// Changes the file, and does `then` once that is on disk.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut NodeFile), then: Option<Then>) {
        change(&mut self.file);
        self.dirty = true;
        if let Some(then) = then {
            self.waiting.push_back((Mark(self.last.0 + 1), then));
        }
    }

    /// Does `then` once the present version is on disk; at once if it is.
    pub(crate) fn after_present(&mut self, then: Then) -> Option<Then> {
        if !self.dirty && self.on_the_way.is_empty() {
            return Some(then);
        }
        let mark = if self.dirty { Mark(self.last.0 + 1) } else { self.last };
        self.waiting.push_back((mark, then));
        None
    }

    /// Asks for the newest version to be written, if it is new.
    pub(crate) fn flush(&mut self, out: &mut Effects) {
        if self.dirty {
            self.dirty = false;
            self.last = Mark(self.last.0 + 1);
            self.on_the_way.push_back((self.last, self.file.ceiling));
            out.push(Effect::Persist(self.last, Box::new(self.file.clone())));
        }
    }

    /// Versions up to `mark` are on disk.
    pub(crate) fn persisted(&mut self, mark: Mark) {
        while let Some(&(oldest, ceiling)) = self.on_the_way.front() {
            if oldest > mark {
                break;
            }
            self.ceiling = ceiling;
            self.on_the_way.pop_front();
        }
    }

    /// What may happen now that `mark` is on disk.
    pub(crate) fn due(&mut self, mark: Mark) -> Option<Then> {
        if self.waiting.front()?.0 <= mark { Some(self.waiting.pop_front()?.1) } else { None }
    }

    pub(crate) fn check(&self) {
        assert!(self.ceiling <= self.file.ceiling, "the ceiling only rises");
    }
}
