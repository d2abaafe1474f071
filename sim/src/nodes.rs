//! The world around a node: what a driver does, and what happens to one.

use leasehold_core::faults::Rule;
use leasehold_core::wire::{self, Frame, PeerItem};
use leasehold_core::{
    Answer, Ask, Ballot, Body, Change, Done, Effect, Epoch, Event, Feed, Input, Instant, Key,
    Message, NodeId, NotDone, Outcome, Relay, Request, Snapshot, Standing, Tell, Ticket,
};

use crate::dice::{Stream, mix, wide};
use crate::fault::{Kind, Nodes};
use crate::film::Spoken;
use crate::host::Asker;
use crate::marks::Mark;
use crate::scenario::MS;
use crate::world::{Happening, World};

/// Steps between two looks at a node's invariants.
const CHECK_EVERY: u64 = if cfg!(debug_assertions) { 1 } else { 8 };

/// What stands where a message was taken away.
const NOTHING: Message = Message {
    epoch: Epoch(0),
    counter: 0,
    body: Body::Snapshot(Snapshot::Ask { nonce: Ballot::ZERO, cursor: 0 }),
};

impl World<'_> {
    /// Hands `input`, which was sent at `sent`, to a node; or leaves it in front of it.
    pub(crate) fn feed(&mut self, node: usize, sent: u64, input: Input) {
        let host = &mut self.hosts[node];
        if host.node.is_none() {
            return;
        }
        if host.paused {
            let room = usize::try_from(self.plan.room).unwrap_or(0);
            if matches!(input, Input::Message { .. }) && room > 0 && host.inbox.len() >= room {
                return self.counts.meet(Mark::Overflowed);
            }
            host.inbox.push((sent, input));
            return;
        }
        let now = self.read_clock(node, sent);
        self.step(node, now, input);
        self.arrange(node);
    }

    /// The driver's duty: the clock is read after the message was received, and never goes backwards.
    pub(crate) fn read_clock(&mut self, node: usize, sent: u64) -> Instant {
        let host = &mut self.hosts[node];
        if Rule::ClockAfterReceive.is_out() && sent < self.now {
            // It was read when the driver began to wait for something to receive.
            return host.last;
        }
        host.last.max(host.clock.read(self.now))
    }

    fn step(&mut self, number: usize, now: Instant, input: Input) {
        let host = &mut self.hosts[number];
        let Some(node) = &mut host.node else { return };
        host.before = std::mem::replace(&mut host.last, now);
        self.trace.line(self.now, Some(now), || format!("n{number}"), || format!("<- {input:?}"));
        self.trace.fold(now.as_micros() ^ mix(wide(number)));
        if let Input::Request { ticket, .. } = &input {
            let ticket = *ticket;
            node.handle(now, input, &mut self.effects);
            host.take(ticket, now);
        } else {
            node.handle(now, input, &mut self.effects);
        }
        let split = host.node.as_ref().map_or(0, |node| node.tally().handoffs_split);
        let before = std::mem::replace(&mut host.split, split);
        self.counts.add(Mark::HandoffsSplit, split.saturating_sub(before));
        if let Some(node) = &host.node
            && self.events.is_multiple_of(CHECK_EVERY)
        {
            node.check();
            self.counts.meet(Mark::StatesChecked);
        }
        let timed_out = |effect: &Effect| {
            matches!(effect, Effect::Reply { outcome: Outcome::NotDone(NotDone::TimedOut), .. })
        };
        let changed = &mut self.hosts[number].changed;
        changed.clear();
        if self.effects.iter().any(timed_out) {
            changed.extend(self.effects.iter().filter_map(changed_by).cloned());
        }
        self.carry_out(number);
        // What comes late is seen when it comes; this sees what never does.
        if self.events.is_multiple_of(CHECK_EVERY)
            && let Some(late) = self.hosts[number].overdue()
        {
            self.violate(late.rule, late.story);
        }
    }

    fn carry_out(&mut self, number: usize) {
        let mut effects = std::mem::take(&mut self.effects);
        // They are large: what is in them is taken out where they lie.
        for effect in &mut effects {
            let host = &mut self.hosts[number];
            self.trace.line(
                self.now,
                Some(host.last),
                || format!("n{number}"),
                || format!("   -> {effect:?}"),
            );
            match effect {
                Effect::Send { to, message } => self.send(number, *to, message),
                Effect::Reply { ticket, outcome } => {
                    let outcome = std::mem::replace(outcome, Outcome::Unknown);
                    self.answered(number, *ticket, outcome);
                }
                Effect::Persist(..) => {
                    let told = Effect::Event(Event::Standing(Standing::Fresh));
                    if let Effect::Persist(mark, file) = std::mem::replace(effect, told) {
                        self.persist(number, mark, file);
                    }
                }
                Effect::Event(Event::Expired { token, .. }) => {
                    self.hosts[number].dead.push(*token);
                    self.counts.meet(Mark::Expired);
                }
                Effect::Event(Event::Released { token, .. }) => {
                    let dead = &mut self.hosts[number].dead;
                    if let Some(place) = dead.iter().rposition(|other| other == token) {
                        dead.swap_remove(place);
                        self.counts.meet(Mark::DeadSettled);
                    }
                }
                Effect::Event(Event::Standing(standing)) => {
                    self.film_moment(Some(number), "standing", || format!("{standing:?}"));
                    self.count_standing(number, *standing);
                }
                Effect::Event(Event::Configured(_)) => self.counts.meet(Mark::Adoptions),
                Effect::Event(Event::Held { .. } | Event::ClockRate { .. }) => {}
            }
        }
        effects.clear();
        self.effects = effects;
    }

    fn count_standing(&mut self, number: usize, standing: Standing) {
        let host = &mut self.hosts[number];
        host.learns = standing == Standing::Replica;
        let epoch = host.durable.config.as_ref().map(|config| config.epoch);
        let up = host.last.since(host.booted);
        if standing != Standing::Active || epoch.is_none() {
            return;
        }
        self.counts.meet(if up >= self.plan.settings.timing.horizon() {
            Mark::Aged
        } else if host.boots > 1 {
            Mark::Rejoined
        } else {
            Mark::Newcomers
        });
    }

    /// Puts the node's next deadline into the queue, unless an earlier one is there.
    pub(crate) fn arrange(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        host.due = host.deadline();
        let Some(deadline) = host.due.filter(|_| !host.paused) else { return };
        // What is due no sooner comes no sooner, whatever the clock does: most of the time there is nothing to do.
        if host.wake.is_some_and(|(_, due)| due <= deadline) {
            return;
        }
        let time = host.clock.when(deadline).max(self.now + 1);
        if host.wake.is_none_or(|(wake, _)| time < wake) {
            host.wake = Some((time, deadline));
            self.queue.push(time, Happening::NodeWakes(number));
        }
    }

    pub(crate) fn node_wakes(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        if host.wake.is_none_or(|(wake, _)| wake != self.now) || host.paused {
            return;
        }
        host.wake = None;
        self.tick(number);
        self.arrange(number);
    }

    /// Lets the node see the time, if anything is due as far as was asked last.
    fn tick(&mut self, number: usize) {
        let now = self.read_clock(number, self.now);
        if self.hosts[number].due.is_some_and(|due| due <= now) {
            self.step(number, now, Input::Tick);
        }
    }

    pub(crate) fn pause(&mut self, nodes: Nodes, begins: bool) {
        for number in (0..self.hosts.len()).filter(|node| nodes.has(*node)) {
            let paused = begins || self.held_by(paused_nodes, number);
            let host = &mut self.hosts[number];
            if paused == host.paused {
                continue;
            }
            host.paused = paused;
            let word = if paused { "pause" } else { "resume" };
            if paused {
                host.wake = None;
                self.counts.meet(Mark::Pauses);
            }
            self.film_moment(Some(number), word, || word.to_owned());
            if paused {
                continue;
            }
            // One batch: the clock is read once, after everything was received.
            for (sent, input) in std::mem::take(&mut self.hosts[number].inbox) {
                let now = self.read_clock(number, sent);
                self.step(number, now, input);
            }
            let host = &mut self.hosts[number];
            host.due = host.deadline();
            self.tick(number);
            self.arrange(number);
        }
    }

    /// Puts what a node says on its way, and leaves nothing of it in `message`.
    fn send(&mut self, from: usize, to: NodeId, message: &mut Message) {
        self.count_message(from, message);
        let (sender, whom) = (self.hosts[from].id, to);
        let Some(to) = self.around.ids.iter().position(|id| *id == to).filter(|to| *to != from)
        else {
            if self.hosts.iter().any(|host| host.past.contains(&whom)) {
                return self.counts.meet(Mark::ToTheGone);
            }
            return self.violate("the door", format!("n{from} sends to {to:?}: {message:?}"));
        };
        self.trace.fold(message.counter ^ wide(to));
        if self.events.is_multiple_of(self.plan.wire) {
            self.counts.meet(Mark::WireTrips);
            match through_wire(message) {
                Some(other) if other == *message => *message = other,
                other => {
                    self.violate("the wire", format!("{message:?} came back as {other:?}"));
                }
            }
        }
        let weather = self.weather(false);
        let fate = self.network.between_nodes(from, to, &weather, &mut self.counts);
        let [first, second] = self.bend(from, to, fate, || Spoken::Message(message));
        self.trace.line(
            self.now,
            None,
            || format!("n{from}"),
            || match (first, second) {
                (None, None) => format!("      to n{to}: does not arrive"),
                (Some(one), Some(other)) => {
                    format!("      to n{to}: in {one} µs, and in {other} µs")
                }
                (Some(only), None) | (None, Some(only)) => format!("      to n{to}: in {only} µs"),
            },
        );
        let short = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
        let (sent, link) = (self.now, (short(from), short(to)));
        if let Some(delay) = second {
            let letter =
                self.letters.put(Input::Message { from: sender, message: message.clone() });
            self.queue.push(sent + delay, Happening::Deliver { link, letter, to: whom, sent });
        }
        if let Some(delay) = first {
            let message = std::mem::replace(message, NOTHING);
            let letter = self.letters.put(Input::Message { from: sender, message });
            self.queue.push(sent + delay, Happening::Deliver { link, letter, to: whom, sent });
        }
    }

    fn count_message(&mut self, from: usize, message: &Message) {
        let mark = match &message.body {
            Body::Ask { ask: Ask::Prepare { ballot, .. }, .. } => {
                let place = usize::try_from(ballot.counter % 32).unwrap_or(0);
                self.prepared[place] = ballot.counter;
                if self.hosts[from].learns {
                    self.counts.meet(Mark::ByOthers);
                }
                Mark::Prepares
            }
            Body::Ask { ask: Ask::Accept { ballot, .. }, .. } => {
                let place = usize::try_from(ballot.counter % 32).unwrap_or(0);
                if self.prepared[place] != ballot.counter {
                    self.counts.meet(Mark::ShortPath);
                }
                Mark::Accepts
            }
            Body::Ask { ask: Ask::Query { .. }, .. } => Mark::Queries,
            Body::Answer { answer: Answer::NotPromised { .. }, .. } => Mark::NotPromised,
            Body::Answer { answer: Answer::NotAccepted { ballot, .. }, .. } => {
                let place = usize::try_from(ballot.counter % 32).unwrap_or(0);
                if self.prepared[place] != ballot.counter {
                    self.counts.meet(Mark::ShortPathRefused);
                }
                Mark::NotAccepted
            }
            Body::Answer { answer: Answer::Joining, .. } => Mark::Joining,
            Body::Tell(Tell::Abort { .. }) => Mark::Aborts,
            Body::Tell(Tell::Forget { .. }) => Mark::Forgets,
            Body::Tell(Tell::Settle { .. }) => Mark::Settles,
            Body::Relay(Relay::Forward { .. }) => Mark::Forwards,
            Body::Snapshot(Snapshot::Ask { cursor: 0, .. }) => Mark::SnapshotsAsked,
            Body::Snapshot(Snapshot::Part { .. }) => Mark::SnapshotParts,
            Body::Change(Change::Prepare { .. }) => Mark::ChangePrepares,
            Body::Change(Change::Accept { .. }) => Mark::ChangeAccepts,
            Body::Feed(Feed::Batch { .. }) => Mark::Batches,
            Body::Answer { .. }
            | Body::Relay(_)
            | Body::Found(_)
            | Body::Standing(_)
            | Body::Snapshot(_)
            | Body::Change(_)
            | Body::Feed(_) => return,
        };
        self.counts.meet(mark);
    }

    /// Whether each can hear the other.
    fn in_touch(&self, one: usize, other: usize) -> bool {
        let up = |node: usize| self.hosts[node].node.is_some() && !self.hosts[node].paused;
        up(one)
            && up(other)
            && self.network.connected(one, other)
            && self.network.connected(other, one)
    }

    /// Whom the node hears at the other end of this link.
    fn whom(&self, node: usize, peer: usize) -> Option<NodeId> {
        self.in_touch(node, peer).then(|| self.hosts[peer].id)
    }

    /// Lets nodes hear of links that are not as they were told.
    pub(crate) fn hints(&mut self) {
        for node in 0..self.hosts.len() {
            for peer in (0..self.hosts.len()).filter(|peer| *peer != node) {
                if self.hosts[node].node.is_some()
                    && self.hosts[node].told[peer] != self.whom(node, peer)
                {
                    self.push_hint(node, peer, false);
                }
            }
        }
    }

    pub(crate) fn push_hint(&mut self, node: usize, peer: usize, flap: bool) {
        let mut roll = self.dice.roll(Stream::Hint(node, peer), self.now);
        let up = flap || self.in_touch(node, peer);
        let delay = roll.magnitude(100, if up { 50 * MS } else { 500 * MS });
        self.queue.push(self.now + delay, Happening::Hint { node, peer, flap });
    }

    pub(crate) fn hint(&mut self, node: usize, peer: usize, flap: bool) {
        if self.plan.deaf.has(node) && !self.quiet {
            return;
        }
        let wrong = crate::fault::under_way(&self.plan.faults, &self.active)
            .any(|kind| *kind == Kind::WrongHint { node, peer });
        let up = self.in_touch(node, peer) != wrong;
        let now = up.then(|| self.hosts[peer].id);
        let before = self.hosts[node].told[peer];
        if let Some(peer_id) = before.filter(|_| flap || before != now) {
            self.hosts[node].told[peer] = None;
            self.feed(node, self.now, Input::Link { peer: peer_id, up: false });
        }
        if let Some(peer_id) = now.filter(|_| self.hosts[node].told[peer] != now) {
            self.hosts[node].told[peer] = now;
            self.feed(node, self.now, Input::Link { peer: peer_id, up });
        }
    }

    /// Hands a request of the operator to a node.
    pub(crate) fn ask_node(&mut self, node: usize, ticket: Ticket, request: Request) {
        self.feed(node, self.now, Input::Request { ticket, request });
    }

    fn answered(&mut self, number: usize, ticket: Ticket, outcome: Outcome) {
        self.counts.meet(Mark::AnswersJudged);
        match self.hosts[number].answer(ticket) {
            Err(wrong) => self.violate(wrong.rule, wrong.story),
            Ok(Asker::Operator) => self.founder_hears(&outcome),
            Ok(Asker::Change { asked }) => self.operator_hears(asked, &outcome),
            Ok(Asker::Client { client, call, op }) => {
                self.trace.fold(digest(&outcome));
                self.client_answered(number, client, call, op, outcome);
            }
        }
    }
}

fn paused_nodes(kind: &Kind) -> Option<Nodes> {
    if let Kind::Pause(nodes) = kind { Some(*nodes) } else { None }
}

/// The key whose record changed, if that is what happened.
const fn changed_by(effect: &Effect) -> Option<&Key> {
    match effect {
        Effect::Event(
            Event::Held { key, .. } | Event::Released { key, .. } | Event::Expired { key, .. },
        ) => Some(key),
        Effect::Event(Event::Standing(_) | Event::Configured(_) | Event::ClockRate { .. })
        | Effect::Send { .. }
        | Effect::Reply { .. }
        | Effect::Persist(..) => None,
    }
}

fn digest(outcome: &Outcome) -> u64 {
    match outcome {
        Outcome::Done(Done { token, .. }) => token.0,
        Outcome::Found(holder) | Outcome::Woken(holder) => {
            holder.as_ref().map_or(1, |holder| holder.token.0)
        }
        Outcome::Refused(_) => 2,
        Outcome::NotDone(_) => 3,
        Outcome::Unknown => 4,
        Outcome::Founded(_) => 5,
        Outcome::Configured { epoch, .. } => 6 + epoch.0,
    }
}

/// The message as another node would decode it.
fn through_wire(message: &Message) -> Option<Message> {
    let mut frame = Frame::default();
    frame.push(&PeerItem::Message(message.clone())).ok()?;
    let bytes = frame.take();
    let (mut items, _) = wire::split_frame(&bytes).ok()??;
    match wire::take_item::<PeerItem>(&mut items) {
        Ok(Some(PeerItem::Message(message))) if items.is_empty() => Some(message),
        _ => None,
    }
}
