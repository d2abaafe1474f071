//! What clients wrote down, put on one clock and given to the simulator's judges.
//!
//! A call of the client crate may be several sendings and more than one operation (a lock whose answer was lost is extended
//! to learn until when it may be believed). To the judges it is one operation, which takes effect once between its call and
//! its answer. Where the crate says that it does not know, the judges do not either; where it says *certainly not done* they take
//! its word, and a trace of such an operation in the cluster is a violation.

use std::collections::{BTreeMap, HashMap};

use leasehold_core::{Bytes, Drift, OpId, Owner, Span, Token};
use leasehold_sim::check::{Violation, exclusion, linear, second, tokens};
use leasehold_sim::history::{Belief, Call, History, Op, Verdict};
use serde::Serialize;

use super::again::{self, Again};
use super::record::{Asked, By, Line, Said};
use super::skew::Skew;

/// What one process wrote down, and how its clock ran.
#[derive(Debug)]
pub struct Account {
    /// The process, by number.
    pub process: usize,
    /// What it wrote.
    pub lines: Vec<Line>,
    /// How its clock ran.
    pub skew: Skew,
}

/// What was judged, and how operations ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Judged {
    /// Calls.
    pub calls: u64,
    /// Calls that took effect, or read.
    pub done: u64,
    /// Calls that were refused.
    pub refused: u64,
    /// Calls that certainly were not done.
    pub not_done: u64,
    /// Calls of which nobody knows.
    pub unknown: u64,
    /// Acquisitions whose tokens were compared with those seen before.
    pub tokens: u64,
    /// Pairs of beliefs that were compared.
    pub beliefs: u64,
    /// Calls for which an order was found.
    pub ordered: u64,
    /// Calls that the second, independent checker of orders judged, too.
    pub second: u64,
    /// Keys for which the search for an order was given up.
    pub given_up: u64,
    /// Keys that were used.
    pub keys: u64,
    /// Locks that were granted a second time, for nobody.
    pub again: u64,
    /// The longest time that one of those stood while nothing else was wrong, in microseconds.
    pub again_stood: u64,
}

impl Judged {
    /// Adds what was judged elsewhere.
    pub const fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.done += other.done;
        self.refused += other.refused;
        self.not_done += other.not_done;
        self.unknown += other.unknown;
        self.tokens += other.tokens;
        self.beliefs += other.beliefs;
        self.ordered += other.ordered;
        self.second += other.second;
        self.given_up += other.given_up;
        self.keys += other.keys;
        self.again += other.again;
        if other.again_stood > self.again_stood {
            self.again_stood = other.again_stood;
        }
    }
}

/// What the judges found.
#[derive(Debug, Default)]
pub struct Judgement {
    /// How much they saw.
    pub judged: Judged,
    /// What is wrong.
    pub violations: Vec<Violation>,
    /// The keys by number.
    pub keys: Vec<String>,
    /// Pairs of beliefs that overlap, out of contract.
    pub overlaps: u64,
}

/// Judges what all processes wrote. Out of contract only the order of tokens counts, and overlapping beliefs are counted.
/// `troubled`: when something was wrong, from when until when in true time.
#[must_use]
pub fn judge(
    accounts: &[Account],
    drift: Drift,
    in_contract: bool,
    troubled: &[(u64, u64)],
) -> Judgement {
    let mut gathered = Gathered { drift, ..Gathered::default() };
    for account in accounts {
        gathered.take(account);
    }
    let Gathered { keys, mut ops, history, mut judged, .. } = gathered;
    let mut violations = Vec::new();
    judged.keys = count(keys.len());
    judged.beliefs = exclusion::check(&history.beliefs, &mut violations);
    let mut overlaps = 0;
    if !in_contract {
        overlaps = count(violations.len());
        violations.clear();
    }
    for of_key in ops.values_mut() {
        if in_contract {
            granted_again(of_key, troubled, &mut judged, &mut violations);
        }
        let all: Vec<usize> = (0..of_key.len()).collect();
        judged.tokens += tokens::check(of_key, &all, &mut violations);
        if !in_contract {
            continue;
        }
        judged.second += second::check(of_key, &all, &mut violations).unwrap_or(0);
        // The search numbers operations in 16 bits.
        match u16::try_from(of_key.len()).map(|_| linear::check(of_key, &all, &mut violations)) {
            Ok(linear::Judgement::Fits(count)) => judged.ordered += count,
            Ok(linear::Judgement::Broken) => {}
            Ok(linear::Judgement::GaveUp) | Err(_) => judged.given_up += 1,
        }
    }
    let mut names = vec![String::new(); keys.len()];
    for (name, number) in keys {
        names[number] = name;
    }
    Judgement { judged, violations, keys: names, overlaps }
}

/// Locks that must have been granted a second time, for nobody, are operations of their own: such a grant comes at any time after
/// it was asked for, and is given back at any time after that.
fn granted_again(
    ops: &mut Vec<Op>,
    troubled: &[(u64, u64)],
    judged: &mut Judged,
    violations: &mut Vec<Violation>,
) {
    let again = again::find(ops, troubled);
    again::check(ops, &again, violations);
    for Again { lock, stood, .. } in again {
        judged.again += 1;
        judged.again_stood = judged.again_stood.max(stood);
        let late = Op { verdict: Verdict::Unknown, answered: None, ..ops[lock].clone() };
        ops.push(late);
    }
}

/// Everything on one clock.
#[derive(Default)]
struct Gathered {
    keys: HashMap<String, usize>,
    /// Operations by key.
    ops: BTreeMap<usize, Vec<Op>>,
    /// Beliefs only.
    history: History,
    judged: Judged,
    drift: Drift,
}

impl Gathered {
    fn key(&mut self, name: &str) -> usize {
        let next = self.keys.len();
        *self.keys.entry(name.to_owned()).or_insert(next)
    }

    fn take(&mut self, account: &Account) {
        let answers: HashMap<u64, (u64, &Said)> = account
            .lines
            .iter()
            .filter_map(|line| match line {
                Line::Answer { call, at, said } => Some((*call, (*at, said))),
                Line::Call { .. } | Line::Belief { .. } | Line::Over { .. } => None,
            })
            .collect();
        let clock = &account.skew;
        for line in &account.lines {
            match line {
                Line::Call { call, client, key, at, asked } => {
                    let key = self.key(key);
                    let said = answers.get(call).map(|(at, said)| (clock.when(*at), *said));
                    let id = OpId { chain: (*call, count(account.process) + 1), step: 0 };
                    self.call(clock, key, *client, id, clock.when(*at), asked, said);
                }
                Line::Belief { client, key, token, from, until } => {
                    let (key, token) = (self.key(key), Token(*token));
                    let (from, until) = (clock.when(*from), clock.when(*until));
                    self.history.believe(Belief { key, client: *client, token, from, until });
                }
                Line::Over { client, key, token, at } => {
                    let key = self.key(key);
                    self.history.disbelieve(key, *client, Token(*token), clock.when(*at));
                }
                Line::Answer { .. } => {}
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "a call is all of these")]
    fn call(
        &mut self,
        clock: &Skew,
        key: usize,
        client: usize,
        id: OpId,
        invoked: u64,
        asked: &Asked,
        said: Option<(u64, &Said)>,
    ) {
        self.judged.calls += 1;
        let (call, delay) = called(asked);
        let verdict = self.verdict(&call, said.map(|(_, said)| said));
        let bound = match said {
            Some((_, Said::Done { until, .. })) if *until > 0 => {
                clock.when(until.saturating_add(self.drift.believed(delay).as_micros()))
            }
            Some(_) | None => invoked,
        };
        let answered = said.map(|(at, _)| at).filter(|_| verdict != Verdict::Unknown);
        let op = Op {
            key,
            client,
            id: if call == Call::Read { OpId::default() } else { id },
            call,
            invoked,
            answered,
            verdict,
            delay,
            local: None,
            bound,
            cancelled: false,
        };
        self.ops.entry(key).or_default().push(op);
    }

    fn verdict(&mut self, call: &Call, said: Option<&Said>) -> Verdict {
        match said {
            Some(Said::Done { token, .. }) => {
                self.judged.done += 1;
                Verdict::Done { token: Token(*token), repeated: false }
            }
            Some(Said::Held { token, value, meta }) => {
                *(if *call == Call::Read {
                    &mut self.judged.done
                } else {
                    &mut self.judged.refused
                }) += 1;
                let (value, meta) = (value.as_str().into(), meta.as_str().into());
                Verdict::Held { token: Token(*token), value, meta }
            }
            Some(Said::Free) => {
                *(if *call == Call::Read {
                    &mut self.judged.done
                } else {
                    &mut self.judged.refused
                }) += 1;
                Verdict::Free
            }
            Some(Said::Nothing(_)) => {
                self.judged.not_done += 1;
                Verdict::Nothing
            }
            Some(Said::Unknown(_)) | None => {
                self.judged.unknown += 1;
                Verdict::Unknown
            }
        }
    }
}

fn called(asked: &Asked) -> (Call, Span) {
    let call = match asked {
        Asked::Lock { value, meta, delay } => {
            let (value, meta) = (Bytes::from(value.as_str()), Bytes::from(meta.as_str()));
            return (Call::Lock { value, meta }, Span::from_micros(*delay));
        }
        Asked::Extend(by) => Call::Extend { owner: owner(by) },
        Asked::Update { by, value } => {
            Call::Update { owner: owner(by), value: value.as_str().into() }
        }
        Asked::Release(by) => Call::Release { owner: owner(by) },
        Asked::Read => Call::Read,
    };
    (call, Span::ZERO)
}

/// The owner that these words name.
#[must_use]
pub fn owner(by: &By) -> Owner {
    Owner { value: by.value.as_deref().map(Bytes::from), token: by.token.map(Token) }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
