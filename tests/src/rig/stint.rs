//! One recipe for a while: a cluster, and rounds of load and faults on it, each judged when it is over.
//!
//! A round uses keys of its own, so that what is judged stays small. After it all faults are undone, and the cluster has
//! to become well again by itself, within what the protocol promises.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use leasehold_client::clock;
use leasehold_core::{Instant, Span};
use leasehold_sim::check::Violation;
use leasehold_sim::dice::{Dice, Roll, Stream};
use serde::Serialize;

use super::cluster::{Cluster, pause};
use super::fault::{Holds, extreme};
use super::judge::{Account, Judged, Judgement, judge};
use super::kind::Kind;
use super::people::People;
use super::recipe::Recipe;
use super::record::{Line, Said};

/// How often the rig looks whether something is due.
const LOOK: Span = Span::from_millis(20);
/// How often memory is weighed.
const WEIGH: Span = Span::from_secs(1);

/// A recipe that is being followed.
#[derive(Debug)]
pub struct Stint {
    /// What is followed.
    pub recipe: Recipe,
    /// The cluster.
    pub cluster: Cluster,
    /// The clients of this round.
    pub people: People,
    /// Faults that hold.
    pub holds: Vec<Holds>,
    /// Nodes that lost their file and are not members again yet.
    pub strangers: BTreeSet<usize>,
    /// Packets that others overtook.
    pub overtaken: u64,
    /// When something was wrong in this round, from when until when.
    pub troubled: Vec<(u64, u64)>,
    /// How often what was done.
    pub faults: BTreeMap<&'static str, u64>,
    /// What runs clients, and shuffles packets.
    pub program: PathBuf,
    seed: u64,
    round: u64,
    decisions: u64,
    /// Nodes that ended by themselves in this round: how often, and how the first time.
    deaths: BTreeMap<usize, (u64, String)>,
    /// What happened when in this round.
    story: Vec<String>,
    began: Instant,
    sums: Sums,
}

/// What came of it so far.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sums {
    /// What the judges saw.
    #[serde(flatten)]
    pub judged: Judged,
    /// Rounds.
    pub rounds: u64,
    /// Microseconds of load.
    pub load: u64,
    /// The longest time in which no call came to anything, in microseconds.
    pub worst_gap: u64,
    /// The longest time from the end of all faults until the cluster was well, in microseconds.
    pub worst_recovery: u64,
    /// Overlapping beliefs, out of contract.
    pub overlaps: u64,
    /// Packets that others overtook, where they were shuffled.
    pub overtaken: u64,
    /// Bytes that the largest node had in use, at the first look, at the last, and at most.
    pub memory: (u64, u64, u64),
    /// What is wrong, each with the promise that was broken and the file with its history.
    pub violations: Vec<(String, String)>,
}

impl Stint {
    /// Starts a cluster as `recipe` has it. `program`: what runs clients.
    ///
    /// # Errors
    ///
    /// The operating system's, or that the cluster does not come about.
    pub async fn begin(recipe: Recipe, seed: u64, program: PathBuf) -> io::Result<Self> {
        let cluster = Cluster::start(recipe.shape, seed).await?;
        let people = People::new(program.clone());
        Ok(Self {
            recipe,
            cluster,
            people,
            holds: Vec::new(),
            strangers: BTreeSet::new(),
            overtaken: 0,
            troubled: Vec::new(),
            faults: BTreeMap::new(),
            program,
            seed,
            round: 0,
            decisions: 0,
            deaths: BTreeMap::new(),
            story: Vec::new(),
            began: clock::now(),
            sums: Sums::default(),
        })
    }

    /// What came of it.
    #[must_use]
    pub const fn sums(&self) -> &Sums {
        &self.sums
    }

    fn roll(&mut self) -> Roll {
        self.decisions += 1;
        Dice::new(self.seed).roll(Stream::Faults, self.decisions)
    }

    /// Writes down what happens.
    pub fn tell(&mut self, what: &str) {
        let now = clock::now();
        self.story.push(format!(
            "{:>9} µs ({}) {what}",
            now.since(self.began).as_micros(),
            now.as_micros()
        ));
    }

    /// One more client process.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn add_people(&mut self) -> io::Result<()> {
        let clients = self.recipe.people.1;
        let seed = self.seed.wrapping_add(self.round);
        self.people.start(&self.cluster, seed, self.round, clients, &self.recipe.habits)
    }

    /// Load and faults for `span`; then everything is undone and judged. What is wrong is kept below `keep`.
    ///
    /// # Errors
    ///
    /// What keeps the rig from working; what is wrong with the cluster is in [`Stint::sums`].
    pub async fn round(&mut self, span: Span, keep: &Path) -> io::Result<()> {
        self.round += 1;
        self.story.clear();
        self.deaths.clear();
        self.troubled.clear();
        self.began = clock::now();
        self.people = People::new(self.program.clone());
        for _ in 0..self.recipe.people.0 {
            self.add_people()?;
        }
        if self.recipe.extremes {
            let (bound, mut roll) = (self.cluster.drift().ppm(), self.roll());
            self.bend_all(&mut roll, |roll| (0, extreme(bound, roll)))?;
            *self.faults.entry(Kind::Rates.name()).or_default() += 1;
        }
        self.trouble(self.began.after(span)).await?;
        let load = clock::now().since(self.began);
        self.heal(true).await?;
        let healed = clock::now();
        let people = std::mem::replace(&mut self.people, People::new(self.program.clone()));
        let accounts = people.end().await?;
        let mut found =
            judge(&accounts, self.cluster.drift(), self.recipe.in_contract, &self.troubled);
        self.recover(healed, &mut found).await?;
        self.notice_deaths()?;
        for (times, first) in std::mem::take(&mut self.deaths).into_values() {
            let story = format!("{first}; {times} times in this round");
            found.violations.push(Violation { rule: "a node lives", story });
        }
        self.sums.rounds += 1;
        self.sums.load += load.as_micros();
        self.sums.judged.add(&found.judged);
        self.sums.overlaps += found.overlaps;
        self.sums.overtaken = self.overtaken;
        self.sums.worst_gap = self.sums.worst_gap.max(worst_gap(&accounts));
        self.weigh();
        self.keep(&accounts, &found, keep)
    }

    /// Lets things happen until `end`.
    async fn trouble(&mut self, end: Instant) -> io::Result<()> {
        let (low, high) = self.recipe.every;
        let pause_of = |roll: &mut Roll| Span::from_micros(roll.magnitude(low, high));
        let mut next = clock::now().after(pause_of(&mut self.roll()));
        let mut weighed = clock::now();
        while clock::now() < end {
            self.heal(false).await?;
            let now = clock::now();
            if now >= next && self.holds.len() < self.recipe.at_once {
                let mut roll = self.roll();
                if let Some(kind) = roll.weighted(self.recipe.faults) {
                    self.inflict(kind, &mut roll).await?;
                }
                next = clock::now().after(pause_of(&mut roll));
            }
            if now.since(weighed) > WEIGH {
                weighed = now;
                self.weigh();
            }
            self.notice_deaths()?;
            pause(LOOK).await;
        }
        Ok(())
    }

    /// A node that ends by itself is a violation, one however often it does so in a round, and is started again.
    fn notice_deaths(&mut self) -> io::Result<()> {
        for number in 0..self.cluster.seats.len() {
            let ended = self.cluster.seats[number].process.as_mut().and_then(|it| it.ended());
            if let Some(status) = ended {
                let log = self.cluster.log(number);
                let last: Vec<&str> = log.lines().rev().take(3).collect();
                let story = format!("node n{number} ended by itself ({status}): {last:?}");
                self.tell(&story);
                self.deaths.entry(number).or_insert((0, story)).0 += 1;
                self.cluster.start_node(number)?;
            }
        }
        Ok(())
    }

    /// Waits until the cluster is well again.
    async fn recover(&mut self, healed: Instant, found: &mut Judgement) -> io::Result<()> {
        let timing = self.cluster.shape().timing;
        let operated = |(_, kind): &(u64, Kind)| matches!(kind, Kind::Operate(_));
        if self.recipe.faults.iter().any(operated) && !self.restore_members().await? {
            let story = "the members could not be made what they were".into();
            found.violations.push(Violation { rule: "liveness", story });
        }
        self.notice_deaths()?;
        // Twice the horizon: a master that lost its majority waits one, and something for a busy machine.
        let patience = timing.horizon().times(2).plus(Span::from_secs(30));
        if let Err(error) = self.cluster.until_well(patience).await {
            found.violations.push(Violation { rule: "liveness", story: error.to_string() });
        }
        let took = clock::now().since(healed).as_micros();
        self.sums.worst_recovery = self.sums.worst_recovery.max(took);
        Ok(())
    }

    fn weigh(&mut self) {
        let processes = self.cluster.seats.iter().filter_map(|seat| seat.process.as_ref());
        let largest = processes.map(super::process::Process::memory).max().unwrap_or(0);
        let (first, last, most) = &mut self.sums.memory;
        if *first == 0 {
            *first = largest;
        }
        *last = largest;
        *most = largest.max(*most);
    }

    /// Writes down everything about a round in which something was wrong.
    fn keep(&mut self, accounts: &[Account], found: &Judgement, keep: &Path) -> io::Result<()> {
        if found.violations.is_empty() {
            return Ok(());
        }
        fs::create_dir_all(keep)?;
        let name = format!("{}-seed{}-round{}.txt", self.recipe.name, self.seed, self.round);
        let path = keep.join(name);
        let mut file = io::BufWriter::new(fs::File::create(&path)?);
        for violation in &found.violations {
            writeln!(file, "VIOLATION {}: {}", violation.rule, violation.story)?;
            let story = format!("{} (history: {})", violation.story, path.display());
            self.sums.violations.push((violation.rule.to_owned(), story));
        }
        for (number, key) in found.keys.iter().enumerate() {
            writeln!(file, "KEY k{number} {key}")?;
        }
        for line in &self.story {
            writeln!(file, "FAULT {line}")?;
        }
        for seat in &self.cluster.seats {
            let skew = seat.page.as_ref().map(|page| page.skew().clone()).unwrap_or_default();
            writeln!(file, "CLOCK {} {}", seat.name, serde_json::to_string(&skew)?)?;
        }
        for account in accounts {
            writeln!(
                file,
                "CLOCK process {} {}",
                account.process,
                serde_json::to_string(&account.skew)?
            )?;
            for line in &account.lines {
                writeln!(file, "CLIENTS {} {}", account.process, serde_json::to_string(line)?)?;
            }
        }
        for number in 0..self.cluster.seats.len() {
            for line in self.cluster.log(number).lines() {
                writeln!(file, "LOG n{number} {line}")?;
            }
        }
        file.flush()
    }
}

/// The longest time between two answers that say something, in true time.
fn worst_gap(accounts: &[Account]) -> u64 {
    let mut times: Vec<u64> = accounts
        .iter()
        .flat_map(|account| {
            account.lines.iter().filter_map(|line| match line {
                Line::Answer {
                    at,
                    said: Said::Done { .. } | Said::Held { .. } | Said::Free,
                    ..
                } => Some(account.skew.when(*at)),
                Line::Answer { .. }
                | Line::Call { .. }
                | Line::Belief { .. }
                | Line::Over { .. } => None,
            })
        })
        .collect();
    times.sort_unstable();
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
}
