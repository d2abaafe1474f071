//! What an operation makes of a register (protocol, section 5.2).
//!
//! A pure function from what a quorum said to what is to be written and answered. Two rules make most of it:
//! nobody is told anything that a later vote could undo, so what is not unanimous is written first; and no
//! operation applies twice, so its own traces are looked for before it applies.

use alloc::boxed::Box;

use crate::ballot::{Ballot, Token};
use crate::entry::{Entry, Held, OpId};
use crate::faults::Rule;
use crate::request::{Action, Holder, Owner, Refusal};
use crate::time::Span;

/// What is to be done about a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Job {
    /// What a client asked for.
    Act(Action),
    /// Write the mark for an ownership that is over, so that all masters can forget it.
    Settle,
    /// Give up an acquisition that nobody awaits any more, unless its owner did anything with it after the lock `id`.
    GiveUp { id: OpId, token: Token },
}

/// What is known about the register at the moment of decision.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Seen<'a> {
    /// What was accepted at the highest ballot.
    pub(crate) best: Option<(Ballot, &'a Entry)>,
    /// How much longer it is kept, by the shortest answer and less the time since it came.
    pub(crate) remaining: Span,
    /// Whether all answers are the same, live, and so need no write.
    pub(crate) unanimous: bool,
    /// Whether `best` is known to be chosen: a quorum holds it, live or free.
    pub(crate) chosen: bool,
    /// The highest floor of those that answered.
    pub(crate) floor: Ballot,
    /// What this node's hybrid clock shows, which says how old a token is.
    pub(crate) clock: u64,
}

/// What to tell the caller once it is true.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Verdict {
    /// The operation took effect; with the lease that the caller may believe in, if it gives one.
    Done { token: Token, lease: Option<Span>, repeated: bool },
    /// What a read found.
    Found(Option<Holder>),
    /// The condition does not hold.
    Refused(Refusal),
    /// Nobody can tell.
    Unknown,
}

impl Verdict {
    /// Whether what is written with this verdict carries the operation itself, rather than what was there.
    pub(crate) const fn is_effect(&self) -> bool {
        matches!(self, Self::Done { repeated: false, .. })
    }
}

/// A verdict, until what it waits for is chosen. Desks keep it for as long as they remember their write, and hardly any says more
/// than that the operation is done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pending {
    Done { token: Token, lease: Option<Span>, repeated: bool },
    Other(Box<Verdict>),
}

impl Pending {
    /// See [`Verdict::is_effect`].
    pub(crate) const fn is_effect(&self) -> bool {
        matches!(self, Self::Done { repeated: false, .. })
    }
}

impl From<Verdict> for Pending {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Done { token, lease, repeated } => Self::Done { token, lease, repeated },
            other @ (Verdict::Found(_) | Verdict::Refused(_) | Verdict::Unknown) => {
                Self::Other(Box::new(other))
            }
        }
    }
}

impl From<Pending> for Verdict {
    fn from(pending: Pending) -> Self {
        match pending {
            Pending::Done { token, lease, repeated } => Self::Done { token, lease, repeated },
            Pending::Other(verdict) => *verdict,
        }
    }
}

/// How to go on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Plan {
    /// Write this, keep it for so long, and then answer.
    Write { entry: Entry, keep: Span, verdict: Verdict },
    /// Write what is there, keep it for so long, and decide again once that is chosen.
    Settle { entry: Entry, keep: Span },
    /// Nothing has to be written.
    Answer(Verdict),
}

/// What this very operation did in earlier rounds at this coordinator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Past {
    /// The lowest ballot at which it sent an accept that carries its own effect.
    pub(crate) sent_from: Option<Ballot>,
    /// Whether it found the effect of another sending. From then on that is the one that counts, also where it was
    /// written back at a ballot of this coordinator's.
    pub(crate) repeated: bool,
    /// For a release whose write grants the key to a lock that waited: the lock's operation, which is what the entry names, and
    /// the token that is released.
    pub(crate) heir: Option<(OpId, Token)>,
}

/// Decides `job` on what was seen, writing at `ballot`.
///
/// An accept of this operation that reached a minority stays there, and a later vote may find it. It never will take
/// effect once something else is written above it, and not before: so after such an accept nothing is answered from
/// what was seen alone, however unanimous.
pub(crate) fn decide(job: &Job, seen: &Seen<'_>, ballot: Ballot, past: Past) -> Plan {
    let plan = decide_as_seen(job, seen, ballot, past);
    if past.sent_from.is_none() || plan == Plan::Answer(Verdict::Unknown) {
        return plan;
    }
    match plan {
        Plan::Answer(verdict) => match seen.best {
            Some((_, entry)) => write_unchanged(entry, seen.remaining, verdict),
            None => Plan::Answer(Verdict::Unknown),
        },
        plan @ (Plan::Write { .. } | Plan::Settle { .. }) => plan,
    }
}

fn decide_as_seen(job: &Job, seen: &Seen<'_>, ballot: Ballot, past: Past) -> Plan {
    if let (Some(id), Some((at, entry))) = (id_of(job), seen.best) {
        let last = entry.last_op();
        if last == id && !Rule::RetryLastOp.is_out() {
            // Written here, and not what another sending of this operation wrote.
            let here = at.proposer == ballot.proposer && !past.repeated;
            if here && past.sent_from.is_some_and(|from| at >= from) {
                return write_again(job, entry, seen.remaining);
            }
            let done = Verdict::Done { token: entry.token(), lease: None, repeated: true };
            return unchanged(seen, done);
        }
        if let Some((_, token)) = past.heir.filter(|&(heir, _)| last == heir)
            && at.proposer == ballot.proposer
            && past.sent_from.is_some_and(|from| at >= from)
        {
            // The write that carried both took effect.
            let done = Verdict::Done { token, lease: None, repeated: false };
            return write_unchanged(entry, seen.remaining, done);
        }
        if id.is_before(last) && !Rule::Chains.is_out() {
            return Plan::Answer(Verdict::Unknown);
        }
    }
    if let Some(sent_from) = past.sent_from
        && !never_applied(seen, sent_from)
        && !Rule::RetryUnknown.is_out()
    {
        return Plan::Answer(Verdict::Unknown);
    }
    apply(job, seen, ballot)
}

/// The identity of the operation, if it changes anything.
pub(crate) const fn id_of(job: &Job) -> Option<OpId> {
    match job {
        Job::Act(
            Action::Lock { id, .. }
            | Action::Extend { id, .. }
            | Action::Update { id, .. }
            | Action::Release { id, .. },
        ) => Some(*id),
        Job::Act(Action::Read | Action::WaitHeld | Action::WaitReleased)
        | Job::Settle
        | Job::GiveUp { .. } => None,
    }
}

/// Whether an operation that sent accepts from this ballot on has not taken effect and never will.
pub(crate) fn never_applied(seen: &Seen<'_>, sent_from: Ballot) -> bool {
    match seen.best {
        Some((highest, _)) => highest < sent_from,
        None => seen.floor <= sent_from || Rule::RetryFloor.is_out(),
    }
}

/// The operation finds its own write: it took effect, and needs a quorum at the new ballot.
fn write_again(job: &Job, entry: &Entry, remaining: Span) -> Plan {
    let token = entry.token();
    let lease = match job {
        Job::Act(Action::Lock { lease, .. } | Action::Extend { lease, .. }) => Some(*lease),
        Job::Act(
            Action::Update { .. }
            | Action::Release { .. }
            | Action::Read
            | Action::WaitHeld
            | Action::WaitReleased,
        )
        | Job::Settle
        | Job::GiveUp { .. } => None,
    };
    let Some(held) = entry.held().filter(|_| !remaining.is_zero()) else {
        // It took effect and is over: nobody may believe in it.
        let verdict = Verdict::Done { token, lease: None, repeated: lease.is_some() };
        return Plan::Write { entry: entry.freed(), keep: Span::ZERO, verdict };
    };
    let verdict = Verdict::Done { token, lease, repeated: false };
    let keep = lease.map_or(remaining, |lease| remaining.max(lease.plus(held.delay)));
    Plan::Write { entry: entry.clone(), keep, verdict }
}

/// Answers with the register as it is, writing it first unless all masters asked agree on it.
fn unchanged(seen: &Seen<'_>, verdict: Verdict) -> Plan {
    let Some((_, entry)) = seen.best else { return Plan::Answer(verdict) };
    let dead = entry.held().is_some() && seen.remaining.is_zero();
    let settled =
        seen.unanimous || Rule::WriteBack.is_out() && !dead || Rule::SettleExpired.is_out() && dead;
    if settled {
        return Plan::Answer(verdict);
    }
    write_unchanged(entry, seen.remaining, verdict)
}

/// Writes what is there, and what is dead as free.
fn write_unchanged(entry: &Entry, remaining: Span, verdict: Verdict) -> Plan {
    if entry.held().is_some() && remaining.is_zero() {
        return Plan::Write { entry: entry.freed(), keep: Span::ZERO, verdict };
    }
    Plan::Write { entry: entry.clone(), keep: remaining, verdict }
}

/// Applies the operation to the register, or refuses.
fn apply(job: &Job, seen: &Seen<'_>, ballot: Ballot) -> Plan {
    let held = match seen.best {
        Some((_, Entry::Held(held))) if !seen.remaining.is_zero() => Some(held),
        Some(_) | None => None,
    };
    match job {
        Job::Act(Action::Lock { id, value, meta, lease, delay, .. }) => match held {
            Some(held) => unchanged(seen, Verdict::Refused(Refusal::Held(holder(held, seen)))),
            None => {
                let token = Token(ballot.counter);
                let entry = Entry::Held(Held {
                    value: value.clone(),
                    meta: meta.clone(),
                    lease: *lease,
                    delay: *delay,
                    token,
                    last_op: *id,
                });
                let delay = if Rule::LockDelay.is_out() { Span::ZERO } else { *delay };
                write(entry, lease.plus(delay), token, Some(*lease))
            }
        },
        Job::Act(Action::Extend { id, owner, lease }) => match owned(held, owner) {
            // Where it outlives what the others know of the key, they must know what it is built on.
            Ok(held) if !seen.chosen && !Rule::SettleBeforeExtend.is_out() => {
                Plan::Settle { entry: Entry::Held(held.clone()), keep: seen.remaining }
            }
            Ok(held) => {
                let mut keep = lease.plus(held.delay).max(seen.remaining);
                if Rule::NeverShorter.is_out() {
                    keep = lease.plus(held.delay);
                }
                let entry = Held { lease: *lease, last_op: *id, ..held.clone() };
                write(Entry::Held(entry), keep, held.token, Some(*lease))
            }
            Err(other) => unchanged(seen, refused(other, seen)),
        },
        Job::Act(Action::Update { id, owner, value, meta }) => match owned(held, owner) {
            Ok(held) => {
                let meta = meta.clone().unwrap_or_else(|| held.meta.clone());
                let entry = Held { value: value.clone(), meta, last_op: *id, ..held.clone() };
                write(Entry::Held(entry), seen.remaining, held.token, None)
            }
            Err(other) => unchanged(seen, refused(other, seen)),
        },
        Job::Act(Action::Release { id, owner }) => release(*id, owner, held, seen),
        Job::GiveUp { id, token } => {
            let held = held.filter(|held| held.last_op == *id);
            release(*id, &Owner { value: None, token: Some(*token) }, held, seen)
        }
        Job::Act(Action::Read | Action::WaitHeld | Action::WaitReleased) => {
            unchanged(seen, Verdict::Found(held.map(|held| holder(held, seen))))
        }
        Job::Settle => match (seen.best, held) {
            (Some((_, entry)), None) => Plan::Write {
                entry: entry.freed(),
                keep: Span::ZERO,
                verdict: Verdict::Found(None),
            },
            (_, held) => Plan::Answer(Verdict::Found(held.map(|held| holder(held, seen)))),
        },
    }
}

fn release(id: OpId, owner: &Owner, held: Option<&Held>, seen: &Seen<'_>) -> Plan {
    match owned(held, owner) {
        Ok(held) => {
            let entry = Entry::Free { last_op: id, token: held.token };
            write(entry, Span::ZERO, held.token, None)
        }
        // A release by token that finds another's ownership is over, whoever holds the key now.
        Err(Some(held)) if owner.token.is_none_or(|token| token == held.token) => {
            unchanged(seen, Verdict::Refused(Refusal::Held(holder(held, seen))))
        }
        Err(_) => unchanged(seen, Verdict::Refused(Refusal::NotHeld)),
    }
}

fn write(entry: Entry, keep: Span, token: Token, lease: Option<Span>) -> Plan {
    Plan::Write { entry, keep, verdict: Verdict::Done { token, lease, repeated: false } }
}

/// The ownership that `owner` describes, or the one that stands in its place.
fn owned<'a>(held: Option<&'a Held>, owner: &Owner) -> Result<&'a Held, Option<&'a Held>> {
    let held = held.ok_or(None)?;
    let value = owner.value.as_ref().is_none_or(|value| *value == held.value);
    let token = owner.token.is_none_or(|token| token == held.token);
    if value && token { Ok(held) } else { Err(Some(held)) }
}

fn refused(held: Option<&Held>, seen: &Seen<'_>) -> Verdict {
    Verdict::Refused(match held {
        Some(held) => Refusal::Held(holder(held, seen)),
        None => Refusal::NotHeld,
    })
}

fn holder(held: &Held, seen: &Seen<'_>) -> Holder {
    describe(held, seen.remaining, seen.clock)
}

/// The owner as others see it, when the masters keep the entry for `remaining` more and the hybrid clock shows
/// `clock`.
pub(crate) fn describe(held: &Held, remaining: Span, clock: u64) -> Holder {
    Holder {
        value: held.value.clone(),
        meta: held.meta.clone(),
        token: held.token,
        remaining: remaining.minus(held.delay),
        delay: held.delay.min(remaining),
        age: Span::from_micros(clock.saturating_sub(held.token.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::Bytes;

    const fn at(counter: u64) -> Ballot {
        Ballot { counter, proposer: 1 }
    }

    fn id(step: u32) -> OpId {
        OpId { chain: (1, 2), step }
    }

    fn lock() -> Job {
        let (value, meta) = ("me".into(), "".into());
        let (lease, delay, wait) = (Span::from_secs(30), Span::ZERO, Span::ZERO);
        Job::Act(Action::Lock { id: id(0), value, meta, lease, delay, wait })
    }

    fn held(value: &str, last_op: OpId) -> Entry {
        let (value, meta) = (value.into(), "".into());
        let (lease, delay, token) = (Span::from_secs(30), Span::ZERO, Token(5));
        Entry::Held(Held { value, meta, lease, delay, token, last_op })
    }

    const fn seen(ballot: Ballot, entry: &Entry, remaining: Span) -> Seen<'_> {
        let unanimous = !remaining.is_zero();
        let (best, floor, chosen) = (Some((ballot, entry)), Ballot::ZERO, unanimous);
        Seen { best, remaining, unanimous, chosen, floor, clock: 75 }
    }

    #[test]
    fn after_an_own_accept_a_refusal_is_written_however_unanimous_the_masters_are() {
        let other = OpId { chain: (8, 8), step: 0 };
        let entry = held("you", other);
        let seen = seen(at(68), &entry, Span::from_secs(9));
        let first = decide(&lock(), &seen, at(75), Past::default());
        assert!(matches!(first, Plan::Answer(Verdict::Refused(_))), "{first:?}");
        // The accept at 73 may lie with a master that was not asked.
        let past = Past { sent_from: Some(at(73)), ..Past::default() };
        let again = decide(&lock(), &seen, at(75), past);
        assert!(
            matches!(&again, Plan::Write { entry, verdict: Verdict::Refused(_), .. }
                if entry.held().is_some_and(|held| held.last_op == other)),
            "{again:?}"
        );
        let nothing = Seen { best: None, unanimous: true, floor: at(1), ..seen };
        let release = Job::Act(Action::Release { id: id(1), owner: Owner::default() });
        assert_eq!(decide(&release, &nothing, at(75), past), Plan::Answer(Verdict::Unknown));
    }

    #[test]
    fn a_release_took_effect_with_the_lock_that_its_own_write_granted() {
        let heir = OpId { chain: (8, 8), step: 0 };
        let entry = held("you", heir);
        let release = Job::Act(Action::Release { id: id(1), owner: Owner::default() });
        let past =
            Past { sent_from: Some(at(73)), heir: Some((heir, Token(4))), ..Past::default() };
        let plan =
            |ballot| decide(&release, &seen(ballot, &entry, Span::from_secs(9)), at(75), past);
        let done = Verdict::Done { token: Token(4), lease: None, repeated: false };
        assert!(matches!(plan(at(73)), Plan::Write { verdict, .. } if verdict == done));
        // Another node granted it, which was asked as well. It may have found the key free for another reason.
        let theirs = Ballot { counter: 74, proposer: 2 };
        assert_eq!(plan(theirs), Plan::Answer(Verdict::Unknown));
    }

    #[test]
    fn what_an_extension_is_built_on_is_settled_first_unless_it_is_chosen() {
        let (entry, left) = (held("me", id(0)), Span::from_secs(9));
        let (owner, lease) = (Owner::default(), Span::from_secs(30));
        let extend = Job::Act(Action::Extend { id: id(1), owner, lease });
        let chosen = seen(at(68), &entry, left);
        let torn = Seen { unanimous: false, chosen: false, ..chosen.clone() };
        let settle = Plan::Settle { entry: entry.clone(), keep: left };
        assert_eq!(decide(&extend, &torn, at(75), Past::default()), settle);
        // An own accept below does not change that: what is written is above it.
        let past = Past { sent_from: Some(at(73)), ..Past::default() };
        assert_eq!(decide(&extend, &torn, at(75), past), settle);
        // On the short path nobody is asked, and it is known all the same.
        for seen in [chosen, Seen { chosen: true, ..torn }] {
            let plan = decide(&extend, &seen, at(75), Past::default());
            assert!(matches!(plan, Plan::Write { keep, .. } if keep == lease), "{plan:?}");
        }
    }

    #[test]
    fn what_another_sending_wrote_gives_no_belief() {
        let entry = held("me", id(0));
        let found = seen(Ballot { counter: 74, proposer: 9 }, &entry, Span::from_secs(9));
        let past = Past { sent_from: Some(at(73)), ..Past::default() };
        let plan = decide(&lock(), &found, at(75), past);
        let Plan::Write { verdict: Verdict::Done { lease, repeated, .. }, .. } = plan else {
            panic!("{plan:?}")
        };
        assert_eq!((lease, repeated), (None, true));
        // Its own write, carried on: the same lease once more, and longer than what is left.
        let own = seen(at(73), &entry, Span::from_secs(9));
        let plan = decide(&lock(), &own, at(75), past);
        let Plan::Write { keep, verdict: Verdict::Done { lease, repeated, .. }, .. } = plan else {
            panic!("{plan:?}")
        };
        assert_eq!((keep, lease, repeated), (Span::from_secs(30), Some(keep), false));
        // Once it was another sending's, it stays that, also at a ballot of this coordinator's.
        let past = Past { repeated: true, ..past };
        let plan = decide(&lock(), &own, at(75), past);
        assert!(matches!(plan, Plan::Write { verdict: Verdict::Done { lease: None, .. }, .. }));
    }

    #[test]
    fn an_own_write_that_died_is_settled_and_gives_no_belief() {
        let entry = held("me", id(0));
        let dead = seen(at(73), &entry, Span::ZERO);
        let past = Past { sent_from: Some(at(73)), ..Past::default() };
        let plan = decide(&lock(), &dead, at(75), past);
        assert!(
            matches!(&plan, Plan::Write { entry: Entry::Free { .. }, verdict, .. }
                if matches!(verdict, Verdict::Done { lease: None, repeated: true, .. })),
            "{plan:?}"
        );
    }

    #[test]
    fn what_is_written_carries_its_operation_and_leaves_the_rest_as_it_was() {
        let (lease, delay) = (Span::from_secs(30), Span::from_secs(4));
        let before = Held {
            value: "me".into(),
            meta: "host".into(),
            lease,
            delay,
            token: Token(5),
            last_op: id(0),
        };
        let entry = Entry::Held(before.clone());
        let seen = seen(at(68), &entry, Span::from_secs(9));
        let written = |action| match decide(&Job::Act(action), &seen, at(75), Past::default()) {
            Plan::Write { entry, keep, .. } => (entry, keep),
            other @ (Plan::Settle { .. } | Plan::Answer(_)) => panic!("{other:?}"),
        };
        let owner = Owner::default;
        let longer = Span::from_secs(50);
        assert_eq!(
            written(Action::Extend { id: id(1), owner: owner(), lease: longer }),
            (
                Entry::Held(Held { lease: longer, last_op: id(1), ..before.clone() }),
                longer.plus(delay)
            )
        );
        for meta in [None, Some(Bytes::from("other"))] {
            let after = Held {
                value: "you".into(),
                meta: meta.clone().unwrap_or_else(|| before.meta.clone()),
                last_op: id(1),
                ..before.clone()
            };
            let update = Action::Update { id: id(1), owner: owner(), value: "you".into(), meta };
            assert_eq!(written(update), (Entry::Held(after), Span::from_secs(9)));
        }
        assert_eq!(
            written(Action::Release { id: id(1), owner: owner() }),
            (Entry::Free { last_op: id(1), token: Token(5) }, Span::ZERO)
        );
    }

    #[test]
    fn an_operation_applies_afresh_where_all_that_is_there_is_older_than_it() {
        let past = Past { sent_from: Some(at(73)), ..Past::default() };
        let other = OpId { chain: (8, 8), step: 0 };
        let entry = Entry::Free { last_op: other, token: Token(5) };
        let nothing = Seen { best: None, ..seen(at(1), &entry, Span::ZERO) };
        let found = |counter| seen(at(counter), &entry, Span::ZERO);
        let floor = |counter| Seen { floor: at(counter), ..nothing.clone() };
        for seen in [found(72), floor(72), floor(73)] {
            let plan = decide(&lock(), &seen, at(75), past);
            assert!(
                matches!(&plan, Plan::Write { entry, verdict, .. }
                    if verdict.is_effect() && entry.last_op() == id(0)),
                "{plan:?}"
            );
        }
        for seen in [found(73), found(74), floor(74)] {
            let plan = decide(&lock(), &seen, at(75), past);
            assert_eq!(plan, Plan::Answer(Verdict::Unknown), "{seen:?}");
        }
    }
}
