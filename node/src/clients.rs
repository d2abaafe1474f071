//! Connections of clients: a task for each, which reads as much as there is, hands it to the driver in one piece,
//! and writes what the driver has for it in another.
//!
//! When the driver does not keep up, the task waits for room in its queue and stops reading, which pushes back on the
//! client. A client that does not read its answers is disconnected. The driver's side is [`desk`](crate::desk).
//!
//! Here is where a client's address is known, and where it is added to the description of the owner-to-be, as one more
//! label; see [`origin`](crate::origin).

use std::sync::Arc;

use leasehold_core::Span;
use leasehold_core::wire::{ClientHello, ClientItem, Frame, NodeItem, VERSIONS};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc};
use tracing::{debug, warn};

use crate::clock::Clock;
use crate::counters::Counters;
use crate::intake::Intake;
use crate::origin::Origin;
use crate::outbox;

/// The hello takes no longer.
const HANDSHAKE: Span = Span::from_secs(2);
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
    Items { connection: u64, items: Vec<ClientItem> },
    /// A connection is gone, and nothing more comes from it.
    Gone { connection: u64 },
}

/// What all connections of clients share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) clock: Clock,
    pub(crate) arrivals: mpsc::Sender<ClientArrival>,
    pub(crate) counters: Arc<Counters>,
    /// Bytes of answers that may wait for one client.
    pub(crate) queue: usize,
    /// Connections at a time.
    pub(crate) connections: usize,
    /// Never used to send: its receiver learns when the last connection is gone.
    #[expect(dead_code, reason = "its drop is what counts")]
    pub(crate) alive: mpsc::Sender<()>,
}

/// Accepts connections of clients for ever.
pub(crate) async fn listen(context: Arc<Context>, listener: TcpListener) {
    let room = Arc::new(Semaphore::new(context.connections));
    let mut next = 0_u64;
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept a client");
                context.clock.sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            context.counters.connections_refused.add(1);
            continue;
        };
        next += 1;
        let (context, connection) = (Arc::clone(&context), next);
        tokio::spawn(async move {
            let origin = Origin::new(address);
            if let Err(reason) = serve(&context, stream, &origin, connection).await {
                debug!("a client's connection ended: {reason}");
            }
            drop(permit);
        });
    }
}

/// One connection, from its hello to its end.
async fn serve(
    context: &Context,
    mut stream: TcpStream,
    origin: &Origin,
    connection: u64,
) -> Result<(), String> {
    stream.set_nodelay(true).map_err(words)?;
    let mut intake = Intake::new();
    let greeted = context.clock.limit(HANDSHAKE, greet(context, &mut stream, &mut intake));
    let version = greeted.await.unwrap_or_else(|| Err("no hello in time".into()))?;
    let (sender, mut outbox) = outbox::outbox(context.queue);
    let connected = ClientArrival::Connected { connection, version, sender };
    context.arrivals.send(connected).await.map_err(|_| "this node is stopping")?;
    let client = Client { origin, connection };
    let ended = converse(context, &mut stream, client, &mut intake, &mut outbox).await;
    let gone = ClientArrival::Gone { connection };
    context.arrivals.send(gone).await.map_err(|_| "this node is stopping")?;
    ended
}

/// Reads the hello, and refuses a client of another time.
async fn greet(
    context: &Context,
    stream: &mut TcpStream,
    intake: &mut Intake,
) -> Result<u16, String> {
    let hello = first(context, stream, intake).await?;
    if let Some(version) = VERSIONS.common(hello.versions) {
        return Ok(version);
    }
    let reason = format!(
        "this node speaks protocol versions {} to {} and the client {} to {}; upgrade the older one",
        VERSIONS.oldest, VERSIONS.newest, hello.versions.oldest, hello.versions.newest
    );
    let mut frame = Frame::default();
    frame.push(&NodeItem::Refused(reason.clone())).map_err(|error| error.to_string())?;
    stream.write_all(&frame.take()).await.map_err(words)?;
    stream.flush().await.map_err(words)?;
    Err(reason)
}

async fn first(
    context: &Context,
    stream: &mut TcpStream,
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

/// Which client a connection is of.
#[derive(Clone, Copy, Debug)]
struct Client<'a> {
    origin: &'a Origin,
    connection: u64,
}

/// Carries items in and frames out until one end has enough.
async fn converse(
    context: &Context,
    stream: &mut TcpStream,
    Client { origin, connection }: Client<'_>,
    intake: &mut Intake,
    outbox: &mut outbox::Receiver,
) -> Result<(), String> {
    let mut waiting: Option<ClientArrival> = None;
    loop {
        if waiting.is_none() {
            let mut items = Vec::new();
            intake.items(&mut items).map_err(|malformed| {
                context.counters.malformed.add(1);
                malformed.to_string()
            })?;
            if !items.is_empty() {
                items.iter_mut().for_each(|item| origin.sign(item));
                match context.arrivals.try_send(ClientArrival::Items { connection, items }) {
                    Ok(()) => continue,
                    Err(TrySendError::Full(arrival)) => waiting = Some(arrival),
                    Err(TrySendError::Closed(_)) => return Err("this node is stopping".into()),
                }
            }
        }
        tokio::select! {
            biased;
            bytes = outbox.take() => match bytes {
                Some(bytes) => write(context, stream, outbox, &bytes).await?,
                None => return Ok(()),
            },
            room = context.arrivals.reserve(), if waiting.is_some() => match room {
                Ok(room) => if let Some(arrival) = waiting.take() { room.send(arrival) },
                Err(_) => return Err("this node is stopping".into()),
            },
            read = intake.read(stream), if waiting.is_none() => match read {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(words(error)),
            },
        }
    }
}

async fn write(
    context: &Context,
    stream: &mut TcpStream,
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
            None => Err("the client does not read".into()),
        },
        () = outbox.closed() => Err("closed by the driver".into()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands where an error is mapped")]
fn words(error: std::io::Error) -> String {
    error.to_string()
}
