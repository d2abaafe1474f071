//! One connection to one node: the greeting, and many requests in flight.
//!
//! A request goes through three states: *queued*, *written* (handed to the operating system, so it may have taken
//! effect) and answered. When the connection ends, each unanswered one learns in which state it was. One whose
//! caller gave up while it was written stays as an *orphan*, so that a lock which is granted after all can be
//! given back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use leasehold_core::wire::{ClientHello, ClientItem, Frame, NodeItem, VERSIONS, Welcome};
use leasehold_core::{Instant, NodeId, Notice, Outcome};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::cluster::{Cluster, lock_up};
use crate::error::{Cause, Reason};
use crate::frames::Inbox;
use crate::line::{Line, Queued};
use crate::mailbox::Slot;
use crate::options::Options;
use crate::question::{Orphan, Reply};
use crate::tls::Transport;
use crate::watch::{WatchEnd, Watcher};

/// Bytes after which a batch is written although more is queued.
const BATCH: usize = 64 << 10;

/// No setting makes signs of life more frequent.
const SHORTEST_BEAT: Duration = Duration::from_millis(1);

/// A connection that has been welcomed, with its two halves.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) welcome: Welcome,
    inbox: Inbox,
    reader: ReadHalf<Box<dyn Transport>>,
    writer: WriteHalf<Box<dyn Transport>>,
}

/// What became of one sending of a request.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// It was answered.
    Reply {
        /// Which one.
        call: u64,
        /// The clock before it was sent.
        asked_at: Instant,
        /// The answer.
        reply: Reply,
    },
    /// The connection ended.
    Lost {
        /// Which one.
        call: u64,
        /// Whether it may have reached the node.
        written: bool,
    },
    /// It was never sent: it does not fit a frame.
    TooLarge {
        /// Which one.
        call: u64,
    },
    /// The node has given no sign of life when one was due. Something else still becomes of the sending.
    Quiet {
        /// Which one.
        call: u64,
    },
}

#[derive(Debug)]
struct Pending {
    asked_at: Instant,
    written: bool,
    waiter: Waiter,
}

#[derive(Debug)]
enum Waiter {
    Awaited(Slot),
    Orphaned(Orphan),
    Watching(Watcher),
}

#[derive(Debug, Default)]
struct Calls {
    closed: bool,
    pending: BTreeMap<u64, Pending>,
}

impl Calls {
    /// Puts an item into the next frame, unless its call was given up while it was queued.
    fn encode(&mut self, call: Option<u64>, item: &ClientItem, frame: &mut Frame) {
        let Some(call) = call else {
            let fits = frame.push(item);
            debug_assert!(fits.is_ok(), "signs of life and cancellations are small");
            return;
        };
        let Some(pending) = self.pending.get_mut(&call) else { return };
        if frame.push(item).is_ok() {
            pending.written = true;
            return;
        }
        match self.pending.remove(&call).map(|pending| pending.waiter) {
            Some(Waiter::Awaited(waiter)) => waiter.put(Arrival::TooLarge { call }),
            Some(Waiter::Watching(watcher)) => watcher.end(WatchEnd::NotDone(Reason::Nonsense)),
            Some(Waiter::Orphaned(_)) | None => {}
        }
    }
}

/// What callers know of a connection.
#[derive(Debug)]
pub(crate) struct Connection {
    node: NodeId,
    line: Line,
    calls: Mutex<Calls>,
    /// No sign of life came when one was due.
    quiet: AtomicBool,
}

/// Connects and greets; the name is resolved anew each time.
pub(crate) async fn open(address: &str, options: &Options) -> Result<Opened, Cause> {
    timeout(options.dial, greet(address, options)).await.unwrap_or(Err(Cause::TimedOut))
}

async fn greet(address: &str, options: &Options) -> Result<Opened, Cause> {
    let stream =
        TcpStream::connect(address).await.map_err(|error| Cause::Connect(error.to_string()))?;
    stream.set_nodelay(true).map_err(|error| Cause::Broken(error.to_string()))?;
    let stream: Box<dyn Transport> = match &options.tls {
        Some(tls) => tls.wrap(address, stream).await?,
        None => Box::new(stream),
    };
    let (mut reader, mut writer) = tokio::io::split(stream);
    let hello = ClientItem::Hello(ClientHello {
        versions: VERSIONS,
        credential: options.token.as_ref().map(|token| token.0.clone()),
        name: options.name.clone(),
    });
    let mut frame = Frame::default();
    frame.push(&hello).map_err(Cause::Malformed)?;
    write(&mut writer, &frame.take()).await?;
    let mut inbox = Inbox::new();
    match inbox.next(&mut reader).await? {
        NodeItem::Welcome(welcome) => {
            if !(VERSIONS.oldest..=VERSIONS.newest).contains(&welcome.version) {
                return Err(Cause::Version(welcome.version));
            }
            Ok(Opened { welcome, inbox, reader, writer })
        }
        NodeItem::Refused(why) => Err(Cause::Refused(why)),
        NodeItem::NotAllowed { why, .. } => Err(Cause::NotAllowed(why)),
        NodeItem::Reply { .. }
        | NodeItem::Status { .. }
        | NodeItem::Topology(_)
        | NodeItem::LocalRead { .. }
        | NodeItem::Page { .. }
        | NodeItem::Waiting { .. }
        | NodeItem::Unmet { .. }
        | NodeItem::Declined { .. }
        | NodeItem::Watching { .. }
        | NodeItem::Notice { .. }
        | NodeItem::Lagged { .. }
        | NodeItem::Hosted { .. }
        | NodeItem::Posted { .. }
        | NodeItem::Mail { .. }
        | NodeItem::Beat => Err(Cause::Unwelcoming),
    }
}

async fn write(writer: &mut WriteHalf<Box<dyn Transport>>, bytes: &[u8]) -> Result<(), Cause> {
    let broken = |error: std::io::Error| Cause::Broken(error.to_string());
    writer.write_all(bytes).await.map_err(broken)?;
    writer.flush().await.map_err(broken)
}

impl Connection {
    pub(crate) fn new(node: NodeId) -> Arc<Self> {
        Arc::new(Self {
            node,
            line: Line::default(),
            calls: Mutex::default(),
            quiet: AtomicBool::new(false),
        })
    }

    /// The node at the other end.
    pub(crate) const fn node(&self) -> NodeId {
        self.node
    }

    /// Whether no sign of life came when one was due: others had better be asked.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::Relaxed)
    }

    /// Sends a request; what becomes of it arrives at `waiter`, exactly once unless the call is given up first.
    pub(crate) async fn ask(&self, call: u64, item: ClientItem, asked_at: Instant, waiter: Slot) {
        {
            let mut calls = lock_up(&self.calls);
            if calls.closed {
                return waiter.put(Arrival::Lost { call, written: false });
            }
            if self.is_quiet() {
                waiter.put_if_wanted(Arrival::Quiet { call });
            }
            let waiter = Waiter::Awaited(waiter);
            calls.pending.insert(call, Pending { asked_at, written: false, waiter });
        }
        // If nobody takes from the queue any more, `close` tells the waiter.
        self.line.push((Some(call), item)).await;
    }

    /// Returns once the connection has ended.
    pub(crate) async fn ended(&self) {
        self.line.closed().await;
    }

    /// Sends a request that is answered by one notice after the other.
    pub(crate) async fn watch(&self, call: u64, item: ClientItem, now: Instant, watcher: Watcher) {
        {
            let mut calls = lock_up(&self.calls);
            if calls.closed {
                return watcher.end(WatchEnd::Disconnected);
            }
            let waiter = Waiter::Watching(watcher);
            calls.pending.insert(call, Pending { asked_at: now, written: false, waiter });
        }
        // If nobody takes from the queue any more, `close` tells the watcher.
        self.line.push((Some(call), item)).await;
    }

    /// Nobody awaits the call any more. If a lock may still be granted, it will be released. Returns whether the
    /// request may have reached the node.
    pub(crate) fn abandon(&self, call: u64, orphan: Option<Orphan>) -> bool {
        let mut calls = lock_up(&self.calls);
        // What is not pending has been told what became of it, which somebody did not look at any more.
        let Some(mut pending) = calls.pending.remove(&call) else { return true };
        if !pending.written {
            return false;
        }
        if let Some(orphan) = orphan {
            pending.waiter = Waiter::Orphaned(orphan);
            calls.pending.insert(call, pending);
        }
        // Without room in the queue the node finishes what nobody needs, which is only slow.
        self.line.push_if_room((None, ClientItem::Cancel { call }));
        true
    }

    /// The call has been answered elsewhere. What this node says about it no longer matters, unless it grants a lock a
    /// second time, which is given back then.
    pub(crate) fn forget(&self, call: u64, orphan: Option<Orphan>) {
        let mut calls = lock_up(&self.calls);
        if let (Some(mut pending), Some(orphan)) = (calls.pending.remove(&call), orphan)
            && pending.written
        {
            pending.waiter = Waiter::Orphaned(orphan);
            calls.pending.insert(call, pending);
        }
    }

    /// Carries requests and answers until the connection ends, and says why it did.
    pub(crate) async fn serve(self: &Arc<Self>, opened: Opened, cluster: &Arc<Cluster>) -> Cause {
        let Opened { inbox, reader, writer, .. } = opened;
        let _close = CloseOnDrop(Arc::clone(self));
        tokio::select! {
            biased;
            cause = self.read(inbox, reader, cluster) => cause,
            cause = self.write(writer, cluster.options()) => cause,
        }
    }

    async fn read(
        &self,
        mut inbox: Inbox,
        mut reader: ReadHalf<Box<dyn Transport>>,
        cluster: &Arc<Cluster>,
    ) -> Cause {
        loop {
            while let Some(item) = inbox.pop() {
                if let Some(cause) = self.item(item, cluster) {
                    return cause;
                }
            }
            let silence = cluster.options().silence;
            let due = cluster.options().due();
            let read = match timeout(due, inbox.read(&mut reader)).await {
                Err(_elapsed) => {
                    self.fall_quiet();
                    cluster.widen();
                    timeout(silence.saturating_sub(due), inbox.read(&mut reader)).await
                }
                read => read,
            };
            match read {
                Err(_elapsed) => return Cause::Silent,
                Ok(Err(cause)) => return cause,
                Ok(Ok(())) => self.quiet.store(false, Ordering::Relaxed),
            }
        }
    }

    /// Tells those who wait that a sign of life was due and did not come.
    fn fall_quiet(&self) {
        let calls = lock_up(&self.calls);
        // Under the lock, so that each call hears of it either here or when it is put.
        self.quiet.store(true, Ordering::Relaxed);
        for (&call, pending) in &calls.pending {
            if let Waiter::Awaited(waiter) = &pending.waiter {
                waiter.put_if_wanted(Arrival::Quiet { call });
            }
        }
    }

    /// Takes in what the node says. Returns why the connection ends, if that says so.
    fn item(&self, item: NodeItem, cluster: &Arc<Cluster>) -> Option<Cause> {
        match item {
            NodeItem::Reply { call, outcome } => {
                self.answered(call, Reply::Outcome(outcome), cluster);
            }
            NodeItem::Status { call, status } => {
                self.answered(call, Reply::Status(Box::new(status)), cluster);
            }
            NodeItem::Unmet { call, masters } => {
                self.answered(call, Reply::Unmet(masters), cluster);
            }
            NodeItem::LocalRead { call, holder } => {
                self.answered(call, Reply::Local(holder), cluster);
            }
            NodeItem::Page { call, page } => self.answered(call, Reply::Page(page), cluster),
            NodeItem::Waiting { call, waiting } => {
                self.answered(call, Reply::Waiting(waiting), cluster);
            }
            NodeItem::Watching { call } => self.watching(call),
            NodeItem::Notice { call, notice } => self.noticed(call, notice),
            NodeItem::Lagged { call } => self.unwatch(call, WatchEnd::Lagged),
            NodeItem::Hosted { call, address } => {
                self.answered(call, Reply::Hosted(address), cluster);
            }
            NodeItem::Posted { call, delivery } => {
                self.answered(call, Reply::Posted(delivery), cluster);
            }
            NodeItem::Mail { mail, number, parcel } => {
                let delivery = cluster.post().deliver(number, parcel);
                // Without room in the line the sender is told that nobody knows.
                self.line.push_if_room((None, ClientItem::Receipt { mail, delivery }));
            }
            NodeItem::Topology(topology) => cluster.learn(topology),
            NodeItem::NotAllowed { call: Some(call), why } => {
                self.answered(call, Reply::NotAllowed(why), cluster);
            }
            NodeItem::Declined { call, why } => self.answered(call, Reply::Declined(why), cluster),
            NodeItem::NotAllowed { call: None, why } => return Some(Cause::NotAllowed(why)),
            NodeItem::Refused(why) => return Some(Cause::Refused(why)),
            NodeItem::Beat | NodeItem::Welcome(_) => {}
        }
        None
    }

    fn watching(&self, call: u64) {
        let mut calls = lock_up(&self.calls);
        if let Some(Pending { waiter: Waiter::Watching(watcher), .. }) =
            calls.pending.get_mut(&call)
        {
            watcher.begin();
        }
    }

    fn noticed(&self, call: u64, notice: Notice) {
        let told = match lock_up(&self.calls).pending.get(&call) {
            Some(Pending { waiter: Waiter::Watching(watcher), .. }) => watcher.tell(notice),
            Some(_) | None => true,
        };
        if !told {
            self.unwatch(call, WatchEnd::Lagged);
            // Without room in the queue the node goes on telling, and nobody listens.
            self.line.push_if_room((None, ClientItem::Cancel { call }));
        }
    }

    fn unwatch(&self, call: u64, end: WatchEnd) {
        let ended = lock_up(&self.calls).pending.remove(&call);
        if let Some(Pending { waiter: Waiter::Watching(watcher), .. }) = ended {
            watcher.end(end);
        }
    }

    fn answered(&self, call: u64, reply: Reply, cluster: &Arc<Cluster>) {
        let mut calls = lock_up(&self.calls);
        let Some(Pending { asked_at, waiter, .. }) = calls.pending.remove(&call) else { return };
        match (waiter, reply) {
            // Under the lock, so that a caller who abandons a call finds it either here or in its channel.
            (Waiter::Awaited(waiter), reply) => {
                waiter.put(Arrival::Reply { call, asked_at, reply });
            }
            (Waiter::Watching(watcher), reply) => watcher.refuse(reply),
            (Waiter::Orphaned(orphan), Reply::Outcome(Outcome::Done(done))) => {
                cluster.give_back(orphan, done.token);
            }
            (
                Waiter::Orphaned(_),
                Reply::Outcome(
                    Outcome::Found(_)
                    | Outcome::Woken(_)
                    | Outcome::Refused(_)
                    | Outcome::NotDone(_)
                    | Outcome::Unknown
                    | Outcome::Founded(_)
                    | Outcome::Configured { .. },
                )
                | Reply::Local(_)
                | Reply::Status(_)
                | Reply::Page(_)
                | Reply::Waiting(_)
                | Reply::NotAllowed(_)
                | Reply::Declined(_)
                | Reply::Hosted(_)
                | Reply::Posted(_)
                | Reply::Unmet(_),
            ) => {}
        }
    }

    async fn write(&self, mut writer: WriteHalf<Box<dyn Transport>>, options: &Options) -> Cause {
        let mut beat = interval(options.beat.max(SHORTEST_BEAT));
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut frame, mut bytes) = (Frame::default(), Vec::new());
        let mut queued = Vec::new();
        loop {
            tokio::select! {
                biased;
                _ = beat.tick() => queued.push((None, ClientItem::Beat)),
                () = self.line.take(&mut queued) => {}
            }
            let mut rest = queued.drain(..);
            while rest.len() > 0 {
                self.encode(&mut rest, &mut frame);
                bytes = frame.swap(bytes);
                if let Err(cause) = write(&mut writer, &bytes).await {
                    return cause;
                }
            }
        }
    }

    /// Puts items into the next frame until it is large, but none whose call was given up while it was queued.
    fn encode(&self, items: &mut std::vec::Drain<'_, Queued>, frame: &mut Frame) {
        let mut calls = lock_up(&self.calls);
        while frame.len() < BATCH
            && let Some((call, item)) = items.next()
        {
            calls.encode(call, &item, frame);
        }
    }

    /// Tells everybody who still waits that no answer will come.
    fn close(&self) {
        let mut calls = lock_up(&self.calls);
        calls.closed = true;
        for (call, Pending { written, waiter, .. }) in std::mem::take(&mut calls.pending) {
            match waiter {
                Waiter::Awaited(waiter) => waiter.put(Arrival::Lost { call, written }),
                Waiter::Watching(watcher) => watcher.end(WatchEnd::Disconnected),
                Waiter::Orphaned(_) => {}
            }
        }
        drop(calls);
        self.line.close();
    }
}

/// Closes a connection however its task ends.
struct CloseOnDrop(Arc<Connection>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}
