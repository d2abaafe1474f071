//! A connection whose answers come in the order of the questions, as those of Redis, `ZooKeeper` and the floor do.
//!
//! Whatever has gathered is written at once, and all answers of a read are taken apart at once, so that this is no
//! bottleneck. All users of a pipe are on its thread. What comes between the answers, unasked, goes to those who wait for it
//! by name.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, oneshot};
use tokio::task::spawn_local;

/// How long the first answer in these bytes is, once that can be told.
pub(crate) type Framing = fn(&[u8]) -> Option<usize>;
/// The name of what this announces, if it is no answer.
pub(crate) type Announces = fn(&[u8]) -> Option<Vec<u8>>;
/// An answer under way; it fails if the connection ends.
pub(crate) type Answer = oneshot::Receiver<Vec<u8>>;

/// One connection.
#[derive(Clone, Debug)]
pub(crate) struct Pipe(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    out: RefCell<Vec<u8>>,
    waiting: RefCell<VecDeque<oneshot::Sender<Vec<u8>>>>,
    /// Who waits for something to be announced.
    expecting: RefCell<HashMap<Vec<u8>, oneshot::Sender<()>>>,
    work: Notify,
}

impl Pipe {
    /// Connects; must be called within a `LocalSet`.
    pub(crate) async fn connect(port: u16, framing: Framing) -> io::Result<Self> {
        Self::announcing(port, framing, |_| None).await
    }

    /// The same to a server that says something unasked, too.
    pub(crate) async fn announcing(
        port: u16,
        framing: Framing,
        announces: Announces,
    ) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        let inner = Rc::new(Inner {
            out: RefCell::default(),
            waiting: RefCell::default(),
            expecting: RefCell::default(),
            work: Notify::new(),
        });
        spawn_local(read(Rc::clone(&inner), reader, framing, announces));
        spawn_local(write(Rc::clone(&inner), writer));
        Ok(Self(inner))
    }

    /// Sends what `encode` appends, and returns where the answer comes.
    pub(crate) fn ask(&self, encode: impl FnOnce(&mut Vec<u8>)) -> Answer {
        let (sender, answer) = oneshot::channel();
        self.0.waiting.borrow_mut().push_back(sender);
        let mut out = self.0.out.borrow_mut();
        let first = out.is_empty();
        encode(&mut out);
        drop(out);
        if first {
            self.0.work.notify_one();
        }
        answer
    }

    /// Where it is told that this was announced; ask for it before the question that leads to that. It fails if the
    /// connection ends.
    pub(crate) fn expect(&self, name: Vec<u8>) -> oneshot::Receiver<()> {
        let (sender, announced) = oneshot::channel();
        self.0.expecting.borrow_mut().insert(name, sender);
        announced
    }
}

async fn write(inner: Rc<Inner>, mut writer: OwnedWriteHalf) {
    let mut bytes = Vec::new();
    loop {
        std::mem::swap(&mut bytes, &mut *inner.out.borrow_mut());
        if bytes.is_empty() {
            inner.work.notified().await;
            continue;
        }
        // If this fails the reader ends, too, and with it every question.
        if writer.write_all(&bytes).await.is_err() {
            return;
        }
        bytes.clear();
    }
}

async fn read(inner: Rc<Inner>, mut reader: OwnedReadHalf, framing: Framing, announces: Announces) {
    let mut bytes: Vec<u8> = Vec::new();
    loop {
        bytes.reserve(64 << 10);
        if !matches!(reader.read_buf(&mut bytes).await, Ok(1..)) {
            inner.waiting.borrow_mut().clear();
            inner.expecting.borrow_mut().clear();
            return;
        }
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty())
            && let Some(answer) = framing(rest).and_then(|length| rest.get(..length))
        {
            at += answer.len();
            if let Some(name) = announces(answer) {
                if let Some(sender) = inner.expecting.borrow_mut().remove(&name) {
                    // Who waited may have gone.
                    sender.send(()).unwrap_or_default();
                }
            } else if let Some(sender) = inner.waiting.borrow_mut().pop_front() {
                // Who asked may have had enough answers from elsewhere.
                drop(sender.send(answer.to_vec()));
            }
        }
        bytes.drain(..at);
    }
}

/// Waits until `wanted` of these answers were good; or none is left that could be.
pub(crate) async fn quorum(
    answers: &mut [Answer],
    wanted: usize,
    good: impl Fn(&[u8]) -> bool,
) -> bool {
    let mut over = vec![false; answers.len()];
    let mut count = 0;
    poll_fn(move |context| {
        for (answer, over) in answers.iter_mut().zip(&mut over) {
            if !*over && let Poll::Ready(result) = Future::poll(Pin::new(answer), context) {
                *over = true;
                count += usize::from(result.is_ok_and(|bytes| good(&bytes)));
            }
        }
        if count >= wanted {
            Poll::Ready(true)
        } else if over.iter().all(|over| *over) {
            Poll::Ready(false)
        } else {
            Poll::Pending
        }
    })
    .await
}
