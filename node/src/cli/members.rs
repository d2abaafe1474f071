//! `leasehold members`: who they are, and how an operator says who they shall be.

use clap::{Args, Subcommand};
use leasehold_client::{Amendment, Candidate, NodeReport, Peer, Standing, Status};
use leasehold_node::names;
use serde_json::{Value, json};

use super::tables::align;
use super::words::text;

#[derive(Args, Debug)]
pub(crate) struct Members {
    #[command(subcommand)]
    change: Option<Change>,
}

/// A node that may be new is named together with where it listens for other nodes, unless it has introduced itself:
/// running, with a configuration that names the members, it does.
#[derive(Debug, Subcommand)]
enum Change {
    /// Makes exactly these nodes the members
    Set {
        /// Who votes
        #[arg(long, value_name = "NODE[=HOST:PORT],..", value_delimiter = ',', required = true)]
        masters: Vec<String>,
        /// Who only learns
        #[arg(long, value_name = "NODE[=HOST:PORT],..", value_delimiter = ',')]
        replicas: Vec<String>,
    },
    /// Takes a node in, as a replica
    Add {
        /// The node
        #[arg(value_name = "NODE[=HOST:PORT]")]
        node: String,
    },
    /// Lets a replica vote
    Promote {
        /// The node
        node: String,
    },
    /// Makes a master a replica
    Demote {
        /// The node
        node: String,
    },
    /// Takes a node out
    Remove {
        /// The node
        node: String,
    },
    /// Takes a node in that has lost its node file, in the place of what it was
    Replace {
        /// The node
        #[arg(value_name = "NODE[=HOST:PORT]")]
        node: String,
    },
}

impl Members {
    /// What it is called.
    pub(crate) const fn name(&self) -> &'static str {
        match self.change {
            None => "members",
            Some(Change::Set { .. }) => "members set",
            Some(Change::Add { .. }) => "members add",
            Some(Change::Promote { .. }) => "members promote",
            Some(Change::Demote { .. }) => "members demote",
            Some(Change::Remove { .. }) => "members remove",
            Some(Change::Replace { .. }) => "members replace",
        }
    }

    /// The change that is meant, if one is.
    pub(super) fn amendment(&self) -> Result<Option<Amendment>, String> {
        let all = |nodes: &[String]| nodes.iter().map(|node| candidate(node)).collect();
        Ok(Some(match &self.change {
            None => return Ok(None),
            Some(Change::Set { masters, replicas }) => {
                let (masters, replicas): (Result<Vec<_>, _>, Result<_, _>) =
                    (all(masters), all(replicas));
                Amendment::Set { masters: masters?, replicas: replicas? }
            }
            Some(Change::Add { node }) => Amendment::Add(candidate(node)?),
            Some(Change::Promote { node }) => Amendment::Promote(node.clone()),
            Some(Change::Demote { node }) => Amendment::Demote(node.clone()),
            Some(Change::Remove { node }) => Amendment::Remove(node.clone()),
            Some(Change::Replace { node }) => Amendment::Replace(candidate(node)?),
        }))
    }
}

fn candidate(typed: &str) -> Result<Candidate, String> {
    let (name, peer) = match typed.split_once('=') {
        None => (typed, None),
        Some((name, peer)) => (name, Some(super::meant::endpoint(peer)?)),
    };
    if name.is_empty() {
        return Err(format!("{typed:?}: write NODE or NODE=HOST:PORT"));
    }
    Ok(Candidate { name: name.to_owned(), peer })
}

/// The members by the newest word, each as it says itself that it is.
struct Roster<'a> {
    newest: &'a Status,
    nodes: &'a [NodeReport],
}

impl<'a> Roster<'a> {
    fn new(nodes: &'a [NodeReport]) -> Option<Self> {
        let known = nodes.iter().filter_map(|node| node.status.as_ref().ok());
        Some(Self { newest: known.max_by_key(|status| status.epoch)?, nodes })
    }

    fn standing(&self, peer: &Peer) -> Standing {
        let own = self.nodes.iter().find(|node| node.id == Some(peer.member.id));
        let own = own.and_then(|node| node.status.as_ref().ok());
        let current = own.filter(|status| status.epoch == self.newest.epoch);
        current.map_or(peer.standing, |status| status.standing)
    }

    fn masters(&self) -> usize {
        self.newest.members.iter().filter(|peer| peer.master).count()
    }

    fn voting(&self) -> usize {
        let votes = |standing| matches!(standing, Standing::Active | Standing::Draining);
        let masters = self.newest.members.iter().filter(|peer| peer.master);
        masters.filter(|peer| votes(self.standing(peer))).count()
    }

    fn changing(&self) -> bool {
        self.nodes.iter().filter_map(|node| node.status.as_ref().ok()).any(|status| status.changing)
    }

    /// How far the newest change is.
    fn state(&self) -> &'static str {
        if self.newest.cluster.is_none() {
            "not initialised"
        } else if self.changing() {
            "a change is under way"
        } else if self.voting() > self.masters() / 2 {
            "complete"
        } else {
            "waits for a quorum of the masters to vote"
        }
    }
}

/// The members as people see them.
pub(super) fn table(nodes: &[NodeReport]) -> String {
    let Some(roster) = Roster::new(nodes) else { return String::new() };
    let (masters, voting) = (roster.masters(), roster.voting());
    let mut out = format!(
        "epoch {}, {}: {voting} of {masters} masters vote, {} must\n\n",
        roster.newest.epoch.0,
        roster.state(),
        masters / 2 + 1
    );
    let head = ["NODE", "ROLE", "STATE", "INCARNATION", "PEERS", "CLIENTS"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(roster.newest.members.iter().map(|peer| {
        let member = &peer.member;
        vec![
            text(member.name.as_bytes()),
            role(peer).to_owned(),
            names::of_standing(roster.standing(peer)).to_owned(),
            names::of_node(member.id),
            text(member.peer.as_bytes()),
            text(member.client.as_bytes()),
        ]
    }));
    align(&mut out, &rows);
    out
}

/// The members as objects, after one about all of them.
pub(super) fn objects(nodes: &[NodeReport]) -> Vec<Value> {
    let Some(roster) = Roster::new(nodes) else { return Vec::new() };
    let all = json!({
        "op": "members",
        "outcome": "done",
        "epoch": roster.newest.epoch.0,
        "changing": roster.changing(),
        "complete": roster.state() == "complete",
        "masters": roster.masters(),
        "voting": roster.voting(),
        "quorum": roster.masters() / 2 + 1,
    });
    let member = |peer: &Peer| {
        json!({
            "op": "members",
            "node": peer.member.name,
            "node_id": names::of_node(peer.member.id),
            "role": role(peer),
            "standing": names::of_standing(roster.standing(peer)),
            "peer": peer.member.peer,
            "client": peer.member.client,
            "http": peer.member.http,
        })
    };
    [all].into_iter().chain(roster.newest.members.iter().map(member)).collect()
}

const fn role(peer: &Peer) -> &'static str {
    if peer.master { "master" } else { "replica" }
}
