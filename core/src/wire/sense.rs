//! Whether what decodes makes sense.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{ClientItem, NodeItem, PeerItem};
use crate::ballot::{Ballot, COUNTER_END, Token};
use crate::members::Config;
use crate::message::{
    Accepted, Answer, Ask, Body, Change, Copied, Feed, Message, Relay, Snapshot, Tell,
};
use crate::request::{Outcome, Refusal};
use crate::view::Page;

/// What travels in frames.
pub trait Item: Serialize + DeserializeOwned {
    /// Whether every number in it is one that a sane sender sends.
    fn well_formed(&self) -> bool;
}

impl Item for PeerItem {
    fn well_formed(&self) -> bool {
        match self {
            Self::Message(message) => message.well_formed(),
            Self::Hello(_) | Self::Refused(_) | Self::Beat => true,
        }
    }
}

impl Item for ClientItem {
    fn well_formed(&self) -> bool {
        true
    }
}

impl Item for NodeItem {
    fn well_formed(&self) -> bool {
        match self {
            Self::Reply { outcome, .. } => sane_outcome(outcome),
            Self::LocalRead { holder, .. } => holder.as_ref().is_none_or(|h| sane_token(h.token)),
            Self::Page { page, .. } => page.as_ref().is_none_or(sane_page),
            Self::Welcome(_)
            | Self::Refused(_)
            | Self::Status { .. }
            | Self::Unmet { .. }
            | Self::Topology(_)
            | Self::Waiting { .. }
            | Self::Beat => true,
        }
    }
}

fn sane_token(token: Token) -> bool {
    token.0 < COUNTER_END
}

fn sane_accepted(accepted: Option<&Accepted>) -> bool {
    accepted.is_none_or(|a| a.ballot.well_formed() && sane_token(a.entry.token()))
}

fn sane_outcome(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Done(done) => sane_token(done.token),
        Outcome::Found(holder) | Outcome::Woken(holder) => {
            holder.as_ref().is_none_or(|h| sane_token(h.token))
        }
        Outcome::Refused(Refusal::Held(holder)) => sane_token(holder.token),
        Outcome::Refused(Refusal::NotHeld | Refusal::AlreadyFounded { .. })
        | Outcome::NotDone(_)
        | Outcome::Unknown
        | Outcome::Founded(_)
        | Outcome::Configured { .. } => true,
    }
}

fn sane_page(page: &Page) -> bool {
    page.holders.iter().all(|(_, holder)| sane_token(holder.token))
}

fn sane_copied(copied: &Copied) -> bool {
    copied.promised.well_formed() && sane_accepted(Some(&copied.accepted))
}

fn sane_change(change: &Change) -> bool {
    match change {
        Change::Prepare { ballot } | Change::Accepted { ballot } => ballot.well_formed(),
        Change::Refused { ballot, counter } => ballot.well_formed() && *counter < COUNTER_END,
        Change::Promise { ballot, accepted } => {
            let sane = |(b, config): &(Ballot, Config)| b.well_formed() && config.well_formed();
            ballot.well_formed() && accepted.as_ref().is_none_or(sane)
        }
        Change::Accept { ballot, config } => ballot.well_formed() && config.well_formed(),
        Change::Adopt { config, .. } => config.well_formed(),
    }
}

impl Message {
    /// Whether every counter in the message is one that may exist (protocol, section 1).
    #[must_use]
    pub fn well_formed(&self) -> bool {
        let ballot = |b: &Ballot| b.well_formed();
        let body = match &self.body {
            Body::Ask(Ask::Prepare { ballot: b, .. } | Ask::Query { round: b, .. })
            | Body::Answer(Answer::Full { ballot: b } | Answer::Accepted { ballot: b })
            | Body::Tell(Tell::Abort { ballot: b, .. } | Tell::Forget { ballot: b, .. }) => {
                ballot(b)
            }
            Body::Ask(Ask::Accept { ballot: b, entry, .. }) => {
                ballot(b) && sane_token(entry.token())
            }
            Body::Answer(Answer::Promise { ballot: b, accepted, floor }) => {
                ballot(b) && ballot(floor) && sane_accepted(accepted.as_ref())
            }
            Body::Answer(
                Answer::NotPromised { ballot: b, counter }
                | Answer::NotAccepted { ballot: b, counter },
            ) => ballot(b) && *counter < COUNTER_END,
            Body::Answer(Answer::Has { round, accepted }) => {
                ballot(round) && sane_accepted(accepted.as_ref())
            }
            Body::Tell(Tell::Settle { token, .. }) => sane_token(*token),
            Body::Relay(Relay::Answered { name, outcome }) => ballot(name) && sane_outcome(outcome),
            Body::Relay(Relay::Forward { name, .. } | Relay::Cancel { name }) => ballot(name),
            Body::Snapshot(Snapshot::Ask { nonce, .. }) => ballot(nonce),
            Body::Snapshot(Snapshot::Part { nonce, copies, floor, .. }) => {
                ballot(nonce) && ballot(floor) && copies.iter().all(sane_copied)
            }
            Body::Feed(Feed::Batch { facts, .. }) => facts.iter().all(sane_copied),
            Body::Feed(Feed::Got { .. }) => true,
            Body::Change(change) => sane_change(change),
            Body::Answer(Answer::Joining) | Body::Found(_) | Body::Standing(_) => true,
        };
        self.counter < COUNTER_END && body
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::bytes::Bytes;
    use crate::request::Holder;
    use crate::time::Span;
    use crate::view::{Cursor, Waiter, Waiting, Wants};
    use crate::wire::{Frame, Malformed, split_frame, take_item};

    fn holder(token: u64) -> Holder {
        Holder {
            value: "me".into(),
            meta: Bytes::EMPTY,
            token: Token(token),
            remaining: Span::from_secs(1),
            delay: Span::ZERO,
            age: Span::from_secs(2),
        }
    }

    fn back<T: Item>(item: &T) -> Result<Option<T>, Malformed> {
        let mut frame = Frame::default();
        frame.push(item).unwrap();
        let bytes = frame.take();
        let (mut items, _) = split_frame(&bytes).unwrap().unwrap();
        take_item(&mut items)
    }

    #[test]
    fn what_is_shown_comes_back_and_tokens_out_of_range_do_not() {
        let cursor = Cursor { records: u64::MAX, place: 7 };
        let list = ClientItem::List { call: 1, prefix: "a/".into(), from: cursor, most: 9 };
        let who = ClientItem::Waiting { call: 2, key: "k".into() };
        for item in [list, who] {
            assert_eq!(back(&item), Ok(Some(item.clone())));
        }
        let page = |token| {
            let holders = Vec::from([("k".into(), holder(1)), ("l".into(), holder(token))]);
            NodeItem::Page { call: 1, page: Some(Page { holders, next: Some(cursor) }) }
        };
        let waiter = Waiter {
            wants: Wants::Released,
            value: Bytes::EMPTY,
            meta: Bytes::EMPTY,
            age: Span::from_secs(1),
            left: Span::MAX,
        };
        let waiting = Waiting { all: 5, first: Vec::from([waiter]) };
        let items = [
            page(COUNTER_END - 1),
            NodeItem::Page { call: 1, page: None },
            NodeItem::Waiting { call: 2, waiting },
        ];
        for item in items {
            assert_eq!(back(&item), Ok(Some(item.clone())));
        }
        assert_eq!(back(&page(COUNTER_END)), Err(Malformed::Sense));
    }
}
