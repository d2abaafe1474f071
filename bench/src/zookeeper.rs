//! `ZooKeeper`: a lock is an ephemeral node that nobody else can make.
//!
//! The few requests that this needs are written by hand. A read first asks for a `sync`, without which it may be stale.

use std::io;

use crate::pipe::Pipe;

const SESSION_MILLIS: i32 = 60_000;
const CREATE: i32 = 1;
const DELETE: i32 = 2;
const GET: i32 = 4;
const SET: i32 = 5;
const SYNC: i32 = 9;
const EPHEMERAL: i32 = 1;
const ANY_VERSION: i32 = -1;

fn framing(bytes: &[u8]) -> Option<usize> {
    let length = i32::from_be_bytes(*bytes.first_chunk::<4>()?);
    usize::try_from(length).ok().map(|length| length + 4)
}

fn int(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn string(out: &mut Vec<u8>, text: &str) {
    int(out, i32::try_from(text.len()).unwrap_or(i32::MAX));
    out.extend_from_slice(text.as_bytes());
}

/// Puts the length before what `body` appends.
fn packet(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    int(out, 0);
    body(out);
    let length = i32::try_from(out.len() - start - 4).unwrap_or(i32::MAX);
    if let Some(header) = out.get_mut(start..start + 4) {
        header.copy_from_slice(&length.to_be_bytes());
    }
}

/// Opens a session.
pub(crate) async fn connect(port: u16) -> io::Result<Pipe> {
    let pipe = Pipe::connect(port, framing).await?;
    let hello = pipe.ask(|out| {
        packet(out, |out| {
            int(out, 0);
            out.extend_from_slice(&0_i64.to_be_bytes());
            int(out, SESSION_MILLIS);
            out.extend_from_slice(&0_i64.to_be_bytes());
            int(out, 16);
            out.extend_from_slice(&[0; 16]);
        });
    });
    hello.await.map_err(|_| io::Error::other("it takes no session yet"))?;
    Ok(pipe)
}

async fn request(pipe: &Pipe, kind: i32, body: impl FnOnce(&mut Vec<u8>)) -> bool {
    let answer = pipe.ask(|out| {
        packet(out, |out| {
            // Answers come in order, so that requests need no names of their own.
            int(out, 1);
            int(out, kind);
            body(out);
        });
    });
    // Length, name, the transaction, and then the error.
    answer.await.is_ok_and(|answer| answer.get(16..20) == Some(&[0; 4]))
}

pub(crate) async fn acquire(pipe: &Pipe, path: &str, value: &str) -> bool {
    let body = |out: &mut Vec<u8>| {
        string(out, path);
        string(out, value);
        int(out, 1);
        int(out, 31);
        string(out, "world");
        string(out, "anyone");
        int(out, EPHEMERAL);
    };
    request(pipe, CREATE, body).await
}

pub(crate) async fn release(pipe: &Pipe, path: &str) -> bool {
    let body = |out: &mut Vec<u8>| {
        string(out, path);
        int(out, ANY_VERSION);
    };
    request(pipe, DELETE, body).await
}

pub(crate) async fn update(pipe: &Pipe, path: &str, value: &str, version: i32) -> bool {
    let body = |out: &mut Vec<u8>| {
        string(out, path);
        string(out, value);
        int(out, version);
    };
    request(pipe, SET, body).await
}

pub(crate) async fn read(pipe: &Pipe, path: &str) -> bool {
    let sync = request(pipe, SYNC, |out| string(out, path));
    let get = request(pipe, GET, |out| {
        string(out, path);
        out.push(0);
    });
    // Sent together; the second is answered after the first.
    let (synced, got) = tokio::join!(sync, get);
    synced && got
}
