//! The systems that are compared, each as workers that a load can tell what to do.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use leasehold_client::clock::{self, Instant};
use leasehold_client::{Client, Lease, Options};

use crate::etcd::{self, Etcd};
use crate::pipe::Pipe;
use crate::redis::{self, Scripts};
use crate::{floor, zookeeper};

/// The lease that everybody asks for.
const TTL: Duration = Duration::from_secs(60);
/// The key that workers queue for, where it is one.
const QUEUE: &str = "/queue";
/// Where nobody is told that it is free, it is tried again this often.
const POLL: Duration = Duration::from_millis(1);

/// What to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    /// So many bare rounds for each operation.
    Floor {
        rounds: usize,
    },
    Leasehold,
    /// One, or three as Redlock has it.
    Redis {
        servers: usize,
    },
    ZooKeeper,
    Etcd,
}

impl System {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Floor { rounds: 1 } => "floor: one bare round".to_owned(),
            Self::Floor { rounds } => format!("floor: {rounds} bare rounds"),
            Self::Leasehold => "Leasehold".to_owned(),
            Self::Redis { servers: 1 } => "one Redis".to_owned(),
            Self::Redis { servers } => format!("Redlock, {servers} Redis"),
            Self::ZooKeeper => "ZooKeeper".to_owned(),
            Self::Etcd => "etcd".to_owned(),
        }
    }

    /// Whether it has this operation at all, to be compared with others'.
    pub(crate) fn does(self, workload: Workload) -> bool {
        match self {
            Self::Floor { rounds } => rounds == 1 || workload == Workload::Cycle,
            // A session is kept alive as a whole, not key by key.
            Self::ZooKeeper => workload != Workload::Extend,
            Self::Leasehold | Self::Redis { .. } | Self::Etcd => true,
        }
    }
}

/// What to do again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    /// Acquire and release a key.
    Cycle,
    /// Extend the lease of a held key.
    Extend,
    /// Replace the value of a held key if it is what it should be.
    Update,
    /// Read a held key so that it is not stale.
    Read,
}

impl Workload {
    pub(crate) const ALL: [Self; 4] = [Self::Cycle, Self::Extend, Self::Update, Self::Read];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Cycle => "cycle",
            Self::Extend => "extend",
            Self::Update => "update",
            Self::Read => "read",
        }
    }
}

/// One of those who put the load on a system. It holds one key at a time.
#[derive(Debug)]
pub(crate) struct Worker {
    key: String,
    value: String,
    at: At,
    /// What ends this worker's turn, where workers queue.
    turn: Option<String>,
}

#[derive(Debug)]
enum At {
    Floor { pipes: Rc<[Pipe]>, rounds: usize },
    Leasehold { client: Client, lease: Option<Lease> },
    Redis { pipes: Rc<[Pipe]>, scripts: Scripts },
    ZooKeeper { pipe: Pipe, version: i32 },
    Etcd(Etcd),
}

impl At {
    async fn connect(system: System, ports: &[u16]) -> io::Result<Self> {
        let first = || ports.first().copied().ok_or_else(|| io::Error::other("no port"));
        Ok(match system {
            System::Floor { rounds } => {
                Self::Floor { pipes: floor::connect(ports).await?.into(), rounds }
            }
            System::Leasehold => {
                let endpoints = ports.iter().map(|port| format!("127.0.0.1:{port}"));
                let client = Client::connect(endpoints, Options::new()).await;
                Self::Leasehold { client: client.map_err(io::Error::other)?, lease: None }
            }
            System::Redis { .. } => {
                let (pipes, scripts) = redis::connect(ports).await?;
                Self::Redis { pipes: pipes.into(), scripts }
            }
            System::ZooKeeper => {
                Self::ZooKeeper { pipe: zookeeper::connect(first()?).await?, version: 0 }
            }
            System::Etcd => Self::Etcd(etcd::connect(first()?).await?),
        })
    }

    /// Another worker's, over the same connections.
    async fn share(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Floor { pipes, rounds } => {
                Self::Floor { pipes: Rc::clone(pipes), rounds: *rounds }
            }
            Self::Leasehold { client, .. } => {
                Self::Leasehold { client: client.clone(), lease: None }
            }
            Self::Redis { pipes, scripts } => {
                Self::Redis { pipes: Rc::clone(pipes), scripts: scripts.clone() }
            }
            Self::ZooKeeper { pipe, .. } => Self::ZooKeeper { pipe: pipe.clone(), version: 0 },
            Self::Etcd(etcd) => Self::Etcd(etcd.with_lease().await?),
        })
    }
}

/// Connects so many workers: all over the same connections, or each over its own. Where a system's clients talk to one
/// server of several, the shared connections are one to each, and the workers take turns.
pub(crate) async fn workers(
    system: System,
    ports: &[u16],
    number: usize,
    shared: bool,
) -> io::Result<Vec<Worker>> {
    let one_each = matches!(system, System::ZooKeeper | System::Etcd);
    let mut sources = Vec::new();
    for place in 0..if one_each { ports.len() } else { 1 } {
        let ports = if one_each { ports.get(place..).unwrap_or_default() } else { ports };
        sources.push((ports, At::connect(system, ports).await?));
    }
    let mut workers = Vec::new();
    for ((ports, source), worker) in sources.iter().cycle().zip(0..number) {
        let at = if shared {
            source.share().await?
        } else {
            At::connect(system, ports).await?.share().await?
        };
        workers.push(Worker {
            key: format!("/w{worker}"),
            value: format!("{worker:032}"),
            at,
            turn: None,
        });
    }
    Ok(workers)
}

impl Worker {
    /// Takes the next of its keys. There are many, so that none is locked again soon after it was released.
    pub(crate) fn turn(&mut self, round: u64) {
        let (worker, _) = self.key.split_once('-').unwrap_or((&self.key, ""));
        self.key = format!("{worker}-{}", round % 1_000);
    }

    /// Acquires its key.
    pub(crate) async fn acquire(&mut self) -> bool {
        let Self { key, value, at, .. } = self;
        match at {
            At::Floor { pipes, rounds } => floor::rounds(pipes, *rounds).await,
            At::Leasehold { client, lease } => {
                *lease =
                    client.lock(key.as_str()).value(value.as_str()).ttl(TTL).lease().await.ok();
                lease.is_some()
            }
            At::Redis { pipes, .. } => redis::acquire(pipes, key, value).await,
            At::ZooKeeper { pipe, version } => {
                *version = 0;
                zookeeper::acquire(pipe, key, value).await
            }
            At::Etcd(etcd) => etcd.acquire(key, value).await,
        }
    }

    /// Releases it.
    pub(crate) async fn release(&mut self) -> bool {
        let Self { key, value, at, .. } = self;
        match at {
            At::Floor { pipes, rounds } => floor::rounds(pipes, *rounds).await,
            At::Leasehold { lease, .. } => match lease.take() {
                Some(lease) => lease.release().await.is_ok(),
                None => false,
            },
            At::Redis { pipes, scripts } => redis::release(pipes, scripts, key, value).await,
            At::ZooKeeper { pipe, .. } => zookeeper::release(pipe, key).await,
            At::Etcd(etcd) => etcd.release(key, value).await,
        }
    }

    /// Queues for the key that all want, until `end` at least. Whether it has it then.
    pub(crate) async fn take_turn(&mut self, end: Instant) -> bool {
        let Self { value, at, turn, .. } = self;
        match at {
            At::Floor { .. } => false,
            At::Leasehold { client, lease } => {
                let wait = Duration::from(end.since(clock::now())).saturating_add(TTL);
                let lock = client.lock(QUEUE).value(value.as_str()).ttl(TTL).wait(wait);
                *lease = lock.lease().await.ok();
                lease.is_some()
            }
            At::Redis { pipes, .. } => loop {
                if redis::acquire(pipes, QUEUE, value).await {
                    return true;
                }
                let now = clock::now();
                if now >= end {
                    return false;
                }
                clock::sleep_until(now.after(POLL.into())).await;
            },
            At::ZooKeeper { pipe, .. } => {
                *turn = zookeeper::take_turn(pipe, value).await;
                turn.is_some()
            }
            At::Etcd(etcd) => {
                *turn = etcd.take_turn(value).await;
                turn.is_some()
            }
        }
    }

    /// Lets the next one have it.
    pub(crate) async fn end_turn(&mut self) -> bool {
        let Self { value, at, turn, .. } = self;
        match (at, turn.take()) {
            (At::Floor { .. }, _) | (At::ZooKeeper { .. } | At::Etcd(_), None) => false,
            (At::Leasehold { lease, .. }, _) => match lease.take() {
                Some(lease) => lease.release().await.is_ok(),
                None => false,
            },
            (At::Redis { pipes, scripts }, _) => redis::release(pipes, scripts, QUEUE, value).await,
            (At::ZooKeeper { pipe, .. }, Some(mine)) => zookeeper::release(pipe, &mine).await,
            (At::Etcd(etcd), Some(mine)) => etcd.release(&mine, value).await,
        }
    }

    /// One operation on the key that it holds.
    pub(crate) async fn step(&mut self, workload: Workload) -> bool {
        let Self { key, value, at, .. } = self;
        match (at, workload) {
            (_, Workload::Cycle) => false,
            (At::Floor { pipes, rounds }, _) => floor::rounds(pipes, *rounds).await,
            (At::Leasehold { lease: Some(lease), .. }, Workload::Extend) => {
                lease.extend(TTL).await.is_ok()
            }
            (At::Leasehold { lease: Some(lease), .. }, Workload::Update) => {
                lease.update(value.as_str(), None).await.is_ok()
            }
            (At::Leasehold { client, .. }, Workload::Read) => {
                client.read(key.as_str()).await.is_ok_and(|holder| holder.is_some())
            }
            (At::Leasehold { lease: None, .. }, Workload::Extend | Workload::Update) => false,
            (At::Redis { pipes, scripts }, Workload::Extend) => {
                redis::extend(pipes, scripts, key, value).await
            }
            (At::Redis { pipes, scripts }, Workload::Update) => {
                redis::update(pipes, scripts, key, value).await
            }
            (At::Redis { pipes, .. }, Workload::Read) => redis::read(pipes, key).await,
            (At::ZooKeeper { .. }, Workload::Extend) => false,
            (At::ZooKeeper { pipe, version }, Workload::Update) => {
                let expected = *version;
                *version += 1;
                zookeeper::update(pipe, key, value, expected).await
            }
            (At::ZooKeeper { pipe, .. }, Workload::Read) => zookeeper::read(pipe, key).await,
            (At::Etcd(etcd), Workload::Extend) => etcd.extend().await,
            (At::Etcd(etcd), Workload::Update) => etcd.update(key, value).await,
            (At::Etcd(etcd), Workload::Read) => etcd.read(key).await,
        }
    }
}
