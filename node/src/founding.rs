//! The founding of a cluster, up to where the core takes over: who the configured masters are.
//!
//! A configuration names members by incarnation and address, a configuration file only by name. So `init` waits until
//! every configured master is linked, in both directions, and has said who it is.

use leasehold_core::{Config, Epoch, Instant, Member, Span, Ticket};

use crate::links::Links;

/// What is known before the cluster is.
#[derive(Debug)]
pub(crate) struct Founding {
    own: Member,
    /// Names of the configured masters and replicas.
    masters: Vec<String>,
    replicas: Vec<String>,
    waiting: Vec<(Ticket, Instant)>,
}

/// Whether founding may begin.
#[derive(Debug)]
pub(crate) enum Ready {
    /// All were met.
    Yes(Config),
    /// These were not.
    Missing(Vec<String>),
}

impl Founding {
    /// The longest that `init` waits for masters, so that the answer can name who is missing while the caller still
    /// listens.
    pub(crate) const PATIENCE: Span = Span::from_secs(4);

    pub(crate) const fn new(own: Member, masters: Vec<String>, replicas: Vec<String>) -> Self {
        Self { own, masters, replicas, waiting: Vec::new() }
    }

    /// Whether this node is one of the configured masters.
    pub(crate) fn is_master(&self) -> bool {
        self.masters.contains(&self.own.name)
    }

    /// Somebody asked for it.
    pub(crate) fn ask(&mut self, now: Instant, ticket: Ticket, patience: Span) {
        // What is left of the caller's patience is for the founding itself.
        let patience = patience.split(2).min(Self::PATIENCE);
        self.waiting.push((ticket, now.after(patience)));
    }

    /// Nobody waits for this any more. Says whether it had not begun yet.
    pub(crate) fn cancel(&mut self, ticket: Ticket) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|(waiting, _)| *waiting != ticket);
        self.waiting.len() < before
    }

    /// Who must be looked at again by then.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.waiting.iter().map(|(_, until)| *until).min()
    }

    /// The requests that wait, if any.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Ends the wait of all.
    pub(crate) fn take_all(&mut self) -> Vec<Ticket> {
        self.waiting.drain(..).map(|(ticket, _)| ticket).collect()
    }

    /// Ends the wait of those whose patience is over.
    pub(crate) fn take_expired(&mut self, now: Instant) -> Vec<Ticket> {
        let expired = |(_, until): &mut (Ticket, Instant)| *until <= now;
        self.waiting.extract_if(.., expired).map(|(ticket, _)| ticket).collect()
    }

    /// The first configuration, once everybody it names was met: replicas, too, since only a change of the members
    /// could take them in later.
    pub(crate) fn ready(&self, links: &Links) -> Ready {
        let find = |name: &String| {
            if *name == self.own.name { Some(self.own.clone()) } else { links.met(name).cloned() }
        };
        let all = self.masters.iter().chain(&self.replicas);
        let missing: Vec<String> = all.filter(|name| find(name).is_none()).cloned().collect();
        if !missing.is_empty() {
            return Ready::Missing(missing);
        }
        Ready::Yes(Config {
            epoch: Epoch(1),
            masters: self.masters.iter().filter_map(find).collect(),
            replicas: self.replicas.iter().filter_map(find).collect(),
            before: Vec::new(),
        })
    }
}
