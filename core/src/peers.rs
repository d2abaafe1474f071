//! What a node knows of the others: who they are, whether they are heard, and how they say they are.
//!
//! All of it is hints. They move a key's home and hold housekeeping back, never safety.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use crate::hash::Site;
use crate::members::{ClusterId, Config, Epoch, NodeId};
use crate::request::{Peer, Standing};
use crate::round::Votes;
use crate::time::{Drift, Instant, Span};
use crate::view::Heard;

/// How often every node says how it is.
pub(crate) const STANDING_EVERY: Span = Span::from_secs(1);
/// Who was not heard for this long is not there, as far as housekeeping goes.
const SILENT_AFTER: Span = Span::from_millis(2_500);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    up: bool,
    /// Its link went down, or never came up although it was tried.
    gone: bool,
    standing: Standing,
    /// The epoch it said so in.
    epoch: Epoch,
    /// The boot it said so at.
    boot: u64,
    /// How long it had been running when it said so, by its own clock, and when this node heard it.
    running: (Span, Instant),
    heard_at: Option<Instant>,
}

/// Without the times at which others were heard: only housekeeping and the age of forwards look at them, for what a
/// peer that said how it is said in time.
impl Hash for Known {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { up, gone, standing, epoch, boot, running: _, heard_at: _ } = self;
        (up, gone, standing, epoch, boot).hash(state);
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peers {
    pub(crate) me: NodeId,
    drift: Drift,
    cluster: ClusterId,
    config: Option<Config>,
    /// This node's place among the masters.
    place: Option<usize>,
    known: BTreeMap<NodeId, Known>,
    /// The masters that are there and vote, and this node, if it is one: what follows from the rest for homes.
    sites: Vec<Site>,
    /// The masters of which somebody said that their links are down.
    gone: Votes,
}

/// Somebody who was only heard, and has said nothing of itself, is as good as unknown.
impl Hash for Peers {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { me, drift: _, cluster, config, place, known, sites: _, gone: _ } = self;
        (me, cluster, config, place).hash(state);
        let silent = Known::default();
        let parts = |k: &Known| (k.up, k.gone, k.standing, k.boot);
        let said = |k: &Known| parts(k) != parts(&silent);
        for known in known.iter().filter(|(_, known)| said(known)) {
            known.hash(state);
        }
    }
}

impl Peers {
    pub(crate) const fn new(me: NodeId, drift: Drift) -> Self {
        Self {
            me,
            drift,
            cluster: ClusterId(0, 0),
            config: None,
            place: None,
            known: BTreeMap::new(),
            sites: Vec::new(),
            gone: Votes::all(0),
        }
    }

    /// Takes a configuration into force.
    pub(crate) fn configure(&mut self, cluster: ClusterId, config: Config) {
        self.cluster = cluster;
        self.place = config.master(self.me);
        self.config = Some(config);
        self.find_sites();
    }

    /// Notes what follows for homes and quorums from what is known of the masters.
    fn find_sites(&mut self) {
        let masters = self.config.iter().flat_map(|config| &config.masters).map(|member| member.id);
        let there = |id: NodeId| self.known.get(&id).is_some_and(|k| k.up && self.votes(k));
        let sites = masters.filter(|&id| id == self.me || there(id));
        self.sites = sites.map(|id| Site::new(self.cluster, id)).collect();
        let mut gone = Votes::default();
        for (place, master) in self.config.iter().flat_map(|config| &config.masters).enumerate() {
            if self.known.get(&master.id).is_some_and(|known| known.gone) {
                gone.add(place);
            }
        }
        self.gone = gone;
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.config.as_ref().map_or(Epoch(0), |config| config.epoch)
    }

    /// How many masters there are, and how many must agree.
    pub(crate) fn quorum(&self) -> (usize, usize) {
        self.config.as_ref().map_or((0, 1), |config| (config.masters.len(), config.quorum()))
    }

    pub(crate) const fn place(&self) -> Option<usize> {
        self.place
    }

    pub(crate) fn master_at(&self, place: usize) -> Option<NodeId> {
        Some(self.config.as_ref()?.masters.get(place)?.id)
    }

    pub(crate) fn place_of(&self, node: NodeId) -> Option<usize> {
        self.config.as_ref()?.master(node)
    }

    /// A link came or went. Whether that is news.
    pub(crate) fn link(&mut self, peer: NodeId, up: bool) -> bool {
        let known = self.known.entry(peer).or_default();
        if !up {
            known.standing = Standing::Unknown;
        }
        known.gone = !up;
        let news = core::mem::replace(&mut known.up, up) != up;
        self.find_sites();
        news
    }

    /// Something came from `peer`.
    pub(crate) fn heard(&mut self, peer: NodeId, now: Instant) {
        match self.known.get_mut(&peer) {
            Some(known) => known.heard_at = Some(now),
            None => self.known.entry(peer).or_default().heard_at = Some(now),
        }
    }

    /// What `peer` says of itself. Whether that is news.
    pub(crate) fn says(&mut self, peer: NodeId, standing: Standing, epoch: Epoch) -> bool {
        let known = self.known.entry(peer).or_default();
        let news = (known.standing, known.epoch) != (standing, epoch);
        (known.standing, known.epoch) = (standing, epoch);
        if news {
            self.find_sites();
        }
        news
    }

    /// Takes the boot of `peer` and its running time since, as `peer` said them. Of one boot the
    /// least delayed word counts.
    pub(crate) fn booted(&mut self, peer: NodeId, boot: u64, running: Span, now: Instant) {
        let least = self.running_at_least(peer, now);
        let known = self.known.entry(peer).or_default();
        if known.boot != boot || running >= least {
            known.running = (running, now);
        }
        known.boot = boot;
    }

    /// How long `peer` has been running at least since the boot that this node knows of, by its own clock.
    pub(crate) fn running_at_least(&self, peer: NodeId, now: Instant) -> Span {
        let Some(known) = self.known.get(&peer) else { return Span::ZERO };
        let (running, heard_at) = known.running;
        running.plus(self.drift.believed(now.since(heard_at)))
    }

    /// The boot of `peer` that this node knows of.
    pub(crate) fn boot_of(&self, peer: NodeId) -> u64 {
        self.known.get(&peer).map_or(0, |known| known.boot)
    }

    pub(crate) fn standing_of(&self, peer: NodeId) -> Standing {
        self.known.get(&peer).map_or(Standing::Unknown, |known| known.standing)
    }

    /// Peers whose link is up.
    pub(crate) fn linked(&self) -> Vec<NodeId> {
        self.known.iter().filter(|(_, known)| known.up).map(|(&peer, _)| peer).collect()
    }

    /// The key's home among the masters that are there and vote; this node only if it `serves`.
    pub(crate) fn home(&self, key: &[u8], serves: bool) -> Option<NodeId> {
        let sites = self.sites.iter().filter(|site| serves || site.node != self.me);
        sites.max_by_key(|site| site.weight(key)).map(|site| site.node)
    }

    fn votes(&self, known: &Known) -> bool {
        known.standing == Standing::Active && known.epoch == self.epoch()
    }

    /// How many masters say that they vote in this epoch, `active` being this node's own word.
    pub(crate) fn voting(&self, active: bool) -> usize {
        let masters = self.config.iter().flat_map(|config| &config.masters);
        let votes = |id: NodeId| match self.known.get(&id) {
            _ if id == self.me => active,
            Some(known) => self.votes(known),
            None => false,
        };
        masters.filter(|member| votes(member.id)).count()
    }

    /// Whether as many of these masters as make a quorum may be there: nobody said that their links are down.
    pub(crate) fn may_be_quorum(&self, of: Votes) -> bool {
        let quorum = self.config.as_ref().map(Config::quorum);
        quorum.is_some_and(|quorum| of.without(self.gone).count() >= quorum)
    }

    /// Whether `peer` is there.
    pub(crate) fn is_up(&self, peer: NodeId) -> bool {
        peer == self.me || self.known.get(&peer).is_some_and(|known| known.up)
    }

    pub(crate) fn is_member(&self, node: NodeId) -> bool {
        self.config.iter().any(|config| config.members().any(|member| member.id == node))
    }

    /// How the other members are heard, by those of whom anything was.
    pub(crate) fn heard_of(
        &self,
        now: Instant,
        clock_ppm: impl Fn(NodeId) -> Option<i32>,
    ) -> Vec<(NodeId, Heard)> {
        let members = self.config.iter().flat_map(Config::members).map(|member| member.id);
        let heard = |id: NodeId| {
            let ago = now.since(self.known.get(&id)?.heard_at?);
            Some((id, Heard { ago, clock_ppm: clock_ppm(id) }))
        };
        members.filter(|&id| id != self.me).filter_map(heard).collect()
    }

    /// The configuration in force, with the cluster it is of.
    pub(crate) fn config(&self) -> Option<(ClusterId, &Config)> {
        self.config.as_ref().map(|config| (self.cluster, config))
    }

    /// Whether every other master was heard from lately, and votes.
    pub(crate) fn all_vote(&self, now: Instant) -> bool {
        let mut masters = self.config.iter().flat_map(|config| &config.masters);
        masters.all(|master| {
            let known = self.known.get(&master.id);
            let votes = known.filter(|known| self.votes(known));
            let heard_at = votes.and_then(|known| known.heard_at);
            master.id == self.me || heard_at.is_some_and(|at| now < at.after(SILENT_AFTER))
        })
    }

    /// The members and what is known of them; `standing` is this node's own.
    pub(crate) fn list(&self, standing: Standing) -> Vec<Peer> {
        let Some(config) = &self.config else { return Vec::new() };
        let peer = |(place, member): (usize, &crate::members::Member)| {
            let known = self.known.get(&member.id).cloned().unwrap_or_default();
            let own = member.id == self.me;
            Peer {
                member: member.clone(),
                master: place < config.masters.len(),
                standing: if own { standing } else { known.standing },
                up: own || known.up,
            }
        };
        config.members().enumerate().map(peer).collect()
    }
}
