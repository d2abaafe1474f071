//! Messages, answers and events in words, short and the same at every run.
//!
//! Counters are microseconds of a hybrid clock. They are written as the time they stand for and what was added to
//! keep them apart: `1s+2` is the second counter after that of one second. A ballot has its proposer behind a slash,
//! `1s+2/a`, with a prime for every time that node was restarted. An entry is its value with its token, `me(1s)`, or
//! `free(1s)` for the mark that stands for the end of that ownership.

use std::fmt::Write as _;

use leasehold_core::{
    Accepted, Answer, Ask, Ballot, Body, ClusterId, Done, Entry, Epoch, Event, Found, Holder,
    Invalid, KeyRequest, Limit, NodeFile, NodeId, NotDone, Outcome, Refusal, Relay, Span, Standing,
    Status, Tell, Token,
};

use crate::world::Name;

/// Proposers are numbered by node and boot: so many boots fit between two nodes.
pub const BOOTS: u64 = 1_000;

/// A span, as `1.5s`.
#[must_use]
pub fn span(span: Span) -> String {
    span.to_string()
}

/// A counter, as the time it stands for and what was added.
#[must_use]
pub fn counter(counter: u64) -> String {
    let (whole, extra) = (counter / 1_000 * 1_000, counter % 1_000);
    let mut text = span(Span::from_micros(whole));
    if whole == 0 {
        text = String::from("0");
    }
    if extra > 0 {
        _ = write!(text, "+{extra}");
    }
    text
}

/// A fencing token.
#[must_use]
pub fn token(token: Token) -> String {
    counter(token.0)
}

/// A ballot with its proposer.
#[must_use]
pub fn ballot(ballot: Ballot) -> String {
    if ballot.counter == 0 {
        return String::from("0");
    }
    let (node, boot) = (ballot.proposer / BOOTS, ballot.proposer % BOOTS);
    let proposer = if ballot.proposer == u64::MAX {
        String::from("*")
    } else {
        let primes = usize::try_from(boot).unwrap_or_default();
        format!("{}{}", name(NodeId(node)), "'".repeat(primes))
    };
    format!("{}/{proposer}", counter(ballot.counter))
}

/// A node's name.
#[must_use]
pub fn name(id: NodeId) -> Name {
    u32::try_from(id.0).ok().and_then(char::from_u32).unwrap_or('?')
}

/// A cluster's identity.
#[must_use]
pub fn cluster(cluster: ClusterId) -> String {
    cluster.1.to_string()
}

/// What a register holds.
#[must_use]
pub fn entry(entry: &Entry) -> String {
    match entry {
        Entry::Held(held) => format!("{}({})", held.value, token(held.token)),
        Entry::Free { token: ended, .. } => format!("free({})", token(*ended)),
    }
}

fn accepted(accepted: Option<&Accepted>) -> String {
    let Some(Accepted { ballot: at, entry: what, remaining }) = accepted else {
        return String::from("has nothing");
    };
    match what {
        Entry::Held(_) if remaining.is_zero() => {
            format!("has {} dead, of {}", entry(what), ballot(*at))
        }
        Entry::Held(_) => {
            format!("has {} for {}, of {}", entry(what), span(*remaining), ballot(*at))
        }
        Entry::Free { .. } => format!("has {}, of {}", entry(what), ballot(*at)),
    }
}

/// What a node says to another; `None` for the chatter of every second.
#[must_use]
pub fn body(body: &Body) -> Option<String> {
    match body {
        Body::Ask { ask: it, .. } => Some(ask(it)),
        Body::Answer { answer: it, .. } => Some(answer(it)),
        Body::Tell(it) => Some(tell(it)),
        Body::Relay(it) => Some(relay(it)),
        Body::Found(it) => Some(found(it)),
        Body::Standing(_) => None,
    }
}

fn ask(ask: &Ask) -> String {
    match ask {
        Ask::Prepare { key, ballot: at } => format!("prepare {key} {}", ballot(*at)),
        Ask::Accept { key, ballot: at, entry: what, keep } => match what {
            Entry::Held(_) => {
                format!("accept {key} {}: {} for {}", ballot(*at), entry(what), span(*keep))
            }
            Entry::Free { .. } => format!("accept {key} {}: {}", ballot(*at), entry(what)),
        },
        Ask::Query { key, .. } => format!("query {key}"),
    }
}

fn answer(answer: &Answer) -> String {
    match answer {
        Answer::Promise { ballot: at, accepted: had, floor } => {
            let mut text = format!("promise {}, {}", ballot(*at), accepted(had.as_ref()));
            if floor.counter > 0 {
                _ = write!(text, ", floor {}", ballot(*floor));
            }
            text
        }
        Answer::NotPromised { ballot: at, counter: than } => {
            format!("no promise {}: promised {}", ballot(*at), counter(*than))
        }
        Answer::Full { ballot: at } => format!("no promise {}: full", ballot(*at)),
        Answer::Accepted { ballot: at } => format!("accepted {}", ballot(*at)),
        Answer::NotAccepted { ballot: at, counter: than } => {
            format!("not accepted {}: promised {}", ballot(*at), counter(*than))
        }
        Answer::Has { accepted: had, .. } => accepted(had.as_ref()),
        Answer::Joining => String::from("joining"),
    }
}

fn tell(tell: &Tell) -> String {
    match tell {
        Tell::Abort { key, ballot: at } => format!("abort {key} {}", ballot(*at)),
        Tell::Forget { key, ballot: at } => format!("forget {key} {}", ballot(*at)),
        Tell::Settle { key, token: ended } => format!("settle {key}, token {}", token(*ended)),
    }
}

fn relay(relay: &Relay) -> String {
    match relay {
        Relay::Forward { name, request } => {
            format!("forward {}: {}", ballot(*name), request_words(request))
        }
        Relay::Cancel { name } => format!("cancel {}", ballot(*name)),
        Relay::Answered { name, outcome: what } => {
            format!("answered {}: {}", ballot(*name), outcome(what))
        }
    }
}

/// A request about a key.
#[must_use]
pub fn request_words(request: &KeyRequest) -> String {
    use leasehold_core::Action;
    let key = &request.key;
    match &request.action {
        Action::Lock { value, .. } => format!("lock {key} {value}"),
        Action::Extend { .. } => format!("extend {key}"),
        Action::Update { value, .. } => format!("update {key} to {value}"),
        Action::Release { .. } => format!("release {key}"),
        Action::Read => format!("read {key}"),
        Action::WaitHeld => format!("wait until {key} is held"),
        Action::WaitReleased => format!("wait until {key} is released"),
    }
}

fn found(found: &Found) -> String {
    match found {
        Found::Store { cluster: it, config, active } => {
            let masters: String = config.masters.iter().map(|member| name(member.id)).collect();
            let active = if *active { ", active in it" } else { "" };
            format!("store cluster {} of {masters}{active}", cluster(*it))
        }
        Found::Stored { cluster: it } => format!("stored cluster {}", cluster(*it)),
        Found::Holds { cluster: it, active, .. } => {
            let active = if *active { ", active in it" } else { "" };
            format!("holds cluster {}{active}", cluster(*it))
        }
        Found::Activate { cluster: it } => format!("activate cluster {}", cluster(*it)),
        Found::Activated { cluster: it } => format!("activated cluster {}", cluster(*it)),
    }
}

/// An answer to a client.
#[must_use]
pub fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done(it) => done(it),
        Outcome::Found(None) => String::from("found: free"),
        Outcome::Found(Some(it)) => format!("found: {}", holder(it)),
        Outcome::Woken(None) => String::from("woken: free"),
        Outcome::Woken(Some(it)) => format!("woken: {}", holder(it)),
        Outcome::Refused(it) => refusal(it),
        Outcome::NotDone(reason) => format!("not done: {}", not_done(*reason)),
        Outcome::Unknown => String::from("outcome unknown"),
        Outcome::Founded(it) => format!("founded cluster {}", cluster(*it)),
    }
}

fn done(done: &Done) -> String {
    let Done { token: of, valid_for, waited, repeated, quorum, votes, commits } = *done;
    let mut text = format!("done, token {}", token(of));
    if let Some(valid_for) = valid_for {
        _ = write!(text, ", valid for {}", span(valid_for));
    }
    if !waited.is_zero() {
        _ = write!(text, ", waited {}", span(waited));
    }
    if repeated {
        text.push_str(", repeated");
    }
    _ = write!(text, " ({votes} votes, {commits} commits of {quorum})");
    text
}

/// Who holds a key.
#[must_use]
pub fn holder(holder: &Holder) -> String {
    let Holder { value, meta, token: of, remaining, delay } = holder;
    let mut text = format!("held by {value}({}) for {}", token(*of), span(*remaining));
    if !delay.is_zero() {
        _ = write!(text, " and {} of delay", span(*delay));
    }
    if !meta.is_empty() {
        _ = write!(text, ", {meta}");
    }
    text
}

fn refusal(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Held(it) => format!("refused: {}", holder(it)),
        Refusal::NotHeld => String::from("refused: not held"),
        Refusal::AlreadyFounded { by, cluster: it } => {
            format!("refused: {} belongs to cluster {}", name(*by), cluster(*it))
        }
    }
}

fn not_done(reason: NotDone) -> String {
    match reason {
        NotDone::NoQuorum => String::from("no quorum"),
        NotDone::TimedOut => String::from("timed out"),
        NotDone::Cancelled => String::from("cancelled"),
        NotDone::Draining => String::from("draining"),
        NotDone::NotFounded => String::from("not founded"),
        NotDone::Limit(Limit::Records) => String::from("no room for another key"),
        NotDone::Limit(Limit::WaitersPerKey) => String::from("too many wait for this key"),
        NotDone::Limit(Limit::Operations) => String::from("too many operations"),
        NotDone::Invalid(fault) => invalid(fault),
        NotDone::Unreachable(node) => format!("{} did not answer", name(node)),
    }
}

fn invalid(fault: Invalid) -> String {
    match fault {
        Invalid::KeyEmpty => String::from("the key is empty"),
        Invalid::KeyTooLong(limit) => format!("the key is longer than {limit} bytes"),
        Invalid::ValueTooLong(limit) => format!("the value is longer than {limit} bytes"),
        Invalid::MetaTooLong(limit) => format!("the description is longer than {limit} bytes"),
        Invalid::LeaseTooShort(least) => format!("the lease is shorter than {}", span(least)),
        Invalid::LeaseTooLong(most) => format!("the lease is longer than {}", span(most)),
        Invalid::Config => String::from("no such configuration"),
    }
}

/// Something that watchers want to know.
#[must_use]
pub fn event(event: &Event) -> String {
    match event {
        Event::Held { key, token: of } => format!("held {key} {}", token(*of)),
        Event::Released { key, token: of } => format!("released {key} {}", token(*of)),
        Event::Expired { key, token: of } => format!("expired {key} {}", token(*of)),
        Event::Standing(it) => String::from(standing(*it)),
    }
}

/// How a node is.
#[must_use]
pub const fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Unknown => "unknown",
        Standing::Fresh => "fresh",
        Standing::Joining => "joining",
        Standing::Active => "active",
        Standing::Replica => "replica",
        Standing::Draining => "draining",
    }
}

/// What a node keeps on disk.
#[must_use]
pub fn file(file: &NodeFile) -> String {
    let mut text = format!("writes its file: ceiling {}", counter(file.ceiling));
    if let Some(it) = file.cluster {
        _ = write!(text, ", cluster {}", cluster(it));
    }
    if let Some(Epoch(epoch)) = file.active_in {
        _ = write!(text, ", active in epoch {epoch}");
    }
    text
}

/// A node's view of itself and the others.
#[must_use]
pub fn status(status: &Status) -> String {
    let mut text = format!("{}: {}", name(status.id), standing(status.standing));
    if let Some(left) = status.active_in {
        _ = write!(text, ", votes in {}", span(left));
    }
    if let Some(it) = status.cluster {
        _ = write!(text, ", cluster {}, epoch {}", cluster(it), status.epoch.0);
    }
    _ = write!(
        text,
        ", {} leases, {} records, {} operations, {} waiters",
        status.leases, status.records, status.operations, status.waiters
    );
    for peer in &status.members {
        let up = if peer.up { "" } else { ", link down" };
        _ = write!(text, "\n  {} {}{up}", peer.member.name, standing(peer.standing));
    }
    text
}
