//! Where strangers are met: a thread beside the node's own, with a runtime of its own and less weight.
//!
//! Whoever connects costs work before it is known whether they are welcome: a connection to accept, a TLS handshake, a hello to
//! be read. On the node's own thread that work would stand between those who are known and their answers, however few
//! strangers there are at a time. So it is done here. Whoever has said who they are is brought inside with what they have said
//! already, and is looked after there.
//!
//! Requests over HTTP are judged one by one, so their connections stay on the porch for as long as they live.
//!
//! What strangers may take of this thread is bounded at each port ([`lobby`](crate::lobby), [`meter`](crate::meter)); its
//! weight matters where there are fewer processors than work.

use std::future::Future;
use std::io;

use tokio::net::TcpListener;

use crate::stream::Stream;
use crate::task::Task;

#[cfg(not(madsim))]
pub(crate) use self::beside::Porch;
#[cfg(madsim)]
pub(crate) use self::within::Porch;

/// The node's own runtime, as those on the porch know it.
#[derive(Clone, Debug)]
pub(crate) struct Inside {
    #[cfg(not(madsim))]
    runtime: tokio::runtime::Handle,
}

impl Inside {
    /// The runtime that this is called in.
    pub(crate) fn here() -> Self {
        Self {
            #[cfg(not(madsim))]
            runtime: tokio::runtime::Handle::current(),
        }
    }

    /// Has the node's own runtime look after this connection. What was read of it, and what TLS knows, stays with it.
    #[cfg_attr(madsim, expect(clippy::unused_self, reason = "there is one runtime"))]
    pub(crate) fn bring(&self, stream: &mut Stream) -> io::Result<()> {
        #[cfg(not(madsim))]
        let _inside = self.runtime.enter();
        stream.settle()
    }

    /// Does this work inside.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        #[cfg(not(madsim))]
        drop(self.runtime.spawn(work));
        #[cfg(madsim)]
        drop(tokio::spawn(work));
    }
}

/// A thread of its own.
#[cfg(not(madsim))]
mod beside {
    use std::thread;

    use tokio::runtime::{Builder, Handle};
    use tokio::sync::oneshot;
    use tracing::{debug, warn};

    use super::{Future, Task, TcpListener, io};

    /// How nice the thread is: where all want the processor, it gets a tenth of what the node's own thread gets, which is
    /// enough for some hundred handshakes a second.
    const NICE: i32 = 10;

    /// The thread, until this is dropped.
    #[derive(Debug)]
    pub(crate) struct Porch {
        runtime: Handle,
        ends: oneshot::Sender<()>,
        ended: oneshot::Receiver<()>,
    }

    impl Porch {
        /// Starts the thread.
        pub(crate) fn open() -> io::Result<Self> {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let handle = runtime.handle().clone();
            let (ends, end) = oneshot::channel::<()>();
            let (over, ended) = oneshot::channel();
            thread::Builder::new().name("porch".into()).spawn(move || {
                if let Err(error) = rustix::process::nice(NICE) {
                    debug!(%error, "strangers are met with the node's own weight");
                }
                // Nothing is ever sent: the other end is dropped.
                drop(runtime.block_on(end));
                runtime.shutdown_background();
                // Whoever does not wait for it does not want to know.
                over.send(()).unwrap_or_default();
            })?;
            Ok(Self { runtime: handle, ends, ended })
        }

        /// Has the porch look after this listener.
        pub(crate) fn bring(&self, listener: TcpListener) -> io::Result<TcpListener> {
            let listener = listener.into_std()?;
            let _there = self.runtime.enter();
            TcpListener::from_std(listener)
        }

        /// Does this work on the porch.
        pub(crate) fn start(&self, work: impl Future<Output = ()> + Send + 'static) -> Task {
            let _there = self.runtime.enter();
            Task::start(work)
        }

        /// Ends all that is done there, and waits until it is over.
        pub(crate) async fn close(self) {
            drop(self.ends);
            if self.ended.await.is_err() {
                warn!("the thread that meets strangers panicked");
            }
        }
    }
}

/// There are no threads in a simulation, and no others to spare.
#[cfg(madsim)]
mod within {
    use super::{Future, Task, TcpListener, io};

    /// No thread.
    #[derive(Debug)]
    pub(crate) struct Porch;

    impl Porch {
        pub(crate) fn open() -> io::Result<Self> {
            Ok(Self)
        }

        pub(crate) fn bring(&self, listener: TcpListener) -> io::Result<TcpListener> {
            Ok(listener)
        }

        pub(crate) fn start(&self, work: impl Future<Output = ()> + Send + 'static) -> Task {
            Task::start(work)
        }

        pub(crate) async fn close(self) {}
    }
}
