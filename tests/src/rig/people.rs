//! The client processes of a cluster.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use leasehold_client::clock;
use leasehold_core::Span;
use leasehold_sim::dice::Roll;

use super::cluster::{Cluster, pause};
use super::hosts::Hosts;
use super::judge::Account;
use super::page::Page;
use super::process::{Process, dying_with_us};
use super::record;
use super::skew::Skew;
use super::worker::{Habits, Plan};

/// Clients end within so long after they were told to.
const ENDING: Span = Span::from_secs(20);

/// Client processes, those that were killed included.
#[derive(Debug)]
pub struct People {
    program: PathBuf,
    all: Vec<Worker>,
}

#[derive(Debug)]
struct Worker {
    /// `None` once it was killed.
    process: Option<Process>,
    page: Option<Page>,
    record: PathBuf,
}

impl People {
    /// Nobody so far. `program`: what runs clients when it is told `client PLAN`.
    #[must_use]
    pub const fn new(program: PathBuf) -> Self {
        Self { program, all: Vec::new() }
    }

    /// One more process of so many clients.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn start(
        &mut self,
        cluster: &Cluster,
        seed: u64,
        round: u64,
        clients: usize,
        habits: &Habits,
    ) -> io::Result<()> {
        let process = self.all.len();
        let record = cluster.folder().join(format!("round{round}-clients{process}.jsonl"));
        let page = match cluster.shim() {
            Some(_) => {
                let path = cluster.folder().join(format!("round{round}-clients{process}.page"));
                Some(Page::new(path)?)
            }
            None => None,
        };
        let habits = Habits { prefix: format!("r{round}"), ..habits.clone() };
        let (endpoints, kept) = (cluster.endpoints(), record.clone());
        let plan = Plan { process, clients, seed, endpoints, record: kept, habits };
        let through = cluster.hosts.as_ref().map_or_else(Vec::new, Hosts::on_hub);
        let mut command = dying_with_us(&self.program, &through);
        command.arg("client").arg(serde_json::to_string(&plan)?);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        if let (Some(shim), Some(page)) = (cluster.shim(), &page) {
            command.env("LD_PRELOAD", shim).env("LEASEHOLD_RIG_PAGE", page.path());
        }
        let process = Some(Process::start(&mut command)?);
        self.all.push(Worker { process, page, record });
        Ok(())
    }

    /// The number of a process that runs and does not stand still.
    pub fn any(&self, roll: &mut Roll) -> Option<usize> {
        let runs = |worker: &Worker| worker.process.as_ref().is_some_and(|it| !it.is_stopped());
        let running: Vec<usize> = (0..self.all.len()).filter(|it| runs(&self.all[*it])).collect();
        running.get(roll.index(running.len())).copied()
    }

    /// Lets a process stand still.
    pub fn stop(&mut self, number: usize) {
        self.all[number].process.iter_mut().for_each(Process::stop);
    }

    /// Lets it go on.
    pub fn go_on(&mut self, number: usize) {
        if let Some(process) = self.all.get_mut(number).and_then(|it| it.process.as_mut()) {
            process.go_on();
        }
    }

    /// Kills it.
    pub fn kill(&mut self, number: usize) {
        self.all[number].process = None;
    }

    /// The clocks of all.
    pub fn pages(&mut self) -> impl Iterator<Item = &mut Page> {
        self.all.iter_mut().filter_map(|worker| worker.page.as_mut())
    }

    /// Ends all, and gives what they wrote down.
    ///
    /// # Errors
    ///
    /// The operating system's, or that a process ended badly.
    pub async fn end(self) -> io::Result<Vec<Account>> {
        let mut all = self.all;
        for process in all.iter_mut().filter_map(|worker| worker.process.as_mut()) {
            process.go_on();
            // It ends when its input does.
            drop(process.child().stdin.take());
        }
        let end = clock::now().after(ENDING);
        for process in all.iter_mut().filter_map(|worker| worker.process.as_mut()) {
            let status = loop {
                if let Some(status) = process.ended() {
                    break status;
                }
                if clock::now() > end {
                    return Err(io::Error::other("a client process does not end"));
                }
                pause(Span::from_millis(5)).await;
            };
            if !status.success() {
                return Err(io::Error::other(format!("a client process ended with {status}")));
            }
        }
        let mut accounts = Vec::new();
        for (process, worker) in all.iter().enumerate() {
            let skew = worker.page.as_ref().map_or_else(Skew::default, |page| page.skew().clone());
            let lines = written(&worker.record)?;
            accounts.push(Account { process, lines, skew });
        }
        Ok(accounts)
    }
}

/// What was written, and takes it away. One that was killed early has written nothing.
fn written(path: &Path) -> io::Result<Vec<record::Line>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let lines = record::read(path)?;
    std::fs::remove_file(path)?;
    Ok(lines)
}
