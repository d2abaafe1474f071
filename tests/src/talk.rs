//! What nodes say to each other, in words.

use std::fmt::Write as _;

use leasehold_core::{
    Accepted, Answer, Ask, Body, Change, Copied, Entry, Feed, Found, Relay, Snapshot, Source, Tell,
};

use crate::show::{
    ballot, cluster, config, counter, entry, members, outcome, request_words, span, token,
};

/// So many things are listed; of more there is only a count.
const LISTED: usize = 2;

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
        Body::Snapshot(it) => Some(snapshot(it)),
        Body::Change(it) => Some(change(it)),
        Body::Feed(it) => Some(feed(it)),
    }
}

/// The number of a batch, or of the one that is acknowledged, with the boot it is of.
#[must_use]
pub const fn number(body: &Body) -> Option<(u64, u64)> {
    match body {
        Body::Feed(Feed::Batch { boot, number, .. } | Feed::Got { boot, number }) => {
            Some((*boot, *number))
        }
        Body::Ask { .. }
        | Body::Answer { .. }
        | Body::Tell(_)
        | Body::Relay(_)
        | Body::Found(_)
        | Body::Standing(_)
        | Body::Snapshot(_)
        | Body::Change(_) => None,
    }
}

/// Whether it says no more than the number of a batch.
#[must_use]
pub fn is_number(body: &Body) -> bool {
    match body {
        Body::Feed(Feed::Batch { facts, .. }) => facts.is_empty(),
        Body::Feed(Feed::Got { .. }) => true,
        Body::Ask { .. }
        | Body::Answer { .. }
        | Body::Tell(_)
        | Body::Relay(_)
        | Body::Found(_)
        | Body::Standing(_)
        | Body::Snapshot(_)
        | Body::Change(_) => false,
    }
}

/// Whether it counts only in the epoch that it was sent in.
#[must_use]
pub const fn counts_in_its_epoch(body: &Body) -> bool {
    match body {
        Body::Change(Change::Adopt { .. })
        | Body::Relay(_)
        | Body::Found(_)
        | Body::Standing(_) => false,
        Body::Ask { .. }
        | Body::Answer { .. }
        | Body::Tell(_)
        | Body::Snapshot(_)
        | Body::Change(_)
        | Body::Feed(_) => true,
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
        Relay::Forward { name, request, .. } => {
            format!("forward {}: {}", ballot(*name), request_words(request))
        }
        Relay::Cancel { name } => format!("cancel {}", ballot(*name)),
        Relay::Answered { name, outcome: what } => {
            format!("answered {}: {}", ballot(*name), outcome(what))
        }
    }
}

fn found(found: &Found) -> String {
    match found {
        Found::Store { cluster: it, config, active } => {
            let masters = members(&config.masters);
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

fn snapshot(snapshot: &Snapshot) -> String {
    match snapshot {
        Snapshot::Ask { nonce, cursor } => format!("snapshot {} from {cursor}", ballot(*nonce)),
        Snapshot::Part { nonce, cursor, copies: records, floor, next, source, .. } => {
            let mut text = format!("part {} from {cursor}: {}", ballot(*nonce), copies(records));
            _ = write!(text, "; floor {}", ballot(*floor));
            match next {
                Some(next) => _ = write!(text, ", next {next}"),
                None => text.push_str(", last"),
            }
            text.push_str(match source {
                Source::Active => ", active",
                Source::Fenced => ", fenced",
            });
            text
        }
    }
}

fn copies(records: &[Copied]) -> String {
    if records.is_empty() {
        return String::from("nothing");
    }
    if records.len() > LISTED {
        return format!("{} records", records.len());
    }
    records.iter().map(copied).collect::<Vec<_>>().join("; ")
}

fn copied(copied: &Copied) -> String {
    let Copied { key, promised, accepted: Accepted { ballot: of, entry: what, remaining } } =
        copied;
    let mut text = format!("{key} {}", entry(what));
    match what {
        Entry::Held(_) if remaining.is_zero() => text.push_str(" dead"),
        Entry::Held(_) => _ = write!(text, " for {}", span(*remaining)),
        Entry::Free { .. } => {}
    }
    _ = write!(text, ", of {}", ballot(*of));
    // What an accept implies goes without saying.
    if *promised > of.next() {
        _ = write!(text, ", promised {}", ballot(*promised));
    }
    text
}

fn change(change: &Change) -> String {
    match change {
        Change::Prepare { ballot: at } => format!("change prepare {}", ballot(*at)),
        Change::Promise { ballot: at, accepted: None } => {
            format!("change promise {}, has nothing", ballot(*at))
        }
        Change::Promise { ballot: at, accepted: Some((of, it)) } => {
            format!("change promise {}, has {}, of {}", ballot(*at), config(it), ballot(*of))
        }
        Change::Refused { ballot: at, counter: than } => {
            format!("change refused {}: promised {}", ballot(*at), counter(*than))
        }
        Change::Accept { ballot: at, config: it } => {
            format!("change accept {}: {}", ballot(*at), config(it))
        }
        Change::Accepted { ballot: at } => format!("change accepted {}", ballot(*at)),
        Change::Adopt { config: it, .. } => format!("adopt {}", config(it)),
    }
}

fn feed(feed: &Feed) -> String {
    match feed {
        Feed::Batch { number, facts, .. } => format!("batch {number}: {}", copies(facts)),
        Feed::Got { number, .. } => format!("got batch {number}"),
    }
}
