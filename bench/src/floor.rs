//! The floor: what a quorum costs that does nothing. Servers that send 64 bytes back, and rounds that wait for two of three.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

use crate::pipe::{self, Pipe};

/// What goes to and fro.
const MESSAGE: [u8; 64] = [7; 64];

/// Runs a server for ever.
pub(crate) async fn serve(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        spawn_local(echo(stream));
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut bytes = Vec::with_capacity(64 << 10);
    loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
        let whole = bytes.len() - bytes.len() % MESSAGE.len();
        stream.write_all(bytes.get(..whole).unwrap_or_default()).await?;
        bytes.drain(..whole);
        bytes.reserve(64 << 10);
    }
}

/// Connects to the servers.
pub(crate) async fn connect(ports: &[u16]) -> io::Result<Vec<Pipe>> {
    let mut pipes = Vec::new();
    for port in ports {
        pipes.push(
            Pipe::connect(*port, |bytes| (bytes.len() >= MESSAGE.len()).then_some(MESSAGE.len()))
                .await?,
        );
    }
    Ok(pipes)
}

/// So many rounds, one after the other.
pub(crate) async fn rounds(pipes: &[Pipe], rounds: usize) -> bool {
    for _ in 0..rounds {
        let mut answers: Vec<_> =
            pipes.iter().map(|pipe| pipe.ask(|out| out.extend_from_slice(&MESSAGE))).collect();
        if !pipe::quorum(&mut answers, pipes.len() / 2 + 1, |answer| answer == MESSAGE).await {
            return false;
        }
    }
    true
}
