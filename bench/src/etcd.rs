//! etcd: a lock is a key made under a lease of the worker's, in a transaction that wants it not to be there. Where workers queue,
//! each makes a key of its own and waits until the one that was made last before it is gone, as etcd's own mutex does.
//!
//! gRPC by way of the crates `h2` and `prost`, without the layers of a general client between.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use prost::Message;
use tokio::net::TcpStream;
use tokio::task::spawn_local;

const TTL_SECONDS: i64 = 60;
/// Where workers queue.
const QUEUE: &str = "/queue/";
const CREATED: i32 = 1;
const DELETED: i32 = 1;
const DESCENDING: i32 = 2;
const BY_CREATION: i32 = 2;
const VALUE: i32 = 3;

#[derive(Clone, PartialEq, Message)]
struct Compare {
    #[prost(int32, tag = "1")]
    result: i32,
    #[prost(int32, tag = "2")]
    target: i32,
    #[prost(bytes, tag = "3")]
    key: Vec<u8>,
    #[prost(bytes, optional, tag = "7")]
    value: Option<Vec<u8>>,
    #[prost(int64, optional, tag = "5")]
    created: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Put {
    #[prost(bytes, tag = "1")]
    key: Vec<u8>,
    #[prost(bytes, tag = "2")]
    value: Vec<u8>,
    #[prost(int64, tag = "3")]
    lease: i64,
}

/// A range of one key: to read, or to delete.
#[derive(Clone, PartialEq, Message)]
struct One {
    #[prost(bytes, tag = "1")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Op {
    #[prost(message, optional, tag = "2")]
    put: Option<Put>,
    #[prost(message, optional, tag = "3")]
    delete: Option<One>,
}

#[derive(Clone, PartialEq, Message)]
struct Txn {
    #[prost(message, repeated, tag = "1")]
    compare: Vec<Compare>,
    #[prost(message, repeated, tag = "2")]
    success: Vec<Op>,
}

#[derive(Clone, PartialEq, Message)]
struct TxnAnswer {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(bool, tag = "2")]
    succeeded: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Header {
    #[prost(int64, tag = "3")]
    revision: i64,
}

/// The newest key of a range among those that are older than something.
#[derive(Clone, PartialEq, Message)]
struct Newest {
    #[prost(bytes, tag = "1")]
    from: Vec<u8>,
    #[prost(bytes, tag = "2")]
    to: Vec<u8>,
    #[prost(int64, tag = "3")]
    limit: i64,
    #[prost(int32, tag = "5")]
    order: i32,
    #[prost(int32, tag = "6")]
    by: i32,
    #[prost(int64, tag = "13")]
    created_until: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(bytes, tag = "1")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RangeAnswer {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(message, repeated, tag = "2")]
    pairs: Vec<Pair>,
    #[prost(int64, tag = "4")]
    count: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Watch {
    #[prost(message, optional, tag = "1")]
    create: Option<WatchKey>,
}

#[derive(Clone, PartialEq, Message)]
struct WatchKey {
    #[prost(bytes, tag = "1")]
    key: Vec<u8>,
    #[prost(int64, tag = "3")]
    from_revision: i64,
}

#[derive(Clone, PartialEq, Message)]
struct WatchAnswer {
    #[prost(message, repeated, tag = "11")]
    events: Vec<Event>,
}

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(int32, tag = "1")]
    kind: i32,
}

/// Asks for a lease, or, by its name, for more of it.
#[derive(Clone, PartialEq, Message)]
struct Lease {
    #[prost(int64, tag = "1")]
    first: i64,
}

#[derive(Clone, PartialEq, Message)]
struct LeaseAnswer {
    #[prost(int64, tag = "2")]
    id: i64,
    #[prost(int64, tag = "3")]
    ttl: i64,
}

/// One connection, and a lease on it.
#[derive(Clone, Debug)]
pub(crate) struct Etcd {
    requests: SendRequest<Bytes>,
    lease: i64,
}

/// Connects.
pub(crate) async fn connect(port: u16) -> io::Result<Etcd> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let (requests, connection) = h2::client::handshake(stream).await.map_err(io::Error::other)?;
    spawn_local(connection);
    Ok(Etcd { requests, lease: 0 })
}

impl Etcd {
    /// Over the same connection, with a lease of its own.
    pub(crate) async fn with_lease(&self) -> io::Result<Self> {
        let grant = Lease { first: TTL_SECONDS };
        let granted: Option<LeaseAnswer> = self.call("etcdserverpb.Lease/LeaseGrant", &grant).await;
        let lease = granted.map(|granted| granted.id).filter(|id| *id != 0);
        let lease = lease.ok_or_else(|| io::Error::other("etcd grants no lease"))?;
        Ok(Self { requests: self.requests.clone(), lease })
    }

    async fn call<A: Message + Default>(&self, path: &str, question: &impl Message) -> Option<A> {
        let (mut stream, _body) = self.ask(path, question, true).await?;
        let mut answer = BytesMut::new();
        while let Some(data) = stream.data().await {
            let data = data.ok()?;
            stream.flow_control().release_capacity(data.len()).ok()?;
            answer.extend_from_slice(&data);
        }
        A::decode(answer.get(5..)?).ok()
    }

    /// Asks, as the only or the first question of a stream.
    async fn ask(
        &self,
        path: &str,
        question: &impl Message,
        only: bool,
    ) -> Option<(RecvStream, SendStream<Bytes>)> {
        let mut requests = self.requests.clone().ready().await.ok()?;
        let request = http::Request::post(format!("http://localhost/{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .ok()?;
        let (response, mut body) = requests.send_request(request, false).ok()?;
        let mut bytes = BytesMut::new();
        bytes.put_u8(0);
        bytes.put_u32(u32::try_from(question.encoded_len()).ok()?);
        question.encode(&mut bytes).ok()?;
        body.send_data(bytes.freeze(), only).ok()?;
        Some((response.await.ok()?.into_body(), body))
    }

    async fn txn(&self, compare: Compare, op: Op) -> bool {
        self.revised(compare, op).await.is_some()
    }

    /// The revision that it made, if it did anything.
    async fn revised(&self, compare: Compare, op: Op) -> Option<i64> {
        let txn = Txn { compare: vec![compare], success: vec![op] };
        let answer: TxnAnswer = self.call("etcdserverpb.KV/Txn", &txn).await?;
        answer.header.filter(|_| answer.succeeded).map(|header| header.revision)
    }

    /// Queues; the key to delete to let the next one in.
    pub(crate) async fn take_turn(&self, value: &str) -> Option<String> {
        let mine = format!("{QUEUE}{:x}", self.lease);
        let mut end = QUEUE.as_bytes().to_vec();
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        let free = Compare {
            target: CREATED,
            key: mine.clone().into(),
            created: Some(0),
            ..Compare::default()
        };
        let revision = self.revised(free, self.put(&mine, value)).await?;
        loop {
            let newest = Newest {
                from: QUEUE.into(),
                to: end.clone(),
                limit: 1,
                order: DESCENDING,
                by: BY_CREATION,
                created_until: revision - 1,
            };
            let answer: RangeAnswer = self.call("etcdserverpb.KV/Range", &newest).await?;
            let Some(before) = answer.pairs.into_iter().next() else { return Some(mine) };
            self.until_deleted(before.key, answer.header?.revision + 1).await?;
        }
    }

    /// Waits until this key is deleted, from this revision on.
    async fn until_deleted(&self, key: Vec<u8>, from_revision: i64) -> Option<()> {
        let watch = Watch { create: Some(WatchKey { key, from_revision }) };
        // The watch lasts for as long as there may be another question.
        let (mut stream, _open) = self.ask("etcdserverpb.Watch/Watch", &watch, false).await?;
        let mut bytes = BytesMut::new();
        loop {
            let data = stream.data().await?.ok()?;
            stream.flow_control().release_capacity(data.len()).ok()?;
            bytes.extend_from_slice(&data);
            while let Some(header) = bytes.first_chunk::<5>() {
                let [_, length @ ..] = *header;
                let whole = 5 + usize::try_from(u32::from_be_bytes(length)).ok()?;
                if bytes.len() < whole {
                    break;
                }
                let answer = WatchAnswer::decode(bytes.split_to(whole).get(5..)?).ok()?;
                if answer.events.iter().any(|event| event.kind == DELETED) {
                    return Some(());
                }
            }
        }
    }

    fn put(&self, key: &str, value: &str) -> Op {
        let put = Put { key: key.into(), value: value.into(), lease: self.lease };
        Op { put: Some(put), delete: None }
    }

    pub(crate) async fn acquire(&self, key: &str, value: &str) -> bool {
        let free =
            Compare { target: CREATED, key: key.into(), created: Some(0), ..Compare::default() };
        self.txn(free, self.put(key, value)).await
    }

    pub(crate) async fn release(&self, key: &str, value: &str) -> bool {
        let delete = One { key: key.into() };
        self.txn(mine(key, value), Op { put: None, delete: Some(delete) }).await
    }

    pub(crate) async fn update(&self, key: &str, value: &str) -> bool {
        self.txn(mine(key, value), self.put(key, value)).await
    }

    pub(crate) async fn extend(&self) -> bool {
        let more = Lease { first: self.lease };
        let answer: Option<LeaseAnswer> =
            self.call("etcdserverpb.Lease/LeaseKeepAlive", &more).await;
        answer.is_some_and(|answer| answer.ttl > 0)
    }

    pub(crate) async fn read(&self, key: &str) -> bool {
        let answer: Option<RangeAnswer> =
            self.call("etcdserverpb.KV/Range", &One { key: key.into() }).await;
        answer.is_some_and(|answer| answer.count == 1)
    }
}

fn mine(key: &str, value: &str) -> Compare {
    Compare { target: VALUE, key: key.into(), value: Some(value.into()), ..Compare::default() }
}
