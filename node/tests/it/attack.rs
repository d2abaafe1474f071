//! Somebody who sends to a port what no sane client, node or browser sends: random bytes, recorded conversations with mistakes in
//! them, lengths of giants, a byte at a time, much and without reading, or nothing at all.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

/// Addresses that attackers come from: others, at the first address of loopback, are to find room.
const SOURCES: u8 = 8;
/// Connections that one attacker leaves open without a word.
const HALF_OPEN: usize = 150;
/// Between two attacks of one attacker, so that a machine of few cores has time for what is attacked.
const PAUSE: Duration = Duration::from_millis(5);
/// An answer is not waited for any longer.
const GLANCE: Duration = Duration::from_millis(20);
/// Nor is a port that takes nothing.
const STUCK: Duration = Duration::from_secs(2);

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// A port, and what is said there by those who are sane.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<(TlsConnector, ServerName<'static>)>,
    pub(crate) recorded: Arc<Vec<Vec<u8>>>,
}

/// What all attackers have done.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) attacks: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) bytes: AtomicU64,
}

/// One attacker.
pub(crate) struct Attacker {
    target: Target,
    done: Arc<Done>,
    dice: SmallRng,
    half_open: VecDeque<TcpStream>,
}

impl Attacker {
    pub(crate) fn new(target: Target, done: Arc<Done>, seed: u64) -> Self {
        let (dice, half_open) = (SmallRng::seed_from_u64(seed), VecDeque::new());
        Self { target, done, dice, half_open }
    }

    /// Attacks as long as it is told to.
    pub(crate) async fn run(mut self, goes_on: impl Fn() -> bool) {
        while goes_on() {
            // Whatever becomes of a connection is the node's choice.
            let _ = timeout(STUCK, self.attack()).await;
            self.done.attacks.fetch_add(1, Ordering::Relaxed);
            sleep(PAUSE).await;
        }
    }

    async fn attack(&mut self) {
        match self.dice.random_range(0..10_u8) {
            0 => self.leave_half_open(1).await,
            1 => self.leave_half_open(20).await,
            kind => {
                let Some(wire) = self.wire().await else { return };
                match kind {
                    2 => self.say_at_once(wire, |it| it.noise(64)).await,
                    3 => self.say_at_once(wire, |it| it.noise(300_000)).await,
                    4 => self.drip(wire).await,
                    5 => self.announce_a_giant(wire).await,
                    6 => self.ask_and_never_read(wire).await,
                    _ => self.say_at_once(wire, Self::mistaken).await,
                }
            }
        }
    }

    async fn socket(&mut self) -> Option<TcpStream> {
        let source = 2 + self.dice.random_range(0..SOURCES);
        self.socket_from(source).await
    }

    async fn socket_from(&mut self, source: u8) -> Option<TcpStream> {
        let socket = TcpSocket::new_v4().ok()?;
        let source = Ipv4Addr::new(127, 0, 0, source);
        socket.bind((source, 0).into()).ok()?;
        let stream = socket.connect(self.target.address).await.ok()?;
        self.done.connections.fetch_add(1, Ordering::Relaxed);
        Some(stream)
    }

    /// A connection, often over TLS if that is what the port wants.
    async fn wire(&mut self) -> Option<Box<dyn Wire>> {
        let stream = self.socket().await?;
        match &self.target.tls {
            Some((connector, name)) if self.dice.random_range(0..4_u8) > 0 => {
                let name = name.clone();
                Some(Box::new(connector.connect(name, stream).await.ok()?))
            }
            Some(_) | None => Some(Box::new(stream)),
        }
    }

    async fn leave_half_open(&mut self, count: usize) {
        for _ in 0..count {
            // More than one address has room for.
            let Some(mut stream) = self.socket_from(2).await else { return };
            if self.dice.random() {
                let _ = stream.write_all(&[22]).await;
            }
            self.half_open.push_back(stream);
        }
        while self.half_open.len() > HALF_OPEN {
            self.half_open.pop_front();
        }
    }

    async fn say_at_once(
        &mut self,
        mut wire: Box<dyn Wire>,
        what: impl FnOnce(&mut Self) -> Vec<u8>,
    ) {
        let bytes = what(self);
        self.say(&mut wire, &bytes).await;
        let _ = timeout(GLANCE, wire.read(&mut [0; 4096])).await;
    }

    async fn say(&self, wire: &mut Box<dyn Wire>, bytes: &[u8]) {
        self.done.bytes.fetch_add(bytes.len().try_into().unwrap(), Ordering::Relaxed);
        let _ = wire.write_all(bytes).await;
        let _ = wire.flush().await;
    }

    async fn drip(&mut self, mut wire: Box<dyn Wire>) {
        let bytes = if self.dice.random() { self.sane() } else { self.mistaken() };
        let end = self.dice.random_range(0..=bytes.len().min(2_000));
        for byte in &bytes[..end] {
            self.say(&mut wire, &[*byte]).await;
        }
    }

    /// A frame, or a body, that is longer than anybody may send, or never comes whole.
    async fn announce_a_giant(&mut self, mut wire: Box<dyn Wire>) {
        let length = [1 << 20, (1 << 20) + 1, u32::MAX, 0][self.dice.random_range(0..4_usize)];
        let mut bytes = if self.dice.random() { self.sane() } else { Vec::new() };
        bytes.extend(length.to_le_bytes());
        bytes.push(1);
        bytes.extend(
            format!("POST /v1/lock HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n")
                .bytes(),
        );
        bytes.extend(self.noise(100_000));
        self.say(&mut wire, &bytes).await;
        let _ = timeout(GLANCE, wire.read(&mut [0; 4096])).await;
    }

    async fn ask_and_never_read(&mut self, mut wire: Box<dyn Wire>) {
        for _ in 0..50 {
            let bytes = self.sane();
            self.say(&mut wire, &bytes).await;
        }
    }

    fn noise(&mut self, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; self.dice.random_range(1..=most)];
        self.dice.fill(&mut bytes[..]);
        bytes
    }

    fn sane(&mut self) -> Vec<u8> {
        let place = self.dice.random_range(0..self.target.recorded.len());
        self.target.recorded[place].clone()
    }

    /// What is said by the sane, with some mistakes.
    fn mistaken(&mut self) -> Vec<u8> {
        let mut bytes = self.sane();
        for _ in 0..self.dice.random_range(1..6_u8) {
            let at = self.dice.random_range(0..bytes.len().max(1)).min(bytes.len());
            let end = (at + self.dice.random_range(0..20_usize)).min(bytes.len());
            match self.dice.random_range(0..6_u8) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.dice.random_range(0..8_u8),
                1 if at < bytes.len() => bytes[at] = self.dice.random(),
                2 => drop(bytes.drain(at..end)),
                3 => {
                    let again = bytes[at..end].to_vec();
                    drop(bytes.splice(at..at, again));
                }
                4 => {
                    let noise = self.noise(20);
                    drop(bytes.splice(at..at, noise));
                }
                _ if self.dice.random_range(0..4_u8) == 0 => bytes.truncate(at),
                _ => {}
            }
        }
        bytes
    }
}
