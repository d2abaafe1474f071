//! Votes: what coordinators ask this master, what others answer, and this node's own vote, which is taken on the spot.

use super::Node;
use crate::ballot::Ballot;
use crate::bytes::Key;
use crate::effect::{Effect, Effects};
use crate::entry::Entry;
use crate::faults::Rule;
use crate::hash::Seeded;
use crate::members::NodeId;
use crate::message::{Answer, Ask, Body};
use crate::round::Votes;
use crate::time::Span;

impl Node {
    /// A coordinator asks this master. A vote of another epoch counts for nothing in this one, and never gets here.
    pub(super) fn asked(&mut self, from: NodeId, round: u64, ask: &Ask, out: &mut Effects) {
        self.ask(ask, None, out, |node, answer, out| {
            node.send(from, Body::Answer { round, answer }, out);
        });
    }

    pub(super) fn answered(&mut self, from: NodeId, round: u64, answer: &Answer) {
        if let Some(place) = self.peers.place_of(from) {
            self.coordinate(|coordinator, scene| coordinator.answer(scene, place, round, answer));
        }
    }

    /// A coordinator asks this master about a key, whose hash may be known, and is answered. Above the ceiling nothing is
    /// answered, like loss. What to do with the answer is part of this so that none is moved about.
    #[inline]
    fn ask(
        &mut self,
        ask: &Ask,
        hash: Option<u32>,
        out: &mut Effects,
        answer: impl FnOnce(&mut Self, Answer, &mut Effects),
    ) {
        if !self.sync.is_active() {
            return answer(self, Answer::Joining, out);
        }
        let now = self.now;
        let seed = Seeded(self.seed);
        let hash_of = |key: &Key| hash.unwrap_or_else(|| seed.of(key));
        let ceiling = if Rule::Ceiling.is_out() { u64::MAX } else { self.disk.ceiling() };
        match *ask {
            Ask::Prepare { ref key, ballot } if ballot.counter <= ceiling => {
                let promise = self.acceptor.prepare(now, (key, hash_of(key)), ballot);
                answer(self, promise, out);
            }
            // What it implies, one more, is under the ceiling as well.
            Ask::Accept { ref key, ballot, ref entry, keep } if ballot.counter < ceiling => {
                match self.accept((key, hash_of(key)), ballot, (entry, keep), out) {
                    Ok(()) => answer(self, Answer::Accepted { ballot }, out),
                    Err(counter) => answer(self, Answer::NotAccepted { ballot, counter }, out),
                }
            }
            Ask::Prepare { ballot, .. } | Ask::Accept { ballot, .. } => {
                self.clock.observe(ballot.counter);
            }
            Ask::Query { ref key, boot } => {
                let accepted = self.acceptor.accepted(now, key, hash_of(key));
                answer(self, Answer::Has { boot, accepted }, out);
            }
        }
    }

    /// Accepts, or tells the counter that was promised instead.
    fn accept(
        &mut self,
        key: (&Key, u32),
        ballot: Ballot,
        (entry, keep): (&Entry, Span),
        out: &mut Effects,
    ) -> Result<(), u64> {
        let keep = keep.min(self.settings.timing.max_lease);
        // With nobody to wake, what happened leaves as it is.
        let quiet = self.waiters.len() == 0 && self.coordinator.queueing() == 0;
        let events = &mut self.events;
        let tell = |event| match quiet {
            true => out.push(Effect::Event(event)),
            false => events.push(event),
        };
        let accepted = self.acceptor.accept(self.now, key, ballot, (entry, keep), tell);
        self.tell_events(out);
        accepted
    }

    /// Asks masters. A vote of this node's own is taken on the spot.
    pub(super) fn send_ask(
        &mut self,
        to: Votes,
        round: u64,
        (ask, hash): (&Ask, u32),
        out: &mut Effects,
    ) {
        for place in to.iter() {
            if Some(place) == self.peers.place() {
                self.ask(ask, Some(hash), out, |node, answer, _| {
                    node.coordinate(|coordinator, scene| {
                        coordinator.answer(scene, place, round, &answer);
                    });
                });
            } else if let Some(master) = self.peers.master_at(place) {
                self.send(master, Body::Ask { round, ask: ask.clone() }, out);
            }
        }
    }
}
