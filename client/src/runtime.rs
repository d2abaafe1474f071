//! What a client has in each tokio runtime in which it is used: connections, and the tasks that keep guards.
//!
//! A client may be used in any runtime, also in several at the same time, as one in a `static` is. What it begins in one
//! stays there: connections, background extensions and mailboxes end with the runtime in which they began, and never with
//! another one. A task that beats once a second shows whether a runtime still runs, and notices when it ends.

use std::future::{Future, pending};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use leasehold_core::{ClusterId, Instant, Span};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinHandle;

use crate::clock;
use crate::cluster::Cluster;
use crate::error::Cause;
use crate::keeper::Keeper;
use crate::options::{Credentials, Options};

/// How often a runtime shows that it runs.
const BEAT: Duration = Duration::from_secs(1);
/// A runtime that has shown nothing for so long stands still: all its threads are blocked, or nothing drives it.
const STILL: Span = Span::from_secs(10);

/// Names a runtime among all of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg(not(madsim))]
pub(crate) struct RuntimeId(tokio::runtime::Id);

/// There is one runtime in a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg(madsim)]
pub(crate) struct RuntimeId;

impl RuntimeId {
    #[cfg(not(madsim))]
    fn of(handle: &Handle) -> Self {
        Self(handle.id())
    }

    #[cfg(madsim)]
    fn of(_: &Handle) -> Self {
        Self
    }

    /// The runtime that runs this, if one does.
    fn here() -> Option<Self> {
        Handle::try_current().ok().map(|handle| Self::of(&handle))
    }
}

/// A client's part in one runtime.
#[derive(Debug)]
pub(crate) struct InRuntime {
    id: Option<RuntimeId>,
    handle: Option<Handle>,
    cluster: Arc<Cluster>,
    keeper: Arc<Keeper>,
    tasks: Vec<JoinHandle<()>>,
}

impl InRuntime {
    /// Begins to connect in the runtime of `handle`.
    pub(crate) fn new(
        handle: &Handle,
        endpoints: Vec<String>,
        options: &Options,
        credentials: Credentials,
        identity: Option<ClusterId>,
    ) -> Self {
        let (orphans, orphaned) = unbounded_channel();
        let (options, runtime) = (options.clone(), Some(handle.clone()));
        let cluster = Cluster::new(endpoints, options, credentials, identity, runtime, orphans);
        let keeper = Keeper::new();
        // First, so that a runtime that has ended is noticed before anything is begun in it.
        let beating = handle.spawn(beat(EndWithRuntime(Arc::clone(&cluster))));
        cluster.begin();
        let janitor = handle.spawn(crate::client::give_back(Arc::clone(&cluster), orphaned));
        let keeping = handle.spawn(Arc::clone(&keeper).run());
        let tasks = vec![beating, janitor, keeping];
        let (id, handle) = (Some(RuntimeId::of(handle)), Some(handle.clone()));
        Self { id, handle, cluster, keeper, tasks }
    }

    /// A part that is over, for calls that cannot be made and are to say why.
    pub(crate) fn over(endpoints: Vec<String>, options: &Options, why: Cause) -> Self {
        let (orphans, _) = unbounded_channel();
        let (options, credentials) = (options.clone(), options.credentials());
        let cluster = Cluster::new(endpoints, options, credentials, None, None, orphans);
        cluster.end(why);
        let keeper = Keeper::new();
        drop(keeper.close());
        Self { id: None, handle: None, cluster, keeper, tasks: Vec::new() }
    }

    pub(crate) fn is_in(&self, handle: &Handle) -> bool {
        self.id == Some(RuntimeId::of(handle))
    }

    pub(crate) const fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    pub(crate) const fn keeper(&self) -> &Arc<Keeper> {
        &self.keeper
    }

    /// Runs what must outlive a call; `None` where nothing runs any more.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<JoinHandle<T>> {
        let handle = self.handle.as_ref()?;
        (!self.cluster.has_ended()).then(|| handle.spawn(work))
    }

    /// Ends everything at once.
    pub(crate) fn end(&self, why: Cause) {
        drop(self.keeper.close());
        for task in &self.tasks {
            task.abort();
        }
        self.cluster.end(why);
    }

    /// Ends everything as soon as nothing is to be given back any more, or calls have had their time. A lock that is not
    /// answered is not waited for: a node cancels it when the connection ends.
    pub(crate) fn end_in_time(self: &Arc<Self>) {
        let (this, outstanding) = (Arc::clone(self), self.cluster.returning().is_any());
        let deadline = clock::now().after(self.cluster.options().timeout.into());
        let wait = async move {
            this.cluster.returning().none_by(deadline).await;
            this.end(Cause::ClientClosed);
        };
        if !outstanding || self.spawn(wait).is_none() {
            self.end(Cause::ClientClosed);
        }
    }
}

/// Ends a cluster when the runtime drops its tasks.
struct EndWithRuntime(Arc<Cluster>);

impl Drop for EndWithRuntime {
    fn drop(&mut self) {
        self.0.end(Cause::RuntimeEnded);
    }
}

async fn beat(of: EndWithRuntime) {
    loop {
        of.0.pulse().beat();
        tokio::time::sleep(BEAT).await;
    }
}

/// When a runtime last showed that it runs.
#[derive(Debug)]
pub(crate) struct Pulse {
    id: Option<RuntimeId>,
    last: AtomicU64,
}

impl Pulse {
    pub(crate) fn of(handle: Option<&Handle>) -> Self {
        let last = AtomicU64::new(clock::now().as_micros());
        Self { id: handle.map(RuntimeId::of), last }
    }

    fn beat(&self) {
        self.last.store(clock::now().as_micros(), Ordering::Relaxed);
    }

    pub(crate) fn stands_still(&self) -> bool {
        let last = Instant::from_micros(self.last.load(Ordering::Relaxed));
        clock::now().since(last) > STILL
    }

    /// Returns if the runtime stands still. Does not look where that runtime runs this itself.
    pub(crate) async fn until_still(&self) {
        if self.id == RuntimeId::here() {
            return pending().await;
        }
        while !self.stands_still() {
            clock::sleep_until(clock::now().after(BEAT.into())).await;
        }
    }
}

/// Counts what is under way.
#[derive(Debug, Default)]
pub(crate) struct Outstanding {
    count: AtomicUsize,
    none: Notify,
}

/// One thing that is under way, until this is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<Outstanding>);

impl Outstanding {
    pub(crate) fn begin(self: &Arc<Self>) -> UnderWay {
        self.count.fetch_add(1, Ordering::SeqCst);
        UnderWay(Arc::clone(self))
    }

    pub(crate) fn is_any(&self) -> bool {
        self.count.load(Ordering::SeqCst) > 0
    }

    /// Waits until nothing is under way; says whether that was so by `deadline`.
    pub(crate) async fn none_by(&self, deadline: Instant) -> bool {
        loop {
            // From here on no end is missed.
            let none = self.none.notified();
            if !self.is_any() {
                return true;
            }
            tokio::select! {
                biased;
                () = none => {}
                () = clock::sleep_until(deadline) => return !self.is_any(),
            }
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.none.notify_waiters();
        }
    }
}
