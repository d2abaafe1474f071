//! Carrying mail between clients, beside the core.

use leasehold_core::wire::{NodeItem, PeerItem};
use leasehold_core::{Address, Delivery, Instant, MAX_MAIL, Parcel};

use super::Driver;
use crate::post::{Sender, Taker};

impl Driver {
    /// Says where a connection's mailboxes are.
    pub(super) fn host(&mut self, connection: u64, call: u64) {
        let (node, boot) = {
            let identity = self.parts.peers.identity();
            (identity.member.id, identity.boot)
        };
        let address = Address { node, boot, connection, number: 0 };
        self.parts.desk.push(connection, &NodeItem::Hosted { call, address });
    }

    /// Hands mail on: to a client of this node, or to the node where its receiver is. What came from another node goes
    /// no further than this one.
    pub(super) fn carry(&mut self, now: Instant, sender: Sender, to: Address, parcel: Parcel) {
        if parcel.body().len() > MAX_MAIL {
            return self.posted(sender, Delivery::TooLarge);
        }
        let (node, boot) = {
            let identity = self.parts.peers.identity();
            (identity.member.id, identity.boot)
        };
        let here = to.node == node;
        let taker = if here { Taker::Client(to.connection) } else { Taker::Peer(to.node) };
        let (is_there, otherwise) = match (here, sender) {
            (true, _) => (to.boot == boot && self.parts.desk.has(to.connection), Delivery::Nobody),
            (false, Sender::Client { .. }) => {
                (self.parts.links.reaches(to.node), Delivery::Unreachable)
            }
            (false, Sender::Peer { .. }) => (false, Delivery::Nobody),
        };
        if !is_there {
            return self.posted(sender, otherwise);
        }
        let Some(mail) = self.post.take(now, sender, taker) else {
            return self.posted(sender, Delivery::Busy);
        };
        match taker {
            Taker::Client(connection) => {
                let number = to.number;
                self.parts.desk.push(connection, &NodeItem::Mail { mail, number, parcel });
            }
            Taker::Peer(peer) => {
                self.parts.links.push(peer, &PeerItem::Mail { mail, to, parcel });
            }
        }
    }

    /// Somebody says what became of mail.
    pub(super) fn receipt(&mut self, from: Taker, mail: u64, delivery: Delivery) {
        if let Some(sender) = self.post.close(mail, from) {
            self.posted(sender, delivery);
        }
    }

    /// A connection or link is gone, and with it what was handed over there.
    pub(super) fn lose_mail(&mut self, taker: Taker) {
        for sender in self.post.gone(taker) {
            self.posted(sender, Delivery::Unknown);
        }
    }

    /// Answers what has been under way for too long.
    pub(super) fn give_mail_up(&mut self, now: Instant) {
        for sender in self.post.expired(now) {
            self.posted(sender, Delivery::Unknown);
        }
    }

    /// Tells a sender what became of its mail.
    fn posted(&mut self, sender: Sender, delivery: Delivery) {
        match sender {
            Sender::Client { connection, call } => {
                self.parts.desk.push(connection, &NodeItem::Posted { call, delivery });
            }
            Sender::Peer { peer, mail } => {
                self.parts.links.push(peer, &PeerItem::Receipt { mail, delivery });
            }
        }
    }
}
