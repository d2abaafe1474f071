//! Writes out what a drawn run turned out to be: a scenario whose clients follow a script.
//!
//! The clients of the new scenario do what those of the run did, when they did it; the messages that the weather took, kept or
//! doubled are named, and the weather is fine; the operator wants what it came to want. So the new scenario is
//! the same run, as far as anybody can see, and every piece of it can be left out.

use std::collections::BTreeMap;

use leasehold_core::{Action, Owner};

use crate::film::{Film, Sending};
use crate::operator::{Change, Kind};
use crate::scenario::Scenario;
use crate::script::{Again, By, Fate, Operation, Script, What};
use crate::written::WIRE;

/// The run of `plan` that `film` shows, written out.
#[must_use]
pub fn write_out(plan: &Scenario, film: &Film) -> Scenario {
    let mut scenario = plan.clone();
    let drift = i64::try_from(plan.drift).unwrap_or(0);
    let before = plan.script.as_ref();
    let clocks = (0..plan.nodes() + plan.clients.len()).map(|number| {
        let written = before.and_then(|script| script.clocks.get(number).copied().flatten());
        let pinned = plan.pinned.get(number).copied().flatten();
        written.or_else(|| pinned.map(|fast| if fast { drift } else { -drift }))
    });
    let script = Script {
        operations: operations(film),
        fates: fates(film),
        clocks: clocks.collect(),
        end: before.and_then(|script| script.end),
    };
    for weather in [&mut scenario.weather, &mut scenario.client_weather] {
        weather.loss = 0;
        weather.duplicates = 0;
        weather.late = 0;
    }
    let change = |&(number, at, wish): &(usize, u64, _)| {
        let until = plan.changes.get(number).map_or(at, |change| change.until.max(at));
        Change { at, until, kind: Kind::Exactly(wish) }
    };
    scenario.changes = film.wishes.iter().map(change).collect();
    scenario.pinned = Vec::new();
    scenario.wire = WIRE;
    scenario.script = Some(script);
    scenario
}

fn fates(film: &Film) -> Vec<Fate> {
    let odd = film.travels.iter().filter(|travel| travel.odd && !travel.cut);
    let fate = odd.map(|travel| Fate {
        from: travel.from,
        to: travel.to,
        kind: travel.kind.to_owned(),
        number: travel.number,
        takes: travel.takes[0],
        copy: travel.takes[1],
    });
    fate.collect()
}

/// An operation's identity, for those that have one.
fn identity(action: &Action) -> Option<((u64, u64), u32)> {
    match action {
        Action::Lock { id, .. }
        | Action::Extend { id, .. }
        | Action::Update { id, .. }
        | Action::Release { id, .. } => Some((id.chain, id.step)),
        Action::Read | Action::WaitHeld | Action::WaitReleased => None,
    }
}

fn operations(film: &Film) -> Vec<Operation> {
    let mut operations: Vec<Operation> = Vec::new();
    // The operation of each sending, and of each identity.
    let mut sent: BTreeMap<(usize, u64), usize> = BTreeMap::new();
    let mut known: BTreeMap<(usize, (u64, u64), u32), usize> = BTreeMap::new();
    let mut names: BTreeMap<(u64, u64), String> = BTreeMap::new();
    for sending in &film.sendings {
        let Sending { at, client, call, to, key, request } = sending;
        let patience = request.patience.as_micros();
        let id = identity(&request.action);
        if let Some(place) = id.and_then(|(chain, step)| known.get(&(*client, chain, step))) {
            operations[*place].again.push(Again { at: *at, to: *to, patience });
            sent.insert((*client, *call), *place);
            continue;
        }
        let Some(what) = what(&request.action, &mut names) else { continue };
        if let Some((chain, step)) = id {
            known.insert((*client, chain, step), operations.len());
        }
        sent.insert((*client, *call), operations.len());
        operations.push(Operation {
            at: *at,
            client: *client,
            key: *key,
            what,
            to: *to,
            patience,
            again: Vec::new(),
            cancel: None,
            gives_up: None,
        });
    }
    for (at, client, call) in &film.cancels {
        if let Some(place) = sent.get(&(*client, *call)) {
            operations[*place].cancel = Some(*at);
        }
    }
    for (at, client) in &film.given_up {
        // The last one that it had begun by then, and that could still be believed in.
        let mine = operations.iter_mut().rev().find(|op| op.client == *client && op.at <= *at);
        if let Some(operation) = mine.filter(|op| op.cancel.is_none() && op.what.lock().is_some()) {
            operation.gives_up = Some(*at);
        }
    }
    operations
}

fn by(owner: &Owner) -> By {
    let value = owner.value.as_ref().map(|value| String::from_utf8_lossy(value).into_owned());
    By { token: owner.token.is_some(), value }
}

fn what(action: &Action, names: &mut BTreeMap<(u64, u64), String>) -> Option<What> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let what = match action {
        Action::Lock { id, value, lease, delay, wait, .. } => {
            let name = format!("L{}", names.len() + 1);
            names.insert(id.chain, name.clone());
            What::Lock {
                name,
                value: text(value),
                lease: lease.as_micros(),
                delay: delay.as_micros(),
                wait: wait.as_micros(),
            }
        }
        Action::Extend { id, owner, lease } => What::Extend {
            of: names.get(&id.chain)?.clone(),
            by: by(owner),
            lease: lease.as_micros(),
        },
        Action::Update { id, owner, value, .. } => {
            What::Update { of: names.get(&id.chain)?.clone(), by: by(owner), value: text(value) }
        }
        Action::Release { id, owner } => {
            What::Release { of: names.get(&id.chain)?.clone(), by: by(owner) }
        }
        Action::Read => What::Read,
        Action::WaitHeld => What::WaitHeld,
        Action::WaitReleased => What::WaitReleased,
    };
    Some(what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Look, Run, run};

    /// What can be told apart from outside: who sent what when, what came of it, and who believed what.
    fn seen(run: &Run) -> String {
        let ops = run.history.ops.iter();
        let ops: Vec<String> = ops
            .map(|op| {
                format!("{} {} {} {:?} {}", op.invoked, op.client, op.key, op.answered, op.bound)
            })
            .collect();
        format!("{}\n{:?}", ops.join("\n"), run.history.beliefs)
    }

    #[test]
    fn what_is_written_out_is_the_same_run() {
        let mut same = 0;
        for seed in 0..80 {
            let plan = Scenario::draw(seed);
            let drawn = run(&plan, Look { film: true, ..Look::default() });
            let film = drawn.film.as_ref().expect("a film was wanted");
            let written = run(&write_out(&plan, film), Look::default());
            assert_eq!(written.report.violations, [], "seed {seed}");
            let (a, b) = (seen(&drawn), seen(&written));
            if a == b {
                same += 1;
            } else {
                let differ = a.lines().zip(b.lines()).enumerate().find(|(_, (a, b))| a != b);
                println!("seed {seed} {:?}: {differ:?}", plan.profile);
            }
        }
        println!("{same} of 80");
        assert!(same >= 72, "only {same} of 80 written runs are the same");
    }
}
