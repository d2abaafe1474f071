//! Three masters in one thread and the messages between them, by value or by way of their bytes, with as many operations under
//! way as the caller asks for at once. Requests go to their key's home, as clients send them.

use leasehold_core::wire::{Frame, HEADER, PeerItem, take_item};
use leasehold_core::{
    Action, Ask, Body, Boot, ClusterId, Config, Effect, Effects, Epoch, Input, Instant, Key,
    KeyRequest, Member, Message, Node, NodeFile, NodeId, OpId, Outcome, Owner, Request, Settings,
    Span, Ticket, hash,
};

const PATIENCE: Span = Span::from_secs(5);
pub(crate) const LEASE: Span = Span::from_secs(300);
const CLUSTER: ClusterId = ClusterId(1, 2);
const IDS: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

/// Three masters, and the messages between them.
pub(crate) struct Cluster {
    nodes: [Node; 3],
    /// Microseconds.
    pub(crate) now: u64,
    /// By how much every input is later than the one before, in 64ths of a microsecond.
    pub(crate) pace: u64,
    inputs: u64,
    /// Where the nodes write down what is to be done, each for itself.
    effects: [Effects; 3],
    spare: Effects,
    /// What has arrived at each node, and is handed in as a driver does it: a batch at a time.
    arrived: [Vec<Input>; 3],
    batch: Vec<Input>,
    ticket: u64,
    founded: bool,
    frame: Frame,
    wire: bool,
    /// Operations that were done, or found what they looked for.
    pub(crate) done: u64,
    pub(crate) messages: u64,
    pub(crate) prepares: u64,
}

impl Cluster {
    /// A founded cluster; its messages travel as bytes if `wire`.
    pub(crate) fn new(wire: bool) -> Self {
        let nodes = IDS.map(|id| {
            let file = NodeFile::new(format!("n{}", id.0), id);
            let boot =
                Boot { wall_clock: 1_700_000_000_000_000, proposer: id.0, seed: (id.0, 7), file };
            Node::new(Settings::default(), boot, Instant::from_micros(0))
        });
        let mut cluster = Self {
            nodes,
            now: 1,
            pace: 64,
            inputs: 0,
            effects: [const { Vec::new() }; 3],
            spare: Vec::new(),
            arrived: [const { Vec::new() }; 3],
            batch: Vec::new(),
            ticket: 0,
            founded: false,
            frame: Frame::default(),
            wire,
            done: 0,
            messages: 0,
            prepares: 0,
        };
        for place in 0..3 {
            for peer in (0..3).filter(|&peer| peer != place) {
                cluster.handle(place, Input::Link { peer: IDS[peer], up: true });
            }
        }
        let member = |id: NodeId| Member { id, name: format!("n{}", id.0), ..Member::default() };
        let masters = IDS.map(member).to_vec();
        let config = Config { epoch: Epoch(1), masters, ..Config::default() };
        cluster.ask(0, Request::Init { cluster: CLUSTER, config });
        cluster.settle();
        assert!(cluster.founded, "the cluster is founded");
        cluster
    }

    fn ask(&mut self, place: usize, request: Request) {
        self.ticket += 1;
        self.arrived[place].push(Input::Request { ticket: Ticket(self.ticket), request });
    }

    /// Sends a request about a key to its home. It is worked on by [`Cluster::settle`].
    pub(crate) fn act(&mut self, key: &Name, action: Action) {
        let request = KeyRequest { key: key.key.clone(), patience: PATIENCE, action };
        self.ask(key.home, Request::Key(request));
    }

    #[inline(always)]
    fn handle(&mut self, place: usize, input: Input) {
        let now = self.later();
        self.nodes[place].handle(now, input, &mut self.effects[place]);
    }

    /// The time of the next input.
    fn later(&mut self) -> Instant {
        self.inputs += self.pace;
        self.now += self.inputs / 64;
        self.inputs %= 64;
        Instant::from_micros(self.now)
    }

    /// Works until every answer is there: one node after the other takes what has arrived, and carries out what comes of it.
    pub(crate) fn settle(&mut self) {
        while self.arrived.iter().any(|arrived| !arrived.is_empty())
            || self.effects.iter().any(|effects| !effects.is_empty())
        {
            for place in 0..3 {
                self.take(place);
                let mut effects =
                    core::mem::replace(&mut self.effects[place], core::mem::take(&mut self.spare));
                for effect in effects.drain(..) {
                    self.carry_out(place, effect);
                }
                self.spare = effects;
            }
        }
    }

    /// Hands in what has arrived at a node.
    fn take(&mut self, place: usize) {
        let batch = core::mem::take(&mut self.batch);
        let mut inputs = core::mem::replace(&mut self.arrived[place], batch);
        self.nodes[place].foresee(inputs.iter().filter_map(|input| match input {
            Input::Message { message, .. } => message.looks_up(),
            Input::Request { request: Request::Key(request), .. } => Some(&request.key),
            Input::Request { .. }
            | Input::Tick
            | Input::Cancel(_)
            | Input::Link { .. }
            | Input::Drain
            | Input::Persisted(_) => None,
        }));
        for input in inputs.drain(..) {
            self.handle(place, input);
        }
        self.batch = inputs;
    }

    #[inline(always)]
    fn carry_out(&mut self, place: usize, effect: Effect) {
        match effect {
            Effect::Send { to, message } => {
                self.messages += 1;
                let prepare = matches!(message.body, Body::Ask { ask: Ask::Prepare { .. }, .. });
                self.prepares += u64::from(prepare);
                let (from, to) = (IDS[place], usize::try_from(to.0 - 1).expect("one of three"));
                let message = if self.wire { travel(&mut self.frame, message) } else { message };
                self.arrived[to].push(Input::Message { from, message });
            }
            Effect::Reply { outcome, .. } => match outcome {
                Outcome::Done(_) | Outcome::Found(_) => self.done += 1,
                Outcome::Founded(_) => self.founded = true,
                other @ (Outcome::Woken(_)
                | Outcome::Refused(_)
                | Outcome::NotDone(_)
                | Outcome::Unknown
                | Outcome::Configured { .. }) => panic!("{other:?}"),
            },
            Effect::Persist(mark, _) => self.handle(place, Input::Persisted(mark)),
            Effect::Event(_) => {}
        }
    }

    /// When the next node wants to be woken, and which.
    fn next(&self) -> Option<(usize, u64)> {
        let deadline = |place: usize| Some((place, self.nodes[place].deadline()?.as_micros()));
        (0..3).filter_map(deadline).min_by_key(|&(_, at)| at)
    }

    /// Lets time pass until `end`, waking whoever asked for it; `timed` runs around every wake. How often somebody was woken.
    pub(crate) fn idle(&mut self, end: u64, mut timed: impl FnMut(&mut dyn FnMut())) -> u64 {
        let mut wakes = 0;
        while let Some((place, at)) = self.next().filter(|&(_, at)| at < end) {
            self.now = self.now.max(at);
            timed(&mut || self.handle(place, Input::Tick));
            self.settle();
            wakes += 1;
        }
        self.now = self.now.max(end);
        wakes
    }

    pub(crate) fn lock(&mut self, key: &Name, step: u32, lease: Span) {
        let (meta, value) = ("".into(), key.value.clone());
        let (delay, wait) = (Span::ZERO, Span::ZERO);
        self.act(key, Action::Lock { id: key.id(step), value, meta, lease, delay, wait });
    }

    pub(crate) fn extend(&mut self, key: &Name, step: u32) {
        let owner = Owner::default();
        self.act(key, Action::Extend { id: key.id(step), owner, lease: LEASE });
    }
}

/// A message to bytes and back.
fn travel(frame: &mut Frame, message: Message) -> Message {
    frame.push(&PeerItem::Message(message)).expect("it fits");
    let bytes = frame.take();
    let item = take_item::<PeerItem>(&mut &bytes[HEADER..]).expect("it is well formed");
    let Some(PeerItem::Message(message)) = item else { panic!("it was a message") };
    message
}

/// A key with what its client knows of it.
pub(crate) struct Name {
    key: Key,
    value: leasehold_core::Bytes,
    home: usize,
    number: u64,
}

impl Name {
    /// A key and a value of 32 bytes each.
    pub(crate) fn new(number: u64) -> Self {
        let key = Key::from(format!("key/{number:028}").as_str());
        let home = hash::home(CLUSTER, IDS, &key).expect("there are three");
        let value = format!("value/{number:026}").as_str().into();
        Self { key, value, home: usize::try_from(home.0 - 1).expect("one of three"), number }
    }

    /// Steps of each use of the key are those of a chain of their own.
    pub(crate) const fn id(&self, step: u32) -> OpId {
        OpId { chain: (self.number, (step / 1_000) as u64), step: step % 1_000 }
    }
}
