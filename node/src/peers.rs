//! Connections between nodes.
//!
//! Every node dials every other one and sends on the connection it dialled; on one it accepted it only listens. So
//! there is nothing to agree on between the two connections of a pair, and each is judged for itself
//! ([`handshake`](crate::handshake)). The driver's side is [`links`](crate::links).
//!
//! Whoever dials is met on the [`porch`](crate::porch), those first at whose address a node was found before.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use leasehold_core::wire::{Frame, PeerHello, PeerItem};
use leasehold_core::{NodeId, Span};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc};
use tracing::{debug, info, warn};

use crate::amending::Knocks;
use crate::clock::Clock;
use crate::counters::Counters;
use crate::driver::Control;
use crate::handshake::{Identity, Known};
use crate::intake::Intake;
use crate::lobby::{Lobby, Stranger, Unmet};
use crate::outbox;
use crate::porch::Inside;
use crate::quiet::Quiet;
use crate::secure::Secure;
use crate::stream::{self, Stream};

/// Connecting, TLS and the hellos take no longer.
const HANDSHAKE: Span = Span::from_secs(4);
/// The largest hello, in bytes.
const HELLO: usize = 16 << 10;
/// A write that makes no progress for so long ends the connection.
const STALL: Span = Span::from_secs(2);
/// An accepted connection on which nothing comes for so long is closed; a living peer beats ten times a second.
const SILENCE: Span = Span::from_secs(10);
/// Accepted connections of nodes at a time. A cluster needs one for each other node, and some for reconnects.
const CONNECTIONS: usize = 256;
/// Accepted connections that have not said yet whose they are.
const STRANGERS: usize = 256;
/// Pauses between attempts to dial.
const FIRST_PAUSE: Span = Span::from_millis(50);
const LAST_PAUSE: Span = Span::from_secs(2);

/// What came from a peer.
#[derive(Debug)]
pub(crate) struct PeerArrival {
    pub(crate) from: NodeId,
    pub(crate) items: Vec<PeerItem>,
}

/// What all connections of a node to peers share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) clock: Clock,
    pub(crate) identity: Mutex<Identity>,
    pub(crate) secure: Arc<Secure>,
    pub(crate) knocks: Mutex<Knocks>,
    pub(crate) control: mpsc::Sender<Control>,
    pub(crate) arrivals: mpsc::Sender<PeerArrival>,
    pub(crate) counters: Arc<Counters>,
    /// Where those wait who dialled and have not said who they are.
    pub(crate) lobby: Arc<Lobby>,
    /// Bytes that may wait for one peer.
    pub(crate) queue: usize,
    pub(crate) seed: u64,
    /// Numbers the dialled connections.
    pub(crate) dialled: AtomicU64,
}

type Shared = (mpsc::Sender<Control>, mpsc::Sender<PeerArrival>, Arc<Counters>, Arc<Secure>);

impl Context {
    pub(crate) fn new(
        clock: Clock,
        identity: Identity,
        queue: usize,
        seed: u64,
        (control, arrivals, counters, secure): Shared,
    ) -> Self {
        let lobby = Lobby::new("nodes", STRANGERS, clock, &counters);
        Self {
            clock,
            identity: Mutex::new(identity),
            secure,
            knocks: Mutex::default(),
            control,
            arrivals,
            counters,
            lobby,
            queue,
            seed,
            dialled: AtomicU64::new(0),
        }
    }

    pub(crate) fn identity(&self) -> MutexGuard<'_, Identity> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who was refused lately only for being no member.
    pub(crate) fn knocks(&self) -> MutexGuard<'_, Knocks> {
        self.knocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn judge(&self, hello: &PeerHello, expected: Option<&str>) -> Result<u16, String> {
        let identity = self.identity();
        let judgement = identity.judge(hello, expected);
        if judgement.is_err() && identity.is_stranger(hello) {
            drop(identity);
            self.knocks().note(self.clock.now(), &hello.member);
        }
        judgement
    }
}

/// Accepts connections of peers for ever, and brings inside those of nodes of this cluster.
pub(crate) async fn listen(context: Arc<Context>, listener: TcpListener, inside: Inside) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let quiet = Arc::new(Mutex::new(Quiet::default()));
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept a peer");
                context.clock.sleep(FIRST_PAUSE).await;
                continue;
            }
        };
        let Some(stranger) = context.lobby.enter(address.ip()) else { continue };
        let (context, quiet, room) = (Arc::clone(&context), Arc::clone(&quiet), Arc::clone(&room));
        let inside = inside.clone();
        let ended = move |context: &Context, reason: String| {
            let now = context.clock.now();
            if quiet.lock().unwrap_or_else(PoisonError::into_inner).lets(now, &reason) {
                warn!("a connection of a peer ended: {reason}");
            }
        };
        tokio::spawn(async move {
            let mut welcomed = match meet(&context, stream, stranger).await {
                Ok(Some(welcomed)) => welcomed,
                Ok(None) => return,
                Err(reason) => return ended(&context, reason),
            };
            context.lobby.remember(address.ip());
            let Ok(place) = room.try_acquire_owned() else {
                context.counters.connections_refused.add(1);
                let reason = "there are as many connections of nodes as there may be";
                return ended(&context, reason.into());
            };
            if let Err(error) = inside.bring(&mut welcomed.stream) {
                return ended(&context, words(error));
            }
            inside.spawn(async move {
                if let Err(reason) = receive(&context, welcomed).await {
                    ended(&context, reason);
                }
                drop(place);
            });
        });
    }
}

/// Finds out who it is, unless others need its place.
async fn meet(
    context: &Context,
    stream: TcpStream,
    stranger: Stranger,
) -> Result<Option<Welcomed>, String> {
    stream.set_nodelay(true).map_err(words)?;
    match stranger.meet(HANDSHAKE, welcome(context, stream)).await {
        Ok(welcomed) => welcomed.map(Some),
        Err(Unmet::ShownOut) => Ok(None),
        Err(Unmet::Late) => {
            context.counters.handshakes_refused.add(1);
            Err("no TLS and no hello in time".into())
        }
    }
}

/// A node that was let in.
struct Welcomed {
    stream: Stream,
    /// What it said after its hello.
    intake: Intake,
    hello: PeerHello,
}

/// One accepted connection, from its hello to its end.
async fn receive(context: &Context, welcomed: Welcomed) -> Result<(), String> {
    let Welcomed { mut stream, mut intake, hello } = welcomed;
    let (from, name) = (hello.member.id, hello.member.name);
    debug!(peer = name, "a peer connected");
    // One timer that is looked at when it is over: setting one for each read would cost as much as the read.
    let mut heard = context.clock.now();
    let mut silent = pin!(context.clock.sleep_until(heard.after(SILENCE)));
    loop {
        let mut items = Vec::new();
        intake.items(&mut items).map_err(|malformed| {
            context.counters.malformed.add(1);
            format!("`{name}` sent {malformed}")
        })?;
        if let Some(PeerItem::Refused(reason)) = items.first() {
            return Err(format!("refused by `{name}`: {reason}"));
        }
        if !items.is_empty() {
            let count = u64::try_from(items.len()).unwrap_or(u64::MAX);
            // A full queue drops: loss is in the model, and waiting here would hold up newer messages.
            match context.arrivals.try_send(PeerArrival { from, items }) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => context.counters.messages_dropped.add(count),
                Err(TrySendError::Closed(_)) => return Ok(()),
            }
            continue;
        }
        tokio::select! {
            biased;
            read = intake.read(&mut stream) => match read {
                Ok(0) | Err(_) => return Ok(()),
                Ok(_) => heard = context.clock.now(),
            },
            () = &mut silent => {
                let over = heard.after(SILENCE);
                if over <= context.clock.now() {
                    return Err(format!("`{name}` has fallen silent"));
                }
                silent.set(context.clock.sleep_until(over));
            }
        }
    }
}

/// The accepting side of the handshake.
async fn welcome(context: &Context, stream: TcpStream) -> Result<Welcomed, String> {
    let mut intake = Intake::new();
    let from = stream.peer_addr().map_err(words)?.ip();
    let (mut stream, shown) = match &context.secure.tls {
        None => (Stream::Plain(stream), None),
        Some(tls) => {
            let (stream, shown) = tls.accept_peer(stream).await.map_err(|error| {
                context.counters.handshakes_refused.add(1);
                format!("{from} is no node of this cluster: {error}")
            })?;
            (stream, Some(shown))
        }
    };
    let hello = match first(context, &mut stream, &mut intake).await? {
        PeerItem::Hello(hello) => hello,
        PeerItem::Refused(_)
        | PeerItem::Beat
        | PeerItem::Message(_)
        | PeerItem::Mail { .. }
        | PeerItem::Receipt { .. } => {
            context.counters.malformed.add(1);
            return Err("no hello at first".into());
        }
    };
    let name = &hello.member.name;
    if shown.is_some_and(|shown| !shown.is_of(name)) {
        let reason = format!(
            "{from} says that it is `{name}` and shows a certificate for somebody else; a node's certificate must be for \
             the DNS name that is its node.name"
        );
        return Err(refuse(context, &mut stream, reason).await);
    }
    match context.judge(&hello, None) {
        Ok(_) => {
            let mine = context.identity().hello();
            say(&mut stream, &PeerItem::Hello(mine)).await?;
            Ok(Welcomed { stream, intake, hello })
        }
        Err(reason) => Err(refuse(context, &mut stream, reason).await),
    }
}

/// Keeps a connection to `peer`, for ever.
pub(crate) async fn dial(context: Arc<Context>, peer: Known) {
    let salt = leasehold_core::hash::keyed((context.seed, 0), &[peer.name.as_bytes()]);
    let mut dice = SmallRng::seed_from_u64(salt);
    let mut quiet = Quiet::default();
    let mut pause = FIRST_PAUSE;
    loop {
        let linked = connect(&context, &peer).await;
        let reason = match linked {
            Ok((stream, hello, intake)) => {
                pause = FIRST_PAUSE;
                info!(peer = peer.name, "linked");
                let reason = send(&context, stream, intake, &hello).await;
                // The link was there, so its end is news.
                info!(peer = peer.name, "link lost: {reason}");
                None
            }
            Err(reason) => Some(reason),
        };
        if let Some(reason) = reason
            && quiet.lets(context.clock.now(), &reason)
        {
            warn!(peer = peer.name, address = peer.address, "no link: {reason}");
        }
        // Between half and the whole pause, so that nodes do not try in step.
        let half = pause.as_micros() / 2;
        context.clock.sleep(Span::from_micros(half + dice.random_range(0..=half))).await;
        pause = pause.times(2).min(LAST_PAUSE);
    }
}

/// Dials and shakes hands. The name is resolved anew each time.
async fn connect(context: &Context, peer: &Known) -> Result<(Stream, PeerHello, Intake), String> {
    let attempt = async {
        let stream = stream::connect(context.clock, &peer.address, HANDSHAKE.split(2));
        let stream = stream.await.map_err(words)?;
        let address = stream.peer_addr().map_err(words)?.ip();
        let mut stream = match &context.secure.tls {
            None => Stream::Plain(stream),
            Some(tls) => tls.connect_peer(stream, &peer.name).await.map_err(|error| {
                context.counters.handshakes_refused.add(1);
                format!("what answers there is not `{}`: {error}", peer.name)
            })?,
        };
        let mine = context.identity().hello();
        say(&mut stream, &PeerItem::Hello(mine)).await?;
        let mut intake = Intake::new();
        let hello = match first(context, &mut stream, &mut intake).await? {
            PeerItem::Hello(hello) => hello,
            PeerItem::Refused(reason) => {
                context.counters.handshakes_refused.add(1);
                return Err(format!("refused there: {reason}"));
            }
            PeerItem::Beat
            | PeerItem::Message(_)
            | PeerItem::Mail { .. }
            | PeerItem::Receipt { .. } => return Err("no hello at first".into()),
        };
        match context.judge(&hello, Some(&peer.name)) {
            Ok(_) => {
                context.lobby.remember(address);
                Ok((stream, hello, intake))
            }
            Err(reason) => Err(refuse(context, &mut stream, reason).await),
        }
    };
    let limited = context.clock.limit(HANDSHAKE, attempt).await;
    limited.unwrap_or_else(|| Err("no answer in time".into()))
}

/// Sends on a dialled connection what the driver has for the peer, until it ends. Says why.
async fn send(
    context: &Context,
    mut stream: Stream,
    mut intake: Intake,
    hello: &PeerHello,
) -> String {
    let link = context.dialled.fetch_add(1, Ordering::Relaxed);
    let (sender, mut outbox) = outbox::outbox(context.queue, None);
    let member = hello.member.clone();
    let peer = member.id;
    if context.control.send(Control::Dialled { member, link, sender }).await.is_err() {
        return "this node is stopping".into();
    }
    let reason = loop {
        tokio::select! {
            biased;
            bytes = outbox.take() => {
                let Some(bytes) = bytes else { break "let go by the driver".into() };
                let write = async { stream.write_all(&bytes).await?; stream.flush().await };
                match context.clock.limit(STALL, write).await {
                    Some(Ok(())) => outbox.written(bytes),
                    Some(Err(error)) => break words(error),
                    None => break "the peer does not read".into(),
                }
            }
            read = intake.read(&mut stream) => match read {
                Ok(0) => break "closed there".into(),
                Ok(_) => if let Err(reason) = overhear(&mut intake) { break reason },
                Err(error) => break words(error),
            }
        }
    };
    // If the driver is gone, nobody needs to know.
    if context.control.send(Control::HungUp { peer, link }).await.is_err() {
        debug!("a link ended after the driver");
    }
    reason
}

/// On a dialled connection nothing comes after the hello, but for a late refusal.
fn overhear(intake: &mut Intake) -> Result<(), String> {
    match intake.item::<PeerItem>() {
        Ok(None) if intake.pending() <= HELLO => Ok(()),
        Ok(Some(PeerItem::Refused(reason))) => Err(format!("refused there: {reason}")),
        Ok(
            Some(
                PeerItem::Hello(_)
                | PeerItem::Beat
                | PeerItem::Message(_)
                | PeerItem::Mail { .. }
                | PeerItem::Receipt { .. },
            )
            | None,
        ) => Err("the peer sends where it should listen".into()),
        Err(malformed) => Err(format!("the peer sent {malformed}")),
    }
}

/// The first item of a connection.
async fn first(
    context: &Context,
    stream: &mut Stream,
    intake: &mut Intake,
) -> Result<PeerItem, String> {
    loop {
        match intake.item() {
            Ok(Some(item)) => return Ok(item),
            Ok(None) if intake.pending() <= HELLO => {}
            Ok(None) => {
                context.counters.malformed.add(1);
                return Err(format!("a hello of more than {HELLO} bytes"));
            }
            Err(malformed) => {
                context.counters.malformed.add(1);
                return Err(format!("a stranger sent {malformed}"));
            }
        }
        if intake.read(stream).await.map_err(words)? == 0 {
            return Err("closed before the hello".into());
        }
    }
}

/// Tells the other end why not, as well as that works, and returns the reason.
async fn refuse(context: &Context, stream: &mut Stream, reason: String) -> String {
    context.counters.handshakes_refused.add(1);
    match say(stream, &PeerItem::Refused(reason.clone())).await {
        Ok(()) => reason,
        Err(error) => format!("{reason} (and the other end was not told: {error})"),
    }
}

async fn say(stream: &mut Stream, item: &PeerItem) -> Result<(), String> {
    let mut frame = Frame::default();
    frame.push(item).map_err(|error| error.to_string())?;
    stream.write_all(&frame.take()).await.map_err(words)?;
    stream.flush().await.map_err(words)
}

#[expect(clippy::needless_pass_by_value, reason = "it stands where an error is mapped")]
fn words(error: std::io::Error) -> String {
    error.to_string()
}
