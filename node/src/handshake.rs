//! Who may link with whom.
//!
//! Both ends of a link say who they are, and both judge. A link joins two nodes of one cluster that speak a common
//! version and agree on the protocol's constants, or none. The words of a refusal go to both logs: they say which
//! value differs, at whom, and what to do.

use leasehold_core::wire::{PeerHello, VERSIONS, Versions};
use leasehold_core::{ClusterId, Member, NodeId, Timing};

/// This node, and whom it expects.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) versions: Versions,
    pub(crate) cluster_name: String,
    pub(crate) cluster: Option<ClusterId>,
    pub(crate) member: Member,
    pub(crate) boot: u64,
    pub(crate) timing: Timing,
    /// All other nodes.
    pub(crate) known: Vec<Known>,
}

/// Another node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) name: String,
    /// Where it listens for peers, `host:port`.
    pub(crate) address: String,
    /// The incarnation that was admitted; none before there is a configuration.
    pub(crate) id: Option<NodeId>,
}

impl Identity {
    pub(crate) fn new(cluster_name: String, member: Member, boot: u64, timing: Timing) -> Self {
        let (cluster, known) = (None, Vec::new());
        Self { versions: VERSIONS, cluster_name, cluster, member, boot, timing, known }
    }

    /// What this node says of itself.
    pub(crate) fn hello(&self) -> PeerHello {
        PeerHello {
            versions: self.versions,
            cluster_name: self.cluster_name.clone(),
            cluster: self.cluster,
            member: self.member.clone(),
            boot: self.boot,
            timing: self.timing,
        }
    }

    /// Whether a link with `peer` is wanted, and the version to speak on it. `expected` is the name of the node
    /// that was dialled, if this end dialled.
    ///
    /// # Errors
    ///
    /// The reason why not, for the logs of both.
    pub(crate) fn judge(&self, peer: &PeerHello, expected: Option<&str>) -> Result<u16, String> {
        let version = self.judge_cluster(peer)?;
        self.judge_name(peer, expected)?;
        Ok(version)
    }

    /// Whether nothing is wrong with `peer` but that it is no member, or not the one that was admitted.
    pub(crate) fn is_stranger(&self, peer: &PeerHello) -> bool {
        let known = |known: &Known| {
            known.name == peer.member.name && known.id.is_none_or(|id| id == peer.member.id)
        };
        self.judge_cluster(peer).is_ok()
            && peer.member.name != self.member.name
            && !self.known.iter().any(known)
    }

    /// Whether `peer` is of this cluster, or could be.
    fn judge_cluster(&self, peer: &PeerHello) -> Result<u16, String> {
        let (me, they) = (&self.member.name, &peer.member.name);
        let version = self.versions.common(peer.versions).ok_or_else(|| {
            format!(
                "`{me}` speaks protocol versions {} and `{they}` speaks {}; upgrade the older one",
                range(self.versions),
                range(peer.versions)
            )
        })?;
        if self.cluster_name != peer.cluster_name {
            return Err(format!(
                "cluster.name is `{}` at `{me}` and `{}` at `{they}`; a link joins nodes of one cluster",
                self.cluster_name, peer.cluster_name
            ));
        }
        if let (Some(mine), Some(theirs)) = (self.cluster, peer.cluster)
            && mine != theirs
        {
            return Err(format!(
                "the cluster id is {} at `{me}` and {} at `{they}`: they were initialised apart; one of them has \
                 the data directory of another cluster",
                show(mine),
                show(theirs)
            ));
        }
        self.judge_timing(peer)?;
        Ok(version)
    }

    fn judge_name(&self, peer: &PeerHello, expected: Option<&str>) -> Result<(), String> {
        let (me, they) = (&self.member.name, &peer.member.name);
        if let Some(expected) = expected
            && expected != they
        {
            return Err(format!(
                "`{me}` looked for `{expected}` and found `{they}`; check the address of `{expected}`"
            ));
        }
        if me == they {
            return Err(format!(
                "both ends are called `{me}`; give every node a node.name of its own, and check the addresses"
            ));
        }
        let Some(known) = self.known.iter().find(|known| known.name == *they) else {
            return Err(format!(
                "`{me}` knows no node `{they}`; name it in cluster.masters, or add it with `leasehold members add`"
            ));
        };
        match known.id {
            Some(id) if id != peer.member.id => Err(format!(
                "`{they}` is incarnation {:016x} for `{me}` and comes as {:016x}: it lost its node file and is a \
                 stranger; `leasehold members replace {they}` admits it as a new member",
                id.0, peer.member.id.0
            )),
            Some(_) | None => Ok(()),
        }
    }

    fn judge_timing(&self, peer: &PeerHello) -> Result<(), String> {
        let (me, they) = (&self.member.name, &peer.member.name);
        let (mine, theirs) = (&self.timing, &peer.timing);
        let spans = [
            ("max_lease", mine.max_lease, theirs.max_lease),
            ("op_timeout", mine.op_timeout, theirs.op_timeout),
            ("promise_timeout", mine.promise_timeout, theirs.promise_timeout),
            ("sync_timeout", mine.sync_timeout, theirs.sync_timeout),
        ];
        let differing = spans
            .iter()
            .find(|(_, a, b)| a != b)
            .map(|(name, a, b)| (*name, a.to_string(), b.to_string()))
            .or_else(|| {
                let (a, b) = (mine.max_clock_drift.ppm(), theirs.max_clock_drift.ppm());
                (a != b).then(|| ("max_clock_drift", format!("{a} ppm"), format!("{b} ppm")))
            });
        match differing {
            None => Ok(()),
            Some((name, a, b)) => Err(format!(
                "timing.{name} is {a} at `{me}` and {b} at `{they}`; all nodes of a cluster need the same"
            )),
        }
    }
}

fn range(versions: Versions) -> String {
    format!("{} to {}", versions.oldest, versions.newest)
}

/// A cluster's identity as people see it.
pub(crate) fn show(cluster: ClusterId) -> String {
    format!("{:016x}{:016x}", cluster.0, cluster.1)
}

#[cfg(test)]
mod tests {
    use leasehold_core::{Drift, Span};

    use super::*;

    fn member(name: &str, id: u64) -> Member {
        let at = |port: u16| format!("{name}.example:{port}");
        Member { id: NodeId(id), name: name.into(), peer: at(1), client: at(2), http: at(3) }
    }

    fn a() -> Identity {
        let mut identity = Identity::new("blue".into(), member("a", 1), 11, Timing::default());
        let known = |name: &str, id| Known { name: name.into(), address: String::new(), id };
        identity.known = vec![known("b", Some(NodeId(2))), known("c", None)];
        identity
    }

    fn b() -> PeerHello {
        Identity::new("blue".into(), member("b", 2), 12, Timing::default()).hello()
    }

    fn refusal(change: impl FnOnce(&mut PeerHello)) -> String {
        let mut hello = b();
        change(&mut hello);
        a().judge(&hello, None).unwrap_err()
    }

    #[test]
    fn equals_link() {
        assert_eq!(a().judge(&b(), None), Ok(1));
        assert_eq!(a().judge(&b(), Some("b")), Ok(1));
    }

    #[test]
    fn each_value_that_differs_is_named() {
        let newer = Versions { oldest: 2, newest: 3 };
        assert!(refusal(|hello| hello.versions = newer).contains("versions 1 to 1"));
        assert!(refusal(|hello| hello.cluster_name = "red".into()).contains("cluster.name"));
        assert!(refusal(|hello| hello.member.name = "a".into()).contains("both ends"));
        assert!(refusal(|hello| hello.member.name = "z".into()).contains("no node `z`"));
        assert!(refusal(|hello| hello.member.id = NodeId(9)).contains("members replace b"));
        let other = Span::from_secs(77);
        assert!(refusal(|hello| hello.timing.max_lease = other).contains("timing.max_lease"));
        assert!(refusal(|hello| hello.timing.op_timeout = other).contains("timing.op_timeout"));
        assert!(refusal(|hello| hello.timing.promise_timeout = other).contains("promise_timeout"));
        assert!(refusal(|hello| hello.timing.sync_timeout = other).contains("sync_timeout"));
        let drift = Drift::from_ppm(7);
        assert!(refusal(|hello| hello.timing.max_clock_drift = drift).contains("7 ppm"));
        assert!(a().judge(&b(), Some("c")).unwrap_err().contains("looked for `c`"));
    }

    #[test]
    fn cluster_ids_matter_once_both_have_one() {
        let mut identity = a();
        let mut hello = b();
        identity.cluster = Some(ClusterId(1, 2));
        assert_eq!(identity.judge(&hello, None), Ok(1));
        hello.cluster = Some(ClusterId(1, 2));
        assert_eq!(identity.judge(&hello, None), Ok(1));
        hello.cluster = Some(ClusterId(1, 3));
        assert!(identity.judge(&hello, None).unwrap_err().contains("cluster id"));
    }

    #[test]
    fn before_there_is_a_configuration_any_incarnation_links() {
        let mut hello = b();
        hello.member = member("c", 99);
        assert_eq!(a().judge(&hello, None), Ok(1));
    }
}
