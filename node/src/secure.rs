//! What keeps strangers out of a node: its certificates, its tokens, and that both stay fresh.
//!
//! The files are read again every few seconds and whenever the operator asks for it (SIGHUP). What cannot be used
//! changes nothing and is said once: the node goes on with what it had.

use std::fmt;
use std::sync::Arc;

use leasehold_core::Span;
use tracing::{error, info};

use crate::auth::{AuthError, Gate};
use crate::blocking;
use crate::clock::Clock;
use crate::config::Config;
use crate::counters::Counters;
use crate::tls::{Tls, TlsError};

/// How often the files are looked at.
const LOOK: Span = Span::from_secs(5);

/// Why certificates or tokens cannot be used.
#[derive(Debug)]
pub enum SecureError {
    /// A certificate or key.
    Tls(TlsError),
    /// The tokens.
    Auth(AuthError),
}

impl fmt::Display for SecureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(error) => error.fmt(f),
            Self::Auth(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SecureError {}

/// The certificates and the tokens.
#[derive(Debug)]
pub(crate) struct Secure {
    pub(crate) tls: Option<Tls>,
    pub(crate) gate: Arc<Gate>,
    counters: Arc<Counters>,
}

impl Secure {
    pub(crate) fn load(config: &Config, counters: &Arc<Counters>) -> Result<Self, SecureError> {
        let tls = config.tls.is_on().then(|| Tls::load(&config.tls)).transpose();
        let gate = Gate::load(config.tokens.as_deref()).map_err(SecureError::Auth)?;
        Ok(Self {
            tls: tls.map_err(SecureError::Tls)?,
            gate: Arc::new(gate),
            counters: Arc::clone(counters),
        })
    }

    /// Reads the files again, and says in the log what came of it. What could not be used, in words.
    pub(crate) fn reload(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        match self.tls.as_ref().map_or(Ok(false), Tls::reload) {
            Ok(true) => info!("new certificates are in use, for connections from now on"),
            Ok(false) => {}
            Err(error) => wrong.push(error.to_string()),
        }
        match self.gate.reload() {
            Ok(true) => info!("new tokens are in use"),
            Ok(false) => {}
            Err(error) => wrong.push(error.to_string()),
        }
        wrong
    }
}

/// Reads the files again and again. Never ends.
pub(crate) async fn keep_fresh(secure: Arc<Secure>, clock: Clock) {
    let mut known = Vec::new();
    loop {
        clock.sleep(LOOK).await;
        known = look(&secure, known).await;
    }
}

/// Reads the files once, on a thread that may block. What is wrong now; what was wrong before is not said again.
pub(crate) async fn look(secure: &Arc<Secure>, known: Vec<String>) -> Vec<String> {
    let reader = Arc::clone(secure);
    let looking = blocking::run(move || reader.reload());
    let wrong = looking.await.unwrap_or_else(|error| vec![error.to_string()]);
    for wrong in wrong.iter().filter(|wrong| !known.contains(wrong)) {
        secure.counters.reloads_failed.add(1);
        error!("{wrong}; this node goes on with what it had");
    }
    wrong
}
