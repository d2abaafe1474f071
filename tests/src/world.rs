//! Nodes, the links between them, their disks, and a time that moves only when told.
//!
//! Messages take no time. What is sent is delivered first come, first served, until nobody has anything to say,
//! except over links that are held, lossy or cut. The nodes' clocks run at the same rate but started at different
//! times: no node could tell a time from another's clock, and what is written here never does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use leasehold_core::faults::Rule;
use leasehold_core::{
    Boot, Effect, Input, Instant, Mark, Member, Message, Node, NodeFile, NodeId, Outcome, Settings,
    Span, Standing, Ticket,
};

use crate::{show, talk};

/// A node's name: one letter.
pub type Name = char;

/// A way from one node to another.
pub type Way = (Name, Name);

/// When a world starts. Not zero, so that no ballot is.
const START: u64 = 1_000_000;
/// How far apart the nodes' monotonic clocks are.
const APART: u64 = 1_000_000_000;
/// How often a node may ask for another tick without time going on before it counts as stuck.
const STUCK: u32 = 10_000;

/// What a way does with messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Road {
    /// Delivers at once.
    #[default]
    Open,
    /// Keeps them until told to deliver.
    Held,
    /// Loses them, and nobody notices.
    Lossy,
    /// Loses them; the node at the end has noticed.
    Cut,
}

#[derive(Debug)]
struct Place {
    node: Option<Node>,
    file: NodeFile,
    boots: u64,
    /// Added to the world's time for its monotonic clock.
    clock: u64,
    /// What its driver read from that clock when it last had something to do.
    read: Instant,
    /// Added to the world's time for its wall clock.
    wall: u64,
    /// How often its file was lost: a node without a file is a new one.
    lost: u64,
    /// Whether writes to disk stay on their way.
    slow_disk: bool,
    unwritten: VecDeque<(Mark, NodeFile)>,
}

/// Everything there is.
#[derive(Debug, Default)]
pub struct World {
    now: u64,
    settings: Settings,
    places: BTreeMap<Name, Place>,
    roads: BTreeMap<Way, Road>,
    held: BTreeMap<Way, VecDeque<Message>>,
    /// The last number of a batch that each way delivered, with the boot it is of.
    told: BTreeMap<Way, (u64, u64)>,
    queue: VecDeque<(Name, Input)>,
    effects: Vec<Effect>,
    /// Whether only what clients are told is written down, not what nodes say and do.
    pub quiet: bool,
    lines: Vec<String>,
    written_at: u64,
    /// The answers so far.
    pub outcomes: BTreeMap<Ticket, Outcome>,
}

/// The id of the first node of this name.
const fn first_id(name: Name) -> NodeId {
    NodeId(name as u64)
}

impl World {
    /// A world without nodes.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { now: START, written_at: START, settings, ..Self::default() }
    }

    /// Adds a node that has never run, its wall clock ahead by `wall`, and links it with all others.
    pub fn add(&mut self, name: Name, wall: Span) {
        let place = Place {
            node: None,
            file: NodeFile::new(name.to_string(), first_id(name)),
            boots: 0,
            lost: 0,
            clock: APART * u64::try_from(self.places.len()).unwrap_or_default(),
            read: Instant::default(),
            wall: wall.as_micros(),
            slow_disk: false,
            unwritten: VecDeque::new(),
        };
        self.places.insert(name, place);
        self.boot(name);
    }

    /// Starts a node with the file that is on its disk.
    fn boot(&mut self, name: Name) {
        let (now, settings) = (self.now, self.settings);
        let Some(place) = self.places.get_mut(&name) else { return };
        let boot = Boot {
            wall_clock: now + place.wall,
            proposer: u64::from(name) * show::BOOTS + place.boots,
            seed: (u64::from(name), place.boots),
            file: place.file.clone(),
        };
        place.boots += 1;
        place.node = Some(Node::new(settings, boot, Instant::from_micros(now + place.clock)));
        for other in self.names() {
            if self.runs(other) {
                self.join(name, other);
            }
        }
    }

    /// The node that runs, or ran last, at this place.
    #[must_use]
    pub fn id(&self, name: Name) -> NodeId {
        self.places.get(&name).map_or(first_id(name), |place| place.file.id)
    }

    /// The node of this name as a member.
    #[must_use]
    pub fn member(&self, name: Name) -> Member {
        let address = |port: &str| format!("{name}:{port}");
        let (peer, client, http) = (address("1"), address("2"), address("3"));
        Member { id: self.id(name), name: name.to_string(), peer, client, http }
    }

    /// A node's disk is gone, and the node with it: when it is started again it is another one, of the same name.
    pub fn wipe(&mut self, name: Name) {
        self.crash(name);
        let Some(place) = self.places.get_mut(&name) else { return };
        place.lost += 1;
        let id = NodeId(first_id(name).0 + place.lost * show::INCARNATION);
        place.file = NodeFile::new(name.to_string(), id);
    }

    /// The names of all nodes.
    #[must_use]
    pub fn names(&self) -> Vec<Name> {
        self.places.keys().copied().collect()
    }

    /// Whether there is a node of this name.
    #[must_use]
    pub fn knows(&self, name: Name) -> bool {
        self.places.contains_key(&name)
    }

    /// Whether this node runs.
    #[must_use]
    pub fn runs(&self, name: Name) -> bool {
        self.node(name).is_some()
    }

    /// The node of this name, if it runs, to be asked.
    #[must_use]
    pub fn node(&self, name: Name) -> Option<&Node> {
        self.places.get(&name)?.node.as_ref()
    }

    /// The time by a node's clock.
    #[must_use]
    pub fn clock(&self, name: Name) -> Instant {
        Instant::from_micros(self.now + self.places.get(&name).map_or(0, |place| place.clock))
    }

    /// Hands an input to a node, and lets the world go on until it is quiet.
    pub fn input(&mut self, name: Name, input: Input) {
        self.queue.push_back((name, input));
        self.settle();
    }

    /// Ends a node: its memory is gone, what was on its way to disk too, and its links break.
    pub fn crash(&mut self, name: Name) {
        if let Some(place) = self.places.get_mut(&name) {
            place.node = None;
            place.unwritten.clear();
        }
        for other in self.names() {
            if other != name && self.road((name, other)) != Road::Cut {
                self.held.remove(&(name, other));
                self.held.remove(&(other, name));
                let down = Input::Link { peer: self.id(name), up: false };
                self.queue.push_back((other, down));
            }
        }
        self.settle();
    }

    /// Starts a node again, with its file, on a disk that works.
    pub fn restart(&mut self, name: Name) {
        if let Some(place) = self.places.get_mut(&name) {
            place.slow_disk = false;
        }
        self.boot(name);
    }

    /// Links two nodes, and tells them. A way that was told what to do in the meantime does that.
    pub fn join(&mut self, a: Name, b: Name) {
        if a == b {
            return;
        }
        for (from, to) in [(a, b), (b, a)] {
            if self.road((from, to)) == Road::Cut {
                self.roads.remove(&(from, to));
            }
            self.queue.push_back((to, Input::Link { peer: self.id(from), up: true }));
        }
        self.settle();
    }

    /// Breaks the link between two nodes; both notice.
    pub fn cut(&mut self, a: Name, b: Name) {
        for (from, to) in [(a, b), (b, a)] {
            self.roads.insert((from, to), Road::Cut);
            self.held.remove(&(from, to));
            self.queue.push_back((to, Input::Link { peer: self.id(from), up: false }));
        }
        self.settle();
    }

    /// What a way does with messages.
    #[must_use]
    pub fn road(&self, way: Way) -> Road {
        self.roads.get(&way).copied().unwrap_or_default()
    }

    /// Lets a way do something else with messages from now on; what it holds stays.
    pub fn set_road(&mut self, way: Way, road: Road) {
        self.roads.insert(way, road);
    }

    /// Takes up to `count` messages off a held way; those of every second are not counted. Whether to deliver them, or
    /// to lose them.
    pub fn take_held(&mut self, way: Way, count: usize, deliver: bool) {
        let mut taken = 0;
        while taken < count
            && let Some(message) = self.held.get_mut(&way).and_then(VecDeque::pop_front)
        {
            if let Some(words) = self.words(way, &message) {
                taken += 1;
                let fate = if deliver { "delivered" } else { "dropped" };
                self.note(format!("{}>{} {words} ({fate})", way.0, way.1));
            }
            if deliver {
                self.deliver(way, message);
            }
        }
        self.settle();
    }

    /// Lets a node's writes to disk stay on their way, or lets them arrive.
    pub fn set_disk(&mut self, name: Name, slow: bool) {
        let Some(place) = self.places.get_mut(&name) else { return };
        place.slow_disk = slow;
        let newest = if slow { None } else { place.unwritten.pop_back() };
        if let Some((mark, file)) = newest {
            place.unwritten.clear();
            place.file = file;
            self.queue.push_back((name, Input::Persisted(mark)));
            self.note(format!("{name} file written"));
        }
        self.settle();
    }

    /// Lets time pass. Every node is called when it asked to be.
    pub fn advance(&mut self, by: Span) {
        let end = self.now + by.as_micros();
        let mut stuck = 0;
        loop {
            let next = self.names().into_iter().filter_map(|name| Some((self.due(name)?, name)));
            let Some((due, name)) = next.min().filter(|(due, _)| *due <= end) else { break };
            stuck = if due > self.now { 0 } else { stuck + 1 };
            assert!(stuck < STUCK, "{name} asks to be called at {due}, again and again");
            self.now = self.now.max(due);
            self.input(name, Input::Tick);
        }
        self.now = end;
    }

    /// When a node wants to be called, in the world's time.
    fn due(&self, name: Name) -> Option<u64> {
        let place = self.places.get(&name)?;
        let deadline = place.node.as_ref()?.deadline()?.as_micros();
        Some(deadline.saturating_sub(place.clock))
    }

    /// Lets nodes take their inputs until there are none.
    fn settle(&mut self) {
        while let Some((name, input)) = self.queue.pop_front() {
            let now = self.clock(name);
            let Some(place) = self.places.get_mut(&name) else { continue };
            let Some(node) = &mut place.node else { continue };
            // A driver that reads the clock before it waits for inputs.
            let before = std::mem::replace(&mut place.read, now);
            let early = Rule::ClockAfterReceive.is_out() && input != Input::Tick;
            let now = if early { before } else { now };
            let mut effects = std::mem::take(&mut self.effects);
            node.handle(now, input, &mut effects);
            node.check();
            self.carry_out(name, &effects);
            effects.clear();
            self.effects = effects;
        }
    }

    fn carry_out(&mut self, name: Name, effects: &[Effect]) {
        let mut sends: Vec<(String, &'static str, String)> = Vec::new();
        for effect in effects {
            if let Effect::Send { to, message } = effect {
                assert_ne!(*to, self.id(name), "{name} sends to itself");
                let (id, to) = (*to, show::name(*to));
                if self.id(to) != id {
                    // Nobody of that name and incarnation will ever be there again.
                    continue;
                }
                let words = self.words((name, to), message);
                let fate = self.send((name, to), message);
                match (words, sends.last_mut()) {
                    (Some(words), Some(last)) if (last.1, &last.2) == (fate, &words) => {
                        last.0.push(to);
                    }
                    (Some(words), _) => sends.push((to.to_string(), fate, words)),
                    (None, _) => {}
                }
                continue;
            }
            self.note_sends(name, &mut sends);
            self.carry_out_one(name, effect);
        }
        self.note_sends(name, &mut sends);
    }

    fn note_sends(&mut self, name: Name, sends: &mut Vec<(String, &'static str, String)>) {
        for (to, fate, words) in sends.drain(..) {
            self.note(format!("{name}>{to} {words}{fate}"));
        }
    }

    /// A message in words, unless it is one of those that say the same every second. Of another epoch than the
    /// receiver's it says of which.
    fn words(&self, way: Way, message: &Message) -> Option<String> {
        let number = talk::number(&message.body).filter(|_| talk::is_number(&message.body));
        if number.is_some() && number == self.told.get(&way).copied() {
            return None;
        }
        let mut words = talk::body(&message.body)?;
        let epoch = self.node(way.1).map(|node| node.status(self.clock(way.1)).epoch);
        let voted = talk::counts_in_its_epoch(&message.body);
        if voted && epoch.is_some_and(|epoch| epoch != message.epoch) {
            words = format!("{words} (of epoch {})", message.epoch.0);
        }
        Some(words)
    }

    fn deliver(&mut self, way: Way, message: Message) {
        if let Some(said) = talk::number(&message.body) {
            self.told.insert(way, said);
        }
        let from = self.id(way.0);
        self.queue.push_back((way.1, Input::Message { from, message }));
    }

    /// Sends a message, and says what becomes of it.
    fn send(&mut self, way: Way, message: &Message) -> &'static str {
        if !self.runs(way.1) {
            return " (lost)";
        }
        match self.road(way) {
            Road::Open => {
                self.deliver(way, message.clone());
                ""
            }
            Road::Held => {
                self.held.entry(way).or_default().push_back(message.clone());
                " (held)"
            }
            Road::Lossy | Road::Cut => " (lost)",
        }
    }

    fn carry_out_one(&mut self, name: Name, effect: &Effect) {
        match effect {
            Effect::Send { .. } => {}
            Effect::Reply { ticket, outcome } => {
                let twice = self.outcomes.insert(*ticket, outcome.clone());
                assert!(twice.is_none(), "#{} was answered twice", ticket.0);
                self.say(format!("#{} {}", ticket.0, show::outcome(outcome)));
            }
            Effect::Persist(mark, file) => {
                let Some(place) = self.places.get_mut(&name) else { return };
                if place.slow_disk {
                    place.unwritten.push_back((*mark, NodeFile::clone(file)));
                    self.note(format!("{name} {} (held)", show::file(file)));
                } else {
                    // Of a ceiling that is raised without trouble there would be a line every half minute.
                    let ceiling = file.ceiling;
                    let news = NodeFile { ceiling, ..place.file.clone() } != **file;
                    place.file = NodeFile::clone(file);
                    self.queue.push_back((name, Input::Persisted(*mark)));
                    if news {
                        self.note(format!("{name} {}", show::file(file)));
                    }
                }
            }
            Effect::Event(event) => self.note(format!("{name} {}", show::event(event))),
        }
    }

    /// Writes down what is not of interest in a quiet world.
    fn note(&mut self, line: String) {
        if !self.quiet {
            self.say(line);
        }
    }

    /// Writes down a line, with the time if that has changed.
    pub fn say(&mut self, line: String) {
        if self.written_at != self.now {
            self.written_at = self.now;
            let at = show::span(Span::from_micros(self.now));
            self.lines.push(format!("[{at}]"));
        }
        self.lines.push(line);
    }

    /// What was written down since the last call.
    pub fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    /// What every way that holds messages holds.
    #[must_use]
    pub fn held(&self) -> Vec<String> {
        let words = |(way, messages): (&Way, &VecDeque<Message>)| {
            let messages = messages.iter().filter_map(|message| self.words(*way, message));
            messages.map(|words| format!("{}>{} {words}", way.0, way.1)).collect::<Vec<_>>()
        };
        self.held.iter().flat_map(words).collect()
    }

    /// The nodes that vote.
    #[must_use]
    pub fn active(&self) -> BTreeSet<Name> {
        let active = |name: &Name| {
            let status = self.node(*name).map(|node| node.status(self.clock(*name)));
            status.is_some_and(|status| status.standing == Standing::Active)
        };
        self.names().into_iter().filter(active).collect()
    }
}
