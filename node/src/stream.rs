//! A connection's bytes, encrypted or not.

use std::io;
use std::net::SocketAddr;
#[cfg(not(madsim))]
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use leasehold_core::Span;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsStream;

use crate::clock::Clock;

/// Connects to `host:port`, whose name is resolved anew each time. Each address that it stands for gets its part of
/// `patience`, so that a dead one does not keep the next from being tried.
pub(crate) async fn connect(clock: Clock, address: &str, patience: Span) -> io::Result<TcpStream> {
    let resolve = clock.limit(patience, lookup_host(address)).await;
    let late = || io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
    let addresses: Vec<SocketAddr> = resolve.unwrap_or_else(|| Err(late()))?.collect();
    let part = patience.split(u64::try_from(addresses.len()).unwrap_or(u64::MAX).max(1));
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name stands for no address");
    for address in addresses {
        match clock.limit(part, TcpStream::connect(address)).await {
            Some(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Some(Err(error)) => last = error,
            None => last = late(),
        }
    }
    Err(last)
}

/// Bytes both ways.
#[derive(Debug)]
pub(crate) enum Stream {
    /// As they are.
    Plain(TcpStream),
    /// Over TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Has the runtime that this is called in wake whoever waits for this connection, in place of the one that did. It is the
    /// same connection by another descriptor, so that neither misses that the other lets go.
    #[cfg(not(madsim))]
    pub(crate) fn settle(&mut self) -> io::Result<()> {
        let socket = match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_mut().0,
        };
        let same = std::net::TcpStream::from(socket.as_fd().try_clone_to_owned()?);
        *socket = TcpStream::from_std(same)?;
        Ok(())
    }

    /// There is one runtime in a simulation.
    #[cfg(madsim)]
    pub(crate) fn settle(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
