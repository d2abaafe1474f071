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
            Self::Hello(_)
            | Self::Refused(_)
            | Self::Beat
            | Self::Mail { .. }
            | Self::Receipt { .. } => true,
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
            Self::Notice { notice, .. } => sane_token(notice.token),
            Self::Welcome(_)
            | Self::Refused(_)
            | Self::Status { .. }
            | Self::Unmet { .. }
            | Self::Topology(_)
            | Self::Waiting { .. }
            | Self::NotAllowed { .. }
            | Self::Declined { .. }
            | Self::Watching { .. }
            | Self::Hosted { .. }
            | Self::Posted { .. }
            | Self::Mail { .. }
            | Self::Lagged { .. }
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

fn sane_ask(ask: &Ask) -> bool {
    match ask {
        Ask::Prepare { ballot, .. } => ballot.well_formed(),
        Ask::Accept { ballot, entry, .. } => ballot.well_formed() && sane_token(entry.token()),
        Ask::Query { .. } => true,
    }
}

fn sane_answer(answer: &Answer) -> bool {
    match answer {
        Answer::Promise { ballot, accepted, floor } => {
            ballot.well_formed() && floor.well_formed() && sane_accepted(accepted.as_ref())
        }
        Answer::NotPromised { ballot, counter } | Answer::NotAccepted { ballot, counter } => {
            ballot.well_formed() && *counter < COUNTER_END
        }
        Answer::Full { ballot } | Answer::Accepted { ballot } => ballot.well_formed(),
        Answer::Has { accepted, .. } => sane_accepted(accepted.as_ref()),
        Answer::Joining => true,
    }
}

impl Message {
    /// Whether every counter in the message is one that may exist (protocol, section 1).
    #[must_use]
    pub fn well_formed(&self) -> bool {
        let body = match &self.body {
            Body::Ask { ask, .. } => sane_ask(ask),
            Body::Answer { answer, .. } => sane_answer(answer),
            Body::Tell(Tell::Abort { ballot, .. } | Tell::Forget { ballot, .. }) => {
                ballot.well_formed()
            }
            Body::Tell(Tell::Settle { token, .. }) => sane_token(*token),
            Body::Relay(Relay::Answered { name, outcome }) => {
                name.well_formed() && sane_outcome(outcome)
            }
            Body::Relay(Relay::Forward { name, .. } | Relay::Cancel { name }) => name.well_formed(),
            Body::Snapshot(Snapshot::Ask { nonce, .. }) => nonce.well_formed(),
            Body::Snapshot(Snapshot::Part { nonce, copies, floor, .. }) => {
                nonce.well_formed() && floor.well_formed() && copies.iter().all(sane_copied)
            }
            Body::Feed(Feed::Batch { facts, .. }) => facts.iter().all(sane_copied),
            Body::Feed(Feed::Got { .. }) => true,
            Body::Change(change) => sane_change(change),
            Body::Found(_) | Body::Standing(_) => true,
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
    use crate::view::{Cursor, Notice, Turn, Waiter, Waiting, Wants};
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
        let watch = ClientItem::Watch { call: 3, prefix: "a/".into() };
        for item in [list, who, watch] {
            assert_eq!(back(&item), Ok(Some(item.clone())));
        }
        let page = |token| {
            let holders = Vec::from([("k".into(), holder(1)), ("l".into(), holder(token))]);
            NodeItem::Page { call: 1, page: Some(Page { holders, next: Some(cursor) }) }
        };
        let notice = |token| {
            let turn = Turn::Held(Some(holder(1)));
            let notice = Notice { key: "k".into(), token: Token(token), turn };
            NodeItem::Notice { call: 3, notice }
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
            NodeItem::Watching { call: 3 },
            notice(COUNTER_END - 1),
            NodeItem::Lagged { call: 3 },
        ];
        for item in items {
            assert_eq!(back(&item), Ok(Some(item.clone())));
        }
        assert_eq!(back(&page(COUNTER_END)), Err(Malformed::Sense));
        assert_eq!(back(&notice(COUNTER_END)), Err(Malformed::Sense));
    }
}
