//! Links between processes that the rig has in its hand: every connection goes through here, without any privilege.
//!
//! Nodes advertise the proxy's addresses. Who dials is read from the hello, so that a rule is about one direction between two
//! nodes. What is sent over TCP is not lost and not overtaken; it comes late, or the connection breaks, and both is
//! what happens here: delay, jitter, silence (what was sent meanwhile arrives afterwards, or with the next connection never),
//! resets, and refusals. Loss of packets is for [`hosts`](super::hosts).

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use leasehold_client::clock;
use leasehold_core::wire::{self, PeerItem};
use leasehold_core::{Instant, Span};
use leasehold_sim::dice::{Dice, Roll, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Pieces that may be on their way in one direction of a connection; then its sender has to wait, as TCP does.
const UNDER_WAY: usize = 256;
const PIECE: usize = 16 << 10;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The node of this number.
    Node(usize),
    /// Any client.
    Clients,
}

/// What happens to what is sent from one end to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Nothing gets through until this is over.
    pub silent: bool,
    /// Connections break and none can be made.
    pub refused: bool,
    /// Everything takes so many microseconds longer.
    pub delay: u64,
    /// And up to so many more, by chance.
    pub jitter: u64,
}

/// All rules; what is not listed is left alone.
#[derive(Clone, Debug, Default)]
struct Rules {
    by_link: HashMap<(End, End), Rule>,
    /// Connections that began before this are to break.
    breaks: u64,
}

/// The links of one cluster.
#[derive(Debug)]
pub struct Proxies {
    rules: watch::Sender<Rules>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    dice: Dice,
    connections: Arc<Mutex<u64>>,
}

impl Proxies {
    /// Links that let everything through.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let rules = watch::Sender::new(Rules::default());
        Self { rules, tasks: Mutex::default(), dice: Dice::new(seed), connections: Arc::default() }
    }

    /// Lets connections to `to` at `target` through this address, which is returned. `of_nodes`: they begin with a hello that
    /// says which node dials.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub async fn open(
        &self,
        to: usize,
        target: SocketAddr,
        of_nodes: bool,
    ) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (rules, dice) = (self.rules.subscribe(), self.dice);
        let connections = Arc::clone(&self.connections);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = {
                    let mut number = lock(&connections);
                    *number += 1;
                    *number
                };
                let carry = Carry {
                    to: End::Node(to),
                    roll: dice.roll(Stream::Link(to, usize::from(of_nodes)), number),
                    number,
                    rules: rules.clone(),
                };
                // It ends with either end.
                tokio::spawn(async move { drop(carry.run(stream, target, of_nodes).await) });
            }
        });
        lock(&self.tasks).push(task);
        Ok(address)
    }

    /// Lets a rule hold from now on. Connections that it refuses break.
    pub fn set(&self, from: End, to: End, rule: Rule) {
        self.rules.send_modify(|rules| {
            rules.by_link.insert((from, to), rule);
        });
    }

    /// Lets everything through again.
    pub fn heal(&self) {
        self.rules.send_modify(|rules| rules.by_link.clear());
    }

    /// Breaks all connections once.
    pub fn break_all(&self) {
        let number = *lock(&self.connections);
        self.rules.send_modify(|rules| rules.breaks = number + 1);
    }
}

impl Drop for Proxies {
    fn drop(&mut self) {
        for task in lock(&self.tasks).drain(..) {
            task.abort();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection.
struct Carry {
    to: End,
    roll: Roll,
    number: u64,
    rules: watch::Receiver<Rules>,
}

impl Carry {
    async fn run(
        mut self,
        dialler: TcpStream,
        target: SocketAddr,
        of_nodes: bool,
    ) -> io::Result<()> {
        dialler.set_nodelay(true)?;
        // Half of the connections end with a reset.
        let resets = self.roll.one_in(2);
        if resets {
            dialler.set_zero_linger()?;
        }
        let (mut read, write) = dialler.into_split();
        let mut first = Vec::new();
        let from = if of_nodes { introduced(&mut read, &mut first).await? } else { End::Clients };
        if self.is_broken(from) {
            return Ok(());
        }
        let there = TcpStream::connect(target).await?;
        there.set_nodelay(true)?;
        if resets {
            there.set_zero_linger()?;
        }
        let (there_read, there_write) = there.into_split();
        let (rules, rules_back) = (self.rules.clone(), self.rules.clone());
        let roll_back = Dice::new(self.roll.bits()).roll(Stream::Faults, 0);
        let to = self.to;
        let mut go =
            tokio::spawn(pump(read, there_write, (from, to), rules, self.roll.clone(), first));
        let mut back =
            tokio::spawn(pump(there_read, write, (to, from), rules_back, roll_back, Vec::new()));
        tokio::select! {
            _ = &mut go => {}
            _ = &mut back => {}
            () = self.until_broken(from) => {}
        }
        go.abort();
        back.abort();
        Ok(())
    }

    fn is_broken(&mut self, from: End) -> bool {
        let rules = self.rules.borrow_and_update();
        let refused = |link| rules.by_link.get(&link).is_some_and(|rule| rule.refused);
        refused((from, self.to)) || refused((self.to, from)) || self.number < rules.breaks
    }

    async fn until_broken(&mut self, from: End) {
        while !self.is_broken(from) {
            if self.rules.changed().await.is_err() {
                return;
            }
        }
    }
}

/// Who dials, by the hello. What was read meanwhile goes into `first`.
async fn introduced(read: &mut OwnedReadHalf, first: &mut Vec<u8>) -> io::Result<End> {
    loop {
        if let Some((mut items, _)) = wire::split_frame(first).map_err(io::Error::other)? {
            let hello = wire::take_item::<PeerItem>(&mut items).map_err(io::Error::other)?;
            let Some(PeerItem::Hello(hello)) = hello else {
                return Err(io::Error::other("a node did not say who it is"));
            };
            let number = hello.member.name.trim_start_matches('n').parse();
            return number.map(End::Node).map_err(io::Error::other);
        }
        if read.read_buf(first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Carries bytes in one direction.
async fn pump(
    mut read: OwnedReadHalf,
    write: OwnedWriteHalf,
    link: (End, End),
    mut rules: watch::Receiver<Rules>,
    mut roll: Roll,
    first: Vec<u8>,
) {
    let (sender, pieces) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let out = deliver(pieces, write, link, rules.clone());
    let take = async move {
        let mut last = Instant::default();
        let mut piece = first;
        loop {
            if !piece.is_empty() {
                let rule = rule(&mut rules, link);
                let by = rule.delay + roll.below(rule.jitter + 1);
                last = last.max(clock::now().after(Span::from_micros(by)));
                if sender.send((last, piece)).await.is_err() {
                    break;
                }
            }
            piece = Vec::with_capacity(PIECE);
            match read.read_buf(&mut piece).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
    };
    tokio::join!(take, out);
}

async fn deliver(
    mut pieces: mpsc::Receiver<(Instant, Vec<u8>)>,
    mut write: OwnedWriteHalf,
    link: (End, End),
    mut rules: watch::Receiver<Rules>,
) {
    while let Some((at, piece)) = pieces.recv().await {
        clock::sleep_until(at).await;
        while rule(&mut rules, link).silent {
            if rules.changed().await.is_err() {
                return;
            }
        }
        if write.write_all(&piece).await.is_err() {
            return;
        }
    }
}

fn rule(rules: &mut watch::Receiver<Rules>, link: (End, End)) -> Rule {
    rules.borrow_and_update().by_link.get(&link).copied().unwrap_or_default()
}
