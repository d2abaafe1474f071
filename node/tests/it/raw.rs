//! The other ends of a node's connections, spoken by hand.

use std::time::Duration;

use leasehold_core::wire::{
    ClientHello, ClientItem, Frame, Item, NodeItem, PeerHello, PeerItem, VERSIONS, Welcome,
    split_frame, take_item,
};
use leasehold_core::{
    Action, Bytes, KeyRequest, Member, NodeId, OpId, Outcome, Owner, Span, Status, Timing,
};
use leasehold_node::config::Address;
use leasehold_node::{Config, Running};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};

/// Far beyond what anything takes here, and less than any lease; a test that gets there has failed.
const FOREVER: Duration = Duration::from_secs(30);

/// Waits until `look` finds something.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        let mut looks = tokio::time::interval(Duration::from_millis(5));
        loop {
            looks.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    };
    match tokio::time::timeout(FOREVER, looking).await {
        Ok(found) => found,
        Err(_) => panic!("waited in vain until {what}"),
    }
}

/// Waits until the node's status is as wanted.
pub(crate) async fn status_until(
    node: &Running,
    what: &str,
    wanted: impl Fn(&Status) -> bool,
) -> Status {
    until(what, async || node.status().await.filter(|status| wanted(status))).await
}

/// Whether `status` sees the link to `name` up.
pub(crate) fn sees(status: &Status, name: &str) -> bool {
    status.members.iter().any(|peer| peer.member.name == name && peer.up)
}

/// The next connection.
pub(crate) async fn accept(listener: &TcpListener) -> Raw {
    let accepted = tokio::time::timeout(FOREVER, listener.accept()).await;
    Raw::over(accepted.expect("no connection in time").unwrap().0)
}

/// A connection, in frames.
pub(crate) struct Raw {
    stream: TcpStream,
    bytes: Vec<u8>,
    /// The items of the frame that is being taken apart, and how far.
    frame: Vec<u8>,
    at: usize,
}

impl Raw {
    pub(crate) async fn connect(to: impl ToSocketAddrs) -> Self {
        Self::over(TcpStream::connect(to).await.unwrap())
    }

    fn over(stream: TcpStream) -> Self {
        Self { stream, bytes: Vec::new(), frame: Vec::new(), at: 0 }
    }

    pub(crate) async fn send<T: Serialize>(&mut self, items: &[T]) {
        let mut frame = Frame::default();
        for item in items {
            frame.push(item).unwrap();
        }
        self.send_bytes(&frame.take()).await;
    }

    /// The other end may have closed already.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// The next item, or `None` at the end of the connection.
    pub(crate) async fn next<T: Item>(&mut self) -> Option<T> {
        let next = async {
            loop {
                if self.at < self.frame.len() {
                    let mut rest = &self.frame[self.at..];
                    let item = take_item(&mut rest).unwrap();
                    self.at = self.frame.len() - rest.len();
                    return item;
                }
                if let Some((items, used)) = split_frame(&self.bytes).unwrap() {
                    (self.frame, self.at) = (items.to_vec(), 0);
                    self.bytes.drain(..used);
                    continue;
                }
                match self.stream.read_buf(&mut self.bytes).await {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        };
        tokio::time::timeout(FOREVER, next).await.expect("no item in time")
    }

    /// Says hello as a client.
    pub(crate) async fn client(to: impl ToSocketAddrs) -> (Self, Welcome) {
        let mut raw = Self::connect(to).await;
        let hello = ClientHello { versions: VERSIONS, credential: None, name: "a test".to_owned() };
        raw.send(&[ClientItem::Hello(hello)]).await;
        match raw.next().await {
            Some(NodeItem::Welcome(welcome)) => (raw, welcome),
            other => panic!("expected a welcome, got {other:?}"),
        }
    }

    /// Says hello as a client. Whether that was welcome.
    pub(crate) async fn hello(&mut self) -> bool {
        let hello = ClientHello { versions: VERSIONS, credential: None, name: "a test".to_owned() };
        self.send(&[ClientItem::Hello(hello)]).await;
        matches!(self.next().await, Some(NodeItem::Welcome(_)))
    }

    /// The next item that is no news about the topology.
    pub(crate) async fn answer(&mut self) -> Option<NodeItem> {
        loop {
            match self.next().await? {
                NodeItem::Topology(_) => {}
                other => return Some(other),
            }
        }
    }

    /// The outcome of one request.
    pub(crate) async fn call(&mut self, call: u64, key: &str, action: Action) -> Outcome {
        self.send(&[request(call, key, action)]).await;
        match self.answer().await {
            Some(NodeItem::Reply { call: answered, outcome }) if answered == call => outcome,
            other => panic!("expected the answer to call {call}, got {other:?}"),
        }
    }
}

pub(crate) fn request(call: u64, key: &str, action: Action) -> ClientItem {
    // Longer than a test waits: nothing here ends because somebody lost patience.
    let patience = Span::from_secs(200);
    ClientItem::Request { call, request: KeyRequest { key: key.into(), patience, action } }
}

pub(crate) fn lock(chain: u64, value: &str, wait: Span) -> Action {
    Action::Lock {
        id: OpId { chain: (chain, 0), step: 0 },
        value: value.into(),
        meta: Bytes::EMPTY,
        lease: Span::from_secs(60),
        delay: Span::ZERO,
        wait,
    }
}

pub(crate) fn release(chain: u64, step: u32, value: &str) -> Action {
    let owner = Owner { value: Some(value.into()), token: None };
    Action::Release { id: OpId { chain: (chain, 0), step }, owner }
}

/// The hello of a node called `name`, as a node of [`config`] likes it.
pub(crate) fn peer_hello(name: &str, id: u64) -> PeerHello {
    let at = "127.0.0.1:1".to_owned();
    PeerHello {
        versions: VERSIONS,
        cluster_name: "leasehold".into(),
        cluster: None,
        member: Member {
            id: NodeId(id),
            name: name.into(),
            peer: at.clone(),
            client: at.clone(),
            http: at,
        },
        boot: 1,
        timing: Timing::default(),
    }
}

/// What a node says to this hello of a peer that dials it.
pub(crate) async fn dial_as(hello: PeerHello, to: impl ToSocketAddrs) -> PeerItem {
    let mut raw = Raw::connect(to).await;
    raw.send(&[PeerItem::Hello(hello)]).await;
    raw.next().await.expect("an answer to a hello")
}

/// A configuration on ports that the system chooses, in memory.
pub(crate) fn config(name: &str, masters: &[(&str, String)]) -> Config {
    let address =
        |(name, peer): &(&str, String)| Address { name: (*name).to_owned(), peer: peer.clone() };
    let mut config = Config {
        name: name.into(),
        masters: masters.iter().map(address).collect(),
        ..Config::default()
    };
    config.listen.client = "127.0.0.1:0".into();
    config.listen.peer = "127.0.0.1:0".into();
    config
}
