//! What a node shows of itself without asking anybody: pages of a listing, who waits for a key, what changes,
//! how it hears its peers.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::ballot::Token;
use crate::bytes::{Bytes, Key};
use crate::request::Holder;
use crate::time::Span;

/// How far a listing is: a place in one node's records. It means nothing to another node, nor to this one after its
/// next start or once it has taken over other records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cursor {
    /// Which records; zero at the start of a listing.
    pub records: u64,
    /// The place to go on from.
    pub place: u32,
}

impl Cursor {
    /// Where every listing starts.
    pub const START: Self = Self { records: 0, place: 0 };
}

/// A page of a listing, as this node's own records stand here and now: they may be stale, or not agreed.
///
/// A key that is held by one owner during the whole listing is in exactly one of its pages. One that is acquired or
/// given up meanwhile may be in none, in one or in more. The order says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Page {
    /// Held keys and who holds them. May be empty although there are more.
    pub holders: Vec<(Key, Holder)>,
    /// Where the next page starts; none after the last.
    pub next: Option<Cursor>,
}

/// Who waits for a key at one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Waiting {
    /// How many wait.
    pub all: u64,
    /// The first of them, as many as were asked for and fit: locks in the order in which they will be served, then waits
    /// in the order in which they came.
    pub first: Vec<Waiter>,
}

/// Somebody who waits for a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Waiter {
    /// What for.
    pub wants: Wants,
    /// What a lock would write; empty for other waits.
    pub value: Bytes,
    /// How the owner to be describes itself; empty for other waits.
    pub meta: Bytes,
    /// How long it has been waiting at this node.
    pub age: Span,
    /// How much longer it is ready to.
    pub left: Span,
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Wants {
    /// To acquire the key.
    Lock,
    /// That the key is held, as far as this node knows.
    Held,
    /// That the key is released, as far as this node knows.
    Released,
}

/// How a node hears a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Heard {
    /// How long ago something came from it.
    pub ago: Span,
    /// How much faster its clock ran over about the last minute than the clock of this node, in parts per million;
    /// negative for slower. None while that is not known.
    pub clock_ppm: Option<i32>,
}

/// A change in a node's own records, as it happened there: another node may see another order, or not see it at all.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Notice {
    /// The key.
    pub key: Key,
    /// The ownership that changed.
    pub token: Token,
    /// What became of it.
    pub turn: Turn,
}

/// What became of an ownership.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Turn {
    /// It was acquired, extended or updated. With the holder, unless the key has gone to somebody else meanwhile.
    Held(Option<Holder>),
    /// It was given up, or settled after it died.
    Released,
    /// Its lease ended by itself.
    Expired,
}

/// Something that went wrong at a node, as its log has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Trouble {
    /// How long ago.
    pub ago: Span,
    /// What, in words for people.
    pub words: String,
}
