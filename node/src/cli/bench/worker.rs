//! One worker: does one operation after the other, and measures each.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use leasehold_client::clock::{self, Instant};
use leasehold_client::{Bytes, Client, Error, Key, Lease, Reason};
use leasehold_core::Span;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::course::Course;
use super::keys::{self, Draws, Homes};
use super::pace::Pace;
use super::plan::Plan;
use super::tally::{Kind, Tally};
use super::typed::Workload;

/// Who could not do something tries again no sooner, so that nobody measures how fast errors are made.
const PAUSE: Span = Span::from_millis(5);
/// How often setting up tries to acquire one key.
const TRIES: u32 = 5;
/// The leases of `--expire` end within this time.
const TOGETHER: Duration = Duration::from_secs(1);

/// What all workers of a load know.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) plan: Plan,
    pub(super) homes: Homes,
    /// The keys, where all workers have the same.
    pub(super) shared: Option<Arc<[Key]>>,
    pub(super) course: Course,
    pub(super) pace: Pace,
    /// When setting up began.
    pub(super) since: Instant,
}

#[derive(Debug)]
pub(super) struct Worker {
    load: Arc<Load>,
    client: Client,
    number: u32,
    tally: Arc<Mutex<Tally>>,
    dice: SmallRng,
    /// The keys it takes, in the order in which they are numbered.
    keys: Arc<[Key]>,
    /// What is held all the time. Where leases are changed they are in the order of the keys.
    leases: Vec<Option<Lease>>,
    draws: Draws,
    /// What is released next, where one key at a time is held.
    held: Option<Lease>,
    /// The key whose turn it is, for `hold`.
    at: usize,
    value: Bytes,
}

impl Worker {
    pub(super) fn new(
        load: &Arc<Load>,
        client: Client,
        number: u32,
        tally: &Arc<Mutex<Tally>>,
    ) -> Self {
        let plan = &load.plan;
        let (me, all) = (u64::from(number), u64::from(plan.in_flight));
        let mut dice = SmallRng::seed_from_u64(plan.seed.wrapping_add(me << 32));
        let keys = match &load.shared {
            Some(shared) => Arc::clone(shared),
            None => load.homes.keys(&plan.keys, plan.keys.of(me, all)),
        };
        let draws = plan.keys.draws(keys.len());
        let value = keys::value(plan.value_size, &mut dice).into();
        let (load, tally) = (Arc::clone(load), Arc::clone(tally));
        let (leases, held) = (Vec::new(), None);
        Self { load, client, number, tally, dice, keys, leases, draws, held, at: 0, value }
    }

    /// Sets up, works until the load is over, and cleans up.
    ///
    /// # Errors
    ///
    /// What kept it from setting up.
    pub(super) async fn run(mut self) -> Result<(), String> {
        self.prepare().await?;
        if self.load.course.start_line().await.is_some() && !self.load.plan.expire {
            if self.keys.is_empty() {
                return Err("none of its keys has one of these homes; ask for more --keys".into());
            }
            self.work().await;
        }
        if !self.load.plan.expire {
            self.tidy().await;
        }
        Ok(())
    }

    /// Acquires what is to be held from the beginning.
    async fn prepare(&mut self) -> Result<(), String> {
        let (me, all) = (u64::from(self.number), u64::from(self.load.plan.in_flight));
        let mine: Vec<usize> = match self.load.plan.workload {
            Workload::Cycle | Workload::Contend | Workload::Queue => Vec::new(),
            Workload::Update | Workload::Extend | Workload::Hold => (0..self.keys.len()).collect(),
            Workload::Read | Workload::LocalRead => (0_u64..)
                .zip(0..self.keys.len())
                .filter(|(number, _)| number % all == me)
                .map(|(_, place)| place)
                .collect(),
        };
        for at in mine {
            for tries in 1.. {
                if self.load.course.is_over() {
                    return Ok(());
                }
                match self.acquire(at).await {
                    Ok(lease) => {
                        self.leases.push(Some(lease));
                        break;
                    }
                    Err(error) if tries == TRIES => return Err(format!("cannot set up: {error}")),
                    Err(_) => clock::sleep_until(clock::now().after(PAUSE)).await,
                }
            }
            self.load.course.prepared.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(())
    }

    async fn work(&mut self) {
        let load = Arc::clone(&self.load);
        while let Some(intended) = load.pace.turn(&load.course).await {
            let intended = intended.unwrap_or_else(clock::now);
            // Decided once: the measurement may begin while this is under way.
            let measured = load.course.measures(intended);
            if !load.course.takes_another(measured) {
                return;
            }
            let (kind, result) = self.step().await;
            let end = clock::now();
            if measured {
                let micros = end.since(intended).as_micros();
                let in_time = !load.course.is_past(end);
                let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
                match &result {
                    Ok(()) => tally.done(kind, self.number, micros, in_time),
                    Err(error) => tally.failed(why(error)),
                }
                load.course.settle();
            }
            if result.is_err_and(|error| !matches!(error, Error::Refused(_))) {
                clock::sleep_until(end.after(PAUSE)).await;
            }
        }
    }

    /// One call, as the workload wants it.
    async fn step(&mut self) -> (Kind, Result<(), Error>) {
        match self.load.plan.workload {
            Workload::Cycle | Workload::Contend | Workload::Queue => match self.held.take() {
                None => {
                    let at = self.draws.next(&mut self.dice);
                    let result = self.acquire(at).await.map(|lease| self.held = Some(lease));
                    (Kind::Acquire, result)
                }
                Some(lease) => (Kind::Release, lease.release().await.map(drop)),
            },
            Workload::Update => {
                let at = self.draws.next(&mut self.dice);
                self.on_lease(at, Kind::Update).await
            }
            Workload::Extend => {
                let at = self.draws.next(&mut self.dice);
                self.on_lease(at, Kind::Extend).await
            }
            Workload::Hold => {
                self.at = (self.at + 1) % self.keys.len().max(1);
                self.on_lease(self.at, Kind::Extend).await
            }
            Workload::Read => {
                let at = self.draws.next(&mut self.dice);
                (Kind::Read, self.client.read(self.key(at)).await.map(drop))
            }
            Workload::LocalRead => {
                let at = self.draws.next(&mut self.dice);
                (Kind::LocalRead, self.client.read_local(self.key(at)).await.map(drop))
            }
        }
    }

    fn key(&self, at: usize) -> Key {
        self.keys.get(at).cloned().unwrap_or_default()
    }

    async fn acquire(&mut self, at: usize) -> Result<Lease, Error> {
        let plan = &self.load.plan;
        let ttl = if plan.expire {
            let end = self.load.since.after(plan.ttl.into());
            let left: Duration = end.since(clock::now()).into();
            left.saturating_add(TOGETHER.mul_f64(self.dice.random()))
        } else {
            plan.ttl
        };
        let mut lock = self.client.lock(self.key(at)).value(self.value.clone()).ttl(ttl);
        if plan.workload == Workload::Queue {
            lock = lock.wait(plan.timeout);
        }
        lock.lease().await
    }

    /// An operation on a held key. One that was lost is acquired anew.
    async fn on_lease(&mut self, at: usize, kind: Kind) -> (Kind, Result<(), Error>) {
        let (ttl, value) = (self.load.plan.ttl, self.value.clone());
        let Some(Some(lease)) = self.leases.get_mut(at) else {
            let acquired = self.acquire(at).await;
            let kept = acquired.map(|lease| {
                if let Some(place) = self.leases.get_mut(at) {
                    *place = Some(lease);
                }
            });
            return (Kind::Acquire, kept);
        };
        let result = match kind {
            Kind::Update => lease.update(value, None).await.map(drop),
            Kind::Acquire | Kind::Release | Kind::Extend | Kind::Read | Kind::LocalRead => {
                lease.extend(ttl).await.map(drop)
            }
        };
        if let (Err(Error::Refused(_)), Some(place)) = (&result, self.leases.get_mut(at)) {
            *place = None;
        }
        (kind, result)
    }

    /// Releases what is held. What fails ends by itself.
    async fn tidy(&mut self) {
        for lease in self.leases.drain(..).chain([self.held.take()]).flatten() {
            // One that was lost says nothing of the others.
            if !matches!(lease.release().await, Ok(_) | Err(Error::Refused(_))) {
                return;
            }
        }
    }
}

/// Kinds of errors, by what they mean for the caller.
const fn why(error: &Error) -> &'static str {
    match error {
        Error::Refused(_) => "refused",
        Error::NotDone(Reason::NoQuorum) => "no_quorum",
        Error::NotDone(Reason::TooLate | Reason::Unanswered) => "too_late",
        Error::NotDone(_) => "not_done",
        Error::Unknown(_) => "unknown",
        Error::NotAllowed(_) => "not_allowed",
        Error::Unreachable(_) => "unreachable",
        Error::TimedOut => "timed_out",
        Error::Invalid(_) => "invalid",
    }
}
