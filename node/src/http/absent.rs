//! In place of HTTP where the network is a simulated one: hyper has timers of its own, which do not run there. A node that
//! is told to listen for it does, and answers nobody.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::clients;
use crate::config::Config;
use crate::driver::Control;

/// What connections over HTTP would share.
#[derive(Debug)]
pub(crate) struct Context;

impl Context {
    pub(crate) fn new(
        _: &Config,
        _: &Arc<clients::Context>,
        _: mpsc::Sender<Control>,
        _: watch::Receiver<bool>,
    ) -> Arc<Self> {
        Arc::new(Self)
    }
}

/// Accepts nobody, for ever.
pub(crate) async fn listen(_: Arc<Context>, _listener: TcpListener) {
    std::future::pending().await
}
