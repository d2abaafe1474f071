//! What a client makes of answers, and of none.

use leasehold_core::faults::Rule;
use leasehold_core::{Action, Done, Holder, Instant, OpId, Outcome, Refusal, Span};

use super::{Client, ClientEffect, Session, Surroundings};
use crate::scenario::MS;

impl Client {
    pub(super) fn take_too_long(
        &mut self,
        now: Instant,
        around: &Surroundings,
        out: &mut Vec<ClientEffect>,
    ) {
        let cancel = self.roll().chance(self.habits.cancels);
        if cancel && let Some(flight) = &self.flight {
            out.extend(flight.calls.iter().map(|c| ClientEffect::Cancel { call: c.0 }));
            return self.end_unknown(now, true);
        }
        self.node = self.roll().index(around.nodes);
        self.try_again_or_end(now, true, around, out);
    }

    /// Sends the operation once more, or lives with what is known. `open`: the last sending may yet have an effect.
    pub(super) fn try_again_or_end(
        &mut self,
        now: Instant,
        open: bool,
        around: &Surroundings,
        out: &mut Vec<ClientEffect>,
    ) {
        let again = self.roll().chance(self.habits.resends);
        let Some(flight) = &mut self.flight else { return };
        if !open {
            flight.open = flight.open.saturating_sub(1);
        }
        if again && flight.calls.len() < 4 && !self.retired {
            self.send(now, around, out);
        } else if flight.open > 0 {
            self.end_unknown(now, false);
        } else {
            self.end_without_effect(now);
        }
    }

    fn end_without_effect(&mut self, now: Instant) {
        self.flight = None;
        self.rest(now);
    }

    fn end_unknown(&mut self, now: Instant, cancelled: bool) {
        let adopts = self.roll().one_in(2);
        let Some(flight) = self.flight.take() else { return };
        match flight.action {
            Action::Lock { id, value, .. } => {
                if adopts && !cancelled && !self.habits.shared {
                    // Perhaps it owns the key. Extending by value will tell.
                    self.session = Some(Session {
                        key: flight.key,
                        chain: id.chain,
                        step: id.step,
                        token: None,
                        value: Some(value),
                        until: Instant::default(),
                        extend_first: true,
                    });
                } else {
                    self.generation += 1;
                    if !cancelled {
                        self.give_up(&flight.calls, flight.key, id);
                    }
                }
            }
            Action::Update { .. } => {
                if let Some(session) = &mut self.session {
                    session.value = None;
                    if session.token.is_none() {
                        self.session = None;
                    }
                }
            }
            Action::Extend { .. } => {
                if self.session.as_ref().is_some_and(|session| session.token.is_none()) {
                    self.session = None;
                    self.generation += 1;
                }
            }
            Action::Release { .. } | Action::Read | Action::WaitHeld | Action::WaitReleased => {}
        }
        self.rest(now);
    }

    pub(super) fn answer(
        &mut self,
        now: Instant,
        call: u64,
        outcome: Outcome,
        around: &Surroundings,
        out: &mut Vec<ClientEffect>,
    ) {
        let sent = self.flight.as_ref().and_then(|flight| {
            let c0 = flight.calls.iter().find(|c| c.0 == call)?.1;
            Some((c0, flight.key, flight.action.clone()))
        });
        let Some((c0, key, action)) = sent else { return self.late(now, call, &outcome) };
        match outcome {
            Outcome::Done(done) => self.done(now, key, c0, &action, done, out),
            Outcome::Found(_)
            | Outcome::Woken(_)
            | Outcome::Founded(_)
            | Outcome::Configured { .. } => {
                self.flight = None;
                self.rest(now);
            }
            Outcome::Refused(refusal) => self.refused(now, &refusal),
            Outcome::NotDone(_) => self.try_again_or_end(now, false, around, out),
            Outcome::Unknown => self.try_again_or_end(now, true, around, out),
        }
    }

    /// Remembers sendings of a lock that is not awaited any more.
    fn give_up(&mut self, calls: &[(u64, Instant, usize)], key: usize, id: OpId) {
        self.past.extend(calls.iter().map(|c| (c.0, key, id.chain)));
    }

    /// An answer that nobody awaits: a lock that was granted all the same is given back.
    fn late(&mut self, now: Instant, call: u64, outcome: &Outcome) {
        let Outcome::Done(done) = outcome else { return };
        let Some((_, key, chain)) = self.past.iter().find(|past| past.0 == call).copied() else {
            return;
        };
        self.past.retain(|past| past.2 != chain);
        self.strays.push((key, chain, done.token));
        if self.flight.is_none() && self.wake.is_none() {
            self.rest(now);
        }
    }

    fn done(
        &mut self,
        now: Instant,
        key: usize,
        c0: Instant,
        action: &Action,
        done: Done,
        out: &mut Vec<ClientEffect>,
    ) {
        self.flight = None;
        let believed = |lease: Span| match done.valid_for {
            Some(valid) if Rule::Belief.is_out() => Some(c0.after(valid.max(lease))),
            Some(valid) => Some(c0.after(valid)),
            None => None,
        };
        match action {
            Action::Lock { id, value, lease, .. } => {
                let until = believed(*lease);
                self.session = Some(Session {
                    key,
                    chain: id.chain,
                    step: id.step,
                    token: Some(done.token),
                    value: Some(value.clone()),
                    until: until.unwrap_or_default(),
                    extend_first: until.is_none(),
                });
                if let Some(until) = until {
                    out.push(ClientEffect::Believe { key, token: done.token, until });
                }
            }
            // An extension by value may hit an ownership that it gave up, if the release has no effect yet.
            Action::Extend { .. } if self.released.contains(&done.token) => {
                self.session = None;
                self.generation += 1;
            }
            Action::Extend { lease, .. } => {
                let until = believed(*lease);
                if let Some(session) = &mut self.session {
                    session.token = Some(done.token);
                    session.until = session.until.max(until.unwrap_or_default());
                    session.extend_first = until.is_none() && session.until <= now;
                }
                if let Some(until) = until {
                    out.push(ClientEffect::Believe { key, token: done.token, until });
                }
            }
            Action::Update { value, .. } => {
                if let Some(session) = &mut self.session {
                    session.value = Some(value.clone());
                }
            }
            Action::Release { .. } | Action::Read | Action::WaitHeld | Action::WaitReleased => {}
        }
        self.rest_as_owner(now);
    }

    /// Often until just before its belief ends, or just after.
    fn rest_as_owner(&mut self, now: Instant) {
        let mut roll = self.roll();
        let Some(session) = &self.session else { return self.rest(now) };
        let left = session.until.since(now).as_micros();
        let pause = match roll.below(10) {
            0..=1 => left.saturating_sub(roll.magnitude(100, (left / 4).max(200))),
            2 => left + roll.magnitude(10, 50 * MS),
            _ => return self.rest(now),
        };
        self.wake = Some(now.after(Span::from_micros(pause)));
    }

    fn refused(&mut self, now: Instant, refusal: &Refusal) {
        let mut roll = self.roll();
        let Some(flight) = self.flight.take() else { return };
        self.rest(now);
        match (&flight.action, refusal) {
            (Action::Lock { id, .. }, Refusal::Held(Holder { remaining, delay, .. })) => {
                if flight.open > 1 {
                    self.generation += 1;
                    self.give_up(&flight.calls, flight.key, *id);
                }
                // Be there the moment it ends.
                if roll.below(10) < 6 {
                    let early = roll.below(2 * MS);
                    let left = remaining.plus(*delay).as_micros() + roll.magnitude(1, 4 * MS);
                    let pause = Span::from_micros(left.saturating_sub(early));
                    self.wake = Some(now.after(pause));
                    self.wanted = Some(flight.key);
                }
            }
            (Action::Extend { .. } | Action::Update { .. }, _) => {
                let nameless = self.session.take().is_some_and(|session| session.token.is_none());
                self.generation += u64::from(nameless);
            }
            _ => {}
        }
    }
}
