//! What nodes say to each other.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::ballot::{Ballot, Token};
use crate::bytes::Key;
use crate::entry::Entry;
use crate::members::{ClusterId, Config, Epoch};
use crate::request::{KeyRequest, Outcome, Standing};
use crate::time::Span;

/// One message between two nodes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Message {
    /// The sender's epoch; zero before it knows one.
    pub epoch: Epoch,
    /// The highest counter the sender has seen.
    pub counter: u64,
    /// What it says.
    pub body: Body,
}

impl Message {
    /// The key that the receiver will look up for this: for [`Node::foresee`](crate::Node::foresee).
    #[must_use]
    pub const fn looks_up(&self) -> Option<&Key> {
        match &self.body {
            Body::Ask {
                ask: Ask::Prepare { key, .. } | Ask::Accept { key, .. } | Ask::Query { key, .. },
                ..
            } => Some(key),
            Body::Relay(Relay::Forward { request, .. }) => Some(&request.key),
            Body::Relay(Relay::Cancel { .. } | Relay::Answered { .. })
            | Body::Answer { .. }
            | Body::Tell(_)
            | Body::Found(_)
            | Body::Standing(_)
            | Body::Snapshot(_)
            | Body::Change(_)
            | Body::Feed(_) => None,
        }
    }
}

/// The kinds of messages.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Body {
    /// A coordinator asks a master.
    Ask {
        /// The asker's number for this round, which the answer repeats. A ballot alone would not tell: it belongs to
        /// one key, and another key's round may have come to the same counter by way of [`Ballot::next`].
        round: u64,
        /// The question.
        ask: Ask,
    },
    /// A master answers a coordinator.
    Answer {
        /// The round that asked.
        round: u64,
        /// The answer.
        answer: Answer,
    },
    /// A coordinator tells a master, and wants no answer.
    Tell(Tell),
    /// Requests on their way to a key's home, and back.
    Relay(Relay),
    /// The founding of a cluster.
    Found(Found),
    /// How the sender is, every second and whenever it changes.
    Standing(Presence),
    /// Copies of what masters keep, for one that lost it or never had it.
    Snapshot(Snapshot),
    /// The next configuration.
    Change(Change),
    /// Chosen changes, for replicas.
    Feed(Feed),
}

/// Questions of a coordinator to a master.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Ask {
    /// Promise this ballot, and say what you have accepted.
    Prepare {
        /// The register.
        key: Key,
        /// The coordinator's turn.
        ballot: Ballot,
    },
    /// Accept this, if your promise is exactly this ballot.
    Accept {
        /// The register.
        key: Key,
        /// The coordinator's turn.
        ballot: Ballot,
        /// What to accept.
        entry: Entry,
        /// How long to keep a held entry, delay included.
        keep: Span,
    },
    /// Say what you have accepted.
    Query {
        /// The register.
        key: Key,
        /// Tells the asker's boots apart.
        boot: u64,
    },
}

/// Answers of a master.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Answer {
    /// Promised.
    Promise {
        /// What was promised.
        ballot: Ballot,
        /// What was accepted before.
        accepted: Option<Accepted>,
        /// No key without a record was promised more than this.
        floor: Ballot,
    },
    /// Not promised: a higher ballot was.
    NotPromised {
        /// What was asked for.
        ballot: Ballot,
        /// The counter that was promised instead.
        counter: u64,
    },
    /// Not promised: no room for another key.
    Full {
        /// What was asked for.
        ballot: Ballot,
    },
    /// Accepted.
    Accepted {
        /// What was accepted.
        ballot: Ballot,
    },
    /// Not accepted: the promise is another one, closed, or too old.
    NotAccepted {
        /// What was asked for.
        ballot: Ballot,
        /// The counter of the promise.
        counter: u64,
    },
    /// The answer to a query.
    Has {
        /// The asker's boot.
        boot: u64,
        /// What was accepted.
        accepted: Option<Accepted>,
    },
    /// This master does not vote yet.
    Joining,
}

/// What a master has accepted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Accepted {
    /// The turn in which it was written.
    pub ballot: Ballot,
    /// What was written.
    pub entry: Entry,
    /// How much longer the master keeps a held entry; zero if it is dead, or free.
    pub remaining: Span,
}

/// Orders that want no answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Tell {
    /// The vote at this ballot ends without a write: close the promise.
    Abort {
        /// The register.
        key: Key,
        /// The turn that ends.
        ballot: Ballot,
    },
    /// All masters accepted `Free` at this ballot: drop the record.
    Forget {
        /// The register.
        key: Key,
        /// The ballot all accepted.
        ballot: Ballot,
    },
    /// Please settle this key, which this master keeps though nobody holds it.
    Settle {
        /// The register.
        key: Key,
        /// The ownership that ended.
        token: Token,
    },
}

/// A heartbeat: how its sender is, and how its clock runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Presence {
    /// Whether it votes, learns, or does not know yet.
    pub standing: Standing,
    /// Tells its boots apart.
    pub boot: u64,
    /// How long it has been running since that boot, by its own clock.
    pub elapsed: Span,
}

/// A request of another node's client. Each is named by a ballot that its sender drew for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Relay {
    /// Coordinate this for me.
    Forward {
        /// The sender's name for it.
        name: Ballot,
        /// The boot of the receiver that is meant. Another boot knows nothing of the names that were taken.
        boot: u64,
        /// How long the receiver had been running at least when this was sent, by its own clock: what it last said of
        /// itself, and the time since. The difference to its clock bounds how long this was on its way.
        sent_at: Span,
        /// The request.
        request: KeyRequest,
    },
    /// Nobody waits for this any more.
    Cancel {
        /// The sender's name for it.
        name: Ballot,
    },
    /// The answer to a forwarded request.
    Answered {
        /// The receiver's name for it.
        name: Ballot,
        /// The answer.
        outcome: Outcome,
    },
}

/// The founding of a cluster (protocol, section 8.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Found {
    /// First step: store this identity and configuration, unless you were ever active.
    Store {
        /// The new cluster.
        cluster: ClusterId,
        /// Its first configuration.
        config: Config,
        /// Whether the sender is active in this cluster: then it is the one, whatever else was stored.
        active: bool,
    },
    /// Stored and on disk.
    Stored {
        /// The cluster that was stored.
        cluster: ClusterId,
    },
    /// Something else is stored here.
    Holds {
        /// The cluster that is stored here.
        cluster: ClusterId,
        /// Its configuration.
        config: Config,
        /// Whether this node was ever active in it.
        active: bool,
    },
    /// Second step: all have stored this cluster, become active.
    Activate {
        /// The cluster.
        cluster: ClusterId,
    },
    /// Active, and on disk.
    Activated {
        /// The cluster.
        cluster: ClusterId,
    },
}

/// Copies of what a master keeps (protocol, sections 8.2 and 9).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Snapshot {
    /// Send me the part that starts here.
    Ask {
        /// The attempt this belongs to, named by a ballot that the asker drew for it.
        nonce: Ballot,
        /// Where the part starts: zero, or what the part before said.
        cursor: u32,
    },
    /// A part.
    Part {
        /// The attempt it was asked for in.
        nonce: Ballot,
        /// Where it starts.
        cursor: u32,
        /// Tells the sender's boots apart.
        boot: u64,
        /// What the sender's word is worth.
        source: Source,
        /// What it keeps.
        copies: Vec<Copied>,
        /// No key that the parts so far leave out was promised more than this. The last part's counts.
        floor: Ballot,
        /// Where the next part starts; none after the last.
        next: Option<u32>,
    },
}

/// What a snapshot's sender is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Source {
    /// A master that votes in this epoch.
    Active,
    /// A master of the epoch before that lost no vote of it and will not vote in it again.
    Fenced,
}

/// A record in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Copied {
    /// The register.
    pub key: Key,
    /// What was promised.
    pub promised: Ballot,
    /// What was accepted.
    pub accepted: Accepted,
}

/// Single-decree Paxos on the configuration of the next epoch (protocol, section 9).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Change {
    /// Promise this ballot.
    Prepare {
        /// The proposer's turn.
        ballot: Ballot,
    },
    /// Promised, and on disk.
    Promise {
        /// What was promised.
        ballot: Ballot,
        /// What was accepted before.
        accepted: Option<(Ballot, Config)>,
    },
    /// A higher ballot was promised.
    Refused {
        /// What was asked for.
        ballot: Ballot,
        /// The counter that was promised instead.
        counter: u64,
    },
    /// Accept this configuration.
    Accept {
        /// The proposer's turn.
        ballot: Ballot,
        /// The configuration.
        config: Config,
    },
    /// Accepted, and on disk.
    Accepted {
        /// What was accepted.
        ballot: Ballot,
    },
    /// This configuration was chosen.
    Adopt {
        /// The cluster it is of.
        cluster: ClusterId,
        /// The configuration.
        config: Config,
    },
}

/// Chosen changes on their way to replicas (protocol, section 10).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Feed {
    /// The sender's changes since its last batch; none from an idle sender, which repeats its last number.
    Batch {
        /// Tells the sender's boots apart.
        boot: u64,
        /// Counts the sender's batches that were not empty.
        number: u64,
        /// What was chosen.
        facts: Vec<Copied>,
    },
    /// All up to this batch has arrived.
    Got {
        /// The boot it was of.
        boot: u64,
        /// Its number.
        number: u64,
    },
}
