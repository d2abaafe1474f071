//! Who may link with whom.
//!
//! Both ends of a link say who they are, and both judge. A link joins two nodes of one cluster that speak a common
//! version and agree on the protocol's constants, or none. The words of a refusal go to both logs: they say which
//! value differs, at whom, and what to do.
//!
//! The members change while nodes are down or cannot be reached, so two nodes of a cluster may know different
//! configurations. A node links with the members of its own, and with the *former* ones that it names: the new masters
//! take over from these, and these have to hear that they are none any more. Beyond that, the end that knows the newer
//! configuration hands it over right after the hellos, whether there will be a link or not, and the end that is behind
//! lets the other in, whom it cannot know (protocol, section 9).

use leasehold_core::wire::{PeerHello, VERSIONS, Versions};
use leasehold_core::{Body, Change, ClusterId, Config, Epoch, Member, Message, NodeId, Timing};

/// This node, and whom it expects.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) versions: Versions,
    pub(crate) cluster_name: String,
    pub(crate) cluster: Option<ClusterId>,
    pub(crate) member: Member,
    pub(crate) boot: u64,
    pub(crate) timing: Timing,
    /// The configuration in force, if one is.
    pub(crate) config: Option<Config>,
    /// Whether a quorum of its masters votes: then former members need not be dialled in haste.
    pub(crate) complete: bool,
    /// All other nodes that this one dials.
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
    /// Whether it was a member in the epoch before and is none any more.
    pub(crate) former: bool,
}

impl Identity {
    pub(crate) fn new(cluster_name: String, member: Member, boot: u64, timing: Timing) -> Self {
        Self {
            versions: VERSIONS,
            cluster_name,
            cluster: None,
            member,
            boot,
            timing,
            config: None,
            complete: false,
            known: Vec::new(),
        }
    }

    fn epoch(&self) -> Epoch {
        self.config.as_ref().map_or(Epoch(0), |config| config.epoch)
    }

    /// What this node says of itself.
    pub(crate) fn hello(&self) -> PeerHello {
        PeerHello {
            versions: self.versions,
            cluster_name: self.cluster_name.clone(),
            cluster: self.cluster,
            epoch: self.epoch(),
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

    /// What `peer` has to be told, whatever comes of it otherwise: the configuration in force, if it is of this cluster and
    /// knows only an older one.
    pub(crate) fn handover(&self, peer: &PeerHello) -> Option<Message> {
        let (cluster, config) = self.cluster.zip(self.config.as_ref())?;
        let of_us = match peer.cluster {
            Some(theirs) => theirs == cluster,
            None => config.members().any(|member| member.id == peer.member.id),
        };
        if !of_us || peer.epoch >= config.epoch {
            return None;
        }
        let adopt = Change::Adopt { cluster, config: config.clone() };
        Some(Message { epoch: config.epoch, counter: 0, body: Body::Change(adopt) })
    }

    /// Whether `peer` knows a newer configuration of this cluster, or any while this node knows none.
    fn is_behind(&self, peer: &PeerHello) -> bool {
        peer.epoch > self.epoch()
            && peer.cluster.is_some()
            && self.cluster.is_none_or(|mine| peer.cluster == Some(mine))
    }

    /// Whether `peer` was a member in the epoch before.
    fn is_former(&self, peer: &Member) -> bool {
        let mut former = self.config.iter().flat_map(|config| &config.former);
        former.any(|former| former.id == peer.id && former.name == peer.name)
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
        let known = self.known.iter().find(|known| known.name == *they && !known.former);
        let admitted = known.and_then(|known| known.id);
        let welcome = known.is_some() && admitted.is_none_or(|id| id == peer.member.id);
        if welcome || self.is_former(&peer.member) || self.is_behind(peer) {
            return Ok(());
        }
        let (epoch, comes) = (self.epoch().0, peer.member.id.0);
        let was_member = peer.cluster.is_some() && peer.cluster == self.cluster;
        Err(match admitted {
            Some(id) if was_member => format!(
                "`{they}` is incarnation {:016x} for `{me}`, in epoch {epoch}, and comes as {comes:016x}, which was \
                 replaced; stop one of the two, or give it another node.name",
                id.0
            ),
            Some(id) => format!(
                "`{they}` is incarnation {:016x} for `{me}` and comes as {comes:016x}: it lost its node file and is a \
                 stranger; `leasehold members replace {they}` admits it as a new member",
                id.0
            ),
            None if was_member => format!(
                "`{they}` is no member for `{me}`, in epoch {epoch}, any more; stop it, or take it in again with \
                 `leasehold members add {they}`"
            ),
            None => format!(
                "`{me}` knows no node `{they}`; name it in cluster.masters, or add it with `leasehold members add`"
            ),
        })
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
        let known =
            |name: &str, id| Known { name: name.into(), address: String::new(), id, former: false };
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
        assert_eq!(a().judge(&b(), None), Ok(2));
        assert_eq!(a().judge(&b(), Some("b")), Ok(2));
    }

    #[test]
    fn each_value_that_differs_is_named() {
        let newer = Versions { oldest: 3, newest: 4 };
        assert!(refusal(|hello| hello.versions = newer).contains("versions 2 to 2"));
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
        assert_eq!(identity.judge(&hello, None), Ok(2));
        hello.cluster = Some(ClusterId(1, 2));
        assert_eq!(identity.judge(&hello, None), Ok(2));
        hello.cluster = Some(ClusterId(1, 3));
        assert!(identity.judge(&hello, None).unwrap_err().contains("cluster id"));
    }

    #[test]
    fn before_there_is_a_configuration_any_incarnation_links() {
        let mut hello = b();
        hello.member = member("c", 99);
        assert_eq!(a().judge(&hello, None), Ok(2));
    }

    /// `a` in epoch 3, in which `b` is a member and `f` is none any more.
    fn founded() -> Identity {
        let mut identity = a();
        identity.cluster = Some(ClusterId(1, 2));
        identity.config = Some(Config {
            epoch: Epoch(3),
            masters: vec![member("a", 1), member("b", 2), member("d", 4)],
            former: vec![member("f", 6), member("b", 66)],
            ..Config::default()
        });
        let known = |name: &str, id, former| Known {
            name: name.into(),
            address: String::new(),
            id: Some(NodeId(id)),
            former,
        };
        identity.known = vec![known("b", 2, false), known("d", 4, false), known("f", 6, true)];
        identity
    }

    fn comes(name: &str, id: u64, cluster: Option<ClusterId>, epoch: u64) -> PeerHello {
        let mut hello = b();
        hello.member = member(name, id);
        (hello.cluster, hello.epoch) = (cluster, Epoch(epoch));
        hello
    }

    #[test]
    fn former_members_link_and_nobody_else_in_their_name() {
        let ours = Some(ClusterId(1, 2));
        for epoch in [0, 2, 3] {
            assert_eq!(founded().judge(&comes("f", 6, ours, epoch), Some("f")), Ok(2));
            assert_eq!(founded().judge(&comes("b", 66, ours, epoch), None), Ok(2));
        }
        assert!(
            founded().judge(&comes("f", 7, None, 0), None).unwrap_err().contains("no node `f`")
        );
        assert!(founded().judge(&comes("z", 6, ours, 2), None).unwrap_err().contains("any more"));
        let replaced = founded().judge(&comes("b", 67, ours, 2), None).unwrap_err();
        assert!(replaced.contains("which was replaced"), "{replaced}");
        assert!(founded().judge(&comes("b", 67, None, 0), None).unwrap_err().contains("replace b"));
    }

    #[test]
    fn who_knows_a_newer_configuration_of_the_cluster_is_let_in() {
        let ours = Some(ClusterId(1, 2));
        assert_eq!(founded().judge(&comes("new", 9, ours, 4), None), Ok(2));
        assert_eq!(founded().judge(&comes("b", 67, ours, 4), Some("b")), Ok(2));
        assert!(founded().judge(&comes("new", 9, ours, 3), None).is_err());
        assert!(founded().judge(&comes("new", 9, Some(ClusterId(1, 3)), 4), None).is_err());
        assert!(founded().judge(&comes("new", 9, None, 4), None).is_err());
        // A node that belongs to no cluster yet cannot know who took it in.
        assert_eq!(a().judge(&comes("new", 9, ours, 1), None), Ok(2));
        assert!(a().judge(&comes("new", 9, None, 0), None).is_err());
    }

    #[test]
    fn who_is_behind_is_handed_the_configuration() {
        let (us, ours) = (founded(), Some(ClusterId(1, 2)));
        let handed = us.handover(&comes("gone", 5, ours, 1)).unwrap();
        assert_eq!((handed.epoch, handed.counter), (Epoch(3), 0));
        let Body::Change(Change::Adopt { cluster, config }) = handed.body else {
            panic!("a configuration");
        };
        assert_eq!((Some(cluster), Some(config)), (ours, us.config.clone()));
        assert!(us.handover(&comes("f", 6, ours, 2)).is_some());
        assert!(us.handover(&comes("d", 4, None, 0)).is_some(), "it was taken in and not told");
        assert_eq!(us.handover(&comes("d", 44, None, 0)), None, "a stranger learns nothing");
        assert_eq!(us.handover(&comes("b", 2, ours, 3)), None);
        assert_eq!(us.handover(&comes("b", 2, ours, 4)), None);
        assert_eq!(us.handover(&comes("b", 2, Some(ClusterId(1, 3)), 1)), None);
        assert_eq!(a().handover(&comes("b", 2, None, 0)), None);
    }
}
