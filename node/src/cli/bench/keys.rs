//! Which keys a load takes.
//!
//! Keys are numbered. Where operations must not get into each other's way, worker `w` of `n` has the numbers that leave
//! `w` when divided by `n`, so that the same keys are used however many connections and threads there are.

use std::sync::Arc;

use leasehold_core::{ClusterId, Key, NodeId, hash};
use rand::rngs::SmallRng;
use rand::{Rng, RngExt};
use rand_distr::{Distribution as _, Zipf};

use super::typed::{Bench, Distribution, Workload};

/// All keys of a load.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
    /// How many there are.
    pub(super) number: u64,
    /// Whether every worker takes from all of them.
    pub(super) shared: bool,
    exponent: Option<f64>,
}

impl Keys {
    pub(super) fn new(typed: &Bench, number: u64) -> Result<Self, String> {
        let shared = match typed.workload {
            Workload::Contend | Workload::Queue | Workload::Read | Workload::LocalRead => true,
            Workload::Cycle | Workload::Update | Workload::Extend | Workload::Hold => false,
        };
        let exponent = match typed.distribution {
            Distribution::Uniform => None,
            Distribution::Zipf if typed.exponent > 0.0 && typed.exponent.is_finite() => {
                Some(typed.exponent)
            }
            Distribution::Zipf => return Err("--exponent must be more than 0".to_owned()),
        };
        Ok(Self { prefix: typed.prefix.clone(), number, shared, exponent })
    }

    /// The numbers of a worker.
    pub(super) fn of(&self, worker: u64, workers: u64) -> impl Iterator<Item = u64> + use<> {
        (worker..self.number).step_by(usize::try_from(workers).unwrap_or(usize::MAX))
    }

    /// Draws places below `among`.
    pub(super) fn draws(&self, among: usize) -> Draws {
        #[expect(clippy::cast_precision_loss, reason = "a share of so many keys need not be exact")]
        let zipf = self.exponent.and_then(|exponent| Zipf::new(among as f64, exponent).ok());
        Draws { among, zipf }
    }

    /// The key of this number.
    fn key(&self, number: u64) -> Key {
        format!("{}{number}", self.prefix).into()
    }
}

/// Draws of one worker.
#[derive(Clone, Debug)]
pub(super) struct Draws {
    among: usize,
    zipf: Option<Zipf<f64>>,
}

impl Draws {
    /// The next place.
    pub(super) fn next(&self, dice: &mut SmallRng) -> usize {
        match &self.zipf {
            // A sample is from 1 to `among`.
            Some(zipf) => {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a place"
                )]
                let place = zipf.sample(dice) as usize;
                place.clamp(1, self.among.max(1)) - 1
            }
            None => dice.random_range(0..self.among.max(1)),
        }
    }
}

/// Bytes that look like somebody's value.
pub(super) fn value(size: usize, dice: &mut SmallRng) -> Vec<u8> {
    let mut value = vec![0; size];
    dice.fill_bytes(&mut value);
    value.iter_mut().for_each(|byte| *byte = b'a' + *byte % 26);
    value
}

/// The masters of a cluster, to tell a key's home.
#[derive(Clone, Debug)]
pub(super) struct Homes {
    pub(super) cluster: ClusterId,
    pub(super) masters: Vec<NodeId>,
    /// The homes that are wanted; all if there are none.
    pub(super) wanted: Vec<NodeId>,
}

impl Homes {
    /// The keys of these numbers, as far as their home is a wanted one.
    pub(super) fn keys(&self, keys: &Keys, numbers: impl IntoIterator<Item = u64>) -> Arc<[Key]> {
        numbers.into_iter().map(|number| keys.key(number)).filter(|key| self.wants(key)).collect()
    }

    fn wants(&self, key: &[u8]) -> bool {
        let home = hash::home(self.cluster, self.masters.iter().copied(), key);
        self.wanted.is_empty() || home.is_some_and(|home| self.wanted.contains(&home))
    }
}
