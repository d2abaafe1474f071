//! The client against scripted nodes. Nothing here sleeps or measures; what times out does so on short deadlines.

mod beside;
mod calls;
mod connecting;
mod guards;
mod reading;
mod resending;
mod server;
mod tls;

use std::time::Duration;

use leasehold_core::{Done, Holder, Span, Token};

use crate::{Client, Options};

/// A deadline that no test wants to reach.
const LONG: Duration = Duration::from_secs(20);
/// A deadline that a test wants to reach, and that leaves time to send something before.
const SHORT: Duration = Duration::from_millis(400);

fn options() -> Options {
    Options::new().timeout(LONG).heartbeat(Duration::from_millis(200), LONG)
}

async fn connect(address: &str, options: Options) -> Client {
    Client::connect([address], options).await.unwrap()
}

fn done(token: u64) -> Done {
    let valid_for = Some(Span::from_secs(29));
    Done { token: Token(token), valid_for, quorum: 2, votes: 3, commits: 2, ..Done::default() }
}

fn repeated(token: u64) -> Done {
    Done { valid_for: None, repeated: true, ..done(token) }
}

fn holder(value: &str, token: u64) -> Holder {
    Holder {
        value: value.into(),
        meta: br#"{"host":"a"}"#.as_slice().into(),
        token: Token(token),
        remaining: Span::from_secs(12),
        delay: Span::ZERO,
        age: Span::from_secs(3),
    }
}
