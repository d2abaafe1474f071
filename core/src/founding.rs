//! The founding of a cluster (protocol, section 8.1).
//!
//! It takes two steps so that no master votes before all know what cluster they are in: first every master
//! stores the new identity, then every master becomes active. Two foundings at once end in one: while nobody is
//! active the greater identity wins at every master, and once somebody is, that one's does. A master only becomes
//! active in what it stores, and one that was ever active stores nothing else, so no two identities can both
//! be stored everywhere.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::disk::{Disk, Then};
use crate::members::{ClusterId, Config, Epoch, NodeFile, NodeId};
use crate::message::{Body, Found};
use crate::request::{Invalid, NotDone, Outcome, Refusal, Standing, Ticket};
use crate::time::{Instant, Span};

/// How often an unanswered step is asked for again.
const ASK_AGAIN: Span = Span::from_millis(300);
/// How long a founding tries.
const PATIENCE: Span = Span::from_secs(10);

/// A founding that this node leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Leading {
    ticket: Ticket,
    cluster: ClusterId,
    config: Config,
    /// Whether all have stored the identity.
    activating: bool,
    /// Who has taken the present step.
    done: Vec<NodeId>,
    again_at: Instant,
    give_up: Instant,
}

/// What a founding needs from its node.
#[derive(Debug)]
pub(crate) struct Desk<'a> {
    pub(crate) now: Instant,
    /// Whether this node was ever active.
    pub(crate) founded: bool,
    pub(crate) disk: &'a mut Disk,
    pub(crate) post: &'a mut Vec<(NodeId, Body)>,
    pub(crate) answers: &'a mut Vec<(Ticket, Outcome)>,
}

/// The foundings that this node takes part in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Founding {
    me: NodeId,
    leading: Option<Leading>,
}

impl Founding {
    pub(crate) const fn new(me: NodeId) -> Self {
        Self { me, leading: None }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.leading.as_ref().map(|founding| founding.again_at.min(founding.give_up))
    }

    /// Asks again, or gives up.
    pub(crate) fn tick(&mut self, desk: &mut Desk<'_>) {
        let Some(founding) = &mut self.leading else { return };
        if desk.now >= founding.give_up {
            let missing = |master: &NodeId| !founding.done.contains(master);
            let mut masters = founding.config.masters.iter().map(|member| member.id);
            let missing = masters.find(missing).unwrap_or(self.me);
            let outcome = Outcome::NotDone(NotDone::Unreachable(missing));
            desk.answers.push((founding.ticket, outcome));
            self.leading = None;
        } else if desk.now >= founding.again_at {
            founding.again_at = desk.now.after(ASK_AGAIN);
            self.ask(desk);
        }
    }

    /// An operator declares a new cluster. `standing` tells how another master is, as far as known.
    pub(crate) fn init(
        &mut self,
        desk: &mut Desk<'_>,
        ticket: Ticket,
        cluster: ClusterId,
        config: Config,
        standing: impl Fn(NodeId) -> Standing,
    ) {
        let file = desk.disk.file();
        // What was begun goes on.
        let (cluster, config) = match (file.cluster, &file.config) {
            (Some(stored), Some(config)) => (stored, config.clone()),
            _ => (cluster, config),
        };
        // A founding that was not finished everywhere is, but only while its masters are the first ones: later ones
        // have to take over what was agreed before they vote.
        let left = |id: NodeId| id != self.me && standing(id) == Standing::Fresh;
        let master = config.master(self.me).is_some();
        let unfinished = config.epoch == Epoch(1) && master;
        let unfinished = unfinished && config.masters.iter().any(|member| left(member.id));
        if (file.active_in.is_some() || desk.founded) && !unfinished {
            let refusal = Refusal::AlreadyFounded { by: self.me, cluster };
            return desk.answers.push((ticket, Outcome::Refused(refusal)));
        }
        if !master || config.epoch != Epoch(1) || !config.well_formed() {
            let invalid = NotDone::Invalid(Invalid::Config);
            return desk.answers.push((ticket, Outcome::NotDone(invalid)));
        }
        if let Some(other) = self.leading.take() {
            desk.answers.push((other.ticket, Outcome::NotDone(NotDone::Cancelled)));
        }
        let (again_at, give_up) = (desk.now.after(ASK_AGAIN), desk.now.after(PATIENCE));
        self.lead(
            desk,
            Leading {
                ticket,
                cluster,
                config,
                activating: false,
                done: Vec::new(),
                again_at,
                give_up,
            },
        );
    }

    /// The caller of an `init` is gone. Whether there was one.
    pub(crate) fn cancel(&mut self, desk: &mut Desk<'_>, ticket: Ticket) {
        if self.leading.as_ref().is_some_and(|founding| founding.ticket == ticket) {
            desk.answers.push((ticket, Outcome::NotDone(NotDone::Cancelled)));
            self.leading = None;
        }
    }

    fn lead(&mut self, desk: &mut Desk<'_>, founding: Leading) {
        let own = Found::Store {
            cluster: founding.cluster,
            config: founding.config.clone(),
            active: desk.founded,
        };
        self.leading = Some(founding);
        self.ask(desk);
        self.take(desk, self.me, own);
    }

    /// Sends the present step to those who have not taken it.
    fn ask(&self, desk: &mut Desk<'_>) {
        let Some(founding) = &self.leading else { return };
        let cluster = founding.cluster;
        for member in &founding.config.masters {
            if member.id != self.me && !founding.done.contains(&member.id) {
                let step = if founding.activating {
                    Found::Activate { cluster }
                } else {
                    let (config, active) = (founding.config.clone(), desk.founded);
                    Found::Store { cluster, config, active }
                };
                desk.post.push((member.id, Body::Found(step)));
            }
        }
    }

    /// Takes a step of a founding, one's own included, or the answer to one.
    pub(crate) fn take(&mut self, desk: &mut Desk<'_>, from: NodeId, step: Found) {
        match step {
            Found::Store { cluster, config, active } => {
                self.store(desk, from, cluster, config, active);
            }
            Found::Activate { cluster } => self.activate(desk, from, cluster),
            Found::Stored { cluster } => self.counted(desk, from, cluster, false),
            Found::Activated { cluster } => self.counted(desk, from, cluster, true),
            Found::Holds { cluster, config, active } => {
                self.on_holds(desk, from, cluster, config, active);
            }
        }
    }

    fn store(
        &self,
        desk: &mut Desk<'_>,
        from: NodeId,
        cluster: ClusterId,
        config: Config,
        active: bool,
    ) {
        let first = config.epoch == Epoch(1) && config.well_formed();
        if config.master(self.me).is_none() || !first {
            return;
        }
        let file = desk.disk.file();
        let then = Then::Send(from, Box::new(Body::Found(Found::Stored { cluster })));
        if file.cluster == Some(cluster) {
            if let Some(Then::Send(to, body)) = desk.disk.after_present(then) {
                desk.post.push((to, *body));
            }
            return;
        }
        let ever_active = file.active_in.is_some();
        if let (Some(stored), Some(config)) = (file.cluster, &file.config)
            && (ever_active || (!active && cluster < stored))
        {
            let holds =
                Found::Holds { cluster: stored, config: config.clone(), active: ever_active };
            return desk.post.push((from, Body::Found(holds)));
        }
        let change = |file: &mut NodeFile| {
            file.cluster = Some(cluster);
            file.config = Some(config);
        };
        desk.disk.change(change, Some(then));
    }

    fn activate(&self, desk: &mut Desk<'_>, from: NodeId, cluster: ClusterId) {
        let file = desk.disk.file();
        let Some(epoch) = file.config.as_ref().map(|config| config.epoch) else { return };
        if file.cluster != Some(cluster) || epoch != Epoch(1) {
            return;
        }
        if desk.founded {
            desk.post.push((from, Body::Found(Found::Activated { cluster })));
        } else {
            let then = Some(Then::Activate(from));
            desk.disk.change(|file| file.active_in = Some(epoch), then);
        }
    }

    fn counted(&mut self, desk: &mut Desk<'_>, from: NodeId, cluster: ClusterId, activated: bool) {
        let Some(founding) = &mut self.leading else { return };
        if founding.cluster != cluster || founding.activating != activated {
            return;
        }
        if !founding.done.contains(&from) {
            founding.done.push(from);
        }
        if founding.done.len() < founding.config.masters.len() {
            return;
        }
        if activated {
            desk.answers.push((founding.ticket, Outcome::Founded(cluster)));
            self.leading = None;
        } else {
            founding.activating = true;
            founding.done.clear();
            self.ask(desk);
            self.activate(desk, self.me, cluster);
        }
    }

    /// Another master stores another identity.
    fn on_holds(
        &mut self,
        desk: &mut Desk<'_>,
        from: NodeId,
        cluster: ClusterId,
        config: Config,
        active: bool,
    ) {
        let Some(founding) = self.leading.take() else { return };
        let mine = config.master(self.me).is_some() && config.well_formed();
        let wins = active || cluster > founding.cluster;
        if founding.cluster == cluster || (!wins && !founding.activating) {
            self.leading = Some(founding);
        } else if mine && !desk.founded {
            self.lead(
                desk,
                Leading { cluster, config, activating: false, done: Vec::new(), ..founding },
            );
        } else {
            let refusal = Refusal::AlreadyFounded { by: from, cluster };
            desk.answers.push((founding.ticket, Outcome::Refused(refusal)));
        }
    }
}
