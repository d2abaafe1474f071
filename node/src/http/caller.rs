//! Whoever is at the other end of a connection over HTTP: where it is, its line to the driver, and what it may do.
//!
//! A request shows its token in a header, so every request is let in, or not, on its own. What it may do is asked where
//! it would go to the driver, of the same [`rights`] as on the client's port.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::{HeaderMap, header};
use leasehold_core::wire::ClientItem;

use super::Context;
use super::answer::Failure;
use super::line::{Cut, Line};
use crate::auth::Pass;
use crate::origin::Origin;
use crate::rights;

/// One connection.
#[derive(Clone, Debug)]
pub(super) struct Caller(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    context: Arc<Context>,
    address: SocketAddr,
    origin: Origin,
    /// An open line that nobody uses: a connection has one request at a time.
    idle: Mutex<Option<Line>>,
}

impl Caller {
    pub(super) fn new(context: &Arc<Context>, address: SocketAddr) -> Self {
        let (context, origin) = (Arc::clone(context), Origin::new(address));
        Self(Arc::new(Inner { context, address, origin, idle: Mutex::default() }))
    }

    pub(super) fn context(&self) -> &Arc<Context> {
        &self.0.context
    }

    /// Lets a request in that shows a known token, or any if this node wants none.
    pub(super) fn admit(&self, headers: &HeaderMap) -> Result<Guest, Failure> {
        let clients = &self.0.context.clients;
        match clients.secure.gate.admit(bearer(headers)) {
            Ok(pass) => Ok(Guest { caller: self.clone(), pass }),
            Err(why) => {
                clients.counters.clients_refused.add(1);
                clients.warn(self.0.address, &why);
                Err(Failure::Stranger(why))
            }
        }
    }
}

/// The token in the headers, if there is one.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// A request that was let in.
#[derive(Debug)]
pub(super) struct Guest {
    caller: Caller,
    pass: Pass,
}

impl Guest {
    pub(super) fn context(&self) -> &Arc<Context> {
        &self.caller.0.context
    }

    /// What this caller asks, made ready for the driver.
    pub(super) fn signed(&self, item: ClientItem) -> Result<ClientItem, Failure> {
        let clients = &self.context().clients;
        let mut items = vec![item];
        let denied = rights::take_denied(&self.pass, &mut items, &clients.counters.metrics);
        if let Some((_, why)) = denied.into_iter().next() {
            clients.counters.requests_denied.add(1);
            clients.warn(self.caller.0.address, &why);
            return Err(Failure::denied(why));
        }
        items.iter_mut().for_each(|item| self.caller.0.origin.sign(item));
        items.pop().ok_or_else(|| Failure::denied("this is not allowed".to_owned()))
    }

    /// Whether the caller would still be let in.
    pub(super) fn is_welcome(&mut self) -> bool {
        self.pass.renew().is_ok()
    }

    /// The line of this connection, or a new one.
    pub(super) async fn line(&self) -> Result<Line, Cut> {
        let idle = self.caller.0.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        match idle {
            Some(line) => Ok(line),
            None => Line::open(self.context()).await,
        }
    }

    /// Nothing is under way over this line any more; the next request may use it.
    pub(super) fn done_with(&self, line: Line) {
        *self.caller.0.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_shown_as_a_bearer() {
        let shown = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(shown("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(shown("bearer  abc ").as_deref(), Some("abc"));
        assert_eq!(shown("Basic abc"), None);
        assert_eq!(shown("abc"), None);
        assert_eq!(bearer(&HeaderMap::new()), None);
    }
}
