//! `ZooKeeper`: a lock is an ephemeral node that nobody else can make. Where workers queue, each makes a numbered one and waits
//! until the one before its own is gone, as the recipe for locks has it.
//!
//! The few requests that this needs are written by hand. A read first asks for a `sync`, without which it may be stale.

use std::io;

use crate::pipe::Pipe;

const SESSION_MILLIS: i32 = 60_000;
const CREATE: i32 = 1;
const DELETE: i32 = 2;
const EXISTS: i32 = 3;
const GET: i32 = 4;
const SET: i32 = 5;
const CHILDREN: i32 = 8;
const SYNC: i32 = 9;
const PERSISTENT: i32 = 0;
const EPHEMERAL: i32 = 1;
const NUMBERED: i32 = 2;
const ANY_VERSION: i32 = -1;
/// The name of what answers nothing: a change that was watched for.
const EVENT: i32 = -1;
/// Bytes before the body of an answer: length, name, transaction and error.
const HEADER: usize = 20;
/// Where workers queue.
const QUEUE: &str = "/queue";

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
    let pipe = Pipe::announcing(port, framing, event).await?;
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

/// The path that an event is about.
fn event(packet: &[u8]) -> Option<Vec<u8>> {
    let name = i32::from_be_bytes(*packet.get(4..)?.first_chunk::<4>()?);
    // The kind of the change and the state of the session come before it.
    let path = packet.get(HEADER + 8..).filter(|_| name == EVENT)?;
    take_string(path).map(|(path, _)| path.to_vec())
}

fn take_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(i32::from_be_bytes(*length)).ok()?)
}

async fn request(pipe: &Pipe, kind: i32, body: impl FnOnce(&mut Vec<u8>)) -> bool {
    answered(pipe, kind, body).await.is_some()
}

/// The body of the answer, if it is none but good.
async fn answered(pipe: &Pipe, kind: i32, body: impl FnOnce(&mut Vec<u8>)) -> Option<Vec<u8>> {
    let answer = pipe.ask(|out| {
        packet(out, |out| {
            // Answers come in order, so that requests need no names of their own.
            int(out, 1);
            int(out, kind);
            body(out);
        });
    });
    let answer = answer.await.ok()?;
    let (header, body) = answer.split_at_checked(HEADER)?;
    header.ends_with(&[0; 4]).then(|| body.to_vec())
}

/// Makes a node, and says what it is called.
async fn create(pipe: &Pipe, path: &str, value: &str, kind: i32) -> Option<String> {
    let body = |out: &mut Vec<u8>| {
        string(out, path);
        string(out, value);
        int(out, 1);
        int(out, 31);
        string(out, "world");
        string(out, "anyone");
        int(out, kind);
    };
    let answer = answered(pipe, CREATE, body).await?;
    String::from_utf8(take_string(&answer)?.0.to_vec()).ok()
}

pub(crate) async fn acquire(pipe: &Pipe, path: &str, value: &str) -> bool {
    create(pipe, path, value, EPHEMERAL).await.is_some()
}

/// Queues, and returns what to delete to let the next one in.
pub(crate) async fn take_turn(pipe: &Pipe, value: &str) -> Option<String> {
    let place = format!("{QUEUE}/n-");
    let mine = match create(pipe, &place, value, EPHEMERAL | NUMBERED).await {
        Some(mine) => mine,
        None => {
            // Somebody else may have made it by now.
            create(pipe, QUEUE, "", PERSISTENT).await;
            create(pipe, &place, value, EPHEMERAL | NUMBERED).await?
        }
    };
    loop {
        let body = |out: &mut Vec<u8>| {
            string(out, QUEUE);
            out.push(0);
        };
        let mut before: Option<String> = None;
        let answer = answered(pipe, CHILDREN, body).await?;
        let mut rest = answer.get(4..)?;
        while let Some((name, after)) = take_string(rest) {
            rest = after;
            let path = format!("{QUEUE}/{}", std::str::from_utf8(name).ok()?);
            if path < mine && before.as_ref().is_none_or(|before| *before < path) {
                before = Some(path);
            }
        }
        let Some(before) = before else { return Some(mine) };
        let gone = pipe.expect(before.clone().into_bytes());
        let watch = |out: &mut Vec<u8>| {
            string(out, &before);
            out.push(1);
        };
        if request(pipe, EXISTS, watch).await && gone.await.is_err() {
            return None;
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_told_from_an_answer_and_says_what_changed() {
        let packet = |name: i32| {
            let mut bytes = Vec::new();
            packet(&mut bytes, |out| {
                int(out, name);
                out.extend_from_slice(&[0; 12]);
                int(out, 2);
                int(out, 3);
                string(out, "/queue/n-7");
            });
            bytes
        };
        assert_eq!(event(&packet(EVENT)), Some(b"/queue/n-7".to_vec()));
        assert_eq!(event(&packet(1)), None);
        assert_eq!(event(packet(EVENT).get(..30).unwrap_or_default()), None);
    }
}
