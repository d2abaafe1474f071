//! Bytes from a connection, and the items in them.
//!
//! Reads are as large as what comes: a quiet connection costs a few kilobytes, a busy one is read in large chunks.
//! A frame's memory is taken as its bytes arrive, never for its announced length, and items are handed out in
//! batches of a bounded number, because a megabyte of the smallest items would be a hundred of decoded ones.

use std::io;

use leasehold_core::wire::{self, Item, Malformed};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The smallest and the largest read.
const SMALL: usize = 4 << 10;
const LARGE: usize = 256 << 10;
/// Bytes of the shortest items of which there are many.
const SHORTEST: usize = 16;
/// Items that are decoded before they are handed on.
pub(crate) const BATCH: usize = 1_024;

/// What was read from a connection and not yet understood.
#[derive(Debug)]
pub(crate) struct Intake {
    bytes: Vec<u8>,
    /// How far `bytes` were understood.
    at: usize,
    /// Where the frame ends that is being taken apart; at or before `at` if none is.
    frame_end: usize,
    chunk: usize,
    /// How many items the last batch had: the next one gets room for as many.
    count: usize,
}

impl Intake {
    pub(crate) const fn new() -> Self {
        Self { bytes: Vec::new(), at: 0, frame_end: 0, chunk: SMALL, count: 0 }
    }

    /// Reads once. Returns zero when the other end has finished. Cancel safe.
    pub(crate) async fn read<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> io::Result<usize> {
        self.bytes.reserve_exact(self.chunk);
        let read = stream.read_buf(&mut self.bytes).await?;
        if read >= self.chunk {
            self.chunk = self.chunk.saturating_mul(2).min(LARGE);
        } else if read < self.chunk / 8 {
            self.chunk = (self.chunk / 2).max(SMALL);
        }
        Ok(read)
    }

    /// Bytes of memory that this takes.
    pub(crate) const fn size(&self) -> usize {
        self.bytes.capacity()
    }

    /// Bytes that wait for the rest of their frame.
    pub(crate) fn pending(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// Takes apart what was read, up to [`BATCH`] items into `items`. An empty `items` afterwards means that more must
    /// be read. Says how many bytes it took apart.
    pub(crate) fn items<T: Item>(&mut self, items: &mut Vec<T>) -> Result<usize, Malformed> {
        let before = self.pending();
        while items.len() < BATCH {
            if let Some(mut rest) = self.bytes.get(self.at..self.frame_end)
                && !rest.is_empty()
            {
                if let Some(item) = wire::take_item(&mut rest)? {
                    if items.capacity() == 0 {
                        items.reserve_exact(self.count.clamp(4, rest.len() / SHORTEST + 4));
                    }
                    items.push(item);
                }
                self.at = self.frame_end - rest.len();
                continue;
            }
            let unread = self.bytes.get(self.at..).unwrap_or_default();
            let Some((frame, used)) = wire::split_frame(unread)? else {
                self.tidy();
                break;
            };
            self.frame_end = self.at + used;
            self.at = self.frame_end - frame.len();
        }
        if !items.is_empty() {
            self.count = items.len();
        }
        Ok(before.saturating_sub(self.pending()))
    }

    /// Takes at most one item: for the hello, after which everything else has another meaning.
    pub(crate) fn item<T: Item>(&mut self) -> Result<Option<T>, Malformed> {
        loop {
            if let Some(mut rest) = self.bytes.get(self.at..self.frame_end)
                && !rest.is_empty()
            {
                let item = wire::take_item(&mut rest)?;
                self.at = self.frame_end - rest.len();
                return Ok(item);
            }
            let unread = self.bytes.get(self.at..).unwrap_or_default();
            let Some((frame, used)) = wire::split_frame(unread)? else { return Ok(None) };
            self.frame_end = self.at + used;
            self.at = self.frame_end - frame.len();
        }
    }

    /// Moves what is left to the front, and gives back memory that a burst needed.
    fn tidy(&mut self) {
        self.bytes.drain(..self.at.min(self.bytes.len()));
        self.at = 0;
        self.frame_end = 0;
        if self.bytes.capacity() > self.chunk.saturating_mul(4) {
            self.bytes.shrink_to(self.chunk);
        }
    }
}

#[cfg(test)]
mod tests {
    use leasehold_core::wire::{ClientItem, Frame, MAX_FRAME};

    use super::*;

    async fn fed(bytes: &[u8]) -> Intake {
        let mut intake = Intake::new();
        let mut source = bytes;
        while intake.read(&mut source).await.unwrap() > 0 {}
        intake
    }

    fn frame(calls: std::ops::Range<u64>) -> Vec<u8> {
        let mut frame = Frame::default();
        for call in calls {
            frame.push(&ClientItem::Cancel { call }).unwrap();
        }
        frame.take()
    }

    #[tokio::test]
    async fn items_come_in_order_and_in_bounded_batches() {
        let count = u64::try_from(BATCH).unwrap() * 2 + 5;
        let mut bytes = frame(0..count - 3);
        bytes.extend(frame(count - 3..count));
        let mut intake = fed(&bytes).await;
        let mut seen = Vec::new();
        loop {
            let mut items = Vec::new();
            intake.items::<ClientItem>(&mut items).unwrap();
            assert!(items.len() <= BATCH);
            if items.is_empty() {
                break;
            }
            seen.extend(items);
        }
        let expected: Vec<_> = (0..count).map(|call| ClientItem::Cancel { call }).collect();
        assert_eq!(seen, expected);
        assert_eq!(intake.pending(), 0);
    }

    #[tokio::test]
    async fn a_frame_cut_anywhere_is_whole_once_the_rest_came() {
        let bytes = frame(0..3);
        for cut in 0..bytes.len() {
            let mut intake = fed(&bytes[..cut]).await;
            let mut items: Vec<ClientItem> = Vec::new();
            intake.items(&mut items).unwrap();
            assert!(items.is_empty());
            let mut rest = &bytes[cut..];
            while intake.read(&mut rest).await.unwrap() > 0 {}
            intake.items(&mut items).unwrap();
            assert_eq!(items.len(), 3);
        }
    }

    #[tokio::test]
    async fn a_giant_frame_is_refused_by_its_header() {
        let length = u32::try_from(MAX_FRAME + 1).unwrap();
        let mut intake = fed(&length.to_le_bytes()).await;
        let malformed = intake.items::<ClientItem>(&mut Vec::new());
        assert_eq!(malformed, Err(Malformed::TooLong(MAX_FRAME + 1)));
    }
}
