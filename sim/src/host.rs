//! A machine with a node on it: its clock, its disk, what waits in front of a paused process, and the driver's books
//! about tickets.

use std::collections::VecDeque;

use leasehold_core::{
    Boot, Input, Instant, Key, Mark, Node, NodeFile, NodeId, Settings, Span, Ticket, Token,
};

use crate::check::Violation;
use crate::clock::Clock;
use crate::dice::{Dice, Stream};
use crate::history::OpIndex;

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// The operator, who founds the cluster.
    Operator,
    /// The operator, who changes the members.
    Change {
        /// The place of the request among the operator's.
        asked: usize,
    },
    /// A client, with its name for the sending.
    Client {
        /// The client's number.
        client: usize,
        /// Its name for the sending.
        call: u64,
        /// The place of the sending in the history.
        op: OpIndex,
    },
}

/// A request that a node was asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// By whom.
    pub asker: Asker,
    /// How long the asker waits at most.
    pub patience: Option<Span>,
    /// When the node took it, by its own clock.
    pub taken: Option<Instant>,
    /// Whether it was answered.
    pub answered: bool,
}

impl Asked {
    /// Whether its asker does not wait any more when the node's clock reads `now`.
    fn is_late(&self, now: Instant) -> bool {
        let (Some(taken), Some(patience)) = (self.taken, self.patience) else { return false };
        now.since(taken) > patience.plus(LATENESS)
    }
}

/// How much later than its asker's patience an answer may come, by the clock of the node: its timers go off up to a
/// tick of 1,024 µs late.
const LATENESS: Span = Span::from_micros(1_100);

/// How wrong the wall clock may be that a boot finds.
#[derive(Clone, Copy, Debug)]
pub struct Wall {
    /// By so many microseconds.
    pub error: u64,
    /// Whether it may have started in 1970.
    pub dead: bool,
}

/// A machine with a node.
#[derive(Debug)]
pub struct Host {
    /// The node's incarnation.
    pub id: NodeId,
    /// The node, unless it is down.
    pub node: Option<Node>,
    /// The machine's clock.
    pub clock: Clock,
    /// Boots so far.
    pub boots: u64,
    /// What is on disk.
    pub durable: NodeFile,
    /// What is on its way to the disk: the first is being written, the others wait.
    pub writing: VecDeque<(Mark, Box<NodeFile>)>,
    /// Files written so far.
    pub writes: u64,
    /// Whether the process stands still.
    pub paused: bool,
    /// What queues meanwhile, with the true time at which it was sent.
    pub inbox: Vec<(u64, Input)>,
    /// The clock's reading at the boot.
    pub booted: Instant,
    /// The keys whose records the last input changed, if it let a request time out.
    pub changed: Vec<Key>,
    /// The clock's reading at the last input, and at the one before.
    pub last: Instant,
    /// See `last`.
    pub before: Instant,
    /// When the node wants to see the time, as it said after its last input.
    pub due: Option<Instant>,
    /// The true time of the next tick that is in the queue, and what was due then by the machine's own clock.
    pub wake: Option<(u64, Instant)>,
    /// Requests of this boot; a ticket is a place in here.
    pub asked: Vec<Asked>,
    /// What the node was last told about each link.
    pub told: Vec<Option<NodeId>>,
    /// Whether it is a replica, as far as it said.
    pub learns: bool,
    /// Handoffs that this boot has split so far.
    pub split: u64,
    /// Tokens of leases that ended by themselves here, and were not settled yet.
    pub dead: Vec<Token>,
    /// The incarnations whose files were lost.
    pub past: Vec<NodeId>,
    /// The first requests of `asked` that all are answered.
    settled: usize,
}

impl Host {
    /// A machine on which nothing runs yet.
    #[must_use]
    pub fn new(file: NodeFile, clock: Clock, nodes: usize) -> Self {
        Self {
            id: file.id,
            node: None,
            clock,
            boots: 0,
            durable: file,
            writing: VecDeque::new(),
            writes: 0,
            paused: false,
            inbox: Vec::new(),
            booted: Instant::default(),
            changed: Vec::new(),
            last: Instant::default(),
            before: Instant::default(),
            due: None,
            wake: None,
            asked: Vec::new(),
            told: vec![None; nodes],
            learns: false,
            split: 0,
            dead: Vec::new(),
            past: Vec::new(),
            settled: 0,
        }
    }

    /// Starts the node with what is on disk, and the wall clock that it finds.
    pub fn boot(&mut self, number: usize, time: u64, settings: Settings, dice: Dice, wall: Wall) {
        self.boots += 1;
        let mut roll = dice.roll(Stream::Boot(number), self.boots);
        // 14 November 2023, give or take.
        let error = wall.error;
        let wall_clock = 1_700_000_000_000_000 + time + roll.below(2 * error) - error;
        let dead = wall.dead && dice.roll(Stream::Boot(number), self.boots << 32).one_in(2);
        let wall_clock = if dead { time } else { wall_clock };
        self.clock.restart(time, roll.magnitude(1_000, 1 << 40));
        self.last = self.clock.read(time);
        self.booted = self.last;
        self.before = self.last;
        let proposer = roll.bits();
        let seed = (roll.bits(), roll.bits());
        let boot = Boot { wall_clock, proposer, seed, file: self.durable.clone() };
        self.node = Some(Node::new(settings, boot, self.last));
        self.told.fill(None);
    }

    /// The process dies. Of the writes under way the disk keeps the first `kept`.
    pub fn crash(&mut self, kept: usize) -> usize {
        self.writing.truncate(kept);
        if let Some((_, file)) = self.writing.drain(..).next_back() {
            self.durable = *file;
        }
        self.node = None;
        self.split = 0;
        self.inbox.clear();
        self.dead.clear();
        (self.due, self.wake) = (None, None);
        let open = self.asked.iter().filter(|asked| !asked.answered).count();
        self.asked.clear();
        self.settled = 0;
        open
    }

    /// The disk loses the file; there is a new one, of incarnation `id`.
    pub fn lose(&mut self, id: NodeId) {
        self.past.push(self.id);
        self.id = id;
        self.durable = NodeFile::new(self.durable.name.clone(), id);
    }

    /// When the node wants to see the time, if it runs.
    pub fn deadline(&self) -> Option<Instant> {
        self.node.as_ref()?.deadline()
    }

    /// A new ticket.
    pub fn ask(&mut self, asker: Asker, patience: Option<Span>) -> Ticket {
        self.asked.push(Asked { asker, patience, taken: None, answered: false });
        Ticket(crate::dice::wide(self.asked.len() - 1))
    }

    fn asked(&mut self, ticket: Ticket) -> Option<&mut Asked> {
        self.asked.get_mut(usize::try_from(ticket.0).ok()?)
    }

    /// The node takes the request of `ticket` at `now`.
    pub fn take(&mut self, ticket: Ticket, now: Instant) {
        if let Some(asked) = self.asked(ticket) {
            asked.taken = Some(now);
        }
    }

    /// The node answers `ticket`: who asked?
    ///
    /// # Errors
    ///
    /// If nobody did, the answer is not the first, or an earlier input should have brought it.
    pub fn answer(&mut self, ticket: Ticket) -> Result<Asker, Violation> {
        // A node that stood still answers with the first input after that.
        let (id, last) = (self.id, self.before);
        let wrong = |story| Violation { rule: "one answer each", story };
        let Some(asked) = self.asked(ticket) else {
            return Err(wrong(format!("{id:?} answered {ticket:?}, which nobody asked")));
        };
        if asked.answered {
            return Err(wrong(format!("{id:?} answered {ticket:?} of {:?} twice", asked.asker)));
        }
        asked.answered = true;
        let (asker, late) = (asked.asker, asked.is_late(last));
        if late {
            let story =
                format!("{id:?} answered {ticket:?} of {asker:?} too late: it was {last:?} before");
            return Err(Violation { rule: "answers in time", story });
        }
        Ok(asker)
    }

    /// The first request that should have been answered by the last input, and was not.
    pub fn overdue(&mut self) -> Option<Violation> {
        while self.asked.get(self.settled).is_some_and(|asked| asked.answered) {
            self.settled += 1;
        }
        let last = self.last;
        let mut open = self.asked.get(self.settled..)?.iter().filter(|asked| !asked.answered);
        let asked = open.find(|asked| asked.is_late(last))?;
        let story = format!("{:?} still owes an answer: {asked:?}, and it is {last:?}", self.id);
        Some(Violation { rule: "answers in time", story })
    }
}
