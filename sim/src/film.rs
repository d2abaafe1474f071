//! A run as it can be looked at afterwards: every message with its fate, and every moment worth a mark.
//!
//! Nothing of this is kept unless somebody asks for a picture or a script. It is only looked at, never acted upon: a run with a film
//! is the same run.

use std::collections::BTreeMap;

use leasehold_core::{
    Answer, Ask, Body, Change, Feed, Found, Instant, Key, KeyRequest, Message, Outcome, Relay,
    Snapshot, Tell,
};

use crate::actor::Player;
use crate::clock::Clock;
use crate::script::{Move, Wish};
use crate::world::{Happening, World};

/// Something that travels.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Spoken<'a> {
    /// Between nodes.
    Message(&'a Message),
    /// From a client, about a key.
    Request(&'a KeyRequest, usize),
    /// From a client that does not wait any more, about a key.
    Cancel(usize),
    /// To a client, about a key.
    Outcome(&'a Outcome, usize),
}

/// The kinds of messages, as scripts and pictures name them.
#[rustfmt::skip]
pub const KINDS: [&str; 35] = [
    "prepare", "accept", "query", "promise", "not-promised", "full", "accepted", "not-accepted", "has",
    "joining", "abort", "forget", "settle", "forward", "forward-cancel", "forward-answer", "store",
    "stored", "holds", "activate", "activated", "standing", "snapshot", "snapshot-part",
    "change-prepare", "change-promise", "change-refused", "change-accept", "change-accepted",
    "adopt", "batch", "got", "request", "cancel", "answer",
];

impl Spoken<'_> {
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Message(message) => kind_of(&message.body),
            Self::Request(..) => "request",
            Self::Cancel(_) => "cancel",
            Self::Outcome(..) => "answer",
        }
    }

    fn text(&self) -> String {
        let text = match self {
            Self::Message(message) => format!("{:?}", message.body),
            Self::Request(request, _) => format!("{:?}", request.action),
            Self::Cancel(_) => "nobody waits any more".to_owned(),
            Self::Outcome(outcome, _) => format!("{outcome:?}"),
        };
        text.chars().take(400).collect()
    }
}

const fn kind_of(body: &Body) -> &'static str {
    match body {
        Body::Ask { ask: Ask::Prepare { .. }, .. } => "prepare",
        Body::Ask { ask: Ask::Accept { .. }, .. } => "accept",
        Body::Ask { ask: Ask::Query { .. }, .. } => "query",
        Body::Answer { answer: Answer::Promise { .. }, .. } => "promise",
        Body::Answer { answer: Answer::NotPromised { .. }, .. } => "not-promised",
        Body::Answer { answer: Answer::Full { .. }, .. } => "full",
        Body::Answer { answer: Answer::Accepted { .. }, .. } => "accepted",
        Body::Answer { answer: Answer::NotAccepted { .. }, .. } => "not-accepted",
        Body::Answer { answer: Answer::Has { .. }, .. } => "has",
        Body::Answer { answer: Answer::Joining, .. } => "joining",
        Body::Tell(Tell::Abort { .. }) => "abort",
        Body::Tell(Tell::Forget { .. }) => "forget",
        Body::Tell(Tell::Settle { .. }) => "settle",
        Body::Relay(Relay::Forward { .. }) => "forward",
        Body::Relay(Relay::Cancel { .. }) => "forward-cancel",
        Body::Relay(Relay::Answered { .. }) => "forward-answer",
        Body::Found(Found::Store { .. }) => "store",
        Body::Found(Found::Stored { .. }) => "stored",
        Body::Found(Found::Holds { .. }) => "holds",
        Body::Found(Found::Activate { .. }) => "activate",
        Body::Found(Found::Activated { .. }) => "activated",
        Body::Standing(_) => "standing",
        Body::Snapshot(Snapshot::Ask { .. }) => "snapshot",
        Body::Snapshot(Snapshot::Part { .. }) => "snapshot-part",
        Body::Change(Change::Prepare { .. }) => "change-prepare",
        Body::Change(Change::Promise { .. }) => "change-promise",
        Body::Change(Change::Refused { .. }) => "change-refused",
        Body::Change(Change::Accept { .. }) => "change-accept",
        Body::Change(Change::Accepted { .. }) => "change-accepted",
        Body::Change(Change::Adopt { .. }) => "adopt",
        Body::Feed(Feed::Batch { .. }) => "batch",
        Body::Feed(Feed::Got { .. }) => "got",
    }
}

/// The place of a message: from, to, kind, and the how many-th from 1 on.
pub(crate) type Place = (usize, usize, &'static str, u64);

/// Messages so far, and those whose fate is written.
#[derive(Debug, Default)]
pub(crate) struct Said {
    counts: BTreeMap<(usize, usize, &'static str), u64>,
    /// Where in the script.
    fates: BTreeMap<Place, usize>,
}

/// One message on its way.
#[derive(Clone, Debug)]
pub struct Travel {
    /// When it was sent.
    pub at: u64,
    /// By whom: nodes first, then clients.
    pub from: usize,
    /// To whom.
    pub to: usize,
    /// What kind.
    pub kind: &'static str,
    /// The how many-th of its kind on its link.
    pub number: u64,
    /// How long its copies take; none if it is lost.
    pub takes: [Option<u64>; 2],
    /// Whether the weather did that.
    pub odd: bool,
    /// Whether the link is cut.
    pub cut: bool,
    /// The key it is about.
    pub key: Option<usize>,
    /// What it says; empty if there is no picture.
    pub text: String,
}

/// A moment worth a mark.
#[derive(Clone, Debug)]
pub struct Moment {
    /// True time.
    pub at: u64,
    /// Whose; all of them if `None`.
    pub lane: Option<usize>,
    /// What kind.
    pub what: &'static str,
    /// What happened.
    pub text: String,
}

/// One sending of a client.
#[derive(Clone, Debug)]
pub struct Sending {
    /// True time.
    pub at: u64,
    /// The client.
    pub client: usize,
    /// The client's name for it.
    pub call: u64,
    /// The node.
    pub to: usize,
    /// The key's number.
    pub key: usize,
    /// What is asked.
    pub request: KeyRequest,
}

/// What was seen of a run.
#[derive(Clone, Debug, Default)]
pub struct Film {
    detailed: bool,
    /// What clients sent.
    pub sendings: Vec<Sending>,
    /// True time, client and sending of what was cancelled.
    pub cancels: Vec<(u64, usize, u64)>,
    /// True time and client of operations that were given up.
    pub given_up: Vec<(u64, usize)>,
    /// All messages.
    pub travels: Vec<Travel>,
    /// All moments.
    pub moments: Vec<Moment>,
    /// Which change wanted what, from when on.
    pub wishes: Vec<(usize, u64, Wish)>,
    /// Clocks, by lane: from when until when, and the clock.
    pub clocks: Vec<(usize, u64, u64, Clock)>,
    since: Vec<u64>,
    rounds: BTreeMap<(usize, u64), usize>,
    /// Whether the run is over, so that what is found now did not happen now.
    pub(crate) over: bool,
    /// When each violation was found; `None` for those found at the end.
    pub violated: Vec<Option<u64>>,
}

impl Film {
    /// A film that keeps what a picture needs if it is `detailed`, and what a script needs in any case.
    #[must_use]
    pub fn new(detailed: bool, lanes: usize) -> Self {
        Self { detailed, since: vec![0; lanes], ..Self::default() }
    }

    /// The clock of a lane starts anew.
    pub(crate) fn clock_ends(&mut self, lane: usize, now: u64, clock: &Clock) {
        if self.detailed {
            let since = std::mem::replace(&mut self.since[lane], now);
            self.clocks.push((lane, since, now, clock.clone()));
        }
    }

    /// The key of a message; an answer is about the key of the round that asked.
    fn key_of(&mut self, from: usize, to: usize, spoken: Spoken<'_>) -> Option<usize> {
        let number = |key: &Key| {
            let text = std::str::from_utf8(key).ok()?;
            text.strip_prefix('k')?.parse::<usize>().ok()
        };
        match spoken {
            Spoken::Request(_, key) | Spoken::Cancel(key) | Spoken::Outcome(_, key) => Some(key),
            Spoken::Message(message) => match &message.body {
                Body::Ask { round, ask } => {
                    let (Ask::Prepare { key, .. }
                    | Ask::Accept { key, .. }
                    | Ask::Query { key, .. }) = ask;
                    let key = number(key)?;
                    self.rounds.insert((from, *round), key);
                    Some(key)
                }
                Body::Answer { round, .. } => self.rounds.get(&(to, *round)).copied(),
                Body::Tell(
                    Tell::Abort { key, .. } | Tell::Forget { key, .. } | Tell::Settle { key, .. },
                ) => number(key),
                Body::Relay(Relay::Forward { request, .. }) => number(&request.key),
                Body::Feed(Feed::Batch { facts, .. }) => match facts.as_slice() {
                    [only] => number(&only.key),
                    _ => None,
                },
                Body::Relay(_)
                | Body::Found(_)
                | Body::Standing(_)
                | Body::Snapshot(_)
                | Body::Change(_)
                | Body::Feed(_) => None,
            },
        }
    }
}

impl World<'_> {
    /// Everything the script wants to happen.
    pub(crate) fn begin_script(&mut self) {
        let Some(script) = &self.plan.script else { return };
        for (at, client, step) in script.moves() {
            self.queue.push(at, Happening::Act(client, step, false));
        }
        if let Some(end) = script.end {
            self.queue.push(end, Happening::Stop);
        }
        for (place, fate) in script.fates.iter().enumerate() {
            if let Some(kind) = KINDS.into_iter().find(|kind| *kind == fate.kind) {
                self.said.fates.insert((fate.from, fate.to, kind, fate.number), place);
            }
        }
    }

    /// What the script makes of the fate that the dice give to a message. The film keeps it.
    pub(crate) fn bend<'m>(
        &mut self,
        from: usize,
        to: usize,
        mut takes: [Option<u64>; 2],
        spoken: impl FnOnce() -> Spoken<'m>,
    ) -> [Option<u64>; 2] {
        if self.film.is_none() && self.plan.script.is_none() {
            return takes;
        }
        let spoken = spoken();
        let kind = spoken.kind();
        let count = self.said.counts.entry((from, to, kind)).or_default();
        *count += 1;
        let number = *count;
        let nodes = self.hosts.len();
        let cut = from < nodes && to < nodes && !self.network.connected(from, to);
        let mut odd = self.network.odd;
        if let Some(script) = &self.plan.script
            && let Some(place) = self.said.fates.get(&(from, to, kind, number))
            && !cut
        {
            takes = [script.fates[*place].takes, script.fates[*place].copy];
            odd = true;
        }
        if let Some(film) = &mut self.film {
            let text = if film.detailed { spoken.text() } else { String::new() };
            let key = if film.detailed { film.key_of(from, to, spoken) } else { None };
            let at = self.now;
            film.travels.push(Travel { at, from, to, kind, number, takes, odd, cut, key, text });
        }
        takes
    }

    /// How long something takes between a client and a node, if it arrives.
    pub(crate) fn travel_with_client(
        &mut self,
        from: usize,
        to: usize,
        spoken: Spoken<'_>,
    ) -> Option<u64> {
        let weather = self.weather(true);
        let takes = self.network.with_client(from, to, &weather, &mut self.counts);
        self.bend(from, to, [takes, None], || spoken)[0]
    }

    /// A scripted client's move, or what it makes up for later.
    pub(crate) fn act_out(&mut self, number: usize, step: Move) {
        let (Some(script), Some(person)) = (&self.plan.script, self.people.get_mut(number)) else {
            return;
        };
        let Player::Scripted(actor) = &mut person.client else { return };
        if person.gone || self.quiet || !self.founded {
            return;
        }
        if person.paused {
            actor.due.push(step);
            return;
        }
        let now = person.clock.read(self.now);
        self.trace.line(self.now, Some(now), || format!("c{number}"), || format!("<- {step:?}"));
        actor.play(now, step, script, &self.around, &mut self.acts);
        self.act_all(number, now);
    }

    /// What a client should have done while it stood still.
    pub(crate) fn catch_up(&mut self, number: usize) {
        let Player::Scripted(actor) = &mut self.people[number].client else { return };
        for step in std::mem::take(&mut actor.due) {
            self.act_out(number, step);
        }
    }

    pub(crate) fn film_sending(
        &mut self,
        client: usize,
        call: u64,
        to: usize,
        key: usize,
        request: &KeyRequest,
    ) {
        if let Some(film) = &mut self.film {
            let request = request.clone();
            film.sendings.push(Sending { at: self.now, client, call, to, key, request });
        }
    }

    pub(crate) fn film_cancel(&mut self, client: usize, call: u64) {
        if let Some(film) = &mut self.film {
            film.cancels.push((self.now, client, call));
        }
    }

    pub(crate) fn film_giving_up(&mut self, client: usize) {
        if let Some(film) = &mut self.film {
            film.given_up.push((self.now, client));
        }
    }

    pub(crate) fn film_change(&mut self, number: usize) {
        let wish = self.operator.wish();
        if let Some(film) = &mut self.film {
            film.wishes.push((number, self.now, wish));
        }
    }

    pub(crate) fn film_violation(&mut self) {
        if let Some(film) = &mut self.film {
            film.violated.push((!film.over).then_some(self.now));
        }
    }

    pub(crate) fn film_moment(
        &mut self,
        lane: Option<usize>,
        what: &'static str,
        text: impl FnOnce() -> String,
    ) {
        if let Some(film) = &mut self.film {
            film.moments.push(Moment { at: self.now, lane, what, text: text() });
        }
    }

    pub(crate) fn film_boot(&mut self, number: usize) {
        if self.film.is_some() {
            let host = &self.hosts[number];
            let local: Instant = host.last;
            let text = format!("boot {}, its clock reads {} µs", host.boots, local.as_micros());
            self.film_moment(Some(number), "boot", || text);
        }
    }

    /// The run is over: the film keeps the clocks as they are.
    pub(crate) fn film_ends(&mut self) {
        let Some(mut film) = self.film.take() else { return };
        film.over = true;
        for (number, host) in self.hosts.iter().enumerate() {
            film.clock_ends(number, self.now, &host.clock);
        }
        for (number, person) in self.people.iter().enumerate() {
            film.clock_ends(self.hosts.len() + number, self.now, &person.clock);
        }
        self.film = Some(film);
    }
}
