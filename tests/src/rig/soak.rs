//! The command: recipes one after the other, load and faults for a while, a page at the end.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use leasehold_client::clock;
use leasehold_core::Span;
use serde::Serialize;

use super::cluster::Network;
use super::kind::Kind;
use super::recipe::Recipe;
use super::stint::{Stint, Sums};
use super::{hosts, page, room};

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The recipes, in this order.
    pub recipes: Vec<Recipe>,
    /// How long, in all.
    pub span: Duration,
    /// How long a round lasts.
    pub round: Duration,
    /// What decides which faults come when.
    pub seed: u64,
    /// Where histories of violations are kept.
    pub keep: PathBuf,
    /// What runs clients when it is told `client PLAN`.
    pub program: PathBuf,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// The seed.
    pub seed: u64,
    /// What came of each recipe.
    pub recipes: BTreeMap<String, Sums>,
    /// Faults, by kind.
    pub faults: BTreeMap<String, u64>,
    /// Recipes that cannot be followed here, and why.
    pub skipped: BTreeMap<String, String>,
}

impl Summary {
    /// How many violations there were.
    #[must_use]
    pub fn violations(&self) -> usize {
        self.recipes.values().map(|sums| sums.violations.len()).sum()
    }

    /// Recipes that were followed and in which nothing was judged.
    #[must_use]
    pub fn worthless(&self) -> Vec<&str> {
        let worthless = |sums: &Sums| sums.judged.tokens == 0 || sums.judged.beliefs == 0;
        self.recipes.iter().filter(|(_, s)| worthless(s)).map(|(name, _)| name.as_str()).collect()
    }

    /// A page for people.
    #[must_use]
    pub fn page(&self) -> String {
        let mut page = format!("seed {}\n\n", self.seed);
        page += "recipe    rounds   load     calls      done   refused  not done  unknown    ordered  second  gave up  \
                 worst gap  recovery  memory first/last/most\n";
        let (ms, mb) = (|us: u64| us / 1_000, |bytes: u64| bytes >> 20);
        for (name, sums) in &self.recipes {
            let judged = &sums.judged;
            let (first, last, most) = sums.memory;
            page += &format!(
                "{name:<9} {:>6} {:>4} s {:>9} {:>9} {:>9} {:>9} {:>8} {:>10} {:>7} {:>8} {:>7} ms {:>6} ms  {} / {} / {} MiB\n",
                sums.rounds,
                sums.load / 1_000_000,
                judged.calls,
                judged.done,
                judged.refused,
                judged.not_done,
                judged.unknown,
                judged.ordered,
                judged.second,
                judged.given_up,
                ms(sums.worst_gap),
                ms(sums.worst_recovery),
                mb(first),
                mb(last),
                mb(most),
            );
        }
        let faults: Vec<String> =
            self.faults.iter().map(|(kind, n)| format!("{kind} {n}")).collect();
        page += &format!("\nfaults: {}\n", faults.join(" · "));
        for (name, sums) in self.recipes.iter().filter(|(_, sums)| sums.overlaps > 0) {
            page += &format!("{name}: {} overlapping beliefs, out of contract\n", sums.overlaps);
        }
        for (name, sums) in self.recipes.iter().filter(|(_, sums)| sums.overtaken > 0) {
            page += &format!("{name}: {} packets were overtaken\n", sums.overtaken);
        }
        for (name, judged) in self.recipes.iter().map(|(name, sums)| (name, &sums.judged)) {
            if judged.again > 0 {
                page += &format!(
                    "{name}: {} locks were granted a second time, for nobody, and stood for {} ms at most\n",
                    judged.again,
                    ms(judged.again_stood),
                );
            }
        }
        for (name, why) in &self.skipped {
            page += &format!("SKIPPED {name}: {why}\n");
        }
        for name in self.worthless() {
            page += &format!("WORTH NOTHING {name}: nothing was locked or believed\n");
        }
        page += &format!("violations: {}\n", self.violations());
        for (name, sums) in &self.recipes {
            for (rule, story) in &sums.violations {
                page += &format!("VIOLATION {name}: {rule}: {story}\n");
            }
        }
        page
    }
}

/// Why a recipe cannot be followed here, with `program` to shuffle packets.
#[must_use]
pub fn obstacle(recipe: &Recipe, program: &Path) -> Option<String> {
    let network = (recipe.shape.network == Network::Hosts).then(hosts::missing).flatten();
    let shim = || recipe.shape.shim.then(page::shim)?.err();
    let rooms = || recipe.shape.rooms.then(room::missing).flatten();
    let shuffles = recipe.faults.iter().any(|(_, kind)| *kind == Kind::Shuffle);
    let queue = || shuffles.then(|| hosts::missing_queue(program)).flatten();
    network.or_else(queue).or_else(shim).or_else(rooms)
}

/// Does it, and tells of progress.
///
/// # Errors
///
/// What keeps the rig from working.
pub async fn soak(wanted: &Wanted, mut tell: impl FnMut(&str)) -> io::Result<Summary> {
    let mut summary = Summary { seed: wanted.seed, ..Summary::default() };
    let mut possible = Vec::new();
    for recipe in &wanted.recipes {
        match obstacle(recipe, &wanted.program) {
            Some(why) => {
                tell(&format!("SKIPPED {}: {why}", recipe.name));
                summary.skipped.insert(recipe.name.to_owned(), why);
            }
            None => possible.push(recipe.clone()),
        }
    }
    let end = clock::now().after(wanted.span.into());
    let count = possible.len();
    for (place, recipe) in possible.into_iter().enumerate() {
        // What is left, shared by those that are left.
        let left = end.since(clock::now());
        let share = left.split(u64::try_from(count - place).unwrap_or(1));
        let name = recipe.name;
        let seed = wanted.seed.wrapping_mul(1_000).wrapping_add(u64::try_from(place).unwrap_or(0));
        let mut stint = Stint::begin(recipe, seed, wanted.program.clone()).await?;
        let until = clock::now().after(share);
        loop {
            let span =
                Span::from(wanted.round).min(until.since(clock::now()).max(Span::from_secs(3)));
            stint.round(span, &wanted.keep).await?;
            let sums = stint.sums();
            tell(&format!(
                "{name}: round {}, {} calls, {} unknown, {} faults, {} violations",
                sums.rounds,
                sums.judged.calls,
                sums.judged.unknown,
                stint.faults.values().sum::<u64>(),
                sums.violations.len(),
            ));
            if clock::now().after(Span::from_secs(3)) >= until {
                break;
            }
        }
        for (kind, count) in &stint.faults {
            *summary.faults.entry((*kind).to_owned()).or_default() += count;
        }
        summary.recipes.insert(name.to_owned(), stint.sums().clone());
    }
    Ok(summary)
}

/// Where histories are kept unless somebody says otherwise: beside what was built.
#[must_use]
pub fn usual_keep() -> PathBuf {
    let this = std::env::current_exe().unwrap_or_default();
    this.parent().unwrap_or(Path::new(".")).join("soak-histories")
}
