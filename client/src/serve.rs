//! Servers: tasks that hold a name, and handle what is sent to it, for as long as they do.
//!
//! A server runs at most once in a cluster, because it runs only while it holds its name: it stops handling at the moment
//! at which somebody else could begin. A state machine is a server whose handler says which state comes next.

use std::fmt;
use std::future::{Future, IntoFuture, pending};
use std::sync::Arc;
use std::time::Duration;

use leasehold_core::{Address, Bytes, Token};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::client::Client;
use crate::error::Error;
use crate::guard::Belief;
use crate::held::Lost;
use crate::operations::Call;
use crate::registry::{Mailbox, Message, Register, Registration};

/// Messages that may wait for a server without a name.
const CAPACITY: usize = 256;

/// What a server does.
///
/// A handler is dropped in the middle of what it does, at its next `.await`, when the name is lost: whatever must not be done
/// then asks [`Belief::ensure_held`] first, or passes the token on.
///
/// ```no_run
/// use std::time::Duration;
/// use leasehold_client::{Bytes, Client, Context, Serve};
///
/// struct Counter(u64);
///
/// impl Serve for Counter {
///     async fn call(&mut self, _request: Bytes, _context: &Context) -> Bytes {
///         self.0 += 1;
///         self.0.to_string().into()
///     }
/// }
///
/// # async fn example(client: Client) -> Result<(), Box<dyn std::error::Error>> {
/// let server = client.serve("counter", Duration::from_secs(10), Counter(0)).await?;
/// println!("{}", client.call("counter", "next").await?);
/// server.stop().await;
/// # Ok(())
/// # }
/// ```
pub trait Serve: Send + 'static {
    /// The name is held, and nothing was handled yet.
    fn start(&mut self, context: &Context) -> impl Future<Output = ()> + Send {
        let _ = context;
        async {}
    }

    /// Answers a request. Answers with no bytes if not given.
    fn call(&mut self, request: Bytes, context: &Context) -> impl Future<Output = Bytes> + Send {
        let _ = (request, context);
        async { Bytes::EMPTY }
    }

    /// Handles a request that wants no answer. Does nothing if not given.
    fn cast(&mut self, request: Bytes, context: &Context) -> impl Future<Output = ()> + Send {
        let _ = (request, context);
        async {}
    }

    /// Handles any other message. Does nothing if not given.
    fn info(&mut self, message: Bytes, context: &Context) -> impl Future<Output = ()> + Send {
        let _ = (message, context);
        async {}
    }

    /// Handles whatever comes: by [`Serve::call`], [`Serve::cast`] and [`Serve::info`] if not given.
    fn message(&mut self, message: Message, context: &Context) -> impl Future<Output = ()> + Send {
        async {
            match message {
                Message::Info(body) => self.info(body, context).await,
                Message::Cast(body) => self.cast(body, context).await,
                Message::Call(mut request) => {
                    let body = std::mem::take(&mut request.body);
                    let answer = self.call(body, context).await;
                    // A caller that has given up does not need it.
                    drop(request.reply(answer).await);
                }
            }
        }
    }

    /// The server comes to its end; its name is released after this, unless it is lost. This is not cut short.
    fn terminate(&mut self, why: &Stopped) -> impl Future<Output = ()> + Send {
        let _ = why;
        async {}
    }
}

/// What a handler knows of its server.
#[derive(Clone, Debug)]
pub struct Context {
    belief: Option<Belief>,
    stop: Arc<Notify>,
}

impl Context {
    /// What is known about the name, if there is one.
    #[must_use]
    pub const fn belief(&self) -> Option<&Belief> {
        self.belief.as_ref()
    }

    /// The fencing token of the name, if there is one.
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        self.belief.as_ref().map(Belief::token)
    }

    /// Lets the server end once this message is handled.
    pub fn stop(&self) {
        self.stop.notify_one();
    }
}

/// Why a server has come to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It was told to, by its handle or by its own handler.
    Asked,
    /// Its name is lost: it may run somewhere else.
    Lost(Lost),
    /// Its client has ended.
    Ended,
    /// Its handler panicked.
    Panicked,
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("it was told to stop"),
            Self::Lost(lost) => write!(f, "its name is lost: {lost}"),
            Self::Ended => f.write_str("its client has ended"),
            Self::Panicked => f.write_str("its handler panicked"),
        }
    }
}

/// A server about to start; await it. See [`Client::serve`].
///
/// # Errors
///
/// When awaited: [`Error::Refused`] if one runs under that name already, and as for [`Register`].
#[derive(Debug)]
#[must_use = "does nothing until it is awaited"]
pub struct Serving<S> {
    register: Register,
    handler: S,
}

impl<S: Serve> Serving<S> {
    pub(crate) const fn new(register: Register, handler: S) -> Self {
        Self { register, handler }
    }

    /// Waits for its turn if one runs under that name already, for this long at most.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.register = self.register.wait(wait);
        self
    }

    /// See [`Register::value`].
    pub fn value(mut self, value: impl Into<String>) -> Self {
        self.register = self.register.value(value);
        self
    }

    /// See [`Register::label`].
    pub fn label(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.register = self.register.label(name, text);
        self
    }

    /// See [`Register::capacity`].
    pub fn capacity(mut self, messages: usize) -> Self {
        self.register = self.register.capacity(messages);
        self
    }
}

impl<S: Serve> IntoFuture for Serving<S> {
    type Output = Result<ServerHandle, Error>;
    type IntoFuture = Call<ServerHandle>;

    fn into_future(self) -> Call<ServerHandle> {
        Box::pin(async move {
            let registration = self.register.await?;
            Ok(ServerHandle::start(Inbox::Named(registration), self.handler))
        })
    }
}

/// A server that runs. It is told to stop when this is dropped, unless it was [detached](ServerHandle::detach).
///
/// ```no_run
/// # async fn example(mut server: leasehold_client::ServerHandle) {
/// // Ends when the name is lost, the handler panics, or the client ends.
/// let why = server.stopped().await;
/// eprintln!("{why}; somebody else may run it now");
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a server whose handle is dropped stops"]
pub struct ServerHandle {
    address: Address,
    belief: Option<Belief>,
    stop: Arc<Notify>,
    detached: bool,
    stopped: watch::Receiver<Option<Stopped>>,
    task: JoinHandle<()>,
}

impl ServerHandle {
    pub(crate) async fn unnamed<S: Serve>(client: &Client, handler: S) -> Result<Self, Error> {
        let mailbox = client.mailbox(CAPACITY).await?;
        Ok(Self::start(Inbox::Unnamed(mailbox), handler))
    }

    fn start<S: Serve>(inbox: Inbox, handler: S) -> Self {
        let (address, belief) = (inbox.address(), inbox.belief());
        let stop = Arc::new(Notify::new());
        let context = Context { belief: belief.clone(), stop: Arc::clone(&stop) };
        let (tell, stopped) = watch::channel(None);
        let ended = Ended(tell);
        let task = tokio::spawn(run(inbox, handler, context, ended));
        Self { address, belief, stop, detached: false, stopped, task }
    }

    /// Where it was when it started: for a server without a name the only way to send it something.
    #[must_use]
    pub const fn address(&self) -> Address {
        self.address
    }

    /// What is known about its name, if it has one.
    #[must_use]
    pub const fn belief(&self) -> Option<&Belief> {
        self.belief.as_ref()
    }

    /// Whether it has not come to its end yet.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.task.is_finished()
    }

    /// Tells it to stop, after what it is handling, and waits until its name is released. Says why it stopped: something
    /// else may have come first.
    pub async fn stop(mut self) -> Stopped {
        self.stop.notify_one();
        self.end().await
    }

    /// Waits until it has come to its end, and says why. Cancel safe.
    pub async fn stopped(&mut self) -> Stopped {
        self.end().await
    }

    /// Lets it run on without this handle.
    pub fn detach(mut self) {
        self.detached = true;
    }

    async fn end(&mut self) -> Stopped {
        match self.stopped.wait_for(Option::is_some).await {
            Ok(stopped) => stopped.clone().unwrap_or(Stopped::Panicked),
            Err(_) => Stopped::Panicked,
        }
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        if !self.detached {
            self.stop.notify_one();
        }
    }
}

/// Where a server's messages come from.
#[derive(Debug)]
enum Inbox {
    Named(Registration),
    Unnamed(Mailbox),
}

impl Inbox {
    fn address(&self) -> Address {
        match self {
            Self::Named(registration) => registration.address(),
            Self::Unnamed(mailbox) => mailbox.address(),
        }
    }

    fn belief(&self) -> Option<Belief> {
        match self {
            Self::Named(registration) => Some(registration.belief()),
            Self::Unnamed(_) => None,
        }
    }

    async fn recv(&mut self) -> Result<Message, Stopped> {
        match self {
            Self::Named(registration) => match registration.recv().await {
                Ok(message) => message.ok_or(Stopped::Ended),
                Err(lost) => Err(Stopped::Lost(lost)),
            },
            Self::Unnamed(mailbox) => mailbox.recv().await.ok_or(Stopped::Ended),
        }
    }

    /// Gives the name up.
    async fn close(self) {
        match self {
            // Should it fail, the lease ends by itself.
            Self::Named(registration) => drop(registration.unregister().await),
            Self::Unnamed(mailbox) => drop(mailbox),
        }
    }
}

/// Tells the handle how it ended; without a word, that it panicked.
#[derive(Debug)]
struct Ended(watch::Sender<Option<Stopped>>);

async fn run<S: Serve>(mut inbox: Inbox, mut handler: S, context: Context, ended: Ended) {
    let why = serve(&mut inbox, &mut handler, &context).await;
    handler.terminate(&why).await;
    match &why {
        Stopped::Asked | Stopped::Ended | Stopped::Panicked => inbox.close().await,
        // Nobody needs to wait for the release of what is not held any more.
        Stopped::Lost(_) => drop(inbox),
    }
    ended.0.send_replace(Some(why));
}

async fn serve<S: Serve>(inbox: &mut Inbox, handler: &mut S, context: &Context) -> Stopped {
    if let Err(lost) = until_lost(context, handler.start(context)).await {
        return Stopped::Lost(lost);
    }
    loop {
        let message = tokio::select! {
            biased;
            () = context.stop.notified() => return Stopped::Asked,
            message = inbox.recv() => match message {
                Ok(message) => message,
                Err(stopped) => return stopped,
            },
        };
        if let Err(lost) = until_lost(context, handler.message(message, context)).await {
            return Stopped::Lost(lost);
        }
    }
}

/// Does `work`, unless the name is lost before it is done.
async fn until_lost<T>(context: &Context, work: impl Future<Output = T>) -> Result<T, Lost> {
    let lost = async {
        match &context.belief {
            Some(belief) => belief.lost().await,
            None => pending().await,
        }
    };
    tokio::select! {
        biased;
        lost = lost => Err(lost),
        done = work => Ok(done),
    }
}

/// A server as a state machine: each message takes it from one state to the next, or to its end. Run it as an [`Fsm`].
///
/// ```no_run
/// use std::time::Duration;
/// use leasehold_client::{Client, Context, Fsm, Machine, Message};
///
/// enum Door { Open, Closed }
/// struct Janitor;
///
/// impl Machine for Janitor {
///     type State = Door;
///
///     async fn next(&mut self, state: Door, message: Message, _: &Context) -> Option<Door> {
///         match (state, message) {
///             (Door::Open, Message::Cast(_)) => Some(Door::Closed),
///             (Door::Closed, Message::Cast(_)) => Some(Door::Open),
///             (state, Message::Call(request)) => {
///                 let open = matches!(state, Door::Open);
///                 request.reply(if open { "open" } else { "closed" }).await.ok();
///                 Some(state)
///             }
///             (_, Message::Info(_)) => None,
///         }
///     }
/// }
///
/// # async fn example(client: Client) -> Result<(), leasehold_client::Error> {
/// let fsm = Fsm::new(Janitor, Door::Closed);
/// let server = client.serve("door", Duration::from_secs(10), fsm).await?;
/// # drop(server);
/// # Ok(())
/// # }
/// ```
pub trait Machine: Send + 'static {
    /// What it remembers between messages.
    type State: Send;

    /// Takes in a message; the next state, or `None` to end.
    fn next(
        &mut self,
        state: Self::State,
        message: Message,
        context: &Context,
    ) -> impl Future<Output = Option<Self::State>> + Send;

    /// The machine comes to its end. There is no state if it ended by itself, or was cut short by the loss of its name.
    fn terminate(
        &mut self,
        state: Option<Self::State>,
        why: &Stopped,
    ) -> impl Future<Output = ()> + Send {
        let _ = (state, why);
        async {}
    }
}

/// The server that a [`Machine`] is.
#[derive(Debug)]
pub struct Fsm<M: Machine> {
    machine: M,
    state: Option<M::State>,
}

impl<M: Machine> Fsm<M> {
    /// A machine in its first state.
    #[must_use]
    pub const fn new(machine: M, first: M::State) -> Self {
        Self { machine, state: Some(first) }
    }
}

impl<M: Machine> Serve for Fsm<M> {
    async fn message(&mut self, message: Message, context: &Context) {
        if let Some(state) = self.state.take() {
            self.state = self.machine.next(state, message, context).await;
        }
        if self.state.is_none() {
            context.stop();
        }
    }

    async fn terminate(&mut self, why: &Stopped) {
        self.machine.terminate(self.state.take(), why).await;
    }
}
