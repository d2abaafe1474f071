//! `leasehold bench`: puts a load on a cluster and measures what comes of it.
//!
//! A load has phases that all workers go through together ([course]): they set up, warm up, are measured, and clean up.
//! Workers ([worker]) are spread over threads, each with a runtime and clients of its own, so that the threads share
//! nothing but the course. The first Ctrl-C ends the load and shows what was measured so far, the second one ends the
//! program.

mod course;
mod keys;
mod pace;
mod plan;
mod processor;
mod show;
mod tally;
mod typed;
mod worker;

use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use leasehold_client::clock::{self, Instant};
use leasehold_client::{Client, Error, Options, Status};
use leasehold_core::Span;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

pub(crate) use typed::Bench;

use self::course::Course;
use self::keys::Homes;
use self::pace::Pace;
use self::plan::Plan;
use self::show::Report;
use self::tally::{Second, Tally};
use self::worker::{Load, Worker};
use super::typed::Global;
use crate::exit::code;
use crate::signals::Signals;

/// How often it is looked whether a phase is over.
const LOOK: Span = Span::from_millis(10);
/// One entry of the series.
const SECOND: Span = Span::from_secs(1);
/// How long after the end the last leases of `--expire` may take to end.
const AFTERMATH: Span = Span::from_secs(3);

/// Why there is nothing to show: in words, and the exit code.
#[derive(Debug)]
struct Failure {
    words: String,
    code: u8,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match error {
            Error::Unreachable(_) => code::CANNOT_CONNECT,
            Error::NotAllowed(_) => code::NOT_ALLOWED,
            Error::Invalid(_) => code::USAGE,
            Error::Refused(_) | Error::NotDone(_) | Error::Unknown(_) | Error::TimedOut => {
                code::NOT_DONE
            }
        };
        Self { words: error.to_string(), code }
    }
}

/// Runs it.
pub(crate) fn run(global: &Global, typed: &Bench) -> ExitCode {
    let measured = Plan::new(global, typed)
        .map_err(|words| Failure { words, code: code::USAGE })
        .and_then(|plan| {
            let broken = |error: std::io::Error| Failure {
                words: format!("cannot start: {error}"),
                code: code::CANNOT_CONNECT,
            };
            let runtime = Builder::new_current_thread().enable_all().build().map_err(broken)?;
            runtime.block_on(measure(plan, global))
        });
    match measured {
        Ok(report) => {
            let none = report.tally.done == 0 && !report.load.plan.expire;
            show::print(&show::report(&report, global.json));
            ExitCode::from(if none { code::NOT_DONE } else { code::DONE })
        }
        Err(failure) => {
            show::complain(&failure.words, failure.code, global);
            ExitCode::from(failure.code)
        }
    }
}

/// The load under way, seen from the main thread.
#[derive(Debug)]
struct Running {
    load: Arc<Load>,
    tallies: Vec<Arc<Mutex<Tally>>>,
    threads: Vec<JoinHandle<Result<(), Failure>>>,
    signals: Signals,
    progress: ProgressBar,
    /// It was told to stop.
    stopped: bool,
}

async fn measure(plan: Plan, global: &Global) -> Result<Report, Failure> {
    let broken = |error: std::io::Error| Failure {
        words: format!("cannot listen for signals: {error}"),
        code: code::CANNOT_CONNECT,
    };
    let signals = Signals::new().map_err(broken)?;
    let (homes, addresses) = look_around(&plan).await?;
    let pids =
        if plan.pids.is_empty() { processor::listening(&addresses) } else { plan.pids.clone() };
    if !plan.pids.is_empty() && processor::used(&pids).is_none() {
        let words = "--pids: not all of these processes are there, or can be looked at".to_owned();
        return Err(Failure { words, code: code::USAGE });
    }
    let (course, pace) = (Course::new(plan.ops), Pace::new(plan.rate));
    let shared = plan.keys.shared.then(|| homes.keys(&plan.keys, 0..plan.keys.number));
    let load = Arc::new(Load { homes, shared, course, pace, since: clock::now(), plan });
    let progress = if global.quiet { ProgressBar::hidden() } else { ProgressBar::no_length() };
    progress.set_style(ProgressStyle::default_spinner());
    let mut running = Running::new(load, signals, progress);
    running.set_up().await?;
    let report = running.run(&pids).await;
    running.join().await?;
    Ok(running.report(report))
}

/// Who the masters are, and where clients reach the members.
async fn look_around(plan: &Plan) -> Result<(Homes, Vec<String>), Failure> {
    let scout = Client::connect(plan.endpoints.iter().cloned(), options(plan)).await?;
    let reports = scout.status().await;
    let mut addresses: Vec<String> = reports.iter().map(|report| report.address.clone()).collect();
    addresses.extend(plan.endpoints.iter().cloned());
    let known = reports.iter().find_map(|report| report.status.as_ref().ok());
    let Some(Status { cluster: Some(cluster), members, .. }) = known else {
        let words = "the cluster was never initialised; run `leasehold init`".to_owned();
        return Err(Failure { words, code: code::NOT_DONE });
    };
    let mut wanted = Vec::new();
    for name in &plan.homes {
        let named = members.iter().find(|peer| peer.master && peer.member.name == *name);
        let words = || format!("--home: no master is called {name:?}");
        wanted.push(named.ok_or_else(|| Failure { words: words(), code: code::USAGE })?.member.id);
    }
    let masters = members.iter().filter(|peer| peer.master).map(|peer| peer.member.id).collect();
    Ok((Homes { cluster: *cluster, masters, wanted }, addresses))
}

fn options(plan: &Plan) -> Options {
    let name = format!("leasehold-bench/{}", std::process::id());
    plan.options.clone().name(name).timeout(plan.timeout)
}

impl Running {
    fn new(load: Arc<Load>, signals: Signals, progress: ProgressBar) -> Self {
        let threads = load.plan.threads;
        let tallies: Vec<_> = (0..threads).map(|_| Arc::default()).collect();
        let start = |(number, tally): (u32, &Arc<Mutex<Tally>>)| {
            let (load, tally) = (Arc::clone(&load), Arc::clone(tally));
            thread::spawn(move || work(&load, number, &tally))
        };
        let threads = (0..threads).zip(&tallies).map(start).collect();
        Self { load, tallies, threads, signals, progress, stopped: false }
    }

    /// Waits until all workers are ready to start.
    async fn set_up(&mut self) -> Result<(), Failure> {
        let all = self.load.plan.in_flight;
        while self.load.course.ready() < all && !self.stopped {
            let prepared = self.load.course.prepared.load(Ordering::Relaxed);
            self.progress.set_message(format!("setting up: {prepared} keys held"));
            // A thread ends this early only if something is wrong.
            if self.threads.iter().any(JoinHandle::is_finished) {
                self.end();
                self.join().await?;
                break;
            }
            self.look(clock::now().after(LOOK)).await;
        }
        Ok(())
    }

    /// Warms up and measures.
    async fn run(&mut self, pids: &[u32]) -> Measured {
        let plan = self.load.plan.clone();
        let start = clock::now();
        let mut measured = Measured { set_up: start.since(self.load.since), ..Measured::default() };
        pace::keep(&self.load, start);
        self.load.course.start(start);
        let (warm, duration) = if plan.expire {
            let end = self.load.since.after(plan.ttl.into()).after(AFTERMATH);
            show::print(&show::prepared(&self.load, end.since(start)));
            (start, end.since(start))
        } else {
            (start.after(plan.warm_up), plan.duration)
        };
        self.progress.set_message("warming up");
        while clock::now() < warm && !self.stopped {
            self.look(warm.min(clock::now().after(LOOK))).await;
        }
        let before = (processor::used(pids), processor::used(&[std::process::id()]));
        let begin = clock::now();
        self.load.course.measure(begin);
        let end = begin.after(duration);
        let mut second = begin.after(SECOND);
        loop {
            self.look(end.min(second).min(clock::now().after(LOOK))).await;
            let now = clock::now();
            let over = self.stopped || now >= end || self.load.course.is_settled();
            if now >= second || over {
                let latest = self.second();
                self.progress.set_message(show::progress(&plan, begin, now, &latest));
                measured.series.push(latest);
                second = second.after(SECOND);
            }
            if over {
                break;
            }
        }
        self.end();
        let now = clock::now();
        let spent = |after: Option<Duration>, before| after?.checked_sub(before?);
        measured.span = self.load.course.measured(now);
        measured.late =
            plan.rate.map(|_| self.load.pace.due(now).saturating_sub(self.load.course.turns()));
        measured.servers = spent(processor::used(pids), before.0).filter(|_| !pids.is_empty());
        measured.own = spent(processor::used(&[std::process::id()]), before.1);
        measured.pids = pids.to_vec();
        measured
    }

    /// What was done since the last call.
    fn second(&self) -> Second {
        let mut all = Second::default();
        for tally in &self.tallies {
            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            let Second { done, latencies } = std::mem::take(&mut tally.second);
            all.done += done;
            all.latencies.merge(&latencies);
        }
        all
    }

    fn end(&self) {
        self.load.course.finish(clock::now());
        self.load.pace.end();
    }

    /// Sleeps until `at`, or until the first request to stop; the second one ends the program.
    async fn look(&mut self, at: Instant) {
        tokio::select! {
            biased;
            () = self.signals.stop() => {
                if self.stopped {
                    std::process::exit(130);
                }
                self.stopped = true;
            }
            () = clock::sleep_until(at) => {}
        }
        self.progress.tick();
    }

    /// Waits until all workers have cleaned up.
    async fn join(&mut self) -> Result<(), Failure> {
        self.progress.set_message("cleaning up");
        while !self.threads.iter().all(JoinHandle::is_finished) {
            self.look(clock::now().after(LOOK)).await;
        }
        self.progress.finish_and_clear();
        let panicked =
            || Failure { words: "a thread of the load panicked".into(), code: code::NOT_DONE };
        for thread in self.threads.drain(..) {
            thread.join().map_err(|_| panicked())??;
        }
        Ok(())
    }

    fn report(self, measured: Measured) -> Report {
        let mut all = Tally::default();
        for tally in &self.tallies {
            all.merge(&tally.lock().unwrap_or_else(PoisonError::into_inner));
        }
        Report { load: self.load, tally: all, measured }
    }
}

/// What the main thread measured.
#[derive(Debug, Default)]
struct Measured {
    /// How long setting up took.
    set_up: Span,
    /// How long was measured.
    span: Span,
    series: Vec<Second>,
    /// Turns of an open loop that were due and not begun.
    late: Option<u64>,
    /// Processor time of the servers and of this process.
    servers: Option<Duration>,
    own: Option<Duration>,
    pids: Vec<u32>,
}

/// One thread: its clients, and its share of the workers.
fn work(load: &Arc<Load>, number: u32, tally: &Arc<Mutex<Tally>>) -> Result<(), Failure> {
    let failed = |words| Failure { words, code: code::NOT_DONE };
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(format!("cannot start: {error}")))?;
    runtime.block_on(async {
        let plan = &load.plan;
        let step = usize::try_from(plan.threads).unwrap_or(usize::MAX);
        let mut clients = Vec::new();
        for _ in (number..plan.connections).step_by(step) {
            clients.push(Client::connect(plan.endpoints.iter().cloned(), options(plan)).await?);
        }
        let mut workers = JoinSet::new();
        for (worker, client) in (number..plan.in_flight).step_by(step).zip(clients.iter().cycle()) {
            workers.spawn(Worker::new(load, client.clone(), worker, tally).run());
        }
        while let Some(joined) = workers.join_next().await {
            joined.map_err(|error| failed(error.to_string()))?.map_err(failed)?;
        }
        Ok(())
    })
}
