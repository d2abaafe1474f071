//! Redis, one or several (Redlock: a quorum of them that do not know of each other).
//!
//! The few commands that this needs are written by hand: a general client spends as much on a command as Redis does.

use std::io;

use crate::pipe::{self, Pipe};

const TTL: &str = "60000";
const RELEASE: &str =
    "if redis.call('get',KEYS[1])==ARGV[1] then return redis.call('del',KEYS[1]) else return 0 end";
const EXTEND: &str = "if redis.call('get',KEYS[1])==ARGV[1] then return redis.call('pexpire',KEYS[1],ARGV[2]) else return 0 end";
const UPDATE: &str = "if redis.call('get',KEYS[1])==ARGV[1] then redis.call('set',KEYS[1],ARGV[2],'KEEPTTL') return 1 else return 0 end";

/// The scripts, loaded: what Redis calls them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scripts {
    release: String,
    extend: String,
    update: String,
}

/// How long the first answer is. All that come are of one line, or a string.
fn framing(bytes: &[u8]) -> Option<usize> {
    let line = bytes.windows(2).position(|pair| pair == b"\r\n")? + 2;
    if bytes.first() != Some(&b'$') {
        return Some(line);
    }
    let length = std::str::from_utf8(bytes.get(1..line - 2)?).ok()?.parse::<usize>();
    // Minus one: there is none.
    Some(length.map_or(line, |length| line + length + 2))
}

fn command(out: &mut Vec<u8>, words: &[&str]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// Connects, and loads the scripts.
pub(crate) async fn connect(ports: &[u16]) -> io::Result<(Vec<Pipe>, Scripts)> {
    let (mut pipes, mut scripts) = (Vec::new(), Scripts::default());
    for port in ports {
        let pipe = Pipe::connect(*port, framing).await?;
        let load = async |script| {
            let answer = pipe.ask(|out| command(out, &["SCRIPT", "LOAD", script])).await;
            let answer = answer.map_err(io::Error::other)?;
            let text = String::from_utf8_lossy(&answer).into_owned();
            text.split("\r\n")
                .nth(1)
                .map(str::to_owned)
                .ok_or_else(|| io::Error::other(text.clone()))
        };
        scripts = Scripts {
            release: load(RELEASE).await?,
            extend: load(EXTEND).await?,
            update: load(UPDATE).await?,
        };
        pipes.push(pipe);
    }
    Ok((pipes, scripts))
}

async fn most(pipes: &[Pipe], words: &[&str], good: impl Fn(&[u8]) -> bool) -> bool {
    let mut answers: Vec<_> =
        pipes.iter().map(|pipe| pipe.ask(|out| command(out, words))).collect();
    pipe::quorum(&mut answers, pipes.len() / 2 + 1, good).await
}

fn is_one(answer: &[u8]) -> bool {
    answer == b":1\r\n"
}

pub(crate) async fn acquire(pipes: &[Pipe], key: &str, value: &str) -> bool {
    let set = ["SET", key, value, "NX", "PX", TTL];
    most(pipes, &set, |answer| answer == b"+OK\r\n").await
}

pub(crate) async fn release(pipes: &[Pipe], scripts: &Scripts, key: &str, value: &str) -> bool {
    most(pipes, &["EVALSHA", &scripts.release, "1", key, value], is_one).await
}

pub(crate) async fn extend(pipes: &[Pipe], scripts: &Scripts, key: &str, value: &str) -> bool {
    most(pipes, &["EVALSHA", &scripts.extend, "1", key, value, TTL], is_one).await
}

pub(crate) async fn update(pipes: &[Pipe], scripts: &Scripts, key: &str, value: &str) -> bool {
    most(pipes, &["EVALSHA", &scripts.update, "1", key, value, value], is_one).await
}

pub(crate) async fn read(pipes: &[Pipe], key: &str) -> bool {
    most(pipes, &["GET", key], |answer| answer.starts_with(b"$")).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_whole_or_not_at_all() {
        for (bytes, length) in [
            (&b"+OK\r\n:1\r\n"[..], Some(5)),
            (b"$3\r\nabc\r\n", Some(9)),
            (b"$-1\r\n", Some(5)),
            (b"-ERR no\r\n", Some(9)),
            (b"$3", None),
        ] {
            assert_eq!(framing(bytes), length, "{bytes:?}");
        }
    }
}
