//! The search: depth first, each state once.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::client::Answers;
use super::digest::Digest;
use super::scope::Scope;
use super::world::{Step, World};
use crate::check::Violation;
use crate::trace::Trace;

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// States to see at most.
    pub states: u64,
}

/// What a search came to.
#[derive(Clone, Debug, Default)]
pub struct Explored {
    /// States seen.
    pub states: u64,
    /// Steps taken from one state to another.
    pub transitions: u64,
    /// Answers that were judged.
    pub answers: Answers,
    /// The longest path walked.
    pub depth: usize,
    /// Whether every state of the scope was seen.
    pub complete: bool,
    /// What was wrong, and the path there in lines.
    pub violation: Option<(Violation, String)>,
}

/// Digests are as good as random already.
#[derive(Default)]
struct Plain(u64);

impl Hasher for Plain {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 ^= u64::from_le_bytes(word);
        }
    }
}

type Spread = BuildHasherDefault<Plain>;

/// A state on the path, and what was not tried from there.
struct Place {
    world: World,
    steps: Vec<Step>,
    tried: usize,
}

impl Place {
    fn new(scope: &Scope, world: World) -> Self {
        let steps = world.steps(scope);
        Self { world, steps, tried: 0 }
    }
}

/// Walks through everything that can happen in a scope, until something is wrong.
#[must_use]
pub fn explore(scope: &Scope, limits: Limits) -> Explored {
    let mut explored = Explored { complete: true, ..Explored::default() };
    let mut seen = HashSet::<Digest, Spread>::default();
    for rates in 0..scope.rates.len().max(1) {
        let begun = guarded(|trace| World::new(scope, rates, trace));
        let world = match begun {
            Ok(world) => world,
            Err(violation) => {
                explored.violation = Some((violation, tell(scope, rates, &[])));
                return explored;
            }
        };
        let wrong = walk(scope, world, limits, &mut seen, &mut explored);
        if let Some((violation, path)) = wrong {
            let (violation, path) = shorter(scope, rates, violation, path);
            explored.violation = Some((violation, tell(scope, rates, &path)));
        }
        if explored.violation.is_some() || !explored.complete {
            break;
        }
    }
    explored
}

/// Does something that may break an invariant of a node's own.
fn guarded<T>(work: impl FnOnce(&mut Trace) -> Result<T, Violation>) -> Result<T, Violation> {
    let mut trace = Trace::new(false);
    catch_unwind(AssertUnwindSafe(|| work(&mut trace))).unwrap_or_else(|_| {
        let story = "a node's own check failed; the panic says which".to_owned();
        Err(Violation { rule: "the node's own check", story })
    })
}

fn walk(
    scope: &Scope,
    world: World,
    limits: Limits,
    seen: &mut HashSet<Digest, Spread>,
    explored: &mut Explored,
) -> Option<(Violation, Vec<Step>)> {
    let mut path = vec![Place::new(scope, world)];
    while let Some(place) = path.last_mut() {
        let Some(&step) = place.steps.get(place.tried) else {
            path.pop();
            continue;
        };
        place.tried += 1;
        let mut world = place.world.clone();
        explored.transitions += 1;
        if let Err(violation) = guarded(|trace| world.apply(scope, step, trace)) {
            let steps = path.iter().map(|place| place.steps[place.tried - 1]).collect();
            explored.complete = false;
            return Some((violation, steps));
        }
        explored.answers = explored.answers.plus(world.answers(), place.world.answers());
        if seen.insert(world.digest()) {
            explored.states += 1;
            explored.depth = explored.depth.max(path.len());
            if explored.states >= limits.states {
                explored.complete = false;
                return None;
            }
            path.push(Place::new(scope, world));
        }
    }
    None
}

/// Leaves out of a path what is not needed for something to go wrong: any step, from the end on, again and again.
fn shorter(
    scope: &Scope,
    rates: usize,
    mut violation: Violation,
    mut path: Vec<Step>,
) -> (Violation, Vec<Step>) {
    loop {
        let before = path.len();
        for place in (0..path.len()).rev() {
            let mut without = path.clone();
            without.remove(place);
            let (walked, result) = follow(scope, rates, &without);
            if let Err(other) = result {
                without.truncate(walked);
                (violation, path) = (other, without);
                break;
            }
        }
        if path.len() == before {
            return (violation, path);
        }
    }
}

/// Walks a path as far as nothing is wrong, and one step on.
fn follow(scope: &Scope, rates: usize, path: &[Step]) -> (usize, Result<(), Violation>) {
    let mut walked = 0;
    let result = guarded(|trace| {
        let mut world = World::new(scope, rates, trace)?;
        path.iter().try_for_each(|&step| {
            walked += 1;
            world.apply(scope, step, trace)
        })
    });
    (walked, result)
}

/// The path in lines.
fn tell(scope: &Scope, rates: usize, path: &[Step]) -> String {
    let mut trace = Trace::new(true);
    let told = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(scope, rates, &mut trace)?;
        trace.line(world.now, None, String::new, || "from here on everything was tried".into());
        path.iter().try_for_each(|&step| world.apply(scope, step, &mut trace))
    }));
    if told.is_err() {
        trace.line(0, None, String::new, || "here a node's own check failed".into());
    }
    trace.into_text()
}
