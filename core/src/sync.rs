//! From a start to a vote (protocol, section 8): a new cluster's founding, and the wait after a restart.
//!
//! Founding takes two steps so that no master votes before all know what cluster they are in: first every master
//! stores the new identity, then every master becomes active. Two foundings at once end in one: while nobody is
//! active the greater identity wins at every master, and once somebody is, that one's does. A master only becomes
//! active in what it stores, and one that was ever active stores nothing else, so no two identities can both
//! be stored everywhere.
//!
//! Invariant: a master votes only after the founding made it active, or after it waited the horizon.

use alloc::vec::Vec;

use crate::disk::{Disk, Then};
use crate::faults::Rule;
use crate::members::{ClusterId, Config, NodeFile, NodeId};
use crate::message::{Body, Found};
use crate::request::{NotDone, Outcome, Refusal, Standing, Ticket};
use crate::settings::Timing;
use crate::time::{Instant, Span};

/// How often an unanswered step is asked for again.
const ASK_AGAIN: Span = Span::from_millis(300);
/// How long a founding tries.
const PATIENCE: Span = Span::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    /// Never active.
    Fresh,
    /// Restarted; votes again at this time.
    Joining(Instant),
    Active,
    /// Not a master.
    Outside,
}

/// A founding that this node leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Founding {
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

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sync {
    me: NodeId,
    state: State,
    founding: Option<Founding>,
}

/// What a founding needs from its node.
#[derive(Debug)]
pub(crate) struct Desk<'a> {
    pub(crate) now: Instant,
    pub(crate) disk: &'a mut Disk,
    pub(crate) post: &'a mut Vec<(NodeId, Body)>,
    pub(crate) answers: &'a mut Vec<(Ticket, Outcome)>,
}

impl Sync {
    pub(crate) fn new(file: &NodeFile, timing: &Timing, now: Instant) -> Self {
        let state = match (&file.config, file.active_in) {
            (Some(config), _) if config.master(file.id).is_none() => State::Outside,
            (Some(config), Some(epoch)) if epoch == config.epoch => {
                if Rule::Joining.is_out() {
                    State::Active
                } else if Rule::Aged.is_out() {
                    State::Joining(now.after(timing.quiesce()))
                } else {
                    State::Joining(now.after(timing.horizon()))
                }
            }
            _ => State::Fresh,
        };
        Self { me: file.id, state, founding: None }
    }

    pub(crate) fn is_active(&self) -> bool {
        self.state == State::Active
    }

    /// Whether this node was ever taken into a cluster.
    pub(crate) fn is_founded(&self) -> bool {
        self.state != State::Fresh
    }

    pub(crate) const fn standing(&self) -> Standing {
        match self.state {
            State::Fresh => Standing::Fresh,
            State::Joining(_) => Standing::Joining,
            State::Active => Standing::Active,
            State::Outside => Standing::Replica,
        }
    }

    /// How long until this node votes, if it only waits for that.
    pub(crate) fn active_in(&self, now: Instant) -> Option<Span> {
        match self.state {
            State::Joining(until) => Some(until.since(now)),
            State::Fresh | State::Active | State::Outside => None,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let joining = match self.state {
            State::Joining(until) => Some(until),
            State::Fresh | State::Active | State::Outside => None,
        };
        let founding = self.founding.as_ref().map(|f| f.again_at.min(f.give_up));
        [joining, founding].into_iter().flatten().min()
    }

    /// What time does. Whether this node has just become active.
    pub(crate) fn tick(&mut self, desk: &mut Desk<'_>) -> bool {
        if let Some(founding) = &mut self.founding {
            if desk.now >= founding.give_up {
                let missing = |m: &NodeId| !founding.done.contains(m);
                let mut masters = founding.config.masters.iter().map(|member| member.id);
                let missing = masters.find(missing).unwrap_or(self.me);
                let outcome = Outcome::NotDone(NotDone::Unreachable(missing));
                desk.answers.push((founding.ticket, outcome));
                self.founding = None;
            } else if desk.now >= founding.again_at {
                founding.again_at = desk.now.after(ASK_AGAIN);
                self.ask(desk);
            }
        }
        match self.state {
            State::Joining(until) if desk.now >= until => {
                self.state = State::Active;
                true
            }
            State::Joining(_) | State::Fresh | State::Active | State::Outside => false,
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
        if config.master(self.me).is_none() || !config.well_formed() {
            let invalid = NotDone::Invalid(crate::request::Invalid::Config);
            return desk.answers.push((ticket, Outcome::NotDone(invalid)));
        }
        let left = |id: NodeId| id != self.me && standing(id) == Standing::Fresh;
        if file.active_in.is_some() && !config.masters.iter().any(|member| left(member.id)) {
            let refusal = Refusal::AlreadyFounded { by: self.me, cluster };
            return desk.answers.push((ticket, Outcome::Refused(refusal)));
        }
        if let Some(other) = self.founding.take() {
            desk.answers.push((other.ticket, Outcome::NotDone(NotDone::Cancelled)));
        }
        let (again_at, give_up) = (desk.now.after(ASK_AGAIN), desk.now.after(PATIENCE));
        self.lead(
            desk,
            Founding {
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
        if self.founding.as_ref().is_some_and(|founding| founding.ticket == ticket) {
            desk.answers.push((ticket, Outcome::NotDone(NotDone::Cancelled)));
            self.founding = None;
        }
    }

    fn lead(&mut self, desk: &mut Desk<'_>, founding: Founding) {
        let own = Found::Store {
            cluster: founding.cluster,
            config: founding.config.clone(),
            active: self.is_founded(),
        };
        self.founding = Some(founding);
        self.ask(desk);
        self.take(desk, self.me, own);
    }

    /// Sends the present step to those who have not taken it.
    fn ask(&self, desk: &mut Desk<'_>) {
        let Some(founding) = &self.founding else { return };
        let cluster = founding.cluster;
        for member in &founding.config.masters {
            if member.id != self.me && !founding.done.contains(&member.id) {
                let step = if founding.activating {
                    Found::Activate { cluster }
                } else {
                    let (config, active) = (founding.config.clone(), self.is_founded());
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
        if config.master(self.me).is_none() || !config.well_formed() {
            return;
        }
        let file = desk.disk.file();
        let then = Then::Send(from, Body::Found(Found::Stored { cluster }));
        if file.cluster == Some(cluster) {
            if let Some(Then::Send(to, body)) = desk.disk.after_present(then) {
                desk.post.push((to, body));
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
        if file.cluster != Some(cluster) {
            return;
        }
        if self.is_founded() {
            desk.post.push((from, Body::Found(Found::Activated { cluster })));
        } else {
            let then = Some(Then::Activate(from));
            desk.disk.change(|file| file.active_in = Some(epoch), then);
        }
    }

    /// The file that makes this node active is on disk.
    pub(crate) fn activated(&mut self) {
        if self.state == State::Fresh {
            self.state = State::Active;
        }
    }

    fn counted(&mut self, desk: &mut Desk<'_>, from: NodeId, cluster: ClusterId, activated: bool) {
        let Some(founding) = &mut self.founding else { return };
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
            self.founding = None;
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
        let Some(founding) = self.founding.take() else { return };
        let mine = config.master(self.me).is_some() && config.well_formed();
        let wins = active || cluster > founding.cluster;
        if founding.cluster == cluster || (!wins && !founding.activating) {
            self.founding = Some(founding);
        } else if mine && !self.is_founded() {
            self.lead(
                desk,
                Founding { cluster, config, activating: false, done: Vec::new(), ..founding },
            );
        } else {
            let refusal = Refusal::AlreadyFounded { by: from, cluster };
            desk.answers.push((founding.ticket, Outcome::Refused(refusal)));
        }
    }
}
