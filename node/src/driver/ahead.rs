//! Telling the core which keys a batch is about before its items are handed in one by one.

use leasehold_core::wire::{ClientItem, PeerItem};
use leasehold_core::{Key, Node};

use super::Arrived;
use crate::clients::ClientArrival;

/// Keys that are looked ahead for. What many more would bring near would push out what the first ones did.
const MOST: usize = 1_024;

/// Lets the core read ahead what these arrivals will need.
pub(super) fn foresee(core: &Node, arrived: &Arrived) {
    let of_peers = arrived.peers.iter().flat_map(|arrival| &arrival.items).filter_map(of_peer);
    let of_clients = arrived.clients.iter().flat_map(items).filter_map(of_client);
    core.foresee(of_peers.chain(of_clients).take(MOST));
}

fn of_peer(item: &PeerItem) -> Option<&Key> {
    match item {
        PeerItem::Message(message) => message.looks_up(),
        PeerItem::Hello(_)
        | PeerItem::Refused(_)
        | PeerItem::Beat
        | PeerItem::Mail { .. }
        | PeerItem::Receipt { .. } => None,
    }
}

fn items(arrival: &ClientArrival) -> &[ClientItem] {
    match arrival {
        ClientArrival::Items { items, .. } => items,
        ClientArrival::Connected { .. } | ClientArrival::Gone { .. } => &[],
    }
}

fn of_client(item: &ClientItem) -> Option<&Key> {
    match item {
        ClientItem::Request { request, .. } => Some(&request.key),
        ClientItem::LocalRead { key, .. } => Some(key),
        ClientItem::Hello(_)
        | ClientItem::Cancel { .. }
        | ClientItem::List { .. }
        | ClientItem::Waiting { .. }
        | ClientItem::Status { .. }
        | ClientItem::Init { .. }
        | ClientItem::Amend { .. }
        | ClientItem::Host { .. }
        | ClientItem::Post { .. }
        | ClientItem::Receipt { .. }
        | ClientItem::Watch { .. }
        | ClientItem::Beat => None,
    }
}
