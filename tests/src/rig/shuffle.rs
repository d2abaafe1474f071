//! Packets between hosts that come late, in another order, or not at all.
//!
//! The kernel hands every packet that arrives at a host to a process there, which decides when it goes on (NFQUEUE). This kernel's
//! `nft` cannot do that, so it takes `iptables`. It is a process of its own, so that no other one that is started meanwhile
//! inherits the queue and keeps it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use leasehold_client::clock;
use leasehold_core::{Instant, Span};
use leasehold_sim::dice::{Dice, Roll, Stream};
use nfq::{Message, Queue, Verdict};
use serde::{Deserialize, Serialize};

use super::process::dying_with_us;

/// How long the process rests when there is nothing to do.
const REST: Duration = Duration::from_micros(500);

/// How packets are treated that arrive at a host.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Treatment {
    /// Each is late by up to so long, in microseconds.
    pub late: u64,
    /// Of a hundred so many vanish.
    pub lost: u64,
    /// What decides which.
    pub seed: u64,
}

/// What became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Packets that went on.
    pub passed: u64,
    /// Those of them that another one had overtaken.
    pub overtaken: u64,
    /// Packets that vanished.
    pub lost: u64,
}

/// A host whose packets are in the hand of a process.
#[derive(Debug)]
pub struct Shuffle {
    host: String,
    keeper: Child,
    said: BufReader<ChildStdout>,
}

/// Why there can be none at this host. `program`: what shuffles when it is told `shuffle TREATMENT`.
#[must_use]
pub fn missing(host: &str, program: &Path) -> Option<String> {
    let treatment = Treatment { late: 1_000, lost: 0, seed: 0 };
    let tried = Shuffle::begin(host, "127.0.0.1", program, treatment).and_then(Shuffle::end);
    tried.err().map(|error| format!("packets cannot be queued (iptables, NFQUEUE): {error}"))
}

impl Shuffle {
    /// Takes all packets in hand that arrive at `host` from anywhere but `except`.
    ///
    /// # Errors
    ///
    /// The operating system's, or what `iptables` complained about.
    pub fn begin(
        host: &str,
        except: &str,
        program: &Path,
        treatment: Treatment,
    ) -> io::Result<Self> {
        let there = ["ip", "netns", "exec", host].map(String::from);
        let mut command = dying_with_us(program, &there);
        command.arg("shuffle").arg(serde_json::to_string(&treatment)?);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut keeper = command.spawn()?;
        let said = keeper.stdout.take().map(BufReader::new);
        let said = said.ok_or_else(|| io::Error::other("a pipe is missing"))?;
        let mut shuffle = Self { host: host.to_owned(), keeper, said };
        if shuffle.line()?.trim() != "ready" {
            let mut complaint = String::new();
            if let Some(stderr) = &mut shuffle.keeper.stderr {
                stderr.read_to_string(&mut complaint)?;
            }
            return Err(io::Error::other(complaint));
        }
        // Should the process end, packets pass.
        let queue = ["-j", "NFQUEUE", "--queue-num", "0", "--queue-bypass"];
        shuffle.tables(&[&["-A", "INPUT", "-p", "tcp", "!", "-s", except], &queue[..]].concat())?;
        Ok(shuffle)
    }

    /// Lets everything pass, and says what became of the packets.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn end(mut self) -> io::Result<Seen> {
        self.tables(&["-F", "INPUT"])?;
        drop(self.keeper.stdin.take());
        let seen = serde_json::from_str(&self.line()?)?;
        self.keeper.wait()?;
        Ok(seen)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        Ok(line)
    }

    fn tables(&self, args: &[&str]) -> io::Result<()> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.host, "iptables"]).args(args);
        let output = command.stdin(Stdio::null()).output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("`iptables {}`: {}", args.join(" "), said.trim())))
    }
}

impl Drop for Shuffle {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.keeper.kill());
        drop(self.keeper.wait());
    }
}

/// Shuffles packets where this process is, until standard input ends.
///
/// # Errors
///
/// The operating system's.
pub fn run(treatment: Treatment) -> io::Result<()> {
    let mut queue = Queue::open()?;
    queue.bind(0)?;
    queue.set_nonblocking(true);
    writeln!(io::stdout(), "ready")?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    thread::spawn(move || {
        // However it ends.
        drop(io::stdin().read_to_end(&mut Vec::new()));
        stop.store(true, Ordering::Relaxed);
    });
    let seen = Keeper::new(queue, treatment).run(&stopped)?;
    writeln!(io::stdout(), "{}", serde_json::to_string(&seen)?)
}

/// A packet that waits: until when, and the how manieth it was.
struct Late {
    key: Reverse<(Instant, u64)>,
    packet: Message,
}

impl PartialEq for Late {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Late {}

impl PartialOrd for Late {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Late {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

/// What the process has.
struct Keeper {
    queue: Queue,
    treatment: Treatment,
    dice: Dice,
    late: BinaryHeap<Late>,
    arrived: u64,
    /// The latest that has gone on, by number.
    ahead: u64,
    seen: Seen,
}

impl Keeper {
    fn new(queue: Queue, treatment: Treatment) -> Self {
        let dice = Dice::new(treatment.seed);
        let (late, seen) = (BinaryHeap::new(), Seen::default());
        Self { queue, treatment, dice, late, arrived: 0, ahead: 0, seen }
    }

    fn run(mut self, stop: &AtomicBool) -> io::Result<Seen> {
        loop {
            let stopping = stop.load(Ordering::Relaxed);
            let arrived = self.take(stopping)?;
            self.pass(if stopping { Instant::from_micros(u64::MAX) } else { clock::now() })?;
            if stopping && !arrived {
                return Ok(self.seen);
            }
            if !arrived {
                thread::park_timeout(REST);
            }
        }
    }

    /// Takes what has arrived. Whether anything had.
    fn take(&mut self, stopping: bool) -> io::Result<bool> {
        let before = self.arrived;
        loop {
            let mut packet = match self.queue.recv() {
                Ok(packet) => packet,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            self.arrived += 1;
            let mut roll: Roll = self.dice.roll(Stream::Faults, self.arrived);
            if !stopping && roll.below(100) < self.treatment.lost {
                self.seen.lost += 1;
                packet.set_verdict(Verdict::Drop);
                self.queue.verdict(packet)?;
                continue;
            }
            let late = Span::from_micros(roll.below(self.treatment.late.max(1)));
            let key = Reverse((clock::now().after(late), self.arrived));
            self.late.push(Late { key, packet });
        }
        Ok(self.arrived > before)
    }

    /// Lets everything go on that is due at `now`.
    fn pass(&mut self, now: Instant) -> io::Result<()> {
        while self.late.peek().is_some_and(|first| first.key.0.0 <= now)
            && let Some(Late { key: Reverse((_, number)), mut packet }) = self.late.pop()
        {
            self.seen.passed += 1;
            self.seen.overtaken += u64::from(number < self.ahead);
            self.ahead = self.ahead.max(number);
            packet.set_verdict(Verdict::Accept);
            self.queue.verdict(packet)?;
        }
        Ok(())
    }
}
