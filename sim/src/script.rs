//! A run written out: what clients do and when, and what becomes of single messages, as data instead of dice.
//!
//! A seed's clients decide while the run goes on, so that nothing can be taken out of it without changing all that follows. A
//! script is what they turned out to do, at true times: each operation can be left out, moved or edited by hand, and the
//! others stay where they are. The same holds for messages: instead of "one in a hundred is lost" it says which.

use crate::fault::Nodes;

/// Whom an operation takes for the owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    /// The token of the lock that the operation belongs to.
    pub token: bool,
    /// What the key holds.
    pub value: Option<String>,
}

/// What an operation does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Acquires the key. Later operations name it.
    Lock {
        /// What the script calls this acquisition.
        name: String,
        /// What the key shall hold.
        value: String,
        /// For how long, in microseconds.
        lease: u64,
        /// For how long nobody else gets the key after the lease ended by itself.
        delay: u64,
        /// How long to queue for the key; zero tries once.
        wait: u64,
    },
    /// Keeps the key longer.
    Extend {
        /// The lock it belongs to.
        of: String,
        /// The expected owner.
        by: By,
        /// For how long.
        lease: u64,
    },
    /// Changes the value.
    Update {
        /// The lock it belongs to.
        of: String,
        /// The expected owner.
        by: By,
        /// The new value.
        value: String,
    },
    /// Gives the key up.
    Release {
        /// The lock it belongs to.
        of: String,
        /// The expected owner.
        by: By,
    },
    /// Reads by quorum.
    Read,
    /// Waits until the key is held, as far as the node knows.
    WaitHeld,
    /// Waits until the key is free, as far as the node knows.
    WaitReleased,
}

impl What {
    /// The lock that this acquires or belongs to.
    #[must_use]
    pub fn lock(&self) -> Option<&str> {
        match self {
            Self::Lock { name, .. } => Some(name),
            Self::Extend { of, .. } | Self::Update { of, .. } | Self::Release { of, .. } => {
                Some(of)
            }
            Self::Read | Self::WaitHeld | Self::WaitReleased => None,
        }
    }
}

/// One sending of an operation after the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again {
    /// True time, in microseconds.
    pub at: u64,
    /// The node's number.
    pub to: usize,
    /// How long the caller waits for the answer.
    pub patience: u64,
}

/// One operation of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// True time of the first sending, in microseconds.
    pub at: u64,
    /// The client's number.
    pub client: usize,
    /// The key's number.
    pub key: usize,
    /// What it does.
    pub what: What,
    /// The node that it is sent to first.
    pub to: usize,
    /// How long the caller waits for the answer.
    pub patience: u64,
    /// Later sendings, by time.
    pub again: Vec<Again>,
    /// When the client tells the nodes that it does not wait any more.
    pub cancel: Option<u64>,
    /// When the client stops waiting without telling anybody. It stops in any case when it begins something else.
    pub gives_up: Option<u64>,
}

/// What becomes of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    /// Who sends it: nodes first, then clients.
    pub from: usize,
    /// Who is to get it.
    pub to: usize,
    /// Which kind of message.
    pub kind: String,
    /// The how many-th of this kind from the one to the other, from 1 on.
    pub number: u64,
    /// How long it takes; `None` if it is lost.
    pub takes: Option<u64>,
    /// How long a second copy takes.
    pub copy: Option<u64>,
}

/// Everything about a run that is written out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// What clients do, by time.
    pub operations: Vec<Operation>,
    /// Messages that do not simply arrive.
    pub fates: Vec<Fate>,
    /// Rates of clocks, in parts per million beside true time, nodes first, then clients. `None` wanders.
    pub clocks: Vec<Option<i64>>,
    /// The run ends here, and is judged; without it, it goes on until everything has worked again and is forgotten.
    pub end: Option<u64>,
}

/// Which nodes shall vote, and which only learn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Those that vote.
    pub masters: Nodes,
    /// Those that only learn.
    pub replicas: Nodes,
}

/// A step of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// Operation `.0` begins.
    Begin(usize),
    /// Operation `.0` is sent again, for the `.1`-th time.
    Again(usize, usize),
    /// Operation `.0` is cancelled.
    Cancel(usize),
    /// Operation `.0` is given up.
    GiveUp(usize),
}

impl Script {
    /// Every move of every client, with its time.
    pub fn moves(&self) -> impl Iterator<Item = (u64, usize, Move)> {
        self.operations.iter().enumerate().flat_map(|(number, operation)| {
            let client = operation.client;
            let again = operation.again.iter().enumerate();
            let again = again.map(move |(time, again)| (again.at, Move::Again(number, time)));
            let cancel = operation.cancel.map(|at| (at, Move::Cancel(number)));
            let gives_up = operation.gives_up.map(|at| (at, Move::GiveUp(number)));
            std::iter::once((operation.at, Move::Begin(number)))
                .chain(again)
                .chain(cancel)
                .chain(gives_up)
                .map(move |(at, step)| (at, client, step))
        })
    }
}
