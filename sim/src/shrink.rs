//! From a failing run to the few things that it takes.
//!
//! Delta debugging (Zeller, Hildebrandt, 2002): leave something out, run again, keep the rest if the same promise is still broken. It
//! works here because a written scenario has no dice that one piece could take away from another: messages are
//! numbered by link, operations have times of their own. What is left out is first everything after the violation, then operations
//! and faults, half of them at a time and in the end one by one, then nodes, clients and keys, then the weather; what
//! remains is rounded, for those who read it.
//!
//! How far it goes is bounded by the number of runs and of things that happen in them, never by a clock: the same seed gives
//! the same scenario everywhere.

mod pieces;

use std::fmt;

use leasehold_core::Limits;

use crate::check::{self, Violation};
use crate::fault::Nodes;
use crate::run::{Look, run};
use crate::scenario::{MS, Scenario};
use crate::scribe::write_out;
use crate::script::Script;
use crate::written::complaint;
use pieces::{without_client, without_idle, without_key, without_node};

/// Runs that shrinking takes at most.
const MOST_RUNS: u64 = 2_000;
/// Things that happen in all of them at most: a second.
const MOST_EVENTS: u64 = 2_500_000;
/// Times over which everything is tried again because something else has gone.
const ROUNDS: usize = 4;

/// More operations than these are not left out by pairs: there are too many of those.
const MOST_PAIRED: usize = 50;

/// How much there is of a scenario.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Things that go wrong, changes of the members included.
    pub faults: usize,
    /// Operations.
    pub operations: usize,
    /// Messages with a fate of their own.
    pub fates: usize,
    /// Nodes.
    pub nodes: usize,
    /// Clients.
    pub clients: usize,
}

impl Size {
    fn of(scenario: &Scenario) -> Self {
        let script = scenario.script.as_ref();
        Self {
            faults: scenario.faults.len() + scenario.changes.len(),
            operations: script.map_or(0, |script| script.operations.len()),
            fates: script.map_or(0, |script| script.fates.len()),
            nodes: scenario.nodes(),
            clients: scenario.clients.len(),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { faults, operations, fates, nodes, clients } = self;
        write!(
            f,
            "{faults} faults, {operations} operations, {fates} messages, {nodes} nodes, {clients} clients"
        )
    }
}

/// What shrinking came to.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// What is left.
    pub scenario: Scenario,
    /// What it breaks.
    pub violation: Violation,
    /// What there was.
    pub before: Size,
    /// What there is.
    pub after: Size,
    /// Runs that it took.
    pub runs: u64,
}

/// Why something cannot be shrunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotShrunk {
    /// Nothing is wrong with it.
    Sound,
    /// Written out, it does not break the same promise any more.
    NotWritten,
}

impl fmt::Display for NotShrunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sound => "nothing is violated: there is nothing to shrink",
            Self::NotWritten => {
                "written out as a script, the run does not break the same promise any more; replay the seed instead"
            }
        })
    }
}

/// Shrinks a failing scenario, drawn or written, to what it takes to break the promise that it breaks first.
///
/// # Errors
///
/// If it breaks none, or breaks it no more once it is written out.
pub fn shrink(plan: &Scenario) -> Result<Shrunk, NotShrunk> {
    let first = run(plan, Look { film: true, ..Look::default() });
    let violation = first.report.violations.first().ok_or(NotShrunk::Sound)?;
    let mut judge = Judge { kind: kind(violation), runs: 1, events: first.report.events };
    let (mut scenario, before) = judge.write_out(plan)?;
    judge.end(&mut scenario);
    for _ in 0..ROUNDS {
        let size = Size::of(&scenario);
        judge.thin(&mut scenario);
        judge.close_gaps(&mut scenario);
        judge.fewer(&mut scenario);
        judge.calm(&mut scenario);
        judge.narrow(&mut scenario);
        judge.pairs(&mut scenario);
        judge.end(&mut scenario);
        if Size::of(&scenario) == size {
            break;
        }
    }
    judge.round(&mut scenario);
    judge.end(&mut scenario);
    with_script(&mut scenario, pieces::rename);
    let last = run(&scenario, Look::default());
    let violation = last.report.violations.into_iter().find(|found| kind(found) == judge.kind);
    let violation = violation.ok_or(NotShrunk::NotWritten)?;
    let after = Size::of(&scenario);
    Ok(Shrunk { scenario, violation, before, after, runs: judge.runs + 1 })
}

/// Two violations of one kind break the same promise; two panics are alike if they come from the same line.
fn kind(violation: &Violation) -> String {
    let place = violation.story.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
    let rule = violation.rule;
    if rule == "a panic" { format!("{rule} {place}") } else { rule.to_owned() }
}

/// Runs candidates, and says which still break the promise.
struct Judge {
    kind: String,
    runs: u64,
    events: u64,
}

impl Judge {
    fn red(&mut self, candidate: &Scenario) -> bool {
        if self.runs >= MOST_RUNS || self.events >= MOST_EVENTS {
            return false;
        }
        // A scenario that could not be read again is of no use.
        if candidate.script.is_some() && complaint(candidate).is_some() {
            return false;
        }
        self.runs += 1;
        let look = Look { hasty: self.kind != check::linear::RULE, ..Look::default() };
        let report = run(candidate, look).report;
        self.events += report.events;
        report.violations.iter().any(|violation| kind(violation) == self.kind)
    }

    /// Keeps what `change` makes of the scenario if that is still red.
    fn keep(&mut self, scenario: &mut Scenario, change: impl FnOnce(&mut Scenario)) -> bool {
        let mut candidate = scenario.clone();
        change(&mut candidate);
        let red = self.red(&candidate);
        if red {
            *scenario = candidate;
        }
        red
    }

    /// The scenario with a script. Where the written run differs from the drawn one so much that it is sound, some other
    /// run with a fault less may do.
    fn write_out(&mut self, plan: &Scenario) -> Result<(Scenario, Size), NotShrunk> {
        let mut plan = plan.clone();
        loop {
            if plan.script.is_some() && self.red(&plan) {
                let size = Size::of(&plan);
                return Ok((plan, size));
            }
            let look = Look { film: true, ..Look::default() };
            let film = run(&plan, look).film.ok_or(NotShrunk::NotWritten)?;
            let written = write_out(&plan, &film);
            if self.red(&written) {
                let size = Size::of(&written);
                return Ok((written, size));
            }
            let fault = (0..plan.faults.len()).find(|fault| {
                let mut candidate = plan.clone();
                candidate.faults.remove(*fault);
                self.red(&candidate)
            });
            plan.faults.remove(fault.ok_or(NotShrunk::NotWritten)?);
        }
    }

    /// The earliest end, and nothing that comes after it. What is only seen when all must work again has none.
    fn end(&mut self, scenario: &mut Scenario) {
        let script = |scenario: &Scenario| scenario.script.as_ref().and_then(|script| script.end);
        if script(scenario).is_none()
            && !self.keep(scenario, |plan| set_end(plan, plan.quiet + 1))
            && !self.keep(scenario, |plan| set_end(plan, plan.quiet + 2_000 * MS))
        {
            return;
        }
        let (mut low, mut high) = (0, script(scenario).unwrap_or_default());
        while high > low + 20 * MS {
            let middle = low.midpoint(high);
            if self.keep(scenario, |plan| set_end(plan, middle)) {
                high = middle;
            } else {
                low = middle;
            }
        }
        self.keep(scenario, |plan| {
            plan.faults.retain(|fault| fault.from <= high);
            plan.changes.retain(|change| change.at <= high);
            plan.quiet = plan.quiet.min(high);
            for fault in &mut plan.faults {
                fault.until = fault.until.min(plan.quiet);
            }
            with_script(plan, |script| {
                script.operations.retain(|operation| operation.at <= high);
            });
        });
    }

    /// Leaves out faults, operations and fates of messages.
    fn thin(&mut self, scenario: &mut Scenario) {
        let plan = scenario.clone();
        let faults = thin(plan.faults.clone(), |some| {
            self.red(&Scenario { faults: some.to_vec(), ..plan.clone() })
        });
        scenario.faults = faults;
        let plan = scenario.clone();
        scenario.changes = thin(plan.changes.clone(), |some| {
            self.red(&Scenario { changes: some.to_vec(), ..plan.clone() })
        });
        let Some(script) = scenario.script.clone() else { return };
        let plan = scenario.clone();
        let with = |script: Script| Scenario { script: Some(script), ..plan.clone() };
        let operations = thin(script.operations.clone(), |some| {
            self.red(&with(Script { operations: without_idle(some), ..script.clone() }))
        });
        let script = Script { operations: without_idle(&operations), ..script };
        let fates = thin(script.fates.clone(), |some| {
            self.red(&with(Script { fates: some.to_vec(), ..script.clone() }))
        });
        let script = Script { fates, ..script };
        scenario.script = Some(script.clone());
        for (number, operation) in script.operations.iter().enumerate() {
            for again in (0..operation.again.len()).rev() {
                self.keep_script(scenario, |script| {
                    script.operations[number].again.remove(again);
                });
            }
            if operation.gives_up.is_some() {
                self.keep_script(scenario, |script| script.operations[number].gives_up = None);
            }
            if operation.cancel.is_some() {
                self.keep_script(scenario, |script| script.operations[number].cancel = None);
            }
        }
    }

    /// Leaves out two operations at once: a lock and what it kept others from, of which neither can go alone.
    fn pairs(&mut self, scenario: &mut Scenario) {
        let count = |scenario: &Scenario| {
            scenario.script.as_ref().map_or(0, |script| script.operations.len())
        };
        let mut first = 0;
        while first + 1 < count(scenario) && count(scenario) <= MOST_PAIRED {
            let fewer = (first + 1..count(scenario)).any(|second| {
                self.keep_script(scenario, |script| {
                    script.operations.remove(second);
                    script.operations.remove(first);
                    script.operations = without_idle(&script.operations);
                })
            });
            if !fewer {
                first += 1;
            }
        }
    }

    fn keep_script(&mut self, scenario: &mut Scenario, change: impl FnOnce(&mut Script)) -> bool {
        self.keep(scenario, |plan| with_script(plan, change))
    }

    /// Fewer nodes, clients and keys.
    fn fewer(&mut self, scenario: &mut Scenario) {
        for node in (0..scenario.nodes()).rev() {
            if scenario.masters > 1 || node >= scenario.masters {
                self.keep(scenario, |plan| without_node(plan, node));
            }
        }
        // Two masters at once keep a quorum's share where one does not.
        if scenario.masters > 3 {
            let masters = scenario.masters;
            self.keep(scenario, |plan| {
                without_node(plan, masters - 1);
                without_node(plan, masters - 2);
            });
        }
        for client in (0..scenario.clients.len()).rev() {
            if scenario.clients.len() > 1 {
                self.keep(scenario, |plan| without_client(plan, client));
            }
        }
        for key in (0..scenario.keys).rev() {
            if scenario.keys > 1 {
                self.keep(scenario, |plan| without_key(plan, key));
            }
        }
    }

    /// Less time in which nothing is done.
    fn close_gaps(&mut self, scenario: &mut Scenario) {
        let mut place = 0;
        while let Some((from, until)) = pieces::gap(scenario, place, 30 * MS) {
            let gap = until - from;
            let less = [gap - 20 * MS, gap.saturating_sub(300 * MS), gap / 2];
            let closed = less.into_iter().map(|less| less - less % (10 * MS)).any(|less| {
                less > 0 && self.keep(scenario, |plan| pieces::earlier(plan, until, less))
            });
            // A gap that was made smaller may be made smaller still.
            if !closed {
                place = until;
            }
        }
    }

    /// Better weather, better clocks.
    fn calm(&mut self, scenario: &mut Scenario) {
        let both = |plan: &mut Scenario, base: u64, jitter: u64| {
            for weather in [&mut plan.weather, &mut plan.client_weather] {
                weather.base = if base > 0 { base } else { weather.base };
                weather.jitter = jitter;
            }
        };
        let even = scenario.weather.jitter | scenario.client_weather.jitter == 0;
        if !even && !self.keep(scenario, |plan| both(plan, MS, 0)) {
            self.keep(scenario, |plan| both(plan, 0, 0));
            self.keep(scenario, |plan| plan.weather.jitter = 0);
            self.keep(scenario, |plan| plan.client_weather.jitter = 0);
        }
        if scenario.wall_error > 0 {
            self.keep(scenario, |plan| plan.wall_error = 0);
        }
        if scenario.disk > 100 {
            self.keep(scenario, |plan| plan.disk = 100);
        }
        self.keep(scenario, |plan| {
            plan.settings.limits = Limits::default();
            (plan.room, plan.coalesce, plan.dead_clocks) = (0, false, false);
            plan.lame = Nodes::default();
        });
        if scenario.deaf != Nodes::default() {
            self.keep(scenario, |plan| plan.deaf = Nodes::default());
        }
        let clocks = scenario.script.as_ref().map_or(0, |script| script.clocks.len());
        let clock = |scenario: &Scenario, number: usize| {
            scenario.script.as_ref().and_then(|script| script.clocks.get(number).copied().flatten())
        };
        if (0..clocks).any(|number| clock(scenario, number) != Some(0)) {
            self.keep_script(scenario, |script| script.clocks.fill(Some(0)));
        }
        let drift = i64::try_from(scenario.drift).unwrap_or(0);
        for number in 0..clocks {
            let is = clock(scenario, number);
            // True is better than pinned, and pinned is better than wandering.
            for rate in [Some(0), Some(drift), Some(-drift)] {
                if is == rate || self.keep_script(scenario, |s| s.clocks[number] = rate) {
                    break;
                }
            }
        }
    }

    /// Faults that strike fewer nodes and links.
    fn narrow(&mut self, scenario: &mut Scenario) {
        for number in 0..scenario.faults.len() {
            for narrower in pieces::narrower(&scenario.faults[number].kind) {
                self.keep(scenario, |plan| narrower(&mut plan.faults[number].kind));
            }
        }
    }

    /// Round numbers, for those who read it.
    fn round(&mut self, scenario: &mut Scenario) {
        let operations = scenario.script.as_ref().map_or(0, |script| script.operations.len());
        for unit in [100 * MS, 10 * MS, MS] {
            for number in 0..operations {
                self.keep_script(scenario, |s| pieces::round(&mut s.operations[number], unit));
            }
            for number in 0..scenario.faults.len() {
                self.keep(scenario, |plan| {
                    let fault = &mut plan.faults[number];
                    fault.from -= fault.from % unit;
                    fault.until = fault.until.next_multiple_of(unit).min(plan.quiet);
                });
            }
        }
        for number in 0..operations {
            for simpler in pieces::simpler() {
                self.keep_script(scenario, |s| simpler(&mut s.operations[number]));
            }
        }
        self.keep(scenario, |plan| pieces::round_timing(&mut plan.settings.timing));
    }
}

fn with_script(plan: &mut Scenario, change: impl FnOnce(&mut Script)) {
    if let Some(script) = &mut plan.script {
        change(script);
    }
}

fn set_end(plan: &mut Scenario, end: u64) {
    with_script(plan, |script| script.end = Some(end));
}

/// As few of the items as are still red: halves first, in the end one by one.
fn thin<T: Clone>(mut items: Vec<T>, mut red: impl FnMut(&[T]) -> bool) -> Vec<T> {
    if items.is_empty() || red(&[]) {
        return Vec::new();
    }
    let mut chunk = items.len().div_ceil(2);
    loop {
        let (mut place, mut fewer) = (0, false);
        while place < items.len() && items.len() > 1 {
            let end = items.len().min(place + chunk);
            let rest: Vec<T> =
                items.iter().take(place).chain(items.iter().skip(end)).cloned().collect();
            if red(&rest) {
                items = rest;
                fewer = true;
            } else {
                place = end;
            }
        }
        if chunk == 1 && !fewer {
            return items;
        }
        chunk = if chunk == 1 { 1 } else { chunk.div_ceil(2) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_leaves_what_it_takes() {
        for wanted in [vec![], vec![3], vec![0, 99], vec![17, 18, 50, 51, 52]] {
            let mut runs = 0;
            let left = thin((0..100).collect(), |some| {
                runs += 1;
                wanted.iter().all(|number| some.contains(number))
            });
            assert_eq!(left, wanted);
            assert!(runs < 100, "{runs} runs for {wanted:?}");
        }
    }

    #[test]
    fn what_is_sound_is_not_shrunk() {
        assert_eq!(shrink(&Scenario::draw(1)).err(), Some(NotShrunk::Sound));
    }
}
