//! Plays scripts: the clients' side, and the commands that move the world.
//!
//! Requests are numbered from 1 in the order in which they were made. A client is known by the value that it
//! locked a key with; its later operations on that key count its chain on, as the protocol asks (section 5.2).

use std::collections::BTreeMap;

use leasehold_core::{
    Action, Bytes, ClusterId, Config, Epoch, Input, KeyRequest, Member, OpId, Outcome, Owner,
    Request, Settings, Span, Ticket, Token,
};

use crate::script::{self, Claim, Command, Look, Options, Question};
use crate::show;
use crate::world::{Name, Road, World};

/// How long clients wait for an answer unless told otherwise: longer than any operation takes.
const PATIENCE: Span = Span::from_secs(60);
/// What a lease is unless told otherwise.
const LEASE: Span = Span::from_secs(30);
/// The identity of clusters unless told otherwise: in this one `a` is the home of `job`, `b` of `mail`, `c` of `disk`.
const CLUSTER: u64 = 2;

/// The operations of one holder.
#[derive(Debug)]
struct Chain {
    number: u64,
    key: String,
    value: String,
    step: u32,
}

/// A world with the clients that were seen in it.
#[derive(Debug, Default)]
pub struct Stage {
    world: World,
    requests: BTreeMap<u64, (Name, Request)>,
    chains: Vec<Chain>,
    /// Tickets are new at every sending, a repeated one, too: which request each is for.
    tickets: u64,
}

impl Stage {
    /// Carries out a line, and gives back what was said.
    ///
    /// # Errors
    ///
    /// What makes no sense in the line.
    pub fn play(&mut self, line: &str) -> Result<String, String> {
        if let Some(command) = script::parse(line)? {
            self.carry_out(command)?;
        }
        let mut said = String::new();
        for line in self.world.take_lines() {
            said.push_str(&line);
            said.push('\n');
        }
        Ok(said)
    }

    fn carry_out(&mut self, command: Command) -> Result<(), String> {
        match command {
            Command::Cluster(names, options) => return self.cluster(&names, &options),
            Command::Init(node, options) => {
                let cluster = ClusterId(0, options.number("cluster")?.unwrap_or(CLUSTER));
                return self.init(node, cluster);
            }
            Command::Key(node, key, question, options) => {
                return self.key_request(node, &key, question, &options);
            }
            Command::Repeat(number, node) => return self.repeat(number, node),
            Command::Cancel(number) => return self.cancel(number),
            Command::Hold(ways) => {
                ways.into_iter().for_each(|w| self.world.set_road(w, Road::Held));
            }
            Command::Lose(ways) => {
                ways.into_iter().for_each(|w| self.world.set_road(w, Road::Lossy));
            }
            Command::Mend(ways) => {
                for way in ways {
                    self.world.set_road(way, Road::Open);
                    self.world.take_held(way, usize::MAX, true);
                }
            }
            Command::Deliver(way, count) => self.world.take_held(way, count, true),
            Command::Drop(way, count) => self.world.take_held(way, count, false),
            Command::Cut(a, b) => self.world.cut(a, b),
            Command::Join(a, b) => self.world.join(a, b),
            Command::Members(node, options) => return self.members(node, &options),
            Command::Node(names) => names.into_iter().for_each(|n| self.world.add(n, Span::ZERO)),
            Command::Wipe(name) => self.world.wipe(name),
            Command::Crash(names) => names.into_iter().for_each(|name| self.world.crash(name)),
            Command::Restart(names) => names.into_iter().for_each(|name| self.world.restart(name)),
            Command::Drain(name) => self.world.input(name, Input::Drain),
            Command::Disk(name, slow) => self.world.set_disk(name, slow),
            Command::Advance(by) => self.world.advance(by),
            Command::Quiet(quiet) => self.world.quiet = quiet,
            Command::Look(look) => return self.look(look),
        }
        Ok(())
    }

    /// Makes nodes, and, if they are `founded`, a cluster of them.
    fn cluster(&mut self, names: &[Name], options: &Options) -> Result<(), String> {
        let mut settings = Settings::default();
        for (name, place) in [
            ("max_lease", &mut settings.timing.max_lease),
            ("op_timeout", &mut settings.timing.op_timeout),
            ("promise_timeout", &mut settings.timing.promise_timeout),
            ("sync_timeout", &mut settings.timing.sync_timeout),
        ] {
            *place = options.span(name)?.unwrap_or(*place);
        }
        if let Some(records) = options.number("records")? {
            settings.limits.records = u32::try_from(records).map_err(|error| error.to_string())?;
        }
        let (ahead, wall) = match options.text("wall").and_then(|text| text.split_once(':')) {
            Some((name, by)) => (name.chars().next(), script::span(by)?),
            None => (None, Span::ZERO),
        };
        let quiet = self.world.quiet;
        *self = Self { world: World::new(settings), ..Self::default() };
        self.world.quiet = quiet;
        for &name in names {
            self.world.add(name, if ahead == Some(name) { wall } else { Span::ZERO });
        }
        if options.has("founded") {
            let first = *names.first().ok_or("a cluster of nobody")?;
            self.world.quiet = true;
            self.init(first, ClusterId(0, options.number("cluster")?.unwrap_or(CLUSTER)))?;
            self.world.quiet = quiet;
            // Request numbers start with the transcript's own.
            self.requests.clear();
            self.world.outcomes.clear();
            self.tickets = 0;
            self.world.take_lines();
            if self.world.active().len() < names.len() {
                return Err(String::from("not all of them became active"));
            }
        }
        Ok(())
    }

    fn init(&mut self, node: Name, cluster: ClusterId) -> Result<(), String> {
        let masters = self.as_members(self.world.names());
        let config = Config { epoch: Epoch(1), masters, replicas: Vec::new(), before: Vec::new() };
        self.ask(node, Request::Init { cluster, config }, &format!("init at {node}"))
    }

    fn as_members(&self, names: Vec<Name>) -> Vec<Member> {
        names.into_iter().map(|name| self.world.member(name)).collect()
    }

    fn members(&mut self, node: Name, options: &Options) -> Result<(), String> {
        let masters = self.as_members(options.nodes("masters")?);
        let replicas = self.as_members(options.nodes("replicas")?);
        let patience = options.span("patience")?.unwrap_or(PATIENCE);
        let mut words = format!("at {node}: masters {}", show::members(&masters));
        if !replicas.is_empty() {
            words = format!("{words}, replicas {}", show::members(&replicas));
        }
        self.ask(node, Request::Members { patience, masters, replicas }, &words)
    }

    fn key_request(
        &mut self,
        node: Name,
        key: &str,
        question: Question,
        options: &Options,
    ) -> Result<(), String> {
        let lease = options.span("ttl")?.unwrap_or(LEASE);
        let action = match question {
            Question::Lock(value) => {
                let number = self.tickets + 1;
                let long = usize::try_from(options.number("long")?.unwrap_or(0));
                let action = Action::Lock {
                    id: OpId { chain: (0, number), step: 0 },
                    value: format!("{value:.<0$}", long.map_err(|e| e.to_string())?)
                        .as_str()
                        .into(),
                    meta: options.text("meta").unwrap_or_default().into(),
                    lease,
                    delay: options.span("delay")?.unwrap_or(Span::ZERO),
                    wait: options.span("wait")?.unwrap_or(Span::ZERO),
                };
                self.chains.push(Chain { number, key: String::from(key), value, step: 0 });
                action
            }
            Question::Extend(claim) => {
                let (id, owner) = (self.next_id(key, &claim), self.owner(&claim)?);
                Action::Extend { id, owner, lease }
            }
            Question::Update(claim, value) => {
                let (id, owner) = (self.next_id(key, &claim), self.owner(&claim)?);
                self.rename(id, &value);
                let meta = options.text("meta").map(Bytes::from);
                Action::Update { id, owner, value: value.as_str().into(), meta }
            }
            Question::Release(claim) => {
                let (id, owner) = (self.next_id(key, &claim), self.owner(&claim)?);
                Action::Release { id, owner }
            }
            Question::Read => Action::Read,
            Question::WaitHeld => Action::WaitHeld,
            Question::WaitReleased => Action::WaitReleased,
        };
        let patience = options.span("patience")?.unwrap_or(PATIENCE);
        let request = KeyRequest { key: key.into(), patience, action };
        let words = format!("at {node}: {}", show::request_words(&request));
        self.ask(node, Request::Key(request), &words)
    }

    fn ask(&mut self, node: Name, request: Request, words: &str) -> Result<(), String> {
        if !self.world.runs(node) {
            return Err(format!("{node} does not run"));
        }
        self.tickets += 1;
        if !self.world.quiet {
            self.world.say(format!("#{} {words}", self.tickets));
        }
        self.requests.insert(self.tickets, (node, request.clone()));
        self.world.input(node, Input::Request { ticket: Ticket(self.tickets), request });
        Ok(())
    }

    /// Sends an operation again, as a client does that got no answer.
    fn repeat(&mut self, number: u64, node: Option<Name>) -> Result<(), String> {
        let (first, request) = self.requests.get(&number).ok_or("no such request")?.clone();
        let node = node.unwrap_or(first);
        self.ask(node, request, &format!("at {node}: #{number} again"))
    }

    fn cancel(&mut self, number: u64) -> Result<(), String> {
        let (node, _) = self.requests.get(&number).ok_or("no such request")?;
        self.world.input(*node, Input::Cancel(Ticket(number)));
        Ok(())
    }

    /// The next id of the holder's chain, or a new chain for a stranger.
    fn next_id(&mut self, key: &str, claim: &Claim) -> OpId {
        let next = self.tickets + 1;
        let theirs = |chain: &&mut Chain| match (claim.request, &claim.value) {
            (Some(number), _) => chain.number == number,
            (None, Some(value)) => chain.key == key && chain.value == *value,
            (None, None) => false,
        };
        let Some(chain) = self.chains.iter_mut().rev().find(theirs) else {
            return OpId { chain: (0, next), step: 0 };
        };
        chain.step += 1;
        OpId { chain: (0, chain.number), step: chain.step }
    }

    /// A chain's holder goes by another value from now on.
    fn rename(&mut self, id: OpId, value: &str) {
        if let Some(chain) = self.chains.iter_mut().find(|chain| chain.number == id.chain.1) {
            chain.value = String::from(value);
        }
    }

    fn owner(&self, claim: &Claim) -> Result<Owner, String> {
        let token = claim.request.map(|number| self.token(number)).transpose()?;
        Ok(Owner { value: claim.value.as_deref().map(Bytes::from), token })
    }

    /// The token that this request was answered with.
    fn token(&self, number: u64) -> Result<Token, String> {
        match self.world.outcomes.get(&Ticket(number)) {
            Some(Outcome::Done(done)) => Ok(done.token),
            _ => Err(format!("#{number} was not answered with a token")),
        }
    }

    /// Shows what is there without touching it.
    fn look(&mut self, look: Look) -> Result<(), String> {
        let names = self.world.names();
        let lines = match look {
            Look::Local(name, key) => vec![self.local(name, &key)?],
            Look::Status(name) => {
                let node = self.world.node(name).ok_or("it does not run")?;
                vec![show::status(&node.status(self.world.clock(name)))]
            }
            Look::Home(key) => {
                let home = |name: &Name| {
                    let status = self.world.node(*name)?.status(self.world.clock(*name));
                    let up = |peer: &&leasehold_core::Peer| {
                        peer.up && peer.standing == leasehold_core::Standing::Active
                    };
                    let there = status.members.iter().filter(up).map(|peer| peer.member.id);
                    let home = leasehold_core::hash::home(status.cluster?, there, key.as_bytes());
                    let home =
                        home.map_or_else(|| String::from("nobody"), |id| show::name(id).into());
                    Some(format!("{name}: {home}"))
                };
                names.iter().filter_map(home).collect()
            }
            Look::Records => {
                let records = |name: &Name| {
                    let node = self.world.node(*name)?;
                    let (agreed, aged) = node.forgotten();
                    let kept = node.records();
                    Some(format!("{name}: {kept} kept, {agreed} gone by agreement, {aged} by age"))
                };
                names.iter().filter_map(records).collect()
            }
            Look::Held => self.world.held(),
        };
        lines.into_iter().for_each(|line| self.world.say(line));
        Ok(())
    }

    fn local(&self, name: Name, key: &str) -> Result<String, String> {
        let node = self.world.node(name).ok_or("it does not run")?;
        Ok(match node.peek(self.world.clock(name), key.as_bytes()) {
            None => format!("{name}: free"),
            Some(view) => {
                format!("{name}: {} for {}", show::entry(&view.entry), show::span(view.remaining))
            }
        })
    }
}
