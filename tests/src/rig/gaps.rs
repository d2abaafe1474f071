//! How long operations stand still when something happens to a node.
//!
//! Measured, not asserted: how fast something is depends on the machine, and on what else it does. So each figure comes with
//! the longest gap of as long a time in which nothing happened.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use leasehold_client::{Client, Lease, Options, clock};
use leasehold_core::{Instant, Span, Timing};
use tokio::task::JoinHandle;

use super::cluster::{Cluster, Network, Shape, pause};

/// Clients that are measured.
const CLIENTS: usize = 6;
/// How long nothing happens before, and how long the end is awaited.
const BEFORE: Span = Span::from_secs(2);
const AFTER: Span = Span::from_secs(30);

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// One of three masters is killed.
    Kill,
    /// One of three masters stands still.
    Stop,
    /// Two of three masters stand still for three seconds; measured from when they go on.
    StopMajority,
    /// Two of three masters are killed and started again at once; measured from then. They wait for the horizon.
    KillMajority,
}

impl Blow {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Kill, Self::Stop, Self::StopMajority, Self::KillMajority];

    /// A word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "one of three killed",
            Self::Stop => "one of three stopped",
            Self::StopMajority => "two of three go on after a stop of 3 s",
            Self::KillMajority => "two of three killed and started again",
        }
    }
}

/// The longest time that any client's operations stood still, in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gap {
    /// While nothing happened.
    pub calm: u64,
    /// From the blow, or from when it was over, until every client had an answer again.
    pub blow: u64,
}

/// When each client's operations came to an end.
type Ends = Arc<Mutex<Vec<Vec<Instant>>>>;

/// Measures once. `turn` decides whom it hits.
///
/// # Errors
///
/// What keeps the rig from working.
pub async fn measure(blow: Blow, turn: usize) -> io::Result<Gap> {
    let timing = match blow {
        Blow::Kill | Blow::Stop | Blow::StopMajority => Timing::default(),
        // Its horizon is what is measured.
        Blow::KillMajority => Timing {
            max_lease: Span::from_secs(3),
            op_timeout: Span::from_millis(500),
            promise_timeout: Span::from_millis(500),
            sync_timeout: Span::from_secs(2),
            ..Timing::default()
        },
    };
    let shape = Shape {
        masters: 3,
        replicas: 0,
        network: Network::Loopback,
        shim: false,
        rooms: false,
        timing,
    };
    let mut cluster = Cluster::start(shape, 1).await?;
    let ends: Ends = Arc::new(Mutex::new(vec![Vec::new(); CLIENTS]));
    let clients: Vec<JoinHandle<()>> = (0..CLIENTS)
        .map(|number| {
            let mut endpoints = cluster.endpoints();
            endpoints.rotate_left(number % 3);
            tokio::spawn(work(number, endpoints, Arc::clone(&ends)))
        })
        .collect();
    pause(BEFORE.plus(BEFORE)).await;
    let struck = clock::now();
    let nodes = [turn % 3, (turn + 1) % 3];
    let mut from = struck;
    match blow {
        Blow::Kill => cluster.kill(nodes[0]),
        Blow::Stop => cluster.seats[nodes[0]].process.iter_mut().for_each(|it| it.stop()),
        Blow::StopMajority => {
            for node in nodes {
                cluster.seats[node].process.iter_mut().for_each(|it| it.stop());
            }
            pause(Span::from_secs(3)).await;
            from = clock::now();
            for node in nodes {
                cluster.seats[node].process.iter_mut().for_each(|it| it.go_on());
            }
        }
        Blow::KillMajority => {
            nodes.into_iter().for_each(|node| cluster.kill(node));
            from = clock::now();
            for node in nodes {
                cluster.start_node(node)?;
            }
        }
    }
    let wait = timing.horizon().min(Span::from_secs(10)).plus(Span::from_secs(5));
    let until = from.after(wait.min(AFTER));
    clock::sleep_until(until).await;
    clients.iter().for_each(JoinHandle::abort);
    let ends = ends.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let calm_from = Instant::from_micros(struck.as_micros().saturating_sub(BEFORE.as_micros()));
    let calm = ends.iter().map(|ends| longest(ends, calm_from, struck)).max().unwrap_or(0);
    let blow = match blow {
        Blow::Kill | Blow::Stop => ends.iter().map(|ends| longest(ends, struck, until)).max(),
        // How long until everybody was answered at all.
        Blow::StopMajority | Blow::KillMajority => {
            let first = |ends: &Vec<Instant>| ends.iter().copied().find(|end| *end > from);
            ends.iter().map(|ends| first(ends).unwrap_or(until).since(from).as_micros()).max()
        }
    };
    Ok(Gap { calm, blow: blow.unwrap_or(0) })
}

/// The longest time without an end of an operation, of those that overlap `from..until`.
fn longest(ends: &[Instant], from: Instant, until: Instant) -> u64 {
    let before = ends.iter().copied().filter(|end| *end <= from).max().unwrap_or(from);
    let within = ends.iter().copied().filter(|end| *end > from && *end <= until);
    let all: Vec<Instant> = [before].into_iter().chain(within).chain([until]).collect();
    all.windows(2).map(|pair| pair[1].since(pair[0]).as_micros()).max().unwrap_or(0)
}

/// Extends a key for ever, and notes when each extension had succeeded.
async fn work(number: usize, endpoints: Vec<String>, ends: Ends) {
    let options = Options::new().timeout(Duration::from_secs(30));
    let Ok(client) = Client::connect(endpoints, options).await else { return };
    let key = format!("gap{number}");
    let ttl = Duration::from_secs(3);
    let mut held: Option<Lease> = None;
    loop {
        let fine = match &mut held {
            Some(lease) => lease.extend(ttl).await.is_ok(),
            None => {
                held = client.lock(key.as_str()).ttl(ttl).lease().await.ok();
                held.is_some()
            }
        };
        if fine {
            let mut ends = ends.lock().unwrap_or_else(PoisonError::into_inner);
            ends[number].push(clock::now());
        } else {
            held = None;
        }
        pause(Span::from_millis(2)).await;
    }
}

/// The middle of some figures.
#[must_use]
pub fn median(mut figures: Vec<u64>) -> u64 {
    figures.sort_unstable();
    figures.get(figures.len() / 2).copied().unwrap_or(0)
}
