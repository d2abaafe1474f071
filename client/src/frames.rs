//! Items out of a stream of bytes.

use std::collections::VecDeque;

use leasehold_core::wire::{self, Malformed, NodeItem};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::error::Cause;

/// Bytes that are asked for at once.
const CHUNK: usize = 16 << 10;

/// What has been read from a node and not been looked at yet. Never holds more than one frame and one chunk.
#[derive(Debug)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    items: VecDeque<NodeItem>,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self { bytes: Vec::new(), items: VecDeque::new() }
    }

    /// The next item of those that were read.
    pub(crate) fn pop(&mut self) -> Option<NodeItem> {
        self.items.pop_front()
    }

    /// Reads once.
    pub(crate) async fn read(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> Result<(), Cause> {
        self.bytes.reserve(CHUNK);
        let read = stream.read_buf(&mut self.bytes).await;
        if read.map_err(|error| Cause::Broken(error.to_string()))? == 0 {
            return Err(Cause::Closed);
        }
        self.unpack().map_err(Cause::Malformed)
    }

    /// The next item; reads as much as that takes.
    pub(crate) async fn next(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> Result<NodeItem, Cause> {
        loop {
            if let Some(item) = self.pop() {
                return Ok(item);
            }
            self.read(stream).await?;
        }
    }

    /// Takes all whole frames out of the bytes.
    fn unpack(&mut self) -> Result<(), Malformed> {
        let mut taken = 0;
        while let Some((mut items, length)) =
            wire::split_frame(self.bytes.get(taken..).unwrap_or_default())?
        {
            while let Some(item) = wire::take_item(&mut items)? {
                self.items.push_back(item);
            }
            taken += length;
        }
        self.bytes.drain(..taken);
        Ok(())
    }
}
