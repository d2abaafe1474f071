//! What came of one run, and of many.

use serde_json::{Map, Value, json};

use crate::check::Violation;
use crate::marks::{Counts, Mark};

/// What came of one seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The name of its profile.
    pub profile: &'static str,
    /// Things that happened.
    pub events: u64,
    /// Simulated microseconds.
    pub simulated: u64,
    /// A hash of everything that happened.
    pub hash: u64,
    /// What was met.
    pub counts: Counts,
    /// What went wrong.
    pub violations: Vec<Violation>,
}

impl Report {
    /// The line that replays this seed.
    #[must_use]
    pub fn replay_line(&self) -> String {
        format!("LEASEHOLD_SEED={} cargo test -p leasehold-sim replay -- --nocapture", self.seed)
    }

    /// What this seed was and what went wrong, for people.
    #[must_use]
    pub fn verdict(&self) -> String {
        let Self { seed, profile, events, violations, hash, .. } = self;
        let operations = self.counts.of(Mark::Operations);
        let seconds = self.simulated / 1_000_000;
        let mut text = format!(
            "seed {seed} ({profile}): {events} events, {operations} operations, {seconds} simulated s, trace {hash:016x}, "
        );
        if violations.is_empty() {
            text.push_str("no violation");
        } else {
            text.push_str(&format!("{} VIOLATIONS", violations.len()));
        }
        for Violation { rule, story } in violations.iter().take(5) {
            text.push_str(&format!("\n  {rule}: {story}"));
        }
        text
    }
}

/// What came of a campaign.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Seeds run.
    pub seeds: u64,
    /// Things that happened.
    pub events: u64,
    /// Simulated microseconds.
    pub simulated: u64,
    /// What was met.
    pub counts: Counts,
    /// Seeds with a crash, an expiry, a contested key, and all three.
    pub with: [u64; 4],
    /// In how many seeds each mark was met.
    pub seeds_with: Vec<u64>,
    /// Seeds with violations.
    pub bad: Vec<Report>,
    /// The sum of all traces' hashes.
    pub hash: u64,
}

impl Tally {
    /// Adds one seed.
    pub fn add(&mut self, report: Report) {
        self.seeds += 1;
        self.events += report.events;
        self.simulated += report.simulated;
        self.hash = self.hash.wrapping_add(report.hash);
        self.counts.absorb(&report.counts);
        let met = |mark| report.counts.of(mark) > 0;
        let three = [met(Mark::Crashes), met(Mark::Expired), met(Mark::HeldByOther)];
        for (sum, has) in
            self.with.iter_mut().zip([three[0], three[1], three[2], three == [true; 3]])
        {
            *sum += u64::from(has);
        }
        self.seeds_with.resize(Mark::ALL.len(), 0);
        for (sum, (mark, _)) in self.seeds_with.iter_mut().zip(Mark::ALL) {
            *sum += u64::from(met(*mark));
        }
        if !report.violations.is_empty() {
            self.bad.push(report);
        }
    }

    /// Adds what another thread ran.
    pub fn absorb(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.events += other.events;
        self.simulated += other.simulated;
        self.hash = self.hash.wrapping_add(other.hash);
        self.counts.absorb(&other.counts);
        for (sum, more) in self.with.iter_mut().zip(other.with) {
            *sum += more;
        }
        self.seeds_with.resize(Mark::ALL.len(), 0);
        for (sum, more) in self.seeds_with.iter_mut().zip(other.seeds_with) {
            *sum += more;
        }
        self.bad.extend(other.bad);
    }

    /// One line for machines. `seconds` is how long it took, in milliseconds.
    #[must_use]
    pub fn json(&self, millis: u64, without: Option<&str>) -> Value {
        let share = |part: u64| thousandths(part, self.seeds);
        let marks: Map<String, Value> = Mark::ALL
            .iter()
            .zip(&self.seeds_with)
            .map(|((mark, name), seeds)| {
                ((*name).to_owned(), json!({ "times": self.counts.of(*mark), "seeds": seeds }))
            })
            .collect();
        let never: Vec<&str> = Mark::ALL
            .iter()
            .filter(|(mark, _)| self.counts.of(*mark) == 0)
            .map(|(_, name)| *name)
            .collect();
        let first = self.bad.iter().map(|report| report.seed).min();
        json!({
            "seeds": self.seeds,
            "events": self.events,
            "operations": self.counts.of(Mark::Operations),
            "simulated_seconds": self.simulated / 1_000_000,
            "seconds": thousandths(millis, 1),
            "events_per_second": (self.events * 1_000).checked_div(millis),
            "violations": self.bad.len(),
            "first_bad_seed": first,
            "without": without,
            "events_per_seed": thousandths(self.events, self.seeds),
            "operations_per_seed": thousandths(self.counts.of(Mark::Operations), self.seeds),
            "share_with_crash": share(self.with[0]),
            "share_with_expiry": share(self.with[1]),
            "share_with_contest": share(self.with[2]),
            "share_with_all_three": share(self.with[3]),
            "trace_hash": format!("{:016x}", self.hash),
            "never_met": never,
            "marks": marks,
        })
    }
}

/// `part / whole` with three decimals, or for `whole` = 1, thousandths as a decimal number.
fn thousandths(part: u64, whole: u64) -> Value {
    let scaled = if whole == 1 { part } else { (part * 1_000).checked_div(whole).unwrap_or(0) };
    let text = format!("{}.{:03}", scaled / 1_000, scaled % 1_000);
    text.parse::<f64>().map_or(Value::Null, Value::from)
}
