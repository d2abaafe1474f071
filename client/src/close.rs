//! Closing a client: everything that it holds is released, and the answers are awaited.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use leasehold_core::{Instant, Key, Span};
use tokio::task::JoinHandle;

use crate::answer::Released;
use crate::client::Client;
use crate::clock;
use crate::error::{Cause, Doubt, Error};
use crate::held::Held;
use crate::runtime::InRuntime;

/// Releases that are under way at the same time: fewer than a node takes from one client.
const TOGETHER: usize = 64;

/// What a closed client could not release for certain; see [`Client::close`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotReleased {
    /// The keys of guards, and why it is not known that they are free. Each is free once its lease has ended.
    pub keys: Vec<(Key, Error)>,
    /// Whether a lock that was still under way, or the release of a guard that was dropped before, was not answered in
    /// time: a further key may be taken until its lease has ended.
    pub others: bool,
}

impl fmt::Display for NotReleased {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client is closed; these may be held until their leases end:")?;
        for (key, why) in &self.keys {
            write!(f, " {key} ({why});")?;
        }
        if self.others {
            f.write_str(" what calls or releases under way have acquired or not given up")?;
        }
        Ok(())
    }
}

impl std::error::Error for NotReleased {}

impl Client {
    /// Ends this client with all its clones: stops its servers, gives up calls under way, releases the key of every guard,
    /// registration and leadership, waits for the answers, and closes the connections. Takes as long as a call may
    /// take, at most. A [`Lease`](crate::Lease) is not released, since nothing keeps it. Calls that are made afterwards
    /// fail at once.
    ///
    /// Await this before a program ends. A guard that is only dropped *begins* its release, and a runtime that ends at that
    /// moment, as at the end of `main`, drops what was begun: the key may stay taken until the lease ends.
    ///
    /// ```no_run
    /// # use leasehold_client::{Client, Options};
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = Client::connect(["127.0.0.1:7400"], Options::new()).await?;
    /// let _guard = client.lock("job").value("me").await?;
    /// // … and at the end of the program:
    /// client.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`NotReleased`] with what may be held until its lease ends. The client is closed all the same.
    pub async fn close(&self) -> Result<(), NotReleased> {
        let timeout = Span::from(self.options().timeout);
        let begun = clock::now();
        let deadline = begun.after(timeout);
        let here = self.at_hand();
        self.begin_to_close();
        // Servers end as their handlers say, as long as there is time for what comes after.
        self.servers().none_by(begun.after(timeout.split(2))).await;
        let parts = self.parts();
        let mut held = Vec::new();
        for part in &parts {
            part.cluster().give_up_calls();
            held.extend(part.keeper().close());
        }
        let keys = release_all(&here, held, deadline).await;
        let mut others = false;
        for part in &parts {
            others |= !part.cluster().outstanding().none_by(deadline).await;
            part.end(Cause::ClientClosed);
        }
        if keys.is_empty() && !others { Ok(()) } else { Err(NotReleased { keys, others }) }
    }
}

/// Releases all, and returns those of which it is not known that they are free.
async fn release_all(
    within: &InRuntime,
    held: Vec<Arc<Held>>,
    deadline: Instant,
) -> Vec<(Key, Error)> {
    let (mut releases, mut failed) = (VecDeque::new(), Vec::new());
    for next in held {
        if releases.len() >= TOGETHER {
            failed.extend(answer(releases.pop_front()).await);
        }
        let (key, cluster) = (next.key().clone(), Arc::clone(within.cluster()));
        let release = async move {
            let left = deadline.since(clock::now()).into();
            next.release(&cluster, left).await
        };
        match within.spawn(release) {
            Some(release) => releases.push_back((key, release)),
            None => failed.push((key, within.cluster().failure())),
        }
    }
    while !releases.is_empty() {
        failed.extend(answer(releases.pop_front()).await);
    }
    failed
}

/// A release under way, and its key.
type Releasing = (Key, JoinHandle<Result<Released, Error>>);

/// Waits for the answer. Returns the key if that does not say that it is free.
async fn answer(release: Option<Releasing>) -> Option<(Key, Error)> {
    let (key, release) = release?;
    match release.await {
        // A refusal says that the key was not held any more.
        Ok(Ok(_) | Err(Error::Refused(_))) => None,
        Ok(Err(error)) => Some((key, error)),
        // It was cut short by the end of its runtime, and may have been sent.
        Err(_) => Some((key, Error::Unknown(Doubt::Unanswered))),
    }
}
