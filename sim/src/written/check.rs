//! What a scenario must be like to be run at all. A drawn one is; one that was written by hand, or cut down by a machine, may not be.

use leasehold_core::{Limits, MIN_LEASE};

use super::{Complaint, Part};
use crate::fault::{Kind, MAX_NODES, Nodes};
use crate::film::KINDS;
use crate::operator;
use crate::scenario::{SECOND, Scenario, Weather};
use crate::script::{Operation, Script, What};

/// The latest time, and the longest span, that a file can name: an hour.
const LONGEST: u64 = 3_600 * SECOND;
/// The longest constant of the protocol: ten minutes, so that the horizon stays within [`LONGEST`].
const LONGEST_TIMING: u64 = 600 * SECOND;
/// How far a clock can be wrong at most, in parts per million: it never stands still.
const MOST_DRIFT: u64 = 900_000;
/// The most keys. Each of them is tried at the end.
const MOST_KEYS: usize = 64;
/// The most clients.
const MOST_CLIENTS: usize = 64;
/// The most faults, changes, messages and operations: more than any seed has.
const MOST_ITEMS: usize = 10_000;
/// The longest name and value, in bytes.
const LONGEST_NAME: usize = 200;

/// What is wrong with `scenario`, if anything is.
#[must_use]
pub fn complaint(scenario: &Scenario) -> Option<Complaint> {
    numbers(scenario).err().or_else(|| {
        let script = scenario.script.as_ref()?;
        faults(scenario)
            .and_then(|()| changes(scenario))
            .and_then(|()| messages(scenario, script))
            .and_then(|()| operations(scenario, script))
            .err()
    })
}

type Checked = Result<(), Complaint>;

fn sure(holds: bool, part: Part, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Complaint { part, what: what() }) }
}

fn whole(holds: bool, name: &'static str, what: impl FnOnce() -> String) -> Checked {
    sure(holds, Part::Whole(name), what)
}

fn numbers(plan: &Scenario) -> Checked {
    let Scenario { masters, keys, founding, quiet, wall_error, disk, .. } = plan;
    whole((1..=7).contains(masters), "masters", || "1 to 7 masters are possible".to_owned())?;
    whole(plan.nodes() <= MAX_NODES, "masters", || {
        format!("masters, replicas and spares are {} nodes; {MAX_NODES} are possible", plan.nodes())
    })?;
    let clients = plan.clients.len();
    whole((1..=MOST_CLIENTS).contains(&clients), "clients", || {
        format!("1 to {MOST_CLIENTS} clients are possible, not {clients}")
    })?;
    whole((1..=MOST_KEYS).contains(keys), "keys", || {
        format!("1 to {MOST_KEYS} keys are possible, not {keys}")
    })?;
    let set = Nodes(plan.deaf.0 | plan.lame.0);
    all_there(set, plan.nodes())
        .map_err(|what| Complaint { part: Part::Whole("masters"), what })?;
    let end = plan.script.as_ref().and_then(|script| script.end).unwrap_or(0);
    for (name, time) in [
        ("founding", *founding),
        ("quiet", *quiet),
        ("end", end),
        ("wall_clock_error", wall_error / 1_000),
        ("disk", *disk),
    ] {
        let longest = digits(LONGEST);
        whole(time <= LONGEST, name, || format!("at most {longest} microseconds are possible"))?;
    }
    let Limits { records, waiters_per_key, waiters, operations, snapshot_part, .. } =
        plan.settings.limits;
    let least = records.min(waiters_per_key).min(waiters).min(operations).min(snapshot_part);
    whole(least >= 1, "limits", || "each limit is at least 1".to_owned())?;
    let timing = &plan.settings.timing;
    for (name, span, least) in [
        ("max_lease", timing.max_lease, MIN_LEASE.as_micros()),
        ("op_timeout", timing.op_timeout, 10_000),
        ("promise_timeout", timing.promise_timeout, 10_000),
        ("sync_timeout", timing.sync_timeout, 10_000),
    ] {
        whole((least..=LONGEST_TIMING).contains(&span.as_micros()), "timing", || {
            format!("{name} is {} to {} microseconds", digits(least), digits(LONGEST_TIMING))
        })?;
    }
    weather(&plan.weather, "network")?;
    weather(&plan.client_weather, "client_network")?;
    let bound = u64::from(timing.max_clock_drift.ppm());
    let most = if plan.in_contract() { bound } else { MOST_DRIFT };
    whole(plan.drift <= most, "clock_drift", || {
        format!(
            "clocks drift by at most {} ppm; only in the profile `beyond` is it more",
            digits(most)
        )
    })?;
    let drift = i64::try_from(plan.drift).unwrap_or(0);
    let rates = plan.script.iter().flat_map(|script| script.clocks.iter().flatten());
    for rate in rates {
        whole((-drift..=drift).contains(rate), "clocks", || {
            format!("a clock of {rate} ppm: the bound is {drift} ppm either way")
        })?;
    }
    Ok(())
}

/// A number with its thousands set apart, as files write it.
pub(super) fn digits(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('_');
        }
        text.push(digit);
    }
    text
}

fn weather(weather: &Weather, name: &'static str) -> Checked {
    let Weather { base, jitter, loss, duplicates, late, latest } = *weather;
    whole(base >= 1, name, || "base is at least 1 microsecond".to_owned())?;
    whole(base.max(jitter) <= LONGEST_TIMING && latest <= LONGEST, name, || {
        format!("base and jitter are at most {}", digits(LONGEST_TIMING))
    })?;
    whole(loss.max(duplicates).max(late) <= 1_000_000, name, || {
        "loss, duplicates and late are parts of 1_000_000".to_owned()
    })
}

fn all_there(set: Nodes, nodes: usize) -> Result<(), String> {
    match (nodes..MAX_NODES).find(|node| set.has(*node)) {
        Some(node) => Err(format!("there is no n{node}: the last node is n{}", nodes - 1)),
        None => Ok(()),
    }
}

fn is_there(letter: char, number: usize, count: usize) -> Result<(), String> {
    if number < count {
        return Ok(());
    }
    Err(format!("there is no {letter}{number}: the last is {letter}{}", count.saturating_sub(1)))
}

fn few(count: usize, name: &'static str) -> Checked {
    whole(count <= MOST_ITEMS, name, || format!("at most {MOST_ITEMS} {name} are possible"))
}

fn faults(plan: &Scenario) -> Checked {
    few(plan.faults.len(), "faults")?;
    let (nodes, clients) = (plan.nodes(), plan.clients.len());
    for (number, fault) in plan.faults.iter().enumerate() {
        let part = Part::Fault(number);
        sure(fault.from <= fault.until, part, || "the fault ends before it begins".to_owned())?;
        sure(fault.until <= plan.quiet, part, || {
            format!("all faults end by the quiet time, {}", digits(plan.quiet))
        })?;
        let there = match fault.kind {
            Kind::Cut(cut) => {
                let from = cut.iter().enumerate().filter(|(_, row)| **row != Nodes::default());
                let from = from.fold(Nodes::default(), |set, (from, _)| set.with(from));
                all_there(from, nodes)
                    .and_then(|()| cut.iter().try_for_each(|to| all_there(*to, nodes)))
            }
            Kind::Pause(set) | Kind::FailDisk(set) | Kind::Crash { nodes: set, .. } => {
                all_there(set, nodes)
            }
            Kind::Slow(set, by) | Kind::SlowDisk(set, by) => {
                sure(by <= LONGEST, part, || format!("`by` is at most {}", digits(LONGEST)))?;
                all_there(set, nodes)
            }
            Kind::PauseClient(client) | Kind::Vanish { client, .. } => {
                is_there('c', client, clients)
            }
            Kind::Lose(node) => is_there('n', node, nodes),
            Kind::WrongHint { node, peer } => {
                is_there('n', node, nodes).and_then(|()| is_there('n', peer, nodes))
            }
        };
        there.map_err(|what| Complaint { part, what })?;
    }
    Ok(())
}

fn changes(plan: &Scenario) -> Checked {
    few(plan.changes.len(), "changes")?;
    for (number, change) in plan.changes.iter().enumerate() {
        let part = Part::Change(number);
        sure(change.at <= LONGEST && change.until <= LONGEST, part, || {
            format!("times are at most {}", digits(LONGEST))
        })?;
        let operator::Kind::Exactly(wish) = change.kind else {
            return sure(false, part, || "a written change names its members".to_owned());
        };
        let all = Nodes(wish.masters.0 | wish.replicas.0);
        all_there(all, plan.nodes()).map_err(|what| Complaint { part, what })?;
        let sound = wish.masters.0 != 0 && wish.masters.0 & wish.replicas.0 == 0;
        sure(sound, part, || {
            "at least one node is a master, and none is master and replica at once".to_owned()
        })?;
    }
    Ok(())
}

fn messages(plan: &Scenario, script: &Script) -> Checked {
    few(script.fates.len(), "messages")?;
    let lanes = plan.nodes() + plan.clients.len();
    for (number, fate) in script.fates.iter().enumerate() {
        let part = Part::Message(number);
        let ends = fate.from < lanes && fate.to < lanes && fate.from != fate.to;
        sure(ends, part, || "`from` and `to` are two nodes or clients that there are".to_owned())?;
        sure(KINDS.contains(&fate.kind.as_str()), part, || {
            format!("no message is of the kind `{}`; the kinds are {}", fate.kind, KINDS.join(", "))
        })?;
        sure(fate.number >= 1, part, || "messages are counted from 1 on".to_owned())?;
        let longest = fate.takes.max(fate.copy).unwrap_or(0);
        sure(longest <= LONGEST, part, || format!("at most {} is possible", digits(LONGEST)))?;
    }
    Ok(())
}

fn operations(plan: &Scenario, script: &Script) -> Checked {
    few(script.operations.len(), "operations")?;
    for (number, operation) in script.operations.iter().enumerate() {
        let checked = operation_alone(plan, operation)
            .and_then(|()| operation_among(operation, number, &script.operations));
        checked.map_err(|what| Complaint { part: Part::Operation(number), what })?;
    }
    Ok(())
}

fn operation_alone(plan: &Scenario, operation: &Operation) -> Result<(), String> {
    let Operation { at, client, key, what, to, patience, again, cancel, gives_up } = operation;
    is_there('c', *client, plan.clients.len())?;
    is_there('k', *key, plan.keys)?;
    is_there('n', *to, plan.nodes())?;
    for again in again {
        is_there('n', again.to, plan.nodes())?;
        if again.at < *at || again.at.max(again.patience) > LONGEST {
            return Err("a later sending comes after the first".to_owned());
        }
    }
    let spans = match what {
        What::Lock { lease, delay, wait, .. } => *lease.max(delay).max(wait),
        What::Extend { lease, .. } => *lease,
        What::Update { .. }
        | What::Release { .. }
        | What::Read
        | What::WaitHeld
        | What::WaitReleased => 0,
    };
    let latest = at.max(patience).max(cancel.as_ref().unwrap_or(&0));
    if (*latest).max(gives_up.unwrap_or(0)).max(spans) > LONGEST {
        return Err(format!("times and spans are at most {}", digits(LONGEST)));
    }
    let (name, value, owner) = match what {
        What::Lock { name, value, .. } => (name.as_str(), value.as_str(), ""),
        What::Update { of, by, value } => {
            (of.as_str(), value.as_str(), by.value.as_deref().unwrap_or(""))
        }
        What::Extend { of, by, .. } | What::Release { of, by } => {
            (of.as_str(), "", by.value.as_deref().unwrap_or(""))
        }
        What::Read | What::WaitHeld | What::WaitReleased => ("", "", ""),
    };
    if name.len().max(value.len()).max(owner.len()) > LONGEST_NAME {
        return Err(format!("names and values are at most {LONGEST_NAME} bytes long"));
    }
    Ok(())
}

fn operation_among(operation: &Operation, number: usize, all: &[Operation]) -> Result<(), String> {
    let Operation { at, client, what, .. } = operation;
    let locks = || {
        all.iter().enumerate().filter_map(|(place, op)| match &op.what {
            What::Lock { name, value, .. } => Some((place, op, name.as_str(), value.as_str())),
            What::Extend { .. }
            | What::Update { .. }
            | What::Release { .. }
            | What::Read
            | What::WaitHeld
            | What::WaitReleased => None,
        })
    };
    let (of, by) = match what {
        What::Lock { name, .. } => {
            let mut others = locks().filter(|(place, ..)| *place != number);
            return match others.find(|(_, op, other, _)| *other == name && op.client == *client) {
                Some(_) => Err(format!("two locks of c{client} are called `{name}`")),
                None => Ok(()),
            };
        }
        What::Extend { of, by, .. } | What::Update { of, by, .. } => (of, by),
        What::Release { of, by } => {
            if let (false, Some(value)) = (by.token, &by.value) {
                // Whoever releases somebody else's lock is outside the contract: a release that is late would be just that.
                let mut others = locks().filter(|(_, _, _, other)| other == value);
                if others.any(|(_, op, ..)| op.client != *client || op.at > *at) {
                    return Err(format!(
                        "a release by the value `{value}` alone may hit another lock that uses this value, now or later"
                    ));
                }
            }
            (of, by)
        }
        What::Read | What::WaitHeld | What::WaitReleased => return Ok(()),
    };
    if !by.token && by.value.is_none() {
        return Err("an owner is expected by `owner_value`, by token, or by both".to_owned());
    }
    let lock = locks().find(|(_, op, name, _)| name == of && op.client == *client);
    match lock {
        Some((place, lock, ..)) if lock.at <= *at && place < number => Ok(()),
        Some(_) => Err(format!("lock `{of}` of c{client} begins later than this")),
        None => Err(format!("there is no lock called `{of}` of c{client}")),
    }
}
