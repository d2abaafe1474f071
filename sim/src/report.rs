//! What came of one run, and of many.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::check::Violation;
use crate::dice::mix;
use crate::focus::Focus;
use crate::marks::{Counts, Mark};

/// Bad seeds that a campaign tells of; the others are only counted.
const TOLD: usize = 400;

/// Seeds from which on a campaign in which something never happened is worth nothing.
const MANY: u64 = 200;

/// What has to happen for a run, or a campaign, to be worth anything.
const WORTH: [(Mark, &str); 4] = [
    (Mark::Acquired, "locked"),
    (Mark::Expired, "expired"),
    (Mark::Rejoined, "synced"),
    (Mark::Forgets, "forgotten"),
];

/// What each checker judged, by what it judges.
const CHECKERS: [(&str, &[Mark]); 11] = [
    ("mutual_exclusion", &[Mark::BeliefsJudged]),
    ("linearizability", &[Mark::OrdersJudged]),
    ("second_opinion", &[Mark::SecondOpinions]),
    ("token_order", &[Mark::TokensJudged]),
    ("one_answer_each", &[Mark::AnswersJudged]),
    ("nothing_applies_twice", &[Mark::RepeatsJudged]),
    ("liveness", &[Mark::ProbesJudged, Mark::MinorityJudged]),
    ("records_return_to_zero", &[Mark::RecordsJudged]),
    ("replicas_converge", &[Mark::ReplicasJudged]),
    ("states", &[Mark::StatesChecked]),
    ("same_seed_same_trace", &[Mark::RunTwice]),
];

/// What came of one seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What its draw was biased towards.
    pub focus: Focus,
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
        let focus = if self.focus == Focus::Everything {
            String::new()
        } else {
            format!("LEASEHOLD_FOCUS={} ", self.focus.name())
        };
        let seed = self.seed;
        format!("{focus}LEASEHOLD_SEED={seed} cargo test -p leasehold-sim replay -- --nocapture")
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
        if self.is_idle() {
            text.push_str(", WORTH NOTHING: nothing was locked, expired, synced or forgotten");
        }
        for Violation { rule, story } in violations.iter().take(5) {
            text.push_str(&format!("\n  {rule}: {story}"));
        }
        text
    }

    /// Whether nothing happened that could have gone wrong.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        WORTH.iter().all(|(mark, _)| self.counts.of(*mark) == 0)
    }
}

/// A seed with violations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bad {
    /// The seed.
    pub seed: u64,
    /// What it was and what went wrong.
    pub verdict: String,
    /// The line that replays it.
    pub replay_line: String,
}

/// How often a mark was met, and in how many seeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Met {
    /// How often in all.
    pub times: u64,
    /// In how many seeds.
    pub seeds: u64,
}

/// What came of a campaign.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Seeds run.
    pub seeds: u64,
    /// Things that happened.
    pub events: u64,
    /// Simulated microseconds.
    pub simulated: u64,
    /// How often each mark was met, by its name.
    pub marks: BTreeMap<String, Met>,
    /// Seeds with a crash, an expiry, a contested key, and all three.
    pub with: [u64; 4],
    /// Seeds in which nothing happened that could have gone wrong.
    pub idle: u64,
    /// Seeds with violations.
    pub violations: u64,
    /// The first of them.
    pub bad: Vec<Bad>,
    /// The sum of all traces' hashes.
    pub hash: u64,
}

impl Tally {
    /// Adds one seed.
    pub fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.events += report.events;
        self.simulated += report.simulated;
        // A sum, so that parts of a campaign that ran on several machines can be added up.
        self.hash = self.hash.wrapping_add(mix(report.hash ^ report.seed));
        for (mark, name) in Mark::ALL {
            let times = report.counts.of(*mark);
            if times > 0 {
                self.meet(name, times);
            }
        }
        let met = |mark| report.counts.of(mark) > 0;
        let three = [met(Mark::Crashes), met(Mark::Expired), met(Mark::HeldByOther)];
        for (sum, has) in
            self.with.iter_mut().zip([three[0], three[1], three[2], three == [true; 3]])
        {
            *sum += u64::from(has);
        }
        self.idle += u64::from(report.is_idle());
        if !report.violations.is_empty() {
            self.violations += 1;
            self.tell(report.seed, report.verdict(), report.replay_line());
        }
    }

    fn meet(&mut self, name: &str, times: u64) {
        if !self.marks.contains_key(name) {
            self.marks.insert(name.to_owned(), Met::default());
        }
        if let Some(met) = self.marks.get_mut(name) {
            met.times += times;
            met.seeds += 1;
        }
    }

    fn tell(&mut self, seed: u64, verdict: String, replay_line: String) {
        if self.bad.len() < TOLD {
            self.bad.push(Bad { seed, verdict, replay_line });
        }
    }

    /// Judges two runs of one seed: they must be the same.
    pub fn compare(&mut self, first: &Report, second: &Report) {
        self.meet(Mark::RunTwice.name(), 1);
        if first != second {
            self.violations += 1;
            let (seed, one, other) = (first.seed, first.hash, second.hash);
            let verdict = format!("seed {seed} was two different runs: {one:016x}, {other:016x}");
            self.tell(seed, verdict, first.replay_line());
        }
    }

    /// Adds what was run later.
    pub fn absorb(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.events += other.events;
        self.simulated += other.simulated;
        self.idle += other.idle;
        self.violations += other.violations;
        self.hash = self.hash.wrapping_add(other.hash);
        for (sum, more) in self.with.iter_mut().zip(other.with) {
            *sum += more;
        }
        for (name, more) in other.marks {
            let met = self.marks.entry(name).or_default();
            met.times += more.times;
            met.seeds += more.seeds;
        }
        for bad in other.bad {
            self.tell(bad.seed, bad.verdict, bad.replay_line);
        }
    }

    /// How often `mark` was met, and in how many seeds.
    #[must_use]
    pub fn met(&self, mark: Mark) -> Met {
        self.marks.get(mark.name()).copied().unwrap_or_default()
    }

    /// Why the campaign proves nothing, if it does not.
    #[must_use]
    pub fn vacuous(&self) -> Vec<String> {
        let mut why: Vec<String> = WORTH
            .iter()
            .filter(|(mark, _)| self.seeds >= MANY && self.met(*mark).times == 0)
            .map(|(_, what)| format!("nothing was ever {what}"))
            .collect();
        if self.met(Mark::OutOfContract).times >= MANY && self.met(Mark::OverlapsBeyond).times == 0
        {
            why.push("no beliefs overlapped, though the contract was broken".to_owned());
        }
        why
    }

    /// One line for machines, but for what only the campaign knows.
    #[must_use]
    pub fn json(&self) -> Map<String, Value> {
        let share = |part: u64| thousandths(part, self.seeds);
        let marks: Map<String, Value> = Mark::ALL
            .iter()
            .map(|(mark, name)| ((*name).to_owned(), json!(self.met(*mark))))
            .collect();
        let never: Vec<&str> = Mark::ALL
            .iter()
            .filter(|(mark, _)| self.met(*mark).times == 0)
            .map(|(_, name)| *name)
            .collect();
        let judged = |marks: &[Mark]| marks.iter().map(|mark| self.met(*mark).times).sum::<u64>();
        let checkers: Map<String, Value> =
            CHECKERS.iter().map(|(name, of)| ((*name).to_owned(), judged(of).into())).collect();
        let without: Map<String, Value> = WORTH
            .iter()
            .map(|(mark, what)| {
                (format!("never_{what}"), (self.seeds - self.met(*mark).seeds).into())
            })
            .collect();
        let value = json!({
            "seeds": self.seeds,
            "events": self.events,
            "operations": self.met(Mark::Operations).times,
            "simulated_seconds": self.simulated / 1_000_000,
            "violations": self.violations,
            "first_bad_seed": self.bad.first().map(|bad| bad.seed),
            "events_per_seed": thousandths(self.events, self.seeds),
            "operations_per_seed": thousandths(self.met(Mark::Operations).times, self.seeds),
            "share_with_crash": share(self.with[0]),
            "share_with_expiry": share(self.with[1]),
            "share_with_contest": share(self.with[2]),
            "share_with_all_three": share(self.with[3]),
            "seeds_worth_nothing": self.idle,
            "seeds_in_which": without,
            "worth_nothing_because": self.vacuous(),
            "judged": checkers,
            "searches_given_up": self.met(Mark::OrdersGivenUp).times,
            "trace_hash": format!("{:016x}", self.hash),
            "never_met": never,
            "marks": marks,
        });
        match value {
            Value::Object(map) => map,
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Map::new(),
        }
    }
}

/// `part / whole` with three decimals.
#[must_use]
pub fn thousandths(part: u64, whole: u64) -> Value {
    let scaled = (u128::from(part) * 1_000).checked_div(u128::from(whole)).unwrap_or(0);
    let text = format!("{}.{:03}", scaled / 1_000, scaled % 1_000);
    text.parse::<f64>().map_or(Value::Null, Value::from)
}
