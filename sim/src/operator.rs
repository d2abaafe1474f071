//! The operator: founds the cluster, and changes its members (protocol, sections 8.1 and 9).
//!
//! A change is asked for again and again, at one node or another, until it is complete, given up, or overtaken by the
//! quiet time. Changes overlap. After the quiet time the operator wants one last configuration, and must get it.
//!
//! A node whose file is lost comes back as a stranger. The cluster survives that of a minority of the masters only,
//! so files are lost only as long as every configuration that may still come to count keeps a quorum of its masters.

use leasehold_core::{Config, Epoch, Member, NodeId, Outcome, Refusal, Request, Span, Standing};

use crate::dice::{Dice, Stream, wide};
use crate::fault::Nodes;
use crate::host::Asker;
use crate::marks::Mark;
use crate::scenario::{MS, Profile, SECOND};
use crate::script::Wish;
use crate::world::{Happening, World, member};

/// How long it takes until all members, and not just a quorum, have come along.
const SETTLES: u64 = 2 * SECOND;

/// Something the operator changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// True time, in microseconds, at which it is asked for first.
    pub at: u64,
    /// What is to change.
    pub kind: Kind,
    /// After this the operator loses interest.
    pub until: u64,
}

/// What can change about the members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A new replica.
    AddReplica,
    /// A new master.
    AddMaster,
    /// A replica becomes a master.
    Promote,
    /// A master becomes a replica.
    Demote,
    /// A master leaves.
    RemoveMaster,
    /// A replica leaves.
    RemoveReplica,
    /// A node takes a master's place.
    ReplaceOne,
    /// Other nodes take the place of all masters.
    ReplaceAll,
    /// The same nodes, whatever their incarnations.
    Repair,
    /// Anything.
    Shuffle,
    /// What a script says.
    Exactly(Wish),
}

/// The operator's changes, ordered by their time.
#[must_use]
pub fn draw(dice: Dice, possible: bool, profile: Profile, quiet: u64) -> Vec<Change> {
    let mut roll = dice.roll(Stream::Change, 0);
    let eager = profile == Profile::Reconfigure;
    let count = if possible { roll.below(if eager { 7 } else { 3 }) + u64::from(eager) } else { 0 };
    let weights = [
        (4, Kind::AddReplica),
        (4, Kind::AddMaster),
        (4, Kind::Promote),
        (4, Kind::Demote),
        (3, Kind::RemoveMaster),
        (2, Kind::RemoveReplica),
        (5, Kind::ReplaceOne),
        (4, Kind::ReplaceAll),
        (3, Kind::Repair),
        (4, Kind::Shuffle),
    ];
    let one_by_one = roll.one_in(5);
    let gap = roll.magnitude(20 * MS, 2 * SECOND);
    let first = roll.between(300 * MS, quiet / 2);
    let mut changes: Vec<Change> = (0..count)
        .map(|number| {
            let mut roll = dice.roll(Stream::Change, 100 + number);
            let (at, kind) = if one_by_one {
                (first + number * gap, Kind::ReplaceOne)
            } else {
                let kind = roll.weighted(&weights).unwrap_or(Kind::Repair);
                (roll.between(200 * MS, quiet * 9 / 10), kind)
            };
            let until = at + roll.magnitude(100 * MS, 10 * SECOND);
            Change { at: at.min(quiet), kind, until: until.min(quiet) }
        })
        .collect();
    changes.sort_by_key(|change| change.at);
    changes
}

/// A change under way, as far as the operator knows.
#[derive(Debug)]
struct Campaign {
    wish: Wish,
    until: u64,
    done: bool,
}

/// What a node was asked for once.
#[derive(Debug)]
struct Asked {
    campaign: usize,
    /// The newest epoch anywhere when it was asked for, or answered.
    epoch: Epoch,
    masters: Vec<NodeId>,
    /// The node and its boot, until the answer.
    open: Option<(usize, u64)>,
}

/// What the operator remembers.
#[derive(Debug)]
pub struct Operator {
    wish: Wish,
    campaigns: Vec<Campaign>,
    asked: Vec<Asked>,
    attempts: u64,
    /// Whether any node lost its file.
    lost: bool,
    last: Option<usize>,
    /// When a change was last done.
    done_at: u64,
}

impl Operator {
    /// An operator who has founded a cluster of so many masters and replicas, numbered from zero.
    #[must_use]
    pub fn new(masters: usize, replicas: usize) -> Self {
        let set = |range: std::ops::Range<usize>| range.fold(Nodes::default(), Nodes::with);
        let wish = Wish { masters: set(0..masters), replicas: set(masters..masters + replicas) };
        Self {
            wish,
            campaigns: Vec::new(),
            asked: Vec::new(),
            attempts: 0,
            lost: false,
            last: None,
            done_at: 0,
        }
    }

    /// What is wanted now.
    #[must_use]
    pub const fn wish(&self) -> Wish {
        self.wish
    }

    /// Whether `node` is to vote in the end.
    #[must_use]
    pub const fn master(&self, node: usize) -> bool {
        self.wish.masters.has(node)
    }

    /// Whether `node` is to learn in the end.
    #[must_use]
    pub const fn replica(&self, node: usize) -> bool {
        self.wish.replicas.has(node)
    }

    /// Whether the members are those of the founding.
    #[must_use]
    pub const fn untouched(&self) -> bool {
        self.campaigns.is_empty() && !self.lost
    }

    /// Whether the last configuration is not in force as far as the operator was told, or only just.
    #[must_use]
    pub fn waits(&self, now: u64) -> bool {
        self.last.is_some_and(|last| !self.campaigns[last].done)
            || self.last.is_some() && now < self.done_at + SETTLES
    }
}

impl World<'_> {
    /// Tries to found the cluster.
    pub(crate) fn found(&mut self) {
        if self.settled {
            return;
        }
        self.attempts += 1;
        let mut roll = self.dice.roll(Stream::Operator, self.attempts);
        let number = roll.index(self.plan.masters);
        self.queue.push(self.now + 300 * MS, Happening::Operator);
        let host = &mut self.hosts[number];
        if host.node.is_none() {
            return;
        }
        let ticket = host.ask(Asker::Operator, None);
        let request = Request::Init { cluster: self.around.cluster, config: self.config.clone() };
        self.ask_node(number, ticket, request);
    }

    /// "Already founded" is good news if it is this cluster, but says nothing of the nodes that were not reached.
    pub(crate) fn founder_hears(&mut self, outcome: &Outcome) {
        let ours = self.around.cluster;
        match outcome {
            Outcome::Founded(cluster) if *cluster == ours => {
                self.settled = true;
                self.begin_clients();
            }
            Outcome::Refused(Refusal::AlreadyFounded { cluster, .. }) if *cluster == ours => {
                self.begin_clients();
            }
            Outcome::Founded(cluster)
            | Outcome::Refused(Refusal::AlreadyFounded { cluster, .. }) => {
                self.violate("founding", format!("{cluster:?} is not the cluster of this run"));
            }
            Outcome::NotDone(_) => {}
            Outcome::Done(_)
            | Outcome::Found(_)
            | Outcome::Woken(_)
            | Outcome::Configured { .. }
            | Outcome::Unknown
            | Outcome::Refused(_) => {
                self.violate("founding", format!("the operator was told {outcome:?}"));
            }
        }
    }

    /// The operator begins change `number`.
    pub(crate) fn begin_change(&mut self, number: usize) {
        let change = self.plan.changes[number];
        if self.quiet {
            return;
        }
        if !self.settled {
            self.queue.push(self.now + 300 * MS, Happening::Change(number));
            return;
        }
        self.operator.wish = if let Kind::Exactly(wish) = change.kind {
            wish
        } else {
            self.resolve(change.kind, number)
        };
        self.film_change(number);
        let until = change.until.max(self.now + 500 * MS);
        self.begin_campaign(until);
    }

    /// After the quiet time: what is wanted last, unless nothing ever changed.
    pub(crate) fn begin_last_change(&mut self) {
        if self.operator.lost || !self.operator.campaigns.is_empty() {
            self.operator.last = Some(self.operator.campaigns.len());
            self.begin_campaign(u64::MAX);
        }
    }

    fn begin_campaign(&mut self, until: u64) {
        let wish = self.operator.wish;
        let line = || format!("the operator wants {wish:?}");
        self.trace.line(self.now, None, String::new, line);
        self.operator.campaigns.push(Campaign { wish, until, done: false });
        self.campaign(self.operator.campaigns.len() - 1);
    }

    /// Which nodes that means, now.
    fn resolve(&mut self, kind: Kind, number: usize) -> Wish {
        let mut roll = self.dice.roll(Stream::Change, 1_000 + wide(number));
        let Wish { masters, replicas } = self.operator.wish;
        let nodes = self.hosts.len();
        let of = |set: Nodes| (0..nodes).filter(|n| set.has(*n)).collect::<Vec<_>>();
        let (voting, learning) = (of(masters), of(replicas));
        let outside = of(Nodes(!(masters.0 | replicas.0)));
        let mut pick = |from: &[usize]| from.get(roll.index(from.len())).copied();
        let (master, replica) = (pick(&voting), pick(&learning));
        let stranger = pick(&outside);
        let spared = master.filter(|_| voting.len() > 1);
        let mut wish = Wish { masters, replicas };
        match (kind, stranger, replica, spared) {
            (Kind::AddReplica, Some(node), ..) => wish.replicas = replicas.with(node),
            (Kind::AddMaster, Some(node), ..) => wish.masters = masters.with(node),
            (Kind::Promote, _, Some(node), _) => {
                wish.replicas = replicas.without(node);
                wish.masters = masters.with(node);
            }
            (Kind::Demote, _, _, Some(node)) => {
                wish.masters = masters.without(node);
                wish.replicas = replicas.with(node);
            }
            (Kind::RemoveMaster, _, _, Some(node)) => wish.masters = masters.without(node),
            (Kind::RemoveReplica, _, Some(node), _) => wish.replicas = replicas.without(node),
            (Kind::ReplaceOne, Some(node), ..) => {
                wish.masters = master.map_or(masters, |old| masters.without(old)).with(node);
            }
            (Kind::ReplaceAll, Some(_), ..) => {
                let new = outside.iter().take(voting.len()).copied();
                wish.masters = new.fold(Nodes::default(), Nodes::with);
            }
            (Kind::Shuffle, ..) => {
                wish = Wish::default();
                for node in 0..nodes {
                    match roll.below(3) {
                        0 => wish.masters = wish.masters.with(node),
                        1 => wish.replicas = wish.replicas.with(node),
                        _ => {}
                    }
                }
                if wish.masters == Nodes::default() {
                    wish = Wish { masters, replicas };
                }
            }
            _ => {}
        }
        wish
    }

    /// The members of these nodes, as they are now.
    fn members_of(&self, set: Nodes) -> Vec<Member> {
        let chosen = (0..self.hosts.len()).filter(|node| set.has(*node));
        chosen.map(|node| member(self.hosts[node].id, node)).collect()
    }

    /// The operator asks a node for a change, again or for the first time.
    pub(crate) fn campaign(&mut self, number: usize) {
        let last = self.operator.last == Some(number);
        let campaign = &self.operator.campaigns[number];
        let wish = campaign.wish;
        if campaign.done || self.now > campaign.until || (self.quiet && !last) {
            return;
        }
        self.operator.attempts += 1;
        let attempt = self.operator.attempts;
        let mut roll = self.dice.roll(Stream::Change, 1_000_000 + attempt);
        let patience = roll.magnitude(80 * MS, 1_500 * MS);
        let pause = roll.magnitude(10 * MS, 300 * MS);
        let any = roll.index(self.hosts.len());
        let to = if last {
            usize::try_from(attempt).unwrap_or(0) % self.hosts.len()
        } else {
            (0..8)
                .map(|_| roll.index(self.hosts.len()))
                .find(|n| wish.masters.has(*n))
                .unwrap_or(any)
        };
        if self.hosts[to].node.is_none() {
            self.queue.push(self.now + pause, Happening::Campaign(number));
            return;
        }
        let (masters, replicas) = (self.members_of(wish.masters), self.members_of(wish.replicas));
        let epoch = self.newest_epoch();
        self.operator.asked.push(Asked {
            campaign: number,
            epoch,
            masters: masters.iter().map(|member| member.id).collect(),
            open: Some((to, self.hosts[to].boots)),
        });
        self.counts.meet(Mark::ChangesAsked);
        let patience = Span::from_micros(patience);
        let asker = Asker::Change { asked: self.operator.asked.len() - 1 };
        let ticket = self.hosts[to].ask(asker, Some(patience));
        self.queue.push(self.now + patience.as_micros() + pause, Happening::Campaign(number));
        self.ask_node(to, ticket, Request::Members { patience, masters, replicas });
    }

    /// What became of a change.
    pub(crate) fn operator_hears(&mut self, asked: usize, outcome: &Outcome) {
        let newest = self.newest_epoch();
        let asked = &mut self.operator.asked[asked];
        asked.open = None;
        asked.epoch = newest;
        let number = asked.campaign;
        match outcome {
            Outcome::Configured { complete, .. } => {
                self.operator.campaigns[number].done |= complete;
                self.operator.done_at = self.now;
                let mark = if *complete { Mark::ChangesDone } else { Mark::ChangesIncomplete };
                self.counts.meet(mark);
                let masters = self.operator.campaigns[number].wish.masters;
                let voters = (0..self.hosts.len()).filter(|node| masters.has(*node));
                self.around.voters = voters.map(|node| self.hosts[node].id).collect();
            }
            Outcome::NotDone(_) => self.counts.meet(Mark::ChangesNotDone),
            Outcome::Unknown => self.counts.meet(Mark::ChangesUnknown),
            Outcome::Done(_)
            | Outcome::Found(_)
            | Outcome::Woken(_)
            | Outcome::Founded(_)
            | Outcome::Refused(_) => {
                self.violate("membership", format!("the operator was told {outcome:?}"));
            }
        }
    }

    fn newest_epoch(&self) -> Epoch {
        let epochs = self.hosts.iter().filter_map(|host| Some(host.durable.config.as_ref()?.epoch));
        epochs.max().unwrap_or_default()
    }

    /// Whether the cluster survives it if `node` loses its file now.
    pub(crate) fn may_lose(&mut self, node: usize) -> bool {
        if !self.settled {
            return false;
        }
        let complete = self.complete_epoch();
        let lost = self.hosts[node].id;
        let files = self.hosts.iter().flat_map(|host| {
            std::iter::once(&host.durable).chain(host.writing.iter().map(|(_, file)| &**file))
        });
        let configs = files.flat_map(|file| {
            file.config.iter().chain(file.vote.accepted.iter().map(|(_, config)| config))
        });
        let ids = |config: &Config| config.masters.iter().map(|m| m.id).collect::<Vec<_>>();
        let mut relevant = Vec::new();
        for config in configs.filter(|config| config.epoch >= complete) {
            relevant.push(ids(config));
            if config.epoch > complete {
                // Its masters take over from these.
                relevant.push(config.before.clone());
            }
        }
        let running = |(host, boot): (usize, u64)| {
            self.hosts[host].boots == boot && self.hosts[host].node.is_some()
        };
        let asked = self.operator.asked.iter();
        let asked = asked.filter(|a| a.epoch >= complete || a.open.is_some_and(running));
        relevant.extend(asked.map(|asked| asked.masters.clone()));
        let survives = |masters: &Vec<NodeId>| {
            let gone = |id: &&NodeId| **id == lost || !self.hosts.iter().any(|h| h.id == **id);
            let gone = masters.iter().filter(gone).count();
            !masters.contains(&lost) || masters.len() - gone > masters.len() / 2
        };
        let survives = relevant.iter().all(survives);
        self.operator.lost |= survives;
        survives
    }

    /// The newest epoch in which a quorum of the masters votes; zero if there is none.
    fn complete_epoch(&self) -> Epoch {
        let votes = |id: NodeId, epoch: Epoch| {
            let host = self.hosts.iter().find(|host| host.id == id);
            let status = host.and_then(|host| Some(host.node.as_ref()?.status(host.last)));
            status.is_some_and(|s| {
                s.epoch == epoch && matches!(s.standing, Standing::Active | Standing::Draining)
            })
        };
        let configs = self.hosts.iter().filter_map(|host| host.durable.config.as_ref());
        let complete = configs.filter(|config| {
            let voting = config.masters.iter().filter(|m| votes(m.id, config.epoch)).count();
            voting >= config.quorum()
        });
        complete.map(|config| config.epoch).max().unwrap_or_default()
    }
}
