//! A node whose peers are not what they should be.
//!
//! Safety is promised against peers that follow the protocol. Against others one thing remains: a node does not
//! fall over. So a node that votes, or one that was never founded, gets any well-formed messages in any order, from
//! members and strangers, while clients ask it things.

use std::collections::VecDeque;

use leasehold_core::wire::{self, PeerItem};
use leasehold_core::{
    Action, Boot, ClusterId, Config, Effect, Effects, Epoch, Input, Instant, KeyRequest, Member,
    Node, NodeFile, NodeId, OpId, Request, Settings, Span, Ticket,
};

use super::Choices;

/// More inputs than one can lead to: the founding takes dozens.
const ENDLESS: u32 = 10_000;

/// Hands a node what the bytes spell.
///
/// # Panics
///
/// If the node does.
pub fn stranger(bytes: &[u8]) {
    let mut choices = Choices { bytes };
    let masters = choices.byte() % 4;
    let mut scene = Scene::new(u64::from(masters));
    while !choices.is_over() {
        let from = u64::from(choices.byte() % 6);
        scene.now = scene.now.after(Span::from_millis(u64::from(choices.byte()).pow(2) / 4));
        if from == 0 {
            scene.hand(0, Input::Tick);
            scene.ask(&mut choices);
            continue;
        }
        let before = choices.bytes;
        match wire::take_item::<PeerItem>(&mut choices.bytes) {
            Ok(Some(PeerItem::Message(message))) => {
                scene.hand(0, Input::Message { from: NodeId(from), message });
            }
            Ok(_) => {
                let up = choices.byte() & 1 == 0;
                scene.hand(0, Input::Link { peer: NodeId(from), up });
            }
            Err(_) => choices.bytes = before.get(1..).unwrap_or_default(),
        }
    }
    scene.hand(0, Input::Tick);
}

/// The node that is looked at, and those that founded the cluster with it and are not heard of again.
struct Scene {
    nodes: Vec<Node>,
    now: Instant,
    effects: Effects,
    asked: u64,
}

impl Scene {
    fn new(masters: u64) -> Self {
        let now = Instant::from_micros(1);
        let node = |id| {
            let file = NodeFile::new(format!("n{id}"), NodeId(id));
            let wall_clock = 1_700_000_000_000_000;
            let boot = Boot { wall_clock, proposer: 90 + id, seed: (id, 2), file };
            Node::new(Settings::default(), boot, now)
        };
        let nodes = (1..=masters.max(1)).map(node).collect();
        let mut scene = Self { nodes, now, effects: Effects::new(), asked: 1 };
        if masters > 0 {
            let member =
                |id| Member { id: NodeId(id), name: format!("n{id}"), ..Member::default() };
            let members = (1..=masters).map(member).collect();
            let config = Config { epoch: Epoch(1), masters: members, ..Config::default() };
            let request = Request::Init { cluster: ClusterId(3, 4), config };
            scene.hand(0, Input::Request { ticket: Ticket(1), request });
            scene.nodes.truncate(1);
        }
        scene
    }

    /// Hands one node an input, and all of them what comes of it.
    fn hand(&mut self, to: usize, input: Input) {
        let mut inputs = VecDeque::from([(to, input)]);
        let mut turns = 0;
        while let Some((to, input)) = inputs.pop_front() {
            turns += 1;
            assert!(turns < ENDLESS, "one input leads to others for ever: {input:?}");
            let Some(node) = self.nodes.get_mut(to) else { continue };
            node.handle(self.now, input, &mut self.effects);
            for effect in self.effects.drain(..) {
                match effect {
                    Effect::Persist(mark, _) => inputs.push_back((to, Input::Persisted(mark))),
                    Effect::Send { to: NodeId(id), message } => {
                        let input = Input::Message { from: NodeId(1 + to as u64), message };
                        // A peer that makes members up may call one zero, too.
                        let to = id.checked_sub(1).and_then(|at| usize::try_from(at).ok());
                        inputs.push_back((to.unwrap_or(usize::MAX), input));
                    }
                    Effect::Reply { .. } | Effect::Event(_) => {}
                }
            }
        }
    }

    fn ask(&mut self, choices: &mut Choices<'_>) {
        self.asked += 1;
        let id = OpId { chain: (u64::from(choices.byte()), 0), step: 0 };
        let (value, meta) = ("me".into(), "".into());
        let (lease, delay, wait) = (Span::from_secs(3), Span::ZERO, Span::from_secs(2));
        let action = match choices.byte() % 4 {
            0 => Action::Read,
            1 => Action::WaitReleased,
            2 => Action::Release { id, owner: leasehold_core::Owner::default() },
            _ => Action::Lock { id, value, meta, lease, delay, wait },
        };
        let key = choices.bytes.get(..2).unwrap_or(b"k").into();
        let request = Request::Key(KeyRequest { key, patience: Span::from_secs(3), action });
        self.hand(0, Input::Request { ticket: Ticket(self.asked), request });
    }
}
