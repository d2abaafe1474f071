//! The interface with somebody else in the driver's place: what comes in and what goes out, without sockets and without
//! a cluster. For tests.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use leasehold_core::wire::{ClientItem, Frame, NodeItem};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};

use super::caller::Caller;
use super::{Context, router};
use crate::clients::{self, ClientArrival};
use crate::clock::Clock;
use crate::config::Config;
use crate::counters::Counters;
use crate::outbox;
use crate::secure::{Secure, SecureError};

/// Requests wait for the driver in a queue of this length.
const QUEUE: usize = 16;
/// No answer to one request is larger, in bytes.
const LARGEST: usize = 64 << 20;

/// The interface of a node that wants no tokens.
#[derive(Debug)]
pub struct Rehearsal {
    runtime: Runtime,
    router: TowerToHyperService<Router>,
    context: Arc<Context>,
    arrivals: mpsc::Receiver<ClientArrival>,
}

impl Rehearsal {
    /// With the default limits.
    ///
    /// # Errors
    ///
    /// If the operating system has no room for a runtime.
    pub fn new() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let (config, counters) = (Config::default(), Arc::new(Counters::default()));
        let secure = Secure::load(&config, &counters)
            .map_err(|error: SecureError| io::Error::other(error))?;
        let (arriving, arrivals) = mpsc::channel(QUEUE);
        let (alive, _) = mpsc::channel(1);
        let shared = (arriving, counters, Arc::new(secure), alive);
        let clients =
            Arc::new(clients::Context::new(Clock::system(), &config.limits, (1, 2), shared));
        // Whoever asks the driver how it is finds it gone.
        let (control, _) = mpsc::channel(1);
        let (_, closing) = watch::channel(false);
        let context = Context::new(&config, &clients, control, closing);
        Ok(Self { runtime, router: TowerToHyperService::new(router()), context, arrivals })
    }

    /// The status and the body of the answer to this request; `None` if HTTP has no such request.
    ///
    /// `driver` answers each item that reaches it, and goes on after news of the cluster and of watched keys. Where it has
    /// nothing to say, the connection's line ends.
    pub fn ask(
        &mut self,
        method: &str,
        target: &str,
        body: Vec<u8>,
        driver: impl FnMut(&ClientItem) -> Option<NodeItem>,
    ) -> Option<(u16, Vec<u8>)> {
        let caller = Caller::new(&self.context, SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
        let request = Request::builder().method(method).uri(target).extension(caller);
        let request = request.body(Body::from(body)).ok()?;
        let (router, arrivals) = (&self.router, &mut self.arrivals);
        self.runtime.block_on(async {
            let answered = async {
                let (head, body) = router.call(request).await.ok()?.into_parts();
                Some((head.status.as_u16(), to_bytes(body, LARGEST).await.ok()?.to_vec()))
            };
            tokio::select! {
                biased;
                answer = answered => answer,
                () = drive(arrivals, driver) => None,
            }
        })
    }
}

/// What the driver would do with what arrives. Ends when nobody is left who could send.
async fn drive(
    arrivals: &mut mpsc::Receiver<ClientArrival>,
    mut driver: impl FnMut(&ClientItem) -> Option<NodeItem>,
) {
    let mut line = None;
    while let Some(arrival) = arrivals.recv().await {
        let items = match arrival {
            ClientArrival::Connected { sender, .. } => {
                line = Some(sender);
                continue;
            }
            ClientArrival::Gone { .. } => continue,
            ClientArrival::Items { items, .. } => items,
        };
        for item in items {
            loop {
                let Some(said) = driver(&item) else {
                    line = None;
                    break;
                };
                say(line.as_ref(), &said);
                if !goes_on(&said) {
                    break;
                }
            }
        }
    }
}

/// Whether more is said to the same call.
const fn goes_on(said: &NodeItem) -> bool {
    matches!(
        said,
        NodeItem::Welcome(_)
            | NodeItem::Topology(_)
            | NodeItem::Watching { .. }
            | NodeItem::Notice { .. }
    )
}

fn say(line: Option<&outbox::Sender>, answer: &NodeItem) {
    let mut frame = Frame::default();
    // What does not fit a frame is not said, as by the desk.
    if let (Some(line), Ok(_)) = (line, frame.push(answer)) {
        line.put(frame.take());
    }
}
