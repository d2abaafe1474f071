//! What can be taken off a scenario.

use leasehold_core::{Span, Timing};

use crate::fault::{Kind, MAX_NODES, Nodes};
use crate::operator;
use crate::scenario::{MS, SECOND, Scenario};
use crate::script::{By, Operation, Script, What};

/// Operations without those that belong to a lock that is not among them.
pub(super) fn without_idle(operations: &[Operation]) -> Vec<Operation> {
    let asked = |client: usize, of: &str| {
        operations.iter().any(|operation| {
            operation.client == client
                && matches!(&operation.what, What::Lock { name, .. } if name == of)
        })
    };
    let kept = operations
        .iter()
        .filter(|operation| operation.what.lock().is_none_or(|lock| asked(operation.client, lock)));
    kept.cloned().collect()
}

/// The same nodes, numbered as if `gone` had never been.
fn close_up(nodes: Nodes, gone: usize) -> Nodes {
    (0..MAX_NODES)
        .filter(|node| *node != gone && nodes.has(*node))
        .fold(Nodes::default(), |set, node| set.with(if node > gone { node - 1 } else { node }))
}

const fn shifted(number: usize, gone: usize) -> usize {
    if number > gone { number - 1 } else { number }
}

/// Takes a node away. Who talked to it talks to the first one.
pub(super) fn without_node(plan: &mut Scenario, gone: usize) {
    if gone < plan.masters {
        plan.masters -= 1;
    } else if gone < plan.masters + plan.replicas {
        plan.replicas -= 1;
    } else {
        plan.spares -= 1;
    }
    plan.deaf = close_up(plan.deaf, gone);
    plan.lame = close_up(plan.lame, gone);
    plan.faults.retain_mut(|fault| fault_without_node(&mut fault.kind, gone));
    for change in &mut plan.changes {
        if let operator::Kind::Exactly(wish) = &mut change.kind {
            wish.masters = close_up(wish.masters, gone);
            wish.replicas = close_up(wish.replicas, gone);
        }
    }
    plan.changes.retain(|change| {
        !matches!(change.kind, operator::Kind::Exactly(wish) if wish.masters == Nodes::default())
    });
    let Some(script) = &mut plan.script else { return };
    let to = |node: &mut usize| *node = if *node == gone { 0 } else { shifted(*node, gone) };
    for operation in &mut script.operations {
        to(&mut operation.to);
        operation.again.iter_mut().for_each(|again| to(&mut again.to));
    }
    script.fates.retain(|fate| fate.from != gone && fate.to != gone);
    for fate in &mut script.fates {
        fate.from = shifted(fate.from, gone);
        fate.to = shifted(fate.to, gone);
    }
    if gone < script.clocks.len() {
        script.clocks.remove(gone);
    }
}

/// Whether anything is left of the fault.
fn fault_without_node(kind: &mut Kind, gone: usize) -> bool {
    let some = |nodes: &mut Nodes| {
        *nodes = close_up(*nodes, gone);
        *nodes != Nodes::default()
    };
    match kind {
        Kind::Cut(cut) => {
            let mut rows: Vec<Nodes> = cut.iter().map(|row| close_up(*row, gone)).collect();
            rows.remove(gone);
            rows.push(Nodes::default());
            cut.copy_from_slice(&rows);
            cut.iter().any(|row| *row != Nodes::default())
        }
        Kind::Slow(nodes, _)
        | Kind::Pause(nodes)
        | Kind::SlowDisk(nodes, _)
        | Kind::FailDisk(nodes) => some(nodes),
        Kind::Crash { nodes, .. } => some(nodes),
        Kind::Lose(node) => {
            let stays = *node != gone;
            *node = shifted(*node, gone);
            stays
        }
        Kind::WrongHint { node, peer } => {
            let stays = *node != gone && *peer != gone;
            *node = shifted(*node, gone);
            *peer = shifted(*peer, gone);
            stays
        }
        Kind::PauseClient(_) | Kind::Vanish { .. } => true,
    }
}

/// Takes a client away, with all that it does.
pub(super) fn without_client(plan: &mut Scenario, gone: usize) {
    let nodes = plan.nodes();
    plan.clients.remove(gone);
    plan.faults.retain_mut(|fault| match &mut fault.kind {
        Kind::PauseClient(client) | Kind::Vanish { client, .. } => {
            let stays = *client != gone;
            *client = shifted(*client, gone);
            stays
        }
        Kind::Cut(_)
        | Kind::Slow(..)
        | Kind::Pause(_)
        | Kind::Crash { .. }
        | Kind::Lose(_)
        | Kind::WrongHint { .. }
        | Kind::FailDisk(_)
        | Kind::SlowDisk(..) => true,
    });
    let Some(script) = &mut plan.script else { return };
    script.operations.retain(|operation| operation.client != gone);
    for operation in &mut script.operations {
        operation.client = shifted(operation.client, gone);
    }
    let gone = nodes + gone;
    script.fates.retain(|fate| fate.from != gone && fate.to != gone);
    for fate in &mut script.fates {
        fate.from = shifted(fate.from, gone);
        fate.to = shifted(fate.to, gone);
    }
    if gone < script.clocks.len() {
        script.clocks.remove(gone);
    }
}

/// Takes a key away, with all that is done to it.
pub(super) fn without_key(plan: &mut Scenario, gone: usize) {
    plan.keys -= 1;
    let Some(script) = &mut plan.script else { return };
    script.operations.retain(|operation| operation.key != gone);
    for operation in &mut script.operations {
        operation.key = shifted(operation.key, gone);
    }
}

/// All times at which something is done, the founding and the end included.
fn times(plan: &mut Scenario) -> Vec<&mut u64> {
    let mut times = vec![&mut plan.founding, &mut plan.quiet];
    for fault in &mut plan.faults {
        times.extend([&mut fault.from, &mut fault.until]);
    }
    for change in &mut plan.changes {
        times.extend([&mut change.at, &mut change.until]);
    }
    let Some(script) = &mut plan.script else { return times };
    times.extend(&mut script.end);
    for operation in &mut script.operations {
        times.push(&mut operation.at);
        times.extend(operation.again.iter_mut().map(|again| &mut again.at));
        times.extend(&mut operation.cancel);
        times.extend(&mut operation.gives_up);
    }
    times
}

/// The first stretch from `from` on of more than `most` in which nothing is done.
pub(super) fn gap(plan: &Scenario, from: u64, most: u64) -> Option<(u64, u64)> {
    let mut plan = plan.clone();
    let mut all: Vec<u64> = times(&mut plan).into_iter().map(|time| *time).collect();
    all.sort_unstable();
    let gaps = all.iter().zip(all.iter().skip(1)).map(|(one, next)| (*one, *next));
    gaps.into_iter().find(|(one, next)| *one >= from && next - one > most)
}

/// Everything from `from` on happens so much earlier.
pub(super) fn earlier(plan: &mut Scenario, from: u64, less: u64) {
    for time in times(plan).into_iter().filter(|time| **time >= from) {
        *time -= less;
    }
}

/// Calls the locks L1, L2 and so on again.
pub(super) fn rename(script: &mut Script) {
    let mut names: Vec<(usize, String)> = Vec::new();
    for operation in &mut script.operations {
        let client = operation.client;
        let (What::Lock { name, .. }
        | What::Extend { of: name, .. }
        | What::Update { of: name, .. }
        | What::Release { of: name, .. }) = &mut operation.what
        else {
            continue;
        };
        let place = names.iter().position(|(of, old)| *of == client && old == name);
        let place = place.unwrap_or_else(|| {
            names.push((client, name.clone()));
            names.len() - 1
        });
        *name = format!("L{}", place + 1);
    }
}

type Narrower = Box<dyn Fn(&mut Kind)>;

/// Ways in which a fault may strike less.
pub(super) fn narrower(kind: &Kind) -> Vec<Narrower> {
    let mut ways: Vec<Narrower> = Vec::new();
    match kind {
        Kind::Cut(cut) => {
            for (from, row) in cut.iter().enumerate() {
                for to in (0..MAX_NODES).filter(|to| row.has(*to)) {
                    ways.push(Box::new(move |kind| {
                        if let Kind::Cut(cut) = kind {
                            cut[from] = cut[from].without(to);
                        }
                    }));
                }
            }
        }
        Kind::Slow(nodes, _)
        | Kind::Pause(nodes)
        | Kind::SlowDisk(nodes, _)
        | Kind::FailDisk(nodes)
        | Kind::Crash { nodes, .. } => {
            for node in (0..MAX_NODES).filter(|node| nodes.has(*node)) {
                ways.push(Box::new(move |kind| {
                    if let Kind::Slow(nodes, _)
                    | Kind::Pause(nodes)
                    | Kind::SlowDisk(nodes, _)
                    | Kind::FailDisk(nodes)
                    | Kind::Crash { nodes, .. } = kind
                    {
                        *nodes = nodes.without(node);
                    }
                }));
            }
            if let Kind::Crash { drain: true, .. } = kind {
                ways.push(Box::new(|kind| {
                    if let Kind::Crash { drain, .. } = kind {
                        *drain = false;
                    }
                }));
            }
        }
        Kind::PauseClient(_) | Kind::Lose(_) | Kind::WrongHint { .. } | Kind::Vanish { .. } => {}
    }
    ways
}

/// Rounds all times of an operation.
pub(super) fn round(operation: &mut Operation, unit: u64) {
    operation.at -= operation.at % unit;
    operation.patience = operation.patience.next_multiple_of(unit);
    for again in &mut operation.again {
        again.at -= again.at % unit;
        again.patience = again.patience.next_multiple_of(unit);
    }
    if let What::Lock { lease, .. } | What::Extend { lease, .. } = &mut operation.what {
        // Down, as a longer one might be more than may be asked for; but not to less than may.
        *lease = (*lease - *lease % unit).max(leasehold_core::MIN_LEASE.as_micros());
    }
}

/// Ways in which an operation may be plainer.
pub(super) fn simpler() -> [fn(&mut Operation); 4] {
    [
        |operation| operation.patience = SECOND,
        |operation| {
            if let What::Lock { delay, .. } = &mut operation.what {
                *delay = 0;
            }
        },
        |operation| {
            if let What::Lock { wait, .. } = &mut operation.what {
                *wait = 0;
            }
        },
        |operation| {
            if let What::Extend { by, .. } | What::Update { by, .. } | What::Release { by, .. } =
                &mut operation.what
            {
                *by = By { token: true, value: None };
            }
        },
    ]
}

/// Rounds the constants of the protocol.
pub(super) fn round_timing(timing: &mut Timing) {
    let up = |span: &mut Span, unit: u64| {
        *span = Span::from_micros(span.as_micros().next_multiple_of(unit));
    };
    up(&mut timing.max_lease, 100 * MS);
    up(&mut timing.op_timeout, 10 * MS);
    up(&mut timing.promise_timeout, 10 * MS);
    up(&mut timing.sync_timeout, 10 * MS);
}
