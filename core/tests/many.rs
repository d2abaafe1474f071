//! So many leases that they are far memory: reading ahead changes nothing, and time takes them a few at once.

use std::hash::{DefaultHasher, Hash, Hasher};

use leasehold_core::{
    Action, Boot, ClusterId, Config, Effect, Effects, Epoch, Event, Input, Instant, Key,
    KeyRequest, Member, Node, NodeFile, NodeId, OpId, Outcome, Request, Settings, Span, Ticket,
};

/// More than a node takes to be near.
const LEASES: u64 = 10_000;
const LEASE: Span = Span::from_secs(60);

/// The only master of a cluster, with a disk that writes at once.
struct Alone {
    node: Node,
    now: Instant,
    tickets: u64,
}

/// What an input led to.
#[derive(Default)]
struct Said {
    done: usize,
    found: usize,
    expired: usize,
}

impl Alone {
    fn new() -> Self {
        let id = NodeId(7);
        let file = NodeFile::new("alone".into(), id);
        let boot = Boot { wall_clock: 1_700_000_000_000_000, proposer: 1, seed: (2, 3), file };
        let now = Instant::from_micros(0);
        let node = Node::new(Settings::default(), boot, now);
        let mut alone = Self { node, now, tickets: 0 };
        let masters = vec![Member { id, name: "alone".into(), ..Member::default() }];
        let config = Config { epoch: Epoch(1), masters, ..Config::default() };
        alone.ask(Request::Init { cluster: ClusterId(4, 5), config });
        alone
    }

    fn put(&mut self, input: Input) -> Said {
        let (mut said, mut inputs) = (Said::default(), vec![input]);
        let mut effects = Effects::new();
        while let Some(input) = inputs.pop() {
            self.now = self.now.after(Span::from_micros(1));
            self.node.handle(self.now, input, &mut effects);
            for effect in effects.drain(..) {
                match effect {
                    Effect::Persist(mark, _) => inputs.push(Input::Persisted(mark)),
                    Effect::Reply { outcome, .. } => {
                        said.done += usize::from(matches!(outcome, Outcome::Done(_)));
                        said.found += usize::from(matches!(outcome, Outcome::Found(Some(_))));
                    }
                    Effect::Event(Event::Expired { .. }) => said.expired += 1,
                    Effect::Event(_) | Effect::Send { .. } => {}
                }
            }
        }
        said
    }

    fn ask(&mut self, request: Request) -> Said {
        self.tickets += 1;
        self.put(Input::Request { ticket: Ticket(self.tickets), request })
    }

    fn act(&mut self, name: u64, action: Action) -> Said {
        self.ask(Request::Key(KeyRequest { key: key(name), patience: LEASE, action }))
    }

    /// With so many leases, and one that outlasts them.
    fn full() -> Self {
        let mut alone = Self::new();
        for name in 0..=LEASES {
            let id = OpId { chain: (name, 1), step: 0 };
            let lease = if name < LEASES { LEASE } else { LEASE.times(4) };
            let (value, meta, delay, wait) = ("me".into(), "".into(), Span::ZERO, Span::ZERO);
            let said = alone.act(name, Action::Lock { id, value, meta, lease, delay, wait });
            assert_eq!(said.done, 1);
        }
        alone
    }

    fn state(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.node.hash(&mut hasher);
        hasher.finish()
    }
}

fn key(name: u64) -> Key {
    format!("key/{name}").as_str().into()
}

#[test]
fn reading_ahead_changes_nothing() {
    let mut alone = Alone::full();
    let before = alone.state();
    // Keys that are there, in part twice, and keys that are not; more than are read at once, and none.
    let keys: Vec<Key> = (LEASES - 100..LEASES + 100).chain(LEASES - 5..LEASES).map(key).collect();
    for count in [0, 1, 31, 32, 33, keys.len()] {
        alone.node.foresee(&keys[..count]);
    }
    assert_eq!(alone.state(), before);
    assert_eq!(alone.act(LEASES - 1, Action::Read).found, 1);
    Alone::new().node.foresee(&keys);
}

#[test]
fn leases_that_end_together_keep_no_input_waiting() {
    let mut alone = Alone::full();
    alone.now = alone.now.after(LEASE.plus(Span::from_secs(1)));
    let all = usize::try_from(LEASES).unwrap();
    let mut expired = 0;
    // Moving timers to where they fire takes a few inputs before the first lease is seen to have ended.
    for _ in 0..20_000 {
        let said = alone.act(LEASES, Action::Read);
        assert_eq!(said.found, 1, "a read is answered meanwhile");
        assert!(said.expired <= 16, "{} before one input", said.expired);
        expired += said.expired;
        if expired > all / 2 {
            break;
        }
    }
    assert!(expired > all / 2, "inputs alone see to it, too");
    // A node with nothing else to do is quicker.
    let mut most = 0;
    while expired < all {
        let due = alone.node.deadline().expect("there is always something");
        assert!(due <= alone.now, "it asks to be woken at once");
        let said = alone.put(Input::Tick);
        most = most.max(said.expired);
        expired += said.expired;
    }
    assert_eq!((expired, most), (all, 256));
}
