//! From a start, or a new epoch, to a vote (protocol, sections 8 and 9).
//!
//! A master that has forgotten its votes, or has never voted in this epoch, must not vote before it knows all that
//! matters. It learns that from *snapshots* of other masters, which it asks for in one *attempt*: a bounded time, so
//! that nothing in them is older than the horizon allows. What their word is worth, and how many of them it takes,
//! is the heart of this module:
//!
//! * after a restart in the epoch it voted in: from `n - q + 1` other masters that vote in it (every quorum it was in
//!   had one of them), and only once all operations that it voted in before are over;
//! * in an epoch it has not voted in: the same (or from any master that votes in it, unless the masters are those of the
//!   epoch before, who went on voting without taking over anything), or from a quorum of the masters of the epoch before, each
//!   *fenced*: it will not vote in that epoch any more and has lost no vote of it that can still matter.
//!
//! Without anybody's help a restarted master may vote once the horizon has passed: nothing it ever said matters then.
//!
//! Invariant: a master votes in an epoch only after one of these, or after the founding.

#[cfg(test)]
mod tests;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::ballot::Ballot;
use crate::faults::Rule;
use crate::members::{Config, Epoch, Member, NodeFile, NodeId};
use crate::message::Source;
use crate::request::Standing;
use crate::settings::Timing;
use crate::time::{Instant, Span};

/// How long to wait for a part before it is asked for again.
const ASK_AGAIN: Span = Span::from_millis(250);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    /// Never active, and not taken into a cluster.
    Fresh,
    /// A master that does not vote yet.
    Joining(Joining),
    Active,
    /// A replica: it never votes, and takes over from a quorum whenever it may have missed something.
    Learning(Joining),
    /// Not a member.
    Outside,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Joining {
    /// When it votes without help; never in an epoch it has not voted in.
    aged_at: Option<Instant>,
    /// When it may ask for snapshots.
    ask_from: Instant,
    attempt: Option<Attempt>,
    /// Whether enough was taken over: a master only waits for the disk, a replica for the next gap.
    done: bool,
    /// Whether a replica missed something since the attempt began.
    behind: bool,
}

/// One try to take over what others know.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Attempt {
    nonce: Ballot,
    started: Instant,
    again_at: Instant,
    sources: BTreeMap<NodeId, Progress>,
}

/// How far the snapshot of one source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Progress {
    boot: u64,
    source: Source,
    /// The part that is asked for; none after the last has come.
    next: Option<u32>,
}

/// What a joining master does next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// Forget what was taken over so far, and ask these masters from the start.
    Begin { nonce: Ballot, from: Vec<NodeId> },
    /// Ask this master for a part.
    Ask { nonce: Ballot, from: NodeId, cursor: u32 },
    /// A replica knows all that was chosen before it asked.
    CaughtUp,
    /// Enough is known. Own records count, too, if they are those of a fenced master.
    Finish { with_own: bool },
    /// Time alone made it a voter again.
    Aged,
}

/// A part of a snapshot, without what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PartHead {
    pub(crate) nonce: Ballot,
    pub(crate) cursor: u32,
    pub(crate) boot: u64,
    pub(crate) source: Source,
    pub(crate) next: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sync {
    me: NodeId,
    timing: Timing,
    /// When votes were lost last: at the boot, or when records were given up.
    lost_at: Instant,
    state: State,
    /// Whether the acceptor holds the records of an active master of the epoch just before this one.
    fenced: bool,
}

impl Sync {
    pub(crate) fn new(file: &NodeFile, timing: &Timing, now: Instant) -> Self {
        let mut sync =
            Self { me: file.id, timing: *timing, lost_at: now, state: State::Fresh, fenced: false };
        let Some(config) = file.config.as_ref().filter(|_| file.cluster.is_some()) else {
            return sync;
        };
        sync.state = if config.master(file.id).is_none() {
            outside(config, file.id, now)
        } else if file.active_in == Some(config.epoch) {
            if Rule::Joining.is_out() { State::Active } else { sync.rejoining(now) }
        } else if config.epoch > Epoch(1) {
            State::Joining(Joining::asking_from(now))
        } else {
            // The founding was begun and not finished here.
            State::Fresh
        };
        sync
    }

    /// The state after a restart in the epoch this node voted in.
    fn rejoining(&self, now: Instant) -> State {
        let aged = if Rule::Aged.is_out() { Span::ZERO } else { self.timing.horizon() };
        let quiet = if Rule::Quiesce.is_out() { Span::ZERO } else { self.timing.quiesce() };
        let mut joining = Joining::asking_from(now.after(quiet));
        joining.aged_at = Some(now.after(aged));
        State::Joining(joining)
    }

    pub(crate) fn is_active(&self) -> bool {
        matches!(self.state, State::Active)
    }

    /// Whether this node was ever taken into a cluster.
    pub(crate) fn is_founded(&self) -> bool {
        !matches!(self.state, State::Fresh)
    }

    pub(crate) const fn standing(&self) -> Standing {
        match self.state {
            State::Fresh => Standing::Fresh,
            State::Joining(_) => Standing::Joining,
            State::Active => Standing::Active,
            State::Learning(_) => Standing::Replica,
            State::Outside => Standing::Outside,
        }
    }

    /// How long until this node votes without anybody's help.
    pub(crate) fn active_in(&self, now: Instant) -> Option<Span> {
        match &self.state {
            State::Joining(joining) => joining.aged_at.map(|at| at.since(now)),
            State::Fresh | State::Active | State::Learning(_) | State::Outside => None,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let (State::Joining(joining) | State::Learning(joining)) = &self.state else { return None };
        let ask = match &joining.attempt {
            _ if joining.done => None,
            Some(attempt) => Some(attempt.again_at),
            None => Some(joining.ask_from),
        };
        [ask, joining.aged_at].into_iter().flatten().min()
    }

    /// The founding made this node a voter.
    pub(crate) fn activated(&mut self) {
        if self.state == State::Fresh {
            self.state = State::Active;
        }
    }

    /// What was taken over is in force, and on disk.
    pub(crate) fn synced(&mut self) {
        if let State::Joining(_) = self.state {
            self.state = State::Active;
            self.fenced = false;
        }
    }

    /// What a snapshot of this node is worth in this epoch, if anything.
    pub(crate) fn source(&self, now: Instant, file: &NodeFile) -> Option<Source> {
        let config = file.config.as_ref()?;
        if self.is_active() {
            return Some(Source::Active);
        }
        // It voted in the epoch before, or in this one and then maybe in that, and has forgotten.
        let lost = !self.fenced && file.active_in >= before(config) && !Rule::ActiveIn.is_out();
        let over = now >= self.lost_at.after(self.timing.horizon());
        let member = config.before.contains(&self.me) && self.is_founded();
        (member && (!lost || over)).then_some(Source::Fenced)
    }

    /// Whether the acceptor's records are those of a fenced master.
    pub(crate) const fn has_fenced_records(&self) -> bool {
        self.fenced
    }

    /// Once the new masters can do without it, what a fenced master keeps is of no use.
    pub(crate) const fn let_go(&mut self, now: Instant) -> bool {
        let outside = matches!(self.state, State::Outside | State::Learning(_));
        let let_go = outside && self.fenced;
        if let_go {
            self.fenced = false;
            self.lost_at = now;
        }
        let_go
    }

    /// A master says that it is in this epoch: what it may be asked for, if its answer would count now and did not before.
    pub(crate) fn met(&self, peer: NodeId, votes: bool) -> Option<Step> {
        let (State::Joining(joining) | State::Learning(joining)) = &self.state else { return None };
        let attempt = joining.attempt.as_ref().filter(|_| !joining.done)?;
        let news = attempt.sources.get(&peer).is_none_or(|progress| {
            progress.next.is_none() && progress.source == Source::Fenced && votes
        });
        news.then_some(Step::Ask { nonce: attempt.nonce, from: peer, cursor: 0 })
    }

    /// A replica may have missed something.
    pub(crate) fn behind(&mut self, now: Instant) {
        let State::Learning(learning) = &mut self.state else { return };
        if learning.attempt.is_some() {
            learning.behind = true;
        } else if learning.done {
            learning.done = false;
            learning.ask_from = now;
        }
    }

    /// Whether this node is a replica.
    pub(crate) const fn learns(&self) -> bool {
        matches!(self.state, State::Learning(_))
    }

    /// A new configuration is in force. `old` was before it; `file` names the new one.
    pub(crate) fn adopted(&mut self, now: Instant, old: Option<&Config>, file: &NodeFile) {
        let Some(config) = &file.config else { return };
        let active = self.is_active();
        // As it was written to disk, together with the configuration.
        let voted = file.active_in == Some(config.epoch);
        let stays = active && voted && old.is_some_and(|old| old.epoch.0 + 1 == config.epoch.0);
        // Whoever missed the epoch before holds that epoch's records if the masters were still the same.
        self.fenced = active
            && !stays
            && old.is_some_and(|old| old.epoch.0 + 2 >= config.epoch.0 && config.follows(old));
        if active && !stays && !self.fenced {
            self.lost_at = now;
        }
        self.state = if config.master(self.me).is_none() {
            outside(config, self.me, now)
        } else if stays || Rule::EpochSync.is_out() {
            State::Active
        } else if voted {
            self.rejoining(self.lost_at)
        } else {
            State::Joining(Joining::asking_from(now))
        };
    }

    /// What time does. `nonce` is a ballot that was never used.
    pub(crate) fn tick(
        &mut self,
        now: Instant,
        file: &NodeFile,
        nonce: impl FnOnce() -> Ballot,
    ) -> Vec<Step> {
        let fenced = self.source(now, file) == Some(Source::Fenced);
        let never_voted = file.active_in.is_none();
        let learning = matches!(self.state, State::Learning(_));
        let (State::Joining(joining) | State::Learning(joining)) = &mut self.state else {
            return Vec::new();
        };
        if joining.aged_at.is_some_and(|at| now >= at) {
            self.state = State::Active;
            return Vec::from([Step::Aged]);
        }
        let Some(config) = &file.config else { return Vec::new() };
        if joining.done || now < joining.ask_from {
            return Vec::new();
        }
        let stale = |attempt: &Attempt| now >= attempt.started.after(self.timing.sync_timeout);
        let expired = joining.attempt.as_ref().is_none_or(stale);
        if expired && !(Rule::Freshness.is_out() && joining.attempt.is_some()) {
            let others = config.masters.iter().map(|member| member.id).chain(config.before.clone());
            let mut from: Vec<NodeId> = others.filter(|&node| node != self.me).collect();
            from.sort_unstable();
            from.dedup();
            let nonce = nonce();
            let sources = BTreeMap::new();
            let again_at = now.after(ASK_AGAIN);
            joining.attempt = Some(Attempt { nonce, started: now, again_at, sources });
            let mut steps = Vec::from([Step::Begin { nonce, from }]);
            if !learning {
                steps.extend(joining.finish(config, self.me, fenced, self.fenced, never_voted));
            }
            return steps;
        }
        let Some(attempt) = joining.attempt.as_mut().filter(|a| now >= a.again_at) else {
            return Vec::new();
        };
        attempt.again_at = now.after(ASK_AGAIN);
        attempt.ask_again(config, self.me)
    }

    /// Takes note of a part. Whether what it carries is to be taken over, and what to do next.
    pub(crate) fn part(
        &mut self,
        now: Instant,
        from: NodeId,
        head: PartHead,
        file: &NodeFile,
    ) -> (bool, Vec<Step>) {
        let fenced = self.source(now, file) == Some(Source::Fenced);
        let never_voted = file.active_in.is_none();
        let learning = matches!(self.state, State::Learning(_));
        let (State::Joining(joining) | State::Learning(joining), Some(config)) =
            (&mut self.state, &file.config)
        else {
            return (false, Vec::new());
        };
        let done = joining.done;
        let Some(attempt) = joining.attempt.as_mut().filter(|a| a.nonce == head.nonce && !done)
        else {
            return (false, Vec::new());
        };
        let late = now >= attempt.started.after(self.timing.sync_timeout);
        if late && !Rule::Freshness.is_out() {
            return (false, Vec::new());
        }
        let fresh = Progress { boot: head.boot, source: head.source, next: Some(0) };
        let progress = attempt.sources.entry(from).or_insert(fresh);
        if (progress.boot, progress.source) != (head.boot, head.source) {
            // Another boot, or another role: what came before was of somebody else.
            *progress = fresh;
        }
        let (nonce, expected) = (attempt.nonce, progress.next);
        if expected != Some(head.cursor) {
            let ask = expected.map(|cursor| Step::Ask { nonce, from, cursor });
            return (false, ask.filter(|_| head.cursor != 0).into_iter().collect());
        }
        progress.next = head.next;
        let step = match head.next {
            Some(cursor) => Some(Step::Ask { nonce, from, cursor }),
            None if learning => joining.caught_up(config, now),
            None => joining.finish(config, self.me, fenced, self.fenced, never_voted),
        };
        (true, step.into_iter().collect())
    }
}

/// The epoch before the one of this configuration.
fn before(config: &Config) -> Option<Epoch> {
    config.epoch.0.checked_sub(1).map(Epoch)
}

/// The state of a node that does not vote.
fn outside(config: &Config, me: NodeId, now: Instant) -> State {
    if config.replicas.iter().any(|member| member.id == me) {
        State::Learning(Joining::asking_from(now))
    } else {
        State::Outside
    }
}

impl Joining {
    const fn asking_from(ask_from: Instant) -> Self {
        Self { aged_at: None, ask_from, attempt: None, done: false, behind: false }
    }

    /// Whether a replica has the snapshots of a quorum, so that nothing chosen before can be missing.
    fn caught_up(&mut self, config: &Config, now: Instant) -> Option<Step> {
        let attempt = self.attempt.as_ref()?;
        let complete = |member: &&Member| {
            let progress = attempt.sources.get(&member.id);
            progress.is_some_and(|p| p.source == Source::Active && p.next.is_none())
        };
        if config.masters.iter().filter(complete).count() < config.quorum() {
            return None;
        }
        self.attempt = None;
        self.ask_from = now;
        // What was missed meanwhile takes another round.
        self.done = !core::mem::take(&mut self.behind);
        Some(Step::CaughtUp)
    }

    /// Whether enough snapshots are complete. `fenced` says that this node counts as one of the epoch before.
    fn finish(
        &mut self,
        config: &Config,
        me: NodeId,
        fenced: bool,
        with_own: bool,
        never_voted: bool,
    ) -> Option<Step> {
        let attempt = self.attempt.as_ref()?;
        let complete = |source: Source, node: NodeId| {
            let progress = attempt.sources.get(&node);
            progress.is_some_and(|p| p.source == source && p.next.is_none())
        };
        let masters = config.masters.iter().filter(|member| member.id != me);
        let active = masters.filter(|member| complete(Source::Active, member.id)).count();
        // Who has not voted in this epoch was in none of its quorums, and who votes in an epoch of other masters knows
        // all that was chosen before: one of them is enough.
        let newcomer = self.aged_at.is_none() && (config.has_new_masters() || never_voted);
        let sources = if newcomer { 1 } else { config.sources() };
        let needed = sources - usize::from(Rule::Sources.is_out());
        if active >= needed.max(1) {
            self.done = true;
            return Some(Step::Finish { with_own: false });
        }
        if self.aged_at.is_some() {
            return None;
        }
        let of_before = |&&node: &&NodeId| {
            if node == me { fenced } else { complete(Source::Fenced, node) }
        };
        let old = config.before.iter().filter(of_before).count();
        if !config.before.is_empty() && old > config.before.len() / 2 {
            self.done = true;
            return Some(Step::Finish { with_own });
        }
        None
    }
}

impl Attempt {
    /// Asks for every part that has not come.
    fn ask_again(&self, config: &Config, me: NodeId) -> Vec<Step> {
        let others = config.masters.iter().map(|member| member.id).chain(config.before.clone());
        let mut from: Vec<NodeId> = others.filter(|&node| node != me).collect();
        from.sort_unstable();
        from.dedup();
        let ask = |from: NodeId| {
            let cursor = self.sources.get(&from).map_or(Some(0), |progress| progress.next)?;
            Some(Step::Ask { nonce: self.nonce, from, cursor })
        };
        from.into_iter().filter_map(ask).collect()
    }
}
