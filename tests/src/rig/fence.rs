//! A resource that compares tokens, and clients that sleep through their leases.
//!
//! The clients here break the contract: they look once whether they hold the key, and then write, several times, with
//! pauses in which the rig stops their process. So two of them are at work at the same time, again and again, and that is no
//! fault of the cluster. What it owes them is the order of tokens, with which the resource turns the late one away.
//!
//! Whether that was right is not judged by tokens: of two acquisitions, the one that was asked for after the other had been
//! answered is the later one, and once it has written, no write of the earlier one may be taken.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use leasehold_client::{Client, Options, clock};
use leasehold_core::Span;
use leasehold_sim::dice::{Dice, Stream};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::cluster::{Cluster, pause};
use super::process::{Process, dying_with_us};

/// One attempt to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// The client.
    pub client: usize,
    /// When its acquisition was asked for, and when that was answered.
    pub acquired: (u64, u64),
    /// The token.
    pub token: u64,
}

/// What the resource has seen, in its order: each attempt, and whether it was taken.
pub type Attempts = Vec<(Write, bool)>;

/// What a sleeper is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Its number.
    pub client: usize,
    /// What decides how long it pauses.
    pub seed: u64,
    /// Where nodes listen.
    pub endpoints: Vec<String>,
    /// Where the resource listens.
    pub resource: SocketAddr,
}

/// The resource: it takes a write unless it has seen a greater token.
#[derive(Debug)]
pub struct Resource {
    /// Where it listens.
    pub address: SocketAddr,
    attempts: Arc<Mutex<Attempts>>,
    task: tokio::task::JoinHandle<()>,
}

impl Resource {
    /// Opens it.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub async fn open() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let attempts: Arc<Mutex<Attempts>> = Arc::default();
        let seen = Arc::clone(&attempts);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let seen = Arc::clone(&seen);
                // A client that is killed breaks its connection.
                tokio::spawn(async move { serve(stream, &seen).await.ok() });
            }
        });
        Ok(Self { address, attempts, task })
    }

    /// What it has seen so far.
    #[must_use]
    pub fn attempts(&self) -> Attempts {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Resource {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: TcpStream, seen: &Mutex<Attempts>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    while let Some(line) = lines.next_line().await? {
        let attempt: Write = serde_json::from_str(&line)?;
        let taken = {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let highest = seen.iter().filter(|(_, taken)| *taken).map(|(w, _)| w.token).max();
            let taken = highest.is_none_or(|highest| attempt.token >= highest);
            seen.push((attempt, taken));
            taken
        };
        write.write_all(if taken { b"taken\n" } else { b"stale\n" }).await?;
    }
    Ok(())
}

/// A client that looks once and then writes for a while; until standard input ends.
///
/// # Errors
///
/// The operating system's.
pub async fn sleeper(plan: Plan) -> io::Result<()> {
    let mut input = tokio::io::stdin();
    let mut end = [0; 16];
    tokio::select! {
        done = write_for_ever(plan) => done,
        _ = input.read(&mut end) => Ok(()),
    }
}

async fn write_for_ever(plan: Plan) -> io::Result<()> {
    let options = Options::new().timeout(Duration::from_secs(2));
    let client = loop {
        if let Ok(client) = Client::connect(plan.endpoints.clone(), options.clone()).await {
            break client;
        }
    };
    let stream = TcpStream::connect(plan.resource).await?;
    let (read, mut write) = stream.into_split();
    let mut answers = BufReader::new(read).lines();
    for turn in 0.. {
        let mut roll = Dice::new(plan.seed).roll(Stream::Client(plan.client), turn);
        let asked = clock::now().as_micros();
        // Tried once and again rather than queued for, so that it is known who asked after whom was answered.
        let lock = client.lock("fenced").value("sleeper").ttl(Duration::from_millis(300));
        let Ok(lease) = lock.lease().await else {
            pause(Span::from_micros(roll.magnitude(1_000, 50_000))).await;
            continue;
        };
        let acquired = (asked, clock::now().as_micros());
        if !lease.is_valid() {
            continue;
        }
        for _ in 0..roll.between(1, 6) {
            let attempt = Write { client: plan.client, acquired, token: lease.token().0 };
            let mut line = serde_json::to_vec(&attempt)?;
            line.push(b'\n');
            write.write_all(&line).await?;
            if answers.next_line().await?.as_deref() != Some("taken") {
                break;
            }
            pause(Span::from_micros(roll.magnitude(1_000, 200_000))).await;
        }
        if roll.one_in(2) {
            // Whether it still held the key or not.
            drop(lease.release().await);
        }
    }
    Ok(())
}

/// What is wrong with how the resource took writes, and what happened at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Attempts.
    pub attempts: usize,
    /// Attempts that were turned away.
    pub turned_away: usize,
    /// Attempts of somebody who had acquired the key before somebody else did: overlapping beliefs.
    pub late: usize,
    /// What must not be.
    pub violations: Vec<String>,
}

/// Judges what the resource has seen.
#[must_use]
pub fn judge(attempts: &Attempts) -> Verdict {
    let mut verdict = Verdict { attempts: attempts.len(), ..Verdict::default() };
    // The acquisition, of those that wrote, that is known to be the latest: it was asked for last.
    let mut latest: Option<Write> = None;
    let mut tokens: HashMap<u64, usize> = HashMap::new();
    for (attempt, taken) in attempts {
        verdict.turned_away += usize::from(!taken);
        let owner = *tokens.entry(attempt.token).or_insert(attempt.client);
        if owner != attempt.client {
            let story = format!("two acquisitions have the token {}", attempt.token);
            verdict.violations.push(story);
        }
        let before = |a: &Write, b: &Write| a.acquired.1 < b.acquired.0;
        if let Some(latest) = latest.filter(|latest| before(attempt, latest)) {
            verdict.late += 1;
            if *taken {
                let story = format!("a stale write was taken: {attempt:?}, after {latest:?}");
                verdict.violations.push(story);
            }
        } else if !taken && latest.is_some_and(|latest| before(&latest, attempt)) {
            let story = format!("the owner was turned away: {attempt:?}, after {latest:?}");
            verdict.violations.push(story);
        }
        if *taken && latest.is_none_or(|latest| before(&latest, attempt)) {
            latest = Some(*attempt);
        }
    }
    verdict
}

/// Lets sleepers write for `span`, and stops them over and over. `program`: what runs one when it is told `sleeper PLAN`.
///
/// # Errors
///
/// The operating system's.
pub async fn run(cluster: &Cluster, program: &Path, seed: u64, span: Span) -> io::Result<Attempts> {
    let resource = Resource::open().await?;
    let mut sleepers = Vec::new();
    for client in 0..4 {
        let endpoints = cluster.endpoints();
        let plan = Plan { client, seed, endpoints, resource: resource.address };
        let mut command = dying_with_us(program, &[]);
        command.arg("sleeper").arg(serde_json::to_string(&plan)?);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        sleepers.push(Process::start(&mut command)?);
    }
    let end = clock::now().after(span);
    for turn in 0.. {
        if clock::now() > end {
            break;
        }
        let mut roll = Dice::new(seed).roll(Stream::Faults, turn);
        let sleeper = roll.index(sleepers.len());
        sleepers[sleeper].stop();
        pause(Span::from_micros(roll.magnitude(50_000, 900_000))).await;
        sleepers[sleeper].go_on();
        pause(Span::from_micros(roll.magnitude(1_000, 200_000))).await;
    }
    Ok(resource.attempts())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(client: usize, acquired: (u64, u64), token: u64) -> Write {
        Write { client, acquired, token }
    }

    #[test]
    fn late_writes_that_are_turned_away_are_fine() {
        let (first, second) = (write(0, (1, 2), 5), write(1, (8, 9), 7));
        let verdict = judge(&vec![(first, true), (second, true), (first, false), (second, true)]);
        assert_eq!((verdict.late, verdict.turned_away, verdict.violations.len()), (1, 1, 0));
    }

    #[test]
    fn a_stale_write_that_is_taken_is_found() {
        // A later acquisition got the lower token, so the resource cannot know better.
        let (first, second) = (write(0, (1, 2), 7), write(1, (8, 9), 5));
        assert_eq!(judge(&vec![(first, true), (second, false)]).violations.len(), 1);
        let (first, second) = (write(0, (1, 2), 5), write(1, (8, 9), 5));
        assert_eq!(judge(&vec![(second, true), (first, true)]).violations.len(), 2);
    }
}
