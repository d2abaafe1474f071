//! The door of a node: all that clients and the node say to each other passes here, is taken apart and noted, and goes on as
//! it was.
//!
//! It stands on the node's own machine, and goes down with it. A request is noted before the node has it and an answer
//! before its client has, which is as narrow as the judges could wish for.

use std::net::SocketAddr;

use leasehold_core::wire::{ClientItem, Item, NodeItem, split_frame, take_item};
use madsim::net::{TcpListener, TcpStream};
use madsim::task::spawn;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use crate::machines::{CLIENTS, DOOR, machine_at};
use crate::record::{Shared, lock};

/// Lets clients in, for ever.
pub(crate) async fn keep(shared: Shared) -> std::io::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", DOOR)).await?;
    loop {
        let (stream, from) = listener.accept().await?;
        let shared = shared.clone();
        spawn(async move {
            // Whichever end has enough, both are told.
            drop(carry(&shared, stream, from).await);
        });
    }
}

async fn carry(shared: &Shared, outside: TcpStream, from: SocketAddr) -> std::io::Result<()> {
    let inside = TcpStream::connect(("127.0.0.1", CLIENTS)).await?;
    let (connection, machine) = (lock(shared).connection(), machine_at(from.ip()));
    let (outside_read, outside_write) = tokio::io::split(outside);
    let (inside_read, inside_write) = tokio::io::split(inside);
    let asked = pass(outside_read, inside_write, |item| {
        if let ClientItem::Request { call, request } = &item {
            lock(shared).sent(connection, machine, *call, request);
        } else if let ClientItem::Cancel { call } = &item {
            lock(shared).cancelled(connection, *call);
        }
    });
    let told = pass(inside_read, outside_write, |item| {
        if let NodeItem::Reply { call, outcome } = &item {
            lock(shared).answered(connection, *call, outcome);
        }
    });
    tokio::select! {
        biased;
        end = asked => end,
        end = told => end,
    }
}

/// Carries bytes one way, and shows each item when it is whole.
async fn pass<T: Item>(
    mut from: ReadHalf<TcpStream>,
    mut to: WriteHalf<TcpStream>,
    mut show: impl FnMut(T),
) -> std::io::Result<()> {
    let nonsense = |error| std::io::Error::other(format!("{error:?}"));
    let mut unread = Vec::new();
    loop {
        let before = unread.len();
        if from.read_buf(&mut unread).await? == 0 {
            return Ok(());
        }
        let read = unread[before..].to_vec();
        let mut taken = 0;
        while let Some((mut items, used)) = split_frame(&unread[taken..]).map_err(nonsense)? {
            while let Some(item) = take_item(&mut items).map_err(nonsense)? {
                show(item);
            }
            taken += used;
        }
        unread.drain(..taken);
        to.write_all(&read).await?;
        to.flush().await?;
    }
}
