//! The driver's side of the connections to peers: what waits to be sent to whom, and who is heard.
//!
//! A link is *up* while this node has a connection to send on and has heard the peer within [`SILENT`]. That is a
//! hint for where a key's home is, never more.

use std::collections::BTreeMap;
use std::sync::Arc;

use leasehold_core::wire::PeerItem;
use leasehold_core::{Input, Instant, Member, NodeId, Span};
use tracing::warn;

use crate::bundle::Bundle;
use crate::handshake::Known;
use crate::outbox::Sender;
use crate::peers::{self, Context};
use crate::task::Task;

/// A sign of life goes out this often where nothing else does.
pub(crate) const BEAT: Span = Span::from_millis(100);
/// A link is down after so much silence.
const SILENT: Span = Span::from_millis(400);
/// After so much silence the connection is dialled anew: it may be half open, or far back in its resends.
const LOST: Span = Span::from_secs(2);
/// A peer without a connection is forgotten after so long.
const FORGOTTEN: Span = Span::from_secs(60);

/// All peers of a node.
#[derive(Debug)]
pub(crate) struct Links {
    context: Arc<Context>,
    /// Few: found by looking through.
    peers: Vec<Peer>,
    dialers: BTreeMap<String, (Known, Task)>,
    beaten: Instant,
}

#[derive(Debug)]
struct Peer {
    id: NodeId,
    /// As it last introduced itself where this node dialled.
    member: Option<Member>,
    connection: Option<(u64, Sender)>,
    bundle: Bundle,
    /// When it was last heard, or last dialled.
    heard: Instant,
    spoken: bool,
    up: bool,
    /// Whether anything was sent since the last beat.
    sent: bool,
}

impl Links {
    pub(crate) const fn new(context: Arc<Context>, now: Instant) -> Self {
        Self { context, peers: Vec::new(), dialers: BTreeMap::new(), beaten: now }
    }

    /// Keeps connections to exactly these nodes.
    pub(crate) fn keep(&mut self, known: &[Known]) {
        // The incarnation matters to the handshake only: a link that stands was judged.
        let same = |a: &Known, b: &Known| a.name == b.name && a.address == b.address;
        let stays = |peer: &Known| known.iter().any(|other| same(peer, other));
        let peers = &mut self.peers;
        self.dialers.retain(|name, (peer, _)| {
            let stays = stays(peer);
            let named = |member: &Member| member.name == *name;
            for peer in peers.iter_mut().filter(|p| !stays && p.member.as_ref().is_some_and(named))
            {
                peer.connection = None;
            }
            stays
        });
        for peer in known {
            if !self.dialers.contains_key(&peer.name) {
                let task = Task::start(peers::dial(Arc::clone(&self.context), peer.clone()));
                self.dialers.insert(peer.name.clone(), (peer.clone(), task));
            }
        }
    }

    fn peer(&mut self, id: NodeId, now: Instant) -> &mut Peer {
        let place = self.peers.iter().position(|peer| peer.id == id).unwrap_or_else(|| {
            self.peers.push(Peer {
                id,
                member: None,
                connection: None,
                bundle: Bundle::default(),
                heard: now,
                spoken: false,
                up: false,
                sent: false,
            });
            self.peers.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "found or pushed just above")]
        &mut self.peers[place]
    }

    /// There is a connection to send on.
    pub(crate) fn dialled(&mut self, now: Instant, member: Member, link: u64, sender: Sender) {
        let peer = self.peer(member.id, now);
        peer.connection = Some((link, sender));
        peer.member = Some(member);
        if !peer.spoken {
            peer.heard = now;
        }
        // What still waits for an earlier connection is old by now.
        drop(peer.bundle.take());
        // At once, so that the other end knows the link to be up. A beat fits any frame.
        peer.bundle.push(&PeerItem::Beat).unwrap_or_default();
    }

    /// The connection ended.
    pub(crate) fn hung_up(&mut self, id: NodeId, link: u64) {
        let ended = |peer: &&mut Peer| {
            peer.id == id && peer.connection.as_ref().is_some_and(|(number, _)| *number == link)
        };
        if let Some(peer) = self.peers.iter_mut().find(ended) {
            peer.connection = None;
        }
    }

    /// Something came from this peer.
    pub(crate) fn heard(&mut self, now: Instant, id: NodeId) {
        let peer = self.peer(id, now);
        peer.heard = now;
        peer.spoken = true;
    }

    /// Adds an item to the bundle for this peer. Without a connection it is lost.
    pub(crate) fn push(&mut self, to: NodeId, item: &PeerItem) {
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.id == to) else { return };
        if peer.connection.is_some()
            && let Err(error) = peer.bundle.push(item)
        {
            warn!(%error, "a message for a peer does not fit a frame");
        }
    }

    /// Hands what is due to the connections.
    pub(crate) fn flush(&mut self) {
        for peer in &mut self.peers {
            if !peer.bundle.is_due() {
                continue;
            }
            let bytes = peer.bundle.take();
            let Some((_, sender)) = &peer.connection else { continue };
            peer.sent = true;
            match sender.put(bytes) {
                Some(spare) => peer.bundle.reuse(spare),
                None => self.context.counters.frames_dropped.add(1),
            }
        }
    }

    /// When [`Links::beat`] is due.
    pub(crate) const fn deadline(&self) -> Instant {
        self.beaten.after(BEAT)
    }

    /// Gives signs of life, and lets go of connections that have none.
    pub(crate) fn beat(&mut self, now: Instant) {
        let gap = now.since(self.beaten);
        self.beaten = now;
        // A pause of this very process is not the peers' silence: what they sent meanwhile is still on its way in.
        let paused = if gap > BEAT.times(3) { gap } else { Span::ZERO };
        for peer in &mut self.peers {
            peer.heard = peer.heard.after(paused);
            let silence = now.since(peer.heard);
            if let Some((_, sender)) = &peer.connection {
                if silence > LOST {
                    sender.close();
                    peer.connection = None;
                } else if !peer.sent {
                    // A beat fits any frame.
                    peer.bundle.push(&PeerItem::Beat).unwrap_or_default();
                }
            }
            peer.bundle.hurry();
            peer.sent = false;
        }
        self.peers.retain(|peer| {
            peer.connection.is_some() || peer.up || now.since(peer.heard) < FORGOTTEN
        });
    }

    /// What changed since the last call, for the core.
    pub(crate) fn changes(&mut self, now: Instant) -> Vec<Input> {
        let mut inputs = Vec::new();
        for peer in &mut self.peers {
            let up = peer.connection.is_some() && peer.spoken && now.since(peer.heard) <= SILENT;
            if up != peer.up {
                peer.up = up;
                inputs.push(Input::Link { peer: peer.id, up });
            }
        }
        inputs
    }

    /// Whether this node is linked both ways.
    pub(crate) fn reaches(&self, id: NodeId) -> bool {
        self.peers.iter().any(|peer| peer.id == id && peer.up)
    }

    /// The node of this name, if it is linked both ways.
    pub(crate) fn met(&self, name: &str) -> Option<&Member> {
        self.peers
            .iter()
            .filter(|peer| peer.up)
            .filter_map(|peer| peer.member.as_ref())
            .find(|member| member.name == name)
    }
}
