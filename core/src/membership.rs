//! Which configuration comes next (protocol, section 9).
//!
//! The masters of an epoch agree on the configuration of the next by single-decree Paxos, with their votes in the node
//! file: a promise or an accept is answered only once it is on disk. Whoever learns what was chosen adopts it and
//! never votes in the old epoch again. A proposer that dies leaves votes behind that the next one finishes, or
//! that nobody ever needs.
//!
//! Invariant: in one epoch at most one configuration of the next is chosen.

#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::ballot::Ballot;
use crate::clock::Clock;
use crate::disk::{Disk, Then};
use crate::members::{Config, Epoch, Member, NodeId};
use crate::message::{Body, Change};
use crate::request::{NotDone, Outcome, Ticket};
use crate::time::{Instant, Span};

/// How long to wait before an unanswered step is sent again.
const ASK_AGAIN: Span = Span::from_millis(250);

/// A change that this node leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Leading {
    ticket: Ticket,
    masters: Vec<Member>,
    replicas: Vec<Member>,
    give_up: Instant,
    again_at: Instant,
    phase: Phase,
    /// Whether an accept with the wanted configuration was ever sent.
    sent: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// Lost to another proposer; tries again at `again_at`.
    Pause,
    Prepare {
        ballot: Ballot,
        promised: Vec<NodeId>,
        accepted: Option<(Ballot, Config)>,
    },
    Accept {
        ballot: Ballot,
        config: Config,
        accepted: Vec<NodeId>,
    },
    /// Chosen and in force; waits for a quorum of the new masters to vote.
    Complete {
        epoch: Epoch,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Membership {
    me: NodeId,
    leading: Option<Leading>,
}

/// What a change needs from its node.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) now: Instant,
    pub(crate) disk: &'a mut Disk,
    pub(crate) post: &'a mut Vec<(NodeId, Body)>,
    pub(crate) answers: &'a mut Vec<(Ticket, Outcome)>,
    /// Whether this node votes.
    pub(crate) active: bool,
    pub(crate) clock: &'a mut Clock,
    /// How many masters of the present configuration say that they vote in it.
    pub(crate) voting: usize,
}

impl Membership {
    pub(crate) const fn new(me: NodeId) -> Self {
        Self { me, leading: None }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.leading.as_ref().map(|leading| leading.again_at.min(leading.give_up))
    }

    /// Whether this node leads a change that is not complete.
    pub(crate) const fn is_changing(&self) -> bool {
        self.leading.is_some()
    }

    /// An operator wants these members. `missing` is a new master that was not met.
    pub(crate) fn request(
        &mut self,
        scene: &mut Scene<'_>,
        ticket: Ticket,
        patience: Span,
        (masters, replicas): (Vec<Member>, Vec<Member>),
        missing: Option<NodeId>,
    ) {
        let file = scene.disk.file();
        let Some(config) = &file.config else {
            return scene.answers.push((ticket, Outcome::NotDone(NotDone::NotFounded)));
        };
        let (epoch, so_already) = (config.epoch, is_so(config, &masters, &replicas));
        let refusal = if !wanted(config, &masters, &replicas).well_formed() {
            Some(NotDone::Invalid(crate::request::Invalid::Config))
        } else if self.leading.is_some() {
            Some(NotDone::Changing)
        } else if !scene.active {
            Some(NotDone::NotActive)
        } else {
            // Who is a member already need not be there.
            missing.filter(|_| !so_already).map(NotDone::Unreachable)
        };
        if let Some(reason) = refusal {
            return scene.answers.push((ticket, Outcome::NotDone(reason)));
        }
        self.leading = Some(Leading {
            ticket,
            masters,
            replicas,
            give_up: scene.now.after(patience),
            again_at: scene.now.after(ASK_AGAIN),
            phase: if so_already { Phase::Complete { epoch } } else { Phase::Pause },
            sent: false,
        });
        if so_already {
            self.complete(scene);
        } else {
            self.prepare(scene);
        }
    }

    /// The caller of a change is gone: the change goes on, or not, without an answer.
    pub(crate) fn cancel(&mut self, scene: &mut Scene<'_>, ticket: Ticket) {
        if let Some(leading) = self.leading.take_if(|leading| leading.ticket == ticket) {
            scene.answers.push((ticket, leading.outcome()));
        }
    }

    pub(crate) fn tick(&mut self, scene: &mut Scene<'_>) {
        let Some(leading) = &mut self.leading else { return };
        if scene.now >= leading.give_up {
            scene.answers.push((leading.ticket, leading.outcome()));
            self.leading = None;
            return;
        }
        if scene.now < leading.again_at {
            return;
        }
        leading.again_at = scene.now.after(ASK_AGAIN);
        match &leading.phase {
            Phase::Pause => self.prepare(scene),
            Phase::Prepare { .. } | Phase::Accept { .. } => self.ask(scene),
            Phase::Complete { .. } => self.complete(scene),
        }
    }

    /// Starts a vote at a fresh ballot, if this node may.
    fn prepare(&mut self, scene: &mut Scene<'_>) {
        let Some(leading) = &mut self.leading else { return };
        if !scene.active {
            leading.phase = Phase::Pause;
            return;
        }
        let (promised, accepted) = (Vec::new(), None);
        let ballot = scene.clock.fresh(scene.now);
        leading.phase = Phase::Prepare { ballot, promised, accepted };
        self.ask(scene);
    }

    /// Sends the present step to the masters that have not taken it.
    fn ask(&self, scene: &mut Scene<'_>) {
        let (Some(leading), Some(config)) = (&self.leading, &scene.disk.file().config) else {
            return;
        };
        let (step, done) = match &leading.phase {
            Phase::Prepare { ballot, promised, .. } => {
                (Change::Prepare { ballot: *ballot }, promised)
            }
            Phase::Accept { ballot, config, accepted } => {
                (Change::Accept { ballot: *ballot, config: config.clone() }, accepted)
            }
            Phase::Pause | Phase::Complete { .. } => return,
        };
        let missing = config.masters.iter().map(|member| member.id).filter(|id| !done.contains(id));
        let asked: Vec<_> = missing.map(|id| (id, Body::Change(step.clone()))).collect();
        scene.post.extend(asked);
    }

    /// Takes a step of a change, or the answer to one. What was chosen, if that is known now.
    pub(crate) fn take(
        &mut self,
        scene: &mut Scene<'_>,
        from: NodeId,
        step: Change,
    ) -> Option<Config> {
        match step {
            Change::Prepare { ballot } => self.on_prepare(scene, from, ballot),
            Change::Accept { ballot, config } => self.on_accept(scene, from, ballot, config),
            Change::Promise { ballot, accepted } => self.on_promise(scene, from, ballot, accepted),
            Change::Refused { ballot, counter } => self.on_refused(scene, ballot, counter),
            Change::Accepted { ballot } => return self.on_accepted(scene, from, ballot),
            Change::Adopt { config, .. } => return Some(config),
        }
        None
    }

    fn on_prepare(&self, scene: &mut Scene<'_>, from: NodeId, ballot: Ballot) {
        if !scene.active {
            return;
        }
        let vote = scene.disk.file().vote.clone();
        if ballot < vote.promised {
            let counter = vote.promised.counter;
            return scene.post.push((from, Body::Change(Change::Refused { ballot, counter })));
        }
        let promise = Change::Promise { ballot, accepted: vote.accepted };
        scene.vote(from, promise, |vote| vote.promised = ballot);
    }

    fn on_accept(&self, scene: &mut Scene<'_>, from: NodeId, ballot: Ballot, config: Config) {
        let file = scene.disk.file();
        let Some(present) = &file.config else { return };
        let next = config.epoch.0 == present.epoch.0 + 1;
        if !scene.active || !next || !config.well_formed() {
            return;
        }
        if ballot < file.vote.promised {
            let counter = file.vote.promised.counter;
            return scene.post.push((from, Body::Change(Change::Refused { ballot, counter })));
        }
        scene.vote(from, Change::Accepted { ballot }, |vote| {
            vote.promised = ballot;
            vote.accepted = Some((ballot, config));
        });
    }

    fn on_promise(
        &mut self,
        scene: &mut Scene<'_>,
        from: NodeId,
        of: Ballot,
        theirs: Option<(Ballot, Config)>,
    ) {
        let (Some(leading), Some(config)) = (&mut self.leading, &scene.disk.file().config) else {
            return;
        };
        let Phase::Prepare { ballot, promised, accepted } = &mut leading.phase else { return };
        if *ballot != of || config.master(from).is_none() || promised.contains(&from) {
            return;
        }
        promised.push(from);
        let higher = |theirs: &(Ballot, Config)| accepted.as_ref().is_none_or(|a| a.0 < theirs.0);
        if let Some(theirs) = theirs.filter(higher) {
            *accepted = Some(theirs);
        }
        if promised.len() < config.quorum() {
            return;
        }
        let own = wanted(config, &leading.masters, &leading.replicas);
        let chosen = accepted.take().map_or(own, |(_, config)| config);
        leading.sent = true;
        leading.phase = Phase::Accept { ballot: of, config: chosen, accepted: Vec::new() };
        self.ask(scene);
    }

    fn on_refused(&mut self, scene: &mut Scene<'_>, of: Ballot, counter: u64) {
        scene.clock.observe(counter);
        let Some(leading) = &mut self.leading else { return };
        let current = match &leading.phase {
            Phase::Prepare { ballot, .. } | Phase::Accept { ballot, .. } => *ballot == of,
            Phase::Pause | Phase::Complete { .. } => false,
        };
        if current {
            // Different nodes draw different proposers, so they do not keep in step for ever.
            leading.phase = Phase::Pause;
            leading.again_at = scene.now.after(Span::from_millis(20 + of.proposer % 200));
        }
    }

    fn on_accepted(&mut self, scene: &Scene<'_>, from: NodeId, of: Ballot) -> Option<Config> {
        let (Some(leading), Some(present)) = (&mut self.leading, &scene.disk.file().config) else {
            return None;
        };
        let Phase::Accept { ballot, config, accepted } = &mut leading.phase else { return None };
        if *ballot != of || present.master(from).is_none() || accepted.contains(&from) {
            return None;
        }
        accepted.push(from);
        (accepted.len() >= present.quorum()).then(|| config.clone())
    }

    /// Another configuration is in force.
    pub(crate) fn adopted(&mut self, scene: &mut Scene<'_>) {
        let (Some(leading), Some(config)) = (&mut self.leading, &scene.disk.file().config) else {
            return;
        };
        if is_so(config, &leading.masters, &leading.replicas) {
            leading.phase = Phase::Complete { epoch: config.epoch };
            self.complete(scene);
        } else {
            // Another change was first. This one follows it, once that is complete.
            leading.phase = Phase::Pause;
            leading.sent = false;
            leading.again_at = scene.now.after(ASK_AGAIN);
        }
    }

    /// Answers once a quorum of the new masters votes.
    pub(crate) fn complete(&mut self, scene: &mut Scene<'_>) {
        let (Some(leading), Some(config)) = (&self.leading, &scene.disk.file().config) else {
            return;
        };
        let Phase::Complete { epoch } = leading.phase else { return };
        if scene.voting >= config.quorum() {
            let outcome = Outcome::Configured { epoch, complete: true };
            scene.answers.push((leading.ticket, outcome));
            self.leading = None;
        }
    }
}

impl Scene<'_> {
    /// Changes this master's vote and says so once it is on disk.
    fn vote(
        &mut self,
        to: NodeId,
        answer: Change,
        change: impl FnOnce(&mut crate::members::ConfigVote),
    ) {
        let then = Then::Send(to, Box::new(Body::Change(answer)));
        self.disk.change(|file| change(&mut file.vote), Some(then));
    }
}

impl Leading {
    /// What is known when the caller's patience ends.
    const fn outcome(&self) -> Outcome {
        match self.phase {
            Phase::Complete { epoch } => Outcome::Configured { epoch, complete: false },
            Phase::Pause | Phase::Prepare { .. } | Phase::Accept { .. } if self.sent => {
                Outcome::Unknown
            }
            Phase::Pause | Phase::Prepare { .. } | Phase::Accept { .. } => {
                Outcome::NotDone(NotDone::NoQuorum)
            }
        }
    }
}

/// The configuration after `config` with these members.
fn wanted(config: &Config, masters: &[Member], replicas: &[Member]) -> Config {
    Config {
        epoch: Epoch(config.epoch.0 + 1),
        masters: masters.to_vec(),
        replicas: replicas.to_vec(),
        before: config.masters.iter().map(|member| member.id).collect(),
    }
}

/// Whether the configuration has these members already, in any order.
fn is_so(config: &Config, masters: &[Member], replicas: &[Member]) -> bool {
    let same = |a: &[Member], b: &[Member]| a.len() == b.len() && a.iter().all(|m| b.contains(m));
    same(&config.masters, masters) && same(&config.replicas, replicas)
}
