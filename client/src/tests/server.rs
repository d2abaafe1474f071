//! A node of few words: accepts real connections on loopback and says what a test tells it to.

use std::collections::VecDeque;

use leasehold_core::wire::{
    self, ClientHello, ClientItem, Frame, NodeItem, Topology, VERSIONS, Welcome,
};
use leasehold_core::{
    ClusterId, Epoch, KeyRequest, Limits, Member, NodeId, Outcome, Peer, Standing, Timing,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::tls::Transport;

/// The cluster that every scripted node belongs to.
pub(super) const CLUSTER: ClusterId = ClusterId(1, 2);

/// A scripted node that listens.
pub(super) struct Server {
    pub(super) id: NodeId,
    pub(super) address: String,
    listener: TcpListener,
}

impl Server {
    pub(super) async fn new(id: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        Self { id: NodeId(id), address, listener }
    }

    /// As another node sees it.
    pub(super) fn peer(&self) -> Peer {
        let member = Member {
            id: self.id,
            name: format!("n{}", self.id.0),
            peer: String::new(),
            client: self.address.clone(),
            http: String::new(),
        };
        Peer { member, master: true, standing: Standing::Active, up: true }
    }

    pub(super) async fn accept(&self) -> Session {
        self.over(Box::new(self.accept_bytes().await))
    }

    /// Accepts a connection of which nobody knows yet what is spoken on it.
    pub(super) async fn accept_bytes(&self) -> TcpStream {
        let (stream, _) = self.listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    pub(super) fn over(&self, stream: Box<dyn Transport>) -> Session {
        Session { node: self.id, stream, bytes: Vec::new(), items: VecDeque::new() }
    }

    /// Accepts a connection and welcomes it to a cluster of `members`.
    pub(super) async fn welcome(&self, members: Vec<Peer>) -> Session {
        let mut session = self.accept().await;
        session.hello().await;
        session.welcome(members).await;
        session
    }
}

/// One connection.
pub(super) struct Session {
    node: NodeId,
    stream: Box<dyn Transport>,
    bytes: Vec<u8>,
    items: VecDeque<ClientItem>,
}

impl Session {
    pub(super) async fn hello(&mut self) -> ClientHello {
        match self.item().await {
            Some(ClientItem::Hello(hello)) => hello,
            other => panic!("no hello but {other:?}"),
        }
    }

    pub(super) async fn welcome(&mut self, members: Vec<Peer>) {
        let topology =
            Topology { cluster: Some(CLUSTER), node: self.node, epoch: Epoch(1), members };
        self.say(NodeItem::Welcome(Welcome {
            version: VERSIONS.newest,
            timing: Timing::default(),
            limits: Limits::default(),
            topology,
        }))
        .await;
    }

    /// The next item; `None` when the client has closed.
    pub(super) async fn item(&mut self) -> Option<ClientItem> {
        loop {
            if let Some(item) = self.items.pop_front() {
                return Some(item);
            }
            let mut chunk = [0; 4096];
            let read = self.stream.read(&mut chunk).await.ok().filter(|read| *read > 0)?;
            self.bytes.extend_from_slice(&chunk[..read]);
            while let Some((mut items, length)) = wire::split_frame(&self.bytes).unwrap() {
                while let Some(item) = wire::take_item(&mut items).unwrap() {
                    self.items.push_back(item);
                }
                self.bytes.drain(..length);
            }
        }
    }

    /// The next item that is no sign of life; those are answered.
    pub(super) async fn ask(&mut self) -> Option<ClientItem> {
        tokio::time::timeout(super::LONG, self.ask_for_ever())
            .await
            .expect("the client asks nothing")
    }

    async fn ask_for_ever(&mut self) -> Option<ClientItem> {
        loop {
            let item = self.item().await?;
            if item != ClientItem::Beat {
                return Some(item);
            }
            self.say(NodeItem::Beat).await;
        }
    }

    /// The next request about a key.
    pub(super) async fn request(&mut self) -> (u64, KeyRequest) {
        match self.ask().await {
            Some(ClientItem::Request { call, request }) => (call, request),
            other => panic!("no request but {other:?}"),
        }
    }

    pub(super) async fn say(&mut self, item: NodeItem) {
        let mut frame = Frame::default();
        frame.push(&item).unwrap();
        self.say_bytes(&frame.take()).await;
    }

    pub(super) async fn reply(&mut self, call: u64, outcome: Outcome) {
        self.say(NodeItem::Reply { call, outcome }).await;
    }

    /// Says anything at all. Nobody may be listening any more.
    pub(super) async fn say_bytes(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes).await);
    }

    /// Answers signs of life until the client closes.
    pub(super) async fn idle(mut self) {
        while let Some(_ignored) = self.ask().await {}
    }
}
