//! Connections of clients: a task for each, which reads as much as there is, hands it to the driver in one piece,
//! and writes what the driver has for it in another.
//!
//! When the driver does not keep up, the task waits for room in its queue and stops reading, which pushes back on the
//! client. A client that does not read its answers is disconnected, and so is one that says nothing whole for a while.
//! The driver's side is [`desk`](crate::desk).
//!
//! Until it is known who it is, a connection is looked after on the [`porch`](crate::porch).
//!
//! Who the client is, and what it may do, is decided here ([`auth`](crate::auth), [`rights`](crate::rights)): what it has no
//! right to reaches the driver as a refusal to be answered.
//!
//! Here is where a client's address is known, and where it is added to the description of the owner-to-be, as one more
//! label; see [`origin`](crate::origin).

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use leasehold_core::wire::{ClientHello, ClientItem, Frame, NodeItem, VERSIONS};
use leasehold_core::{Instant, Span, hash};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tracing::{debug, warn};

use crate::auth::Pass;
use crate::budget::{Budget, Share};
use crate::clock::Clock;
use crate::config::Limits;
use crate::counters::Counters;
use crate::intake::Intake;
use crate::lobby::{Lobby, Stranger, Unmet};
use crate::origin::Origin;
use crate::outbox;
use crate::porch::Inside;
use crate::quiet::Quiet;
use crate::rights;
use crate::room::Room;
use crate::secure::Secure;
use crate::stream::Stream;

/// TLS and the hello take no longer.
const HANDSHAKE: Span = Span::from_secs(5);
/// Connections that have not said yet whose they are.
const STRANGERS: usize = 2_048;
/// The largest hello, in bytes.
const HELLO: usize = 16 << 10;
/// A write that makes no progress for so long ends the connection.
const STALL: Span = Span::from_secs(10);
const ACCEPT_PAUSE: Span = Span::from_millis(50);

/// What came from a client.
#[derive(Debug)]
pub(crate) enum ClientArrival {
    /// A connection said hello.
    Connected { connection: u64, version: u16, sender: outbox::Sender },
    /// A connection sent this.
    Items {
        connection: u64,
        /// When it was read.
        at: Instant,
        items: Vec<ClientItem>,
        /// Requests that the client has no right to, with what it lacks.
        denied: Vec<(u64, String)>,
        /// The memory that this takes, until it has been looked at.
        held: Share,
    },
    /// A connection is gone, and nothing more comes from it.
    Gone { connection: u64 },
}

/// What all connections of clients share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) clock: Clock,
    pub(crate) arrivals: mpsc::Sender<ClientArrival>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) secure: Arc<Secure>,
    /// Bytes of answers that may wait for one client.
    pub(crate) queue: usize,
    /// How many connections there may be.
    pub(crate) room: Arc<Room>,
    /// Bytes that may be on their way, of all.
    pub(crate) budget: Arc<Budget>,
    /// A connection that sends nothing whole for so long is closed.
    pub(crate) silence: Span,
    /// What was said of strangers lately.
    pub(crate) quiet: Mutex<Quiet>,
    /// What the names of connections are made of: a key, and how many there were.
    secret: (u64, u64),
    connected: AtomicU64,
    /// Never used to send: its receiver learns when the last connection is gone.
    #[expect(dead_code, reason = "its drop is what counts")]
    pub(crate) alive: mpsc::Sender<()>,
}

type Shared = (mpsc::Sender<ClientArrival>, Arc<Counters>, Arc<Secure>, mpsc::Sender<()>);

impl Context {
    pub(crate) fn new(clock: Clock, limits: &Limits, secret: (u64, u64), shared: Shared) -> Self {
        let (arrivals, counters, secure, alive) = shared;
        let number = |limit: u32| usize::try_from(limit).unwrap_or(usize::MAX);
        Self {
            clock,
            arrivals,
            counters,
            secure,
            queue: number(limits.client_queue),
            room: Room::new(number(limits.connections), number(limits.connections_per_address)),
            budget: Budget::new(number(limits.client_memory)),
            silence: limits.client_silence,
            quiet: Mutex::default(),
            secret,
            connected: AtomicU64::new(0),
            alive,
        }
    }

    /// A name for a connection, which nobody can guess from those of others: the addresses of mailboxes hold it, and are
    /// known to those only who were told. It is below the numbers of lines for HTTP.
    fn name_connection(&self) -> u64 {
        let count = self.connected.fetch_add(1, Ordering::Relaxed);
        hash::keyed(self.secret, &[&count.to_le_bytes()]) >> 1
    }

    /// A connection has to go, because all of them fill as much memory as they may.
    fn used_up(&self) -> String {
        self.counters.clients_dropped.add(1);
        "limits.client_memory is used up".into()
    }

    /// Says why somebody was kept out, unless that was said just now.
    pub(crate) fn warn(&self, address: SocketAddr, why: &str) {
        let now = self.clock.now();
        let words = format!("{}: {why}", address.ip());
        if self.quiet.lock().unwrap_or_else(PoisonError::into_inner).lets(now, &words) {
            warn!("a client from {words}");
        }
    }
}

/// Accepts connections of clients for ever, and brings inside those that are welcome.
pub(crate) async fn listen(context: Arc<Context>, listener: TcpListener, inside: Inside) {
    let lobby = Lobby::new("clients", STRANGERS, context.clock, &context.counters);
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept a client");
                context.clock.sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = context.room.place(address.ip()) else {
            context.counters.connections_refused.add(1);
            context.warn(address, "there are as many connections as limits.connections or limits.connections_per_address allows");
            continue;
        };
        let Some(stranger) = lobby.enter(address.ip()) else { continue };
        let (context, lobby, inside) = (Arc::clone(&context), Arc::clone(&lobby), inside.clone());
        tokio::spawn(async move {
            let mut greeted = match meet(&context, stream, address, stranger).await {
                Ok(greeted) => greeted,
                Err(reason) => return ended(address, &reason),
            };
            lobby.remember(address.ip());
            if let Err(error) = inside.bring(&mut greeted.stream) {
                return ended(address, &words(error));
            }
            inside.spawn(async move {
                let connection = context.name_connection();
                if let Err(reason) = serve(&context, greeted, address, connection).await {
                    ended(address, &reason);
                }
                drop(place);
            });
        });
    }
}

fn ended(address: SocketAddr, reason: &str) {
    debug!(%address, "a client's connection ended: {reason}");
}

/// Finds out who it is.
async fn meet(
    context: &Context,
    stream: TcpStream,
    address: SocketAddr,
    stranger: Stranger,
) -> Result<Greeted, String> {
    stream.set_nodelay(true).map_err(words)?;
    match stranger.meet(HANDSHAKE, greet(context, stream, address)).await {
        Ok(greeted) => greeted,
        Err(Unmet::Late) => {
            let why = "no TLS and no hello in time";
            context.counters.clients_dropped.add(1);
            context.warn(address, why);
            Err(why.into())
        }
        Err(Unmet::ShownOut) => Err("others needed its place".into()),
    }
}

/// One connection, from its hello to its end.
async fn serve(
    context: &Context,
    greeted: Greeted,
    address: SocketAddr,
    connection: u64,
) -> Result<(), String> {
    let Greeted { mut stream, mut intake, version, pass } = greeted;
    let share = Share::of(Arc::clone(&context.budget));
    let (sender, mut outbox) = outbox::outbox(context.queue, Some(share));
    let connected = ClientArrival::Connected { connection, version, sender };
    context.arrivals.send(connected).await.map_err(|_| "this node is stopping")?;
    let mut client = Client {
        address,
        origin: Origin::new(address),
        connection,
        pass,
        share: Share::of(Arc::clone(&context.budget)),
    };
    let ended = converse(context, &mut stream, &mut client, &mut intake, &mut outbox).await;
    let gone = ClientArrival::Gone { connection };
    context.arrivals.send(gone).await.map_err(|_| "this node is stopping")?;
    ended
}

/// A client that was let in.
struct Greeted {
    stream: Stream,
    /// What it said after its hello.
    intake: Intake,
    version: u16,
    pass: Pass,
}

/// Shakes hands, and refuses a client of another time and one that this node does not know.
async fn greet(
    context: &Context,
    stream: TcpStream,
    address: SocketAddr,
) -> Result<Greeted, String> {
    let mut intake = Intake::new();
    let mut stream = match &context.secure.tls {
        None => Stream::Plain(stream),
        Some(tls) => tls.accept_client(stream).await.map_err(|error| {
            context.counters.clients_refused.add(1);
            let why = format!("no TLS: {error}");
            context.warn(address, &why);
            why
        })?,
    };
    let hello = first(context, &mut stream, &mut intake).await?;
    let Some(version) = VERSIONS.common(hello.versions) else {
        let why = format!(
            "this node speaks protocol versions {} to {} and the client {} to {}; upgrade the older one",
            VERSIONS.oldest, VERSIONS.newest, hello.versions.oldest, hello.versions.newest
        );
        context.counters.clients_refused.add(1);
        context.warn(address, &why);
        say(&mut stream, &NodeItem::Refused(why.clone())).await?;
        return Err(why);
    };
    match context.secure.gate.admit(hello.credential.as_deref()) {
        Ok(pass) => Ok(Greeted { stream, intake, version, pass }),
        Err(why) => {
            context.counters.clients_refused.add(1);
            context.warn(address, &why);
            say(&mut stream, &NodeItem::NotAllowed { call: None, why: why.clone() }).await?;
            Err(why)
        }
    }
}

async fn say(stream: &mut Stream, item: &NodeItem) -> Result<(), String> {
    let mut frame = Frame::default();
    frame.push(item).map_err(|error| error.to_string())?;
    stream.write_all(&frame.take()).await.map_err(words)?;
    stream.shutdown().await.map_err(words)
}

async fn first(
    context: &Context,
    stream: &mut Stream,
    intake: &mut Intake,
) -> Result<ClientHello, String> {
    loop {
        match intake.item() {
            Ok(Some(ClientItem::Hello(hello))) => return Ok(hello),
            Ok(None) if intake.pending() <= HELLO => {}
            Ok(Some(_) | None) => {
                context.counters.malformed.add(1);
                return Err("no hello at first".into());
            }
            Err(malformed) => {
                context.counters.malformed.add(1);
                return Err(malformed.to_string());
            }
        }
        if intake.read(stream).await.map_err(words)? == 0 {
            return Err("closed before the hello".into());
        }
    }
}

/// The client that a connection is of.
#[derive(Debug)]
struct Client {
    address: SocketAddr,
    origin: Origin,
    connection: u64,
    pass: Pass,
    /// What it may have sent that was not understood yet.
    share: Share,
}

impl Client {
    /// What is to be handed to the driver of what was read.
    fn arrival(
        &mut self,
        context: &Context,
        at: Instant,
        mut items: Vec<ClientItem>,
        bytes: usize,
    ) -> Result<ClientArrival, String> {
        self.pass.renew()?;
        let mut held = Share::of(Arc::clone(&context.budget));
        // The smallest items take more room when they are taken apart.
        if !held.hold(bytes.max(size_of_val(items.as_slice()))) {
            return Err(context.used_up());
        }
        let denied = rights::take_denied(&self.pass, &mut items, &context.counters.metrics);
        if let Some((_, why)) = denied.first() {
            context.counters.requests_denied.add(u64::try_from(denied.len()).unwrap_or(u64::MAX));
            context.warn(self.address, why);
        }
        items.iter_mut().for_each(|item| self.origin.sign(item));
        Ok(ClientArrival::Items { connection: self.connection, at, items, denied, held })
    }
}

/// Carries items in and frames out until one end has enough.
async fn converse(
    context: &Context,
    stream: &mut Stream,
    client: &mut Client,
    intake: &mut Intake,
    outbox: &mut outbox::Receiver,
) -> Result<(), String> {
    let mut waiting: Option<ClientArrival> = None;
    // When something whole came last. A sender of single bytes is as good as silent.
    let mut heard = context.clock.now();
    let mut silent = pin!(context.clock.sleep_until(heard.after(context.silence)));
    loop {
        if waiting.is_none() {
            let mut items = Vec::new();
            let bytes = intake.items(&mut items).map_err(|malformed| {
                context.counters.malformed.add(1);
                malformed.to_string()
            })?;
            if !items.is_empty() {
                heard = context.clock.now();
                match context.arrivals.try_send(client.arrival(context, heard, items, bytes)?) {
                    Ok(()) => continue,
                    Err(TrySendError::Full(arrival)) => waiting = Some(arrival),
                    Err(TrySendError::Closed(_)) => return Err("this node is stopping".into()),
                }
            }
        }
        tokio::select! {
            biased;
            bytes = outbox.take() => match bytes {
                Some(bytes) => {
                    write(context, stream, outbox, &bytes).await?;
                    outbox.written(bytes);
                }
                None => return Ok(()),
            },
            room = context.arrivals.reserve(), if waiting.is_some() => match room {
                Ok(room) => if let Some(arrival) = waiting.take() {
                    heard = context.clock.now();
                    room.send(arrival);
                },
                Err(_) => return Err("this node is stopping".into()),
            },
            read = intake.read(stream), if waiting.is_none() => match read {
                Ok(0) => return Ok(()),
                Ok(_) if client.share.hold(intake.size()) => {}
                Ok(_) => return Err(context.used_up()),
                Err(error) => return Err(words(error)),
            },
            () = &mut silent, if waiting.is_none() => {
                let over = heard.after(context.silence);
                if over <= context.clock.now() {
                    context.counters.clients_dropped.add(1);
                    return Err(format!("it sent nothing whole for {}", context.silence));
                }
                silent.set(context.clock.sleep_until(over));
            }
        }
    }
}

async fn write(
    context: &Context,
    stream: &mut Stream,
    outbox: &mut outbox::Receiver,
    bytes: &[u8],
) -> Result<(), String> {
    let write = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    let write = context.clock.limit(STALL, write);
    tokio::select! {
        biased;
        written = write => match written {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(words(error)),
            None => {
                context.counters.clients_dropped.add(1);
                Err("the client does not read".into())
            }
        },
        () = outbox.closed() => Err("closed by the driver".into()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands where an error is mapped")]
fn words(error: std::io::Error) -> String {
    error.to_string()
}
