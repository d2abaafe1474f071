//! Values, answers and events in words, short and the same at every run.
//!
//! Counters are microseconds of a hybrid clock. They are written as the time they stand for and what was added to
//! keep them apart: `1s+2` is the second counter after that of one second. A ballot has its proposer behind a slash,
//! `1s+2/a`, with a prime for every time that node was restarted. An entry is its value with its token, `me(1s)`, or
//! `free(1s)` for the mark that stands for the end of that ownership. A node that lost its file is another one, with a
//! number behind its name: `c2`.

use std::fmt::Write as _;

use leasehold_core::{
    Ballot, Bytes, ClusterId, Config, Done, Entry, Epoch, Event, Holder, Invalid, KeyRequest,
    Limit, Member, NodeFile, NodeId, NotDone, Outcome, Refusal, Span, Standing, Status, Token,
};

use crate::world::Name;

/// Proposers are numbered by node and boot: so many boots fit between two nodes.
pub const BOOTS: u64 = 1_000;
/// Between the ids of two nodes of one name.
pub const INCARNATION: u64 = 256;
/// Of longer values, which scripts make with dots at their end, only the beginning is written.
const LONGEST_VALUE: usize = 40;

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

/// The place that a node runs at: its letter.
#[must_use]
pub fn name(id: NodeId) -> Name {
    u32::try_from(id.0 % INCARNATION).ok().and_then(char::from_u32).unwrap_or('?')
}

/// A node: its letter, and a number if it is not the first one of that name.
#[must_use]
pub fn node(id: NodeId) -> String {
    match id.0 / INCARNATION {
        0 => name(id).to_string(),
        lost => format!("{}{}", name(id), lost + 1),
    }
}

/// Members, in their order.
#[must_use]
pub fn members(members: &[Member]) -> String {
    members.iter().map(|member| node(member.id)).collect()
}

/// Who votes and who learns.
#[must_use]
pub fn config(config: &Config) -> String {
    let mut text = format!("epoch {} of {}", config.epoch.0, members(&config.masters));
    if !config.replicas.is_empty() {
        _ = write!(text, " and replicas {}", members(&config.replicas));
    }
    text
}

/// A cluster's identity.
#[must_use]
pub fn cluster(cluster: ClusterId) -> String {
    cluster.1.to_string()
}

/// What an owner wrote, the beginning of it at least.
#[must_use]
pub fn value(value: &Bytes) -> String {
    let text = value.to_string();
    if text.len() <= LONGEST_VALUE {
        return text;
    }
    format!("{}…", text.trim_end_matches('.'))
}

/// What a register holds.
#[must_use]
pub fn entry(entry: &Entry) -> String {
    match entry {
        Entry::Held(held) => format!("{}({})", value(&held.value), token(held.token)),
        Entry::Free { token: ended, .. } => format!("free({})", token(*ended)),
    }
}

/// A request about a key.
#[must_use]
pub fn request_words(request: &KeyRequest) -> String {
    use leasehold_core::Action;
    let key = &request.key;
    match &request.action {
        Action::Lock { value: it, .. } => format!("lock {key} {}", value(it)),
        Action::Extend { .. } => format!("extend {key}"),
        Action::Update { value: it, .. } => format!("update {key} to {}", value(it)),
        Action::Release { .. } => format!("release {key}"),
        Action::Read => format!("read {key}"),
        Action::WaitHeld => format!("wait until {key} is held"),
        Action::WaitReleased => format!("wait until {key} is released"),
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
        Outcome::Configured { epoch, complete: true } => format!("epoch {}, complete", epoch.0),
        Outcome::Configured { epoch, complete: false } => {
            format!("epoch {}, not complete yet", epoch.0)
        }
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
    let Holder { value: held_by, meta, token: of, remaining, delay, age: _ } = holder;
    let mut text = format!("held by {}({}) for {}", value(held_by), token(*of), span(*remaining));
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
            format!("refused: {} belongs to cluster {}", node(*by), cluster(*it))
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
        NotDone::Limit(Limit::OperationsPerClient) => {
            String::from("too many operations of this client")
        }
        NotDone::Limit(Limit::Waiters) => String::from("too many wait at this node"),
        NotDone::Limit(Limit::Masters) => String::from("too many masters"),
        NotDone::Limit(Limit::Replicas) => String::from("too many replicas"),
        NotDone::Invalid(fault) => invalid(fault),
        NotDone::Unreachable(missing) => format!("{} did not answer", node(missing)),
        NotDone::Changing => String::from("another change is under way"),
        NotDone::NotActive => String::from("this node does not vote"),
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
        Event::Configured(epoch) => format!("is in epoch {}", epoch.0),
        Event::ClockRate { peer, ppm, off } => {
            let is = if *off { "off" } else { "right again" };
            format!("finds the clock of {} {is}, {ppm} ppm", name(*peer))
        }
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
        Standing::Outside => "outside",
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
    // The first one goes with the cluster.
    if let Some(it) = file.config.as_ref().filter(|it| it.epoch > Epoch(1)) {
        _ = write!(text, ", {}", config(it));
    }
    if file.vote.promised > Ballot::ZERO {
        _ = write!(text, ", vote {}", ballot(file.vote.promised));
    }
    if let Some((of, it)) = &file.vote.accepted {
        _ = write!(text, " for {}, of {}", config(it), ballot(*of));
    }
    text
}

/// A node's view of itself and the others.
#[must_use]
pub fn status(status: &Status) -> String {
    let mut text = format!("{}: {}", node(status.id), standing(status.standing));
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
        let id = peer.member.id;
        _ = write!(text, "\n  {} {}{up}", node(id), standing(peer.standing));
        if let Some((_, lag)) = status.lags.iter().find(|(replica, _)| *replica == id) {
            _ = write!(text, ", {} changes and {} behind", lag.entries, span(lag.time));
        }
    }
    text
}
