//! What becomes of a message: lost, late, doubled, cut off.

use crate::dice::{Dice, Stream};
use crate::fault::{Fault, Kind, MAX_NODES, Nodes, under_way};
use crate::marks::{Counts, Mark};
use crate::scenario::Weather;

/// The network between nodes, and between clients and nodes.
#[derive(Debug)]
pub struct Network {
    dice: Dice,
    /// Messages so far from one to another.
    sent: Vec<u64>,
    width: usize,
    /// Whom each node reaches not at all, and how much slower each is reached.
    cut: [Nodes; MAX_NODES],
    slow: [u64; MAX_NODES],
    /// Whether the weather did something to the last message.
    pub(crate) odd: bool,
    /// Messages under way on each link, and how many fit on one; zero if nobody counts.
    flying: Vec<u32>,
    room: u32,
}

impl Network {
    /// A network between so many nodes and clients.
    #[must_use]
    pub fn new(dice: Dice, nodes: usize, clients: usize, room: u32) -> Self {
        let width = nodes + clients;
        let cut = [Nodes::default(); MAX_NODES];
        let (sent, flying) = (vec![0; width * width], vec![0; width * width]);
        Self { dice, sent, width, cut, slow: [0; MAX_NODES], flying, room, odd: false }
    }

    /// From now on every link has room.
    pub const fn make_room(&mut self) {
        self.room = 0;
    }

    /// A message that went from one node to another has arrived.
    #[inline]
    pub fn landed(&mut self, from: usize, to: usize) {
        if self.room > 0 {
            let flying = &mut self.flying[from * self.width + to];
            *flying = flying.saturating_sub(1);
        }
    }

    /// Whether another message fits on a link. One that does not is dropped, as a driver with a full queue does.
    fn board(&mut self, from: usize, to: usize, copies: u32, counts: &mut Counts) -> bool {
        if self.room == 0 {
            return true;
        }
        let flying = &mut self.flying[from * self.width + to];
        if *flying >= self.room {
            counts.meet(Mark::Overflowed);
            return false;
        }
        *flying += copies;
        true
    }

    /// The faults that are `active` shape the network from now on.
    pub fn reshape(&mut self, faults: &[Fault], active: &[bool]) {
        self.cut = [Nodes::default(); MAX_NODES];
        self.slow = [0; MAX_NODES];
        for kind in under_way(faults, active) {
            match kind {
                Kind::Cut(cut) => {
                    for (sum, more) in self.cut.iter_mut().zip(cut) {
                        sum.0 |= more.0;
                    }
                }
                Kind::Slow(nodes, extra) => {
                    for (node, slow) in self.slow.iter_mut().enumerate() {
                        *slow += if nodes.has(node) { *extra } else { 0 };
                    }
                }
                Kind::Pause(_)
                | Kind::PauseClient(_)
                | Kind::Crash { .. }
                | Kind::Lose(_)
                | Kind::WrongHint { .. }
                | Kind::SlowDisk(..)
                | Kind::FailDisk(_)
                | Kind::Vanish { .. } => {}
            }
        }
    }

    /// Whether messages from one node to another have any chance.
    #[must_use]
    pub fn connected(&self, from: usize, to: usize) -> bool {
        !self.cut[from].has(to)
    }

    /// The delays after which copies of the next message between two nodes arrive.
    pub fn between_nodes(
        &mut self,
        from: usize,
        to: usize,
        weather: &Weather,
        counts: &mut Counts,
    ) -> [Option<u64>; 2] {
        let slow = self.slow[from].max(self.slow[to]);
        let fate = self.fate(Stream::Link(from, to), (from, to), weather, counts);
        let copies = u32::from(fate[0].is_some()) + u32::from(fate[1].is_some());
        if !self.connected(from, to) || !self.board(from, to, copies, counts) {
            return [None, None];
        }
        fate.map(|delay| delay.map(|delay| delay + slow))
    }

    /// The same from a client to a node, or back. Clients are numbered behind the nodes.
    pub fn with_client(
        &mut self,
        from: usize,
        to: usize,
        weather: &Weather,
        counts: &mut Counts,
    ) -> Option<u64> {
        self.fate(Stream::ClientLink(from, to), (from, to), weather, counts)[0]
    }

    fn fate(
        &mut self,
        stream: Stream,
        link: (usize, usize),
        weather: &Weather,
        counts: &mut Counts,
    ) -> [Option<u64>; 2] {
        let sent = &mut self.sent[link.0 * self.width + link.1];
        *sent += 1;
        let mut roll = self.dice.roll(stream, *sent);
        let usual = weather.base + roll.below(weather.jitter);
        self.odd = false;
        if weather.loss | weather.duplicates | weather.late == 0 {
            return [Some(usual), None];
        }
        if roll.chance(weather.loss) {
            counts.meet(Mark::Lost);
            self.odd = true;
            return [None, None];
        }
        let late = roll.chance(weather.late);
        let doubled = roll.chance(weather.duplicates);
        self.odd = late || doubled;
        let mut delay = 0;
        if late {
            counts.meet(Mark::Late);
            delay = roll.magnitude(weather.jitter, weather.latest);
        }
        let mut second = None;
        if doubled {
            counts.meet(Mark::Doubled);
            let more = roll.magnitude(weather.jitter, weather.jitter * 64);
            second = Some(weather.base + more);
        }
        [Some(usual + delay), second]
    }
}
