//! Connections over HTTP: a bounded number of them, each with bounded headers and bounded patience. They live and end on the
//! [`porch`](crate::porch).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use leasehold_core::Span;
use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, warn};

use super::caller::Caller;
use super::patient::Patient;
use super::{Context, router};
use crate::lobby::{Lobby, Stranger, Unmet};
use crate::stream::Stream;

/// The headers of a request, and the pause before it, take no longer.
const HEADERS: Duration = Duration::from_secs(30);
/// The largest head of a request, in bytes.
const HEAD: usize = 64 << 10;
/// TLS takes no longer.
const HANDSHAKE: Span = Span::from_secs(5);
/// Connections that shake hands.
const STRANGERS: usize = 1_024;
const ACCEPT_PAUSE: Span = Span::from_millis(50);

/// Accepts connections for ever.
pub(crate) async fn listen(context: Arc<Context>, listener: TcpListener) {
    let router = router();
    let lobby = Lobby::new("HTTP", STRANGERS, context.clock(), &context.clients.counters);
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept a connection over HTTP");
                context.clock().sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = context.clients.room.place(address.ip()) else {
            context.clients.counters.connections_refused.add(1);
            context.clients.warn(address, "there are as many connections as limits.connections or limits.connections_per_address allows");
            continue;
        };
        let Some(stranger) = lobby.enter(address.ip()) else { continue };
        let (context, router) = (Arc::clone(&context), router.clone());
        tokio::spawn(async move {
            if let Err(error) = stream.set_nodelay(true) {
                debug!(%error, "a connection over HTTP sends late");
            }
            if let Some(stream) = shake_hands(&context, stream, address, stranger).await {
                serve(&context, router, stream, address).await;
            }
            drop(place);
        });
    }
}

/// The connection as the client's port would have it: over TLS if this node has a certificate.
async fn shake_hands(
    context: &Context,
    stream: TcpStream,
    address: SocketAddr,
    stranger: Stranger,
) -> Option<Stream> {
    let clients = &context.clients;
    let Some(tls) = &clients.secure.tls else { return Some(Stream::Plain(stream)) };
    let why = match stranger.meet(HANDSHAKE, tls.accept_client(stream)).await {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => format!("no TLS over HTTP: {error}"),
        Err(Unmet::Late) => "no TLS over HTTP in time".to_owned(),
        Err(Unmet::ShownOut) => return None,
    };
    clients.counters.clients_refused.add(1);
    clients.warn(address, &why);
    None
}

/// One connection, until either end has enough.
async fn serve(context: &Arc<Context>, router: Router, stream: Stream, address: SocketAddr) {
    let caller = Caller::new(context, address);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(caller.clone());
        let response = router.call(request);
        async move { response.await.map_err(|never: Infallible| never) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(Patient::new(stream)), service);
    let mut connection = pin!(connection);
    let mut closing = context.closing.clone();
    tokio::select! {
        biased;
        ended = connection.as_mut() => {
            if let Err(error) = ended {
                debug!(%error, "a connection over HTTP ended");
            }
            return;
        }
        _ = closing.wait_for(|closing| *closing) => connection.as_mut().graceful_shutdown(),
    }
    // What is under way is answered; the node's end ends it otherwise.
    if let Err(error) = connection.await {
        debug!(%error, "a connection over HTTP ended");
    }
}
