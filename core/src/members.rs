//! Who belongs to the cluster, and the few bytes a node keeps on disk.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::ballot::Ballot;

/// A node, or rather one life of it: the random *incarnation* made together with its node file.
///
/// A node that lost its file comes back under another id and is a stranger.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct NodeId(pub u64);

/// A cluster, told from every other by the random number that `init` gave it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct ClusterId(pub u64, pub u64);

/// The number of a configuration; the first one is 1.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Epoch(pub u64);

/// A member as all others know it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Member {
    /// The incarnation that was admitted.
    pub id: NodeId,
    /// The operator's name for it.
    pub name: String,
    /// `host:port` for other nodes.
    pub peer: String,
    /// `host:port` for clients.
    pub client: String,
    /// `host:port` for HTTP.
    pub http: String,
}

impl Member {
    /// The longest name, in bytes.
    pub const MAX_NAME: usize = 64;
    /// The longest address, in bytes: that of a domain name, and a port.
    pub const MAX_ADDRESS: usize = 260;

    /// Whether name and addresses are short enough.
    #[must_use]
    pub fn well_formed(&self) -> bool {
        let addresses = [&self.peer, &self.client, &self.http];
        self.name.len() <= Self::MAX_NAME
            && addresses.iter().all(|address| address.len() <= Self::MAX_ADDRESS)
    }
}

/// How an operator wants the members to be, by name. The node that is asked knows, or finds out, who they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Amendment {
    /// Exactly these, members already or not.
    Set {
        /// The nodes that shall vote.
        masters: Vec<Candidate>,
        /// The nodes that shall only learn.
        replicas: Vec<Candidate>,
    },
    /// One more replica.
    Add(Candidate),
    /// This replica shall vote.
    Promote(String),
    /// This master shall only learn.
    Demote(String),
    /// This member shall be none.
    Remove(String),
    /// The node that has this name now, without the node file that the member of that name had, shall take its place.
    Replace(Candidate),
}

/// A node that may or may not be a member.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Candidate {
    /// The operator's name for it.
    pub name: String,
    /// Where it listens for other nodes, if the operator says so.
    pub peer: Option<String>,
}

/// Who votes and who only learns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Config {
    /// Which configuration this is.
    pub epoch: Epoch,
    /// The nodes that vote.
    pub masters: Vec<Member>,
    /// The nodes that only learn.
    pub replicas: Vec<Member>,
    /// The masters of the epoch before; none for the first.
    pub before: Vec<NodeId>,
}

impl Config {
    /// The most masters that a configuration may name: beyond that a vote costs more than its safety is worth, and
    /// sets of masters fit 16 bits.
    pub const MAX_MASTERS: usize = 15;
    /// The most replicas that a configuration may name: each is told every change by every coordinator.
    pub const MAX_REPLICAS: usize = 100;

    /// How many masters must agree.
    #[must_use]
    pub const fn quorum(&self) -> usize {
        self.masters.len() / 2 + 1
    }

    /// The place of `node` among the masters.
    #[must_use]
    pub fn master(&self, node: NodeId) -> Option<usize> {
        self.masters.iter().position(|member| member.id == node)
    }

    /// How many masters, this one left out, have a member in every quorum that it was in.
    #[must_use]
    pub const fn sources(&self) -> usize {
        self.masters.len() - self.quorum() + 1
    }

    /// Whether other nodes vote than in the epoch before. If so, each of them took over from a quorum of those.
    #[must_use]
    pub fn has_new_masters(&self) -> bool {
        !self.before.is_empty()
            && (self.before.len() != self.masters.len()
                || self.masters.iter().any(|member| !self.before.contains(&member.id)))
    }

    /// Whether the masters of the epoch before this one were those of `old`.
    #[must_use]
    pub fn follows(&self, old: &Self) -> bool {
        self.before.len() == old.masters.len()
            && old.masters.iter().all(|member| self.before.contains(&member.id))
    }

    /// Whether the same nodes vote in both.
    #[must_use]
    pub fn same_masters(&self, other: &Self) -> bool {
        self.masters.len() == other.masters.len()
            && self.masters.iter().all(|member| other.master(member.id).is_some())
    }

    /// Masters, then replicas.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.masters.iter().chain(&self.replicas)
    }

    /// Whether the masters can form quorums: some, not too many, and no member named twice. And whether it is so small
    /// that it fits messages and the node file many times over.
    #[must_use]
    pub fn well_formed(&self) -> bool {
        let distinct = self
            .members()
            .enumerate()
            .all(|(i, a)| self.members().take(i).all(|b| a.id != b.id && a.name != b.name));
        (1..=Self::MAX_MASTERS).contains(&self.masters.len())
            && self.replicas.len() <= Self::MAX_REPLICAS
            && self.members().all(Member::well_formed)
            && distinct
    }
}

/// What survives a restart (protocol, section 9). Rewritten whole and synced before what depends on it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NodeFile {
    /// The operator's name for this node.
    pub name: String,
    /// The incarnation, drawn when the file was made.
    pub id: NodeId,
    /// The cluster this node was taken into.
    pub cluster: Option<ClusterId>,
    /// This master never promised or accepted a counter above this one.
    pub ceiling: u64,
    /// The newest configuration known here.
    pub config: Option<Config>,
    /// The last epoch this node voted in as a master.
    pub active_in: Option<Epoch>,
    /// This master's vote on the configuration of the next epoch.
    pub vote: ConfigVote,
}

/// A vote on a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConfigVote {
    /// The highest ballot that was promised.
    pub promised: Ballot,
    /// What was accepted last.
    pub accepted: Option<(Ballot, Config)>,
}

impl NodeFile {
    /// The file of a node that has never run before.
    #[must_use]
    pub const fn new(name: String, id: NodeId) -> Self {
        Self {
            name,
            id,
            cluster: None,
            ceiling: 0,
            config: None,
            active_in: None,
            vote: ConfigVote { promised: Ballot::ZERO, accepted: None },
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    fn members(from: usize, count: usize) -> Vec<Member> {
        let member = |i: usize| Member {
            id: NodeId(u64::try_from(i).unwrap()),
            name: format!("n{i}"),
            ..Member::default()
        };
        (from..from + count).map(member).collect()
    }

    #[test]
    fn a_configuration_is_bounded_in_every_way() {
        let config = |masters, replicas| Config {
            epoch: Epoch(1),
            masters: members(0, masters),
            replicas: members(100, replicas),
            before: Vec::new(),
        };
        assert!(config(15, 100).well_formed() && config(1, 0).well_formed());
        assert!(!config(0, 1).well_formed() && !config(16, 0).well_formed());
        assert!(!config(1, 101).well_formed());
        for (name, address, fine) in [(64, 260, true), (65, 0, false), (1, 261, false)] {
            let mut long = config(3, 1);
            let member = long.replicas.last_mut().unwrap();
            member.name = "x".repeat(name);
            member.peer = "x".repeat(address);
            assert_eq!(long.well_formed(), fine);
        }
        let mut twice = config(2, 1);
        twice.replicas[0].id = NodeId(1);
        assert!(!twice.well_formed());
    }
}
