//! Messages and requests to bytes and back.
//!
//! A *frame* is a little-endian `u32` length, a format byte, and that many bytes less one of *items*, postcard
//! encoded, one after the other until the frame ends. The length is checked against the receiver's limit before
//! anything is allocated, and every length and count inside against the bytes that are really there. What
//! decodes is then checked for sense ([`Message::well_formed`]), so that nothing behind this module sees a counter
//! out of range.
//!
//! Both ends first say which protocol versions they speak ([`Versions`]); everything after the hello is of the
//! highest version that both know.

mod sense;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::ballot::COUNTER_END;
use crate::bytes::{Bytes, Key};
use crate::hash;
use crate::mail::{Address, Delivery, Parcel};
use crate::members::{Amendment, ClusterId, Epoch, Member, NodeFile, NodeId};
use crate::message::Message;
use crate::request::{Holder, KeyRequest, Outcome, Peer, Status};
use crate::settings::{Limits, Timing};
use crate::time::Span;
use crate::view::{Cursor, Notice, Page, Waiting};

pub use sense::Item;

/// The format byte of every frame.
pub const FORMAT: u8 = 1;
/// Bytes of a frame before its items: the length and the format.
pub const HEADER: usize = 5;
/// The largest frame, header excluded, that anybody sends or takes.
pub const MAX_FRAME: usize = 1 << 20;

/// The protocol versions that this build speaks.
pub const VERSIONS: Versions = Versions { oldest: 1, newest: 1 };

/// A range of protocol versions, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Versions {
    /// The oldest that is spoken.
    pub oldest: u16,
    /// The newest that is spoken.
    pub newest: u16,
}

impl Versions {
    /// The highest version that both speak.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u16> {
        let newest = self.newest.min(other.newest);
        (newest >= self.oldest.max(other.oldest)).then_some(newest)
    }
}

/// The first item on a link between two nodes, in both directions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PeerHello {
    /// What the sender speaks.
    pub versions: Versions,
    /// The operator's name for the cluster.
    pub cluster_name: String,
    /// The cluster's identity, once `init` gave it one.
    pub cluster: Option<ClusterId>,
    /// The sender as it wants to be known: name, incarnation, addresses.
    pub member: Member,
    /// Drawn at the sender's boot, to tell its boots apart.
    pub boot: u64,
    /// The protocol's constants, which must be equal.
    pub timing: Timing,
}

/// Items between two nodes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PeerItem {
    /// Who the sender is; first, and only once.
    Hello(PeerHello),
    /// The hello was not acceptable, and why, in words for the log. The link is closed.
    Refused(String),
    /// Nothing but a sign of life.
    Beat,
    /// For the core.
    Message(Message),
    /// Mail for a client of the receiver.
    Mail {
        /// The sender's name for it, not used twice.
        mail: u64,
        /// Where to.
        to: Address,
        /// What.
        parcel: Parcel,
    },
    /// What became of mail.
    Receipt {
        /// What its sender called it.
        mail: u64,
        /// What became of it.
        delivery: Delivery,
    },
}

/// The first item of a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClientHello {
    /// What the client speaks.
    pub versions: Versions,
    /// The secret token that tells who the client is, if it has one.
    pub credential: Option<String>,
    /// The client as it wants to be called in logs.
    pub name: String,
}

/// Items of a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ClientItem {
    /// Who the client is; first, and only once.
    Hello(ClientHello),
    /// A request about a key. `call` is the client's name for it, not used twice on a connection.
    Request {
        /// The client's name for the request.
        call: u64,
        /// The request.
        request: KeyRequest,
    },
    /// Nobody waits for the answer any more.
    Cancel {
        /// The client's name for the request.
        call: u64,
    },
    /// Show what this node knows of itself and its peers.
    Status {
        /// The client's name for the request.
        call: u64,
    },
    /// Declare a new cluster.
    Init {
        /// The client's name for the request.
        call: u64,
        /// How long the caller waits for the answer.
        patience: Span,
    },
    /// Nothing but a sign of life; answered with one.
    Beat,
    /// Show what this node's own record of a key says, at once and without asking anybody: it may be stale.
    LocalRead {
        /// The client's name for the request.
        call: u64,
        /// The key.
        key: Key,
    },
    /// Show a page of what is held by this node's own records.
    List {
        /// The client's name for the request.
        call: u64,
        /// What the keys start with.
        prefix: Bytes,
        /// Where the page starts.
        from: Cursor,
        /// How many to show at most.
        most: u32,
    },
    /// Show who waits for a key at this node.
    Waiting {
        /// The client's name for the request.
        call: u64,
        /// The key.
        key: Key,
    },
    /// Let the cluster have other members.
    Amend {
        /// The client's name for the request.
        call: u64,
        /// How long the caller waits for the answer.
        patience: Span,
        /// Which.
        amendment: Amendment,
    },
    /// Tell of every change in this node's own records from now on, until the call is cancelled.
    Watch {
        /// The client's name for the request.
        call: u64,
        /// What the keys start with.
        prefix: Bytes,
    },
    /// Say where this connection's mailboxes are.
    Host {
        /// The client's name for the request.
        call: u64,
    },
    /// Send mail; at most once, so it is never asked for again.
    Post {
        /// The client's name for the request.
        call: u64,
        /// Where to.
        to: Address,
        /// What.
        parcel: Parcel,
    },
    /// What became of mail for this client.
    Receipt {
        /// The node's name for it.
        mail: u64,
        /// What became of it.
        delivery: Delivery,
    },
}

/// The cluster as a node sees it, for clients that send to a key's home directly.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Topology {
    /// The cluster's identity; none before `init`.
    pub cluster: Option<ClusterId>,
    /// The node that says so.
    pub node: NodeId,
    /// The epoch in force.
    pub epoch: Epoch,
    /// The members with their addresses and how they are.
    pub members: Vec<Peer>,
}

/// The answer to a client's hello.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Welcome {
    /// The version that both will speak.
    pub version: u16,
    /// The constants of the cluster.
    pub timing: Timing,
    /// The limits of this node.
    pub limits: Limits,
    /// Who is there.
    pub topology: Topology,
}

/// Items of a node to a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NodeItem {
    /// The hello was acceptable.
    Welcome(Welcome),
    /// It was not, and why, in words for people. The connection is closed.
    Refused(String),
    /// The answer to a request.
    Reply {
        /// The client's name for the request.
        call: u64,
        /// The answer.
        outcome: Outcome,
    },
    /// The answer to a status request.
    Status {
        /// The client's name for the request.
        call: u64,
        /// What the node knows.
        status: Status,
    },
    /// The answer to `init`: these configured masters were not met in time. Nothing was done.
    Unmet {
        /// The client's name for the request.
        call: u64,
        /// The masters' names.
        masters: Vec<String>,
    },
    /// The cluster changed.
    Topology(Topology),
    /// Nothing but a sign of life.
    Beat,
    /// The answer to a local read: who holds the key, as far as this node knows.
    LocalRead {
        /// The client's name for the request.
        call: u64,
        /// The holder.
        holder: Option<Holder>,
    },
    /// A page of a listing.
    Page {
        /// The client's name for the request.
        call: u64,
        /// The page; none if the listing has to start anew, because its cursor is of other records.
        page: Option<Page>,
    },
    /// Who waits for a key at this node.
    Waiting {
        /// The client's name for the request.
        call: u64,
        /// Who.
        waiting: Waiting,
    },
    /// The client may not do this. Nothing was done.
    NotAllowed {
        /// The client's name for the request; none if the client may not even connect. Then the connection is closed.
        call: Option<u64>,
        /// What it lacks, in words for people.
        why: String,
    },
    /// What was asked for makes no sense as things are. Nothing was done.
    Declined {
        /// The client's name for the request.
        call: u64,
        /// How things are, in words for people.
        why: String,
    },
    /// A watch has begun: what changes from here on is told.
    Watching {
        /// The client's name for the request.
        call: u64,
    },
    /// Something changed that is watched.
    Notice {
        /// The client's name for the request.
        call: u64,
        /// What.
        notice: Notice,
    },
    /// The watch is over: the client does not read as fast as things change, or has as many watches as it may. To go on,
    /// watch again and then list.
    Lagged {
        /// The client's name for the request.
        call: u64,
    },
    /// The answer to [`ClientItem::Host`].
    Hosted {
        /// The client's name for the request.
        call: u64,
        /// The address of the connection's mailbox 0; others differ in their number.
        address: Address,
    },
    /// The answer to [`ClientItem::Post`].
    Posted {
        /// The client's name for the request.
        call: u64,
        /// What became of it.
        delivery: Delivery,
    },
    /// Mail for this client, which says what became of it.
    Mail {
        /// The node's name for it.
        mail: u64,
        /// The mailbox.
        number: u64,
        /// What.
        parcel: Parcel,
    },
}

/// Why bytes were not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// The frame is longer than the receiver takes.
    TooLong(usize),
    /// The frame is empty, or of another format.
    Format,
    /// The bytes do not spell an item.
    Item,
    /// The item is spelt right and makes no sense: a counter out of range.
    Sense,
    /// The node file is cut short, changed, or not a node file.
    File,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(length) => {
                write!(f, "a frame of {length} bytes, where at most {MAX_FRAME} are taken")
            }
            Self::Format => f.write_str("a frame of an unknown format"),
            Self::Item => f.write_str("bytes that spell no item"),
            Self::Sense => f.write_str("an item with a counter or time out of range"),
            Self::File => f.write_str("not a whole and unchanged node file"),
        }
    }
}

impl core::error::Error for Malformed {}

/// Builds frames in a buffer that is reused.
#[derive(Debug, Default)]
pub struct Frame {
    bytes: Vec<u8>,
    /// Where the frame that is being built starts.
    start: usize,
}

impl Frame {
    /// Appends `item` to the frame under construction, in a new frame if this one would grow beyond
    /// [`MAX_FRAME`].
    ///
    /// # Errors
    ///
    /// [`Malformed::TooLong`] for an item that does not fit a frame of its own; the buffer is unchanged.
    pub fn push<T: Serialize>(&mut self, item: &T) -> Result<(), Malformed> {
        let before = self.bytes.len();
        if before == self.start {
            self.open();
        }
        let item_start = self.bytes.len();
        // Serialization into a growing vector fails for no type of this module.
        let Ok(mut bytes) = postcard::to_extend(item, core::mem::take(&mut self.bytes)) else {
            return Err(Malformed::Item);
        };
        let item_len = bytes.len() - item_start;
        if item_len >= MAX_FRAME {
            bytes.truncate(before);
            self.bytes = bytes;
            return Err(Malformed::TooLong(item_len));
        }
        self.bytes = bytes;
        if self.bytes.len() - self.start - 4 > MAX_FRAME {
            // Close the frame before this item and move the item into the next.
            let item: Vec<u8> = self.bytes.split_off(item_start);
            self.close();
            self.open();
            self.bytes.extend_from_slice(&item);
        }
        Ok(())
    }

    fn open(&mut self) {
        self.start = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0, 0, 0, FORMAT]);
    }

    fn close(&mut self) {
        let length = u32::try_from(self.bytes.len() - self.start - 4).unwrap_or(u32::MAX);
        if let Some(header) = self.bytes.get_mut(self.start..self.start + 4) {
            header.copy_from_slice(&length.to_le_bytes());
        }
        self.start = self.bytes.len();
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes to send, headers included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The finished frames; the buffer starts anew.
    pub fn take(&mut self) -> Vec<u8> {
        self.swap(Vec::new())
    }

    /// The finished frames; the buffer starts anew in the memory of `spare`, whose contents are dropped.
    pub fn swap(&mut self, mut spare: Vec<u8>) -> Vec<u8> {
        if self.bytes.len() > self.start {
            self.close();
        }
        self.start = 0;
        spare.clear();
        core::mem::replace(&mut self.bytes, spare)
    }
}

/// Splits the first whole frame off `bytes`: its items, and how many bytes it took. `None` if more must be read.
///
/// # Errors
///
/// [`Malformed::TooLong`] as soon as the length is read, [`Malformed::Format`] for an unknown format.
pub fn split_frame(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, Malformed> {
    let Some((header, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let length = usize::try_from(u32::from_le_bytes(*header)).unwrap_or(usize::MAX);
    if length > MAX_FRAME {
        return Err(Malformed::TooLong(length));
    }
    if length == 0 {
        return Err(Malformed::Format);
    }
    let Some(frame) = rest.get(..length) else { return Ok(None) };
    match frame.split_first() {
        Some((&FORMAT, items)) => Ok(Some((items, 4 + length))),
        _ => Err(Malformed::Format),
    }
}

/// Takes the first item off the items of a frame. `None` at their end.
///
/// # Errors
///
/// [`Malformed::Item`] for bytes that spell none, [`Malformed::Sense`] for one that makes none.
pub fn take_item<T: Item>(items: &mut &[u8]) -> Result<Option<T>, Malformed> {
    if items.is_empty() {
        return Ok(None);
    }
    let (item, rest) = postcard::take_from_bytes::<T>(items).map_err(|_| Malformed::Item)?;
    *items = rest;
    if item.well_formed() { Ok(Some(item)) } else { Err(Malformed::Sense) }
}

/// What a node file starts with.
const FILE_MAGIC: &[u8; 8] = b"LEASEHD1";

/// The bytes of a node file: a mark of what it is, a checksum, and the contents.
#[must_use]
pub fn encode_file(file: &NodeFile) -> Vec<u8> {
    // Serialization into a growing vector does not fail; an empty body would not decode.
    let body = postcard::to_allocvec(file).unwrap_or_default();
    let mut bytes = Vec::with_capacity(16 + body.len());
    bytes.extend_from_slice(FILE_MAGIC);
    bytes.extend_from_slice(&hash::keyed((0, 0), &[&body]).to_le_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

/// The node file of these bytes.
///
/// # Errors
///
/// [`Malformed::File`] if they are not exactly what [`encode_file`] made.
pub fn decode_file(bytes: &[u8]) -> Result<NodeFile, Malformed> {
    let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(Malformed::File)?;
    let (sum, body) = rest.split_first_chunk::<8>().ok_or(Malformed::File)?;
    if magic != FILE_MAGIC || hash::keyed((0, 0), &[body]).to_le_bytes() != *sum {
        return Err(Malformed::File);
    }
    match postcard::take_from_bytes::<NodeFile>(body) {
        Ok((file, [])) if file.ceiling < COUNTER_END => Ok(file),
        _ => Err(Malformed::File),
    }
}
