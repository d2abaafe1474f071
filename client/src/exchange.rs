//! One call: a question, sent as often as it takes, and what that adds up to.
//!
//! Every sending of an operation carries the same identity, so it takes effect at most once (protocol, 5.2). What
//! the caller is told depends on what may have happened to *all* sendings: a call is "not done" only if each of them
//! certainly had no effect, and "unknown" as soon as one was handed over and nobody can tell. `c0`, the reading
//! from which a belief counts, is taken before each sending and comes back with the answer to that sending.

use std::sync::Arc;
use std::time::Duration;

use leasehold_core::{Done, Instant, NodeId, NotDone, Outcome, Span};

use crate::backoff::Backoff;
use crate::clock;
use crate::cluster::Cluster;
use crate::connection::{Arrival, Connection};
use crate::error::{Doubt, Error, Fault, Reason, Refusal};
use crate::mailbox::Mailbox;
use crate::question::{Orphan, Question, Reply};

/// A conclusive answer.
#[derive(Debug)]
pub(crate) struct Answered {
    /// The clock before the sending that was answered.
    pub(crate) asked_at: Instant,
    /// The answer.
    pub(crate) reply: Reply,
    /// Whether some other sending may have taken effect before.
    pub(crate) doubted: bool,
}

/// A call under way. Dropping it gives the call up, and what it may still bring about.
#[derive(Debug)]
pub(crate) struct Exchange {
    cluster: Arc<Cluster>,
    question: Question,
    deadline: Instant,
    /// A node is suspected after so long, if that is sooner than what a coordinator may take.
    suspect_after: Option<Span>,
    /// Made for the first pause, which few calls need.
    backoff: Option<Backoff>,
    mailbox: Mailbox,
    /// Sendings that were not answered, on connections that are up.
    open: Vec<(u64, Arc<Connection>)>,
    /// A sending was handed over and nobody can tell what became of it.
    doubt: Option<Doubt>,
    /// Nodes that could not do it.
    tried: Vec<NodeId>,
    /// Why the last node could not.
    reason: Option<Reason>,
    /// What the caller has of what the operation brought about. That is not to be undone.
    delivered: Option<Done>,
}

/// What one arrival means for the call.
enum Verdict {
    Over(Result<Answered, Error>),
    /// Send it again, to another node if there is one.
    Again,
}

impl Exchange {
    pub(crate) fn new(cluster: &Arc<Cluster>, question: Question, deadline: Instant) -> Self {
        Self {
            cluster: Arc::clone(cluster),
            backoff: None,
            question,
            deadline,
            suspect_after: None,
            mailbox: Mailbox::new(),
            open: Vec::new(),
            doubt: None,
            tried: Vec::new(),
            reason: None,
            delivered: None,
        }
    }

    /// Has another node asked beside one that takes longer than this.
    pub(crate) const fn suspecting_after(mut self, span: Option<Span>) -> Self {
        self.suspect_after = span;
        self
    }

    /// Puts the question until it is answered, or the deadline has come.
    pub(crate) async fn run(mut self) -> Result<Answered, Error> {
        let verdict = loop {
            let Some(suspect_at) = self.send().await else { break self.expired() };
            match self.verdict(suspect_at).await {
                Some(Verdict::Over(result)) => break result,
                Some(Verdict::Again) => {}
                None => break self.expired(),
            }
        };
        if let Ok(Answered { reply: Reply::Outcome(Outcome::Done(done)), .. }) = &verdict {
            self.delivered = Some(*done);
        }
        verdict
    }

    /// Sends the question to the best node. Returns when to suspect it, or `None` at the deadline.
    async fn send(&mut self) -> Option<Instant> {
        let key = self.question.home_of().map(|key| &**key);
        let mut connection = self.cluster.choose_by(key, &self.tried, self.deadline).await?;
        if self.tried.contains(&connection.node()) {
            // Everybody was asked. They are asked again, after a pause.
            let backoff = self.backoff.get_or_insert_with(|| self.cluster.backoff(b"call"));
            let pause = backoff.pause();
            if connection.is_quiet() && self.waits_at(&connection) {
                // It has the question already. Perhaps somebody else is connected by then.
                return Some(clock::now().after(pause.into()));
            }
            self.pause(pause).await?;
            self.tried.clear();
            let key = self.question.home_of().map(|key| &**key);
            connection = self.cluster.choose_by(key, &[], self.deadline).await?;
        }
        let call = self.cluster.next_call();
        self.open.push((call, Arc::clone(&connection)));
        let asked_at = clock::now();
        let item = self.question.item(call, asked_at);
        // What must not be done late waits until the connection ends.
        let beside = self.question.asks_beside();
        let slot = if beside { self.mailbox.suspicious_slot() } else { self.mailbox.slot() };
        tokio::select! {
            biased;
            () = connection.ask(call, item, asked_at, slot) => {}
            () = clock::sleep_until(self.deadline) => return None,
        }
        let coordination = self.cluster.coordination();
        let busy = self.suspect_after.map_or(coordination, |span| span.min(coordination));
        Some(asked_at.after(busy.plus(self.question.waiting(asked_at))))
    }

    /// Pauses; `None` if the deadline comes first.
    async fn pause(&self, pause: Duration) -> Option<()> {
        let until = clock::now().after(pause.into());
        clock::sleep_until(until.min(self.deadline)).await;
        (until < self.deadline).then_some(())
    }

    /// Waits for what becomes of the sendings; `None` at the deadline.
    async fn verdict(&mut self, suspect_at: Instant) -> Option<Verdict> {
        let until = suspect_at.min(self.deadline);
        let arrival = tokio::select! {
            biased;
            arrival = self.mailbox.take() => arrival,
            () = clock::sleep_until(until) => {
                if until == self.deadline {
                    return None;
                }
                // The node lives and does not answer: it may have forwarded to one that died.
                self.tried.extend(self.open.iter().map(|(_, connection)| connection.node()));
                self.cluster.widen();
                return Some(self.again());
            }
        };
        Some(self.judge(arrival))
    }

    /// Sends again, unless that would ask something else than the first time.
    fn again(&self) -> Verdict {
        match self.in_doubt() {
            Some(doubt) if !self.question.repeats() => Verdict::Over(Err(Error::Unknown(doubt))),
            Some(_) | None => Verdict::Again,
        }
    }

    fn judge(&mut self, arrival: Arrival) -> Verdict {
        match arrival {
            Arrival::TooLarge { call } => {
                self.close(call);
                Verdict::Over(Err(Error::Invalid(Fault::TooLarge)))
            }
            Arrival::Quiet { call } => {
                let asked = self.open.iter().find(|(open, _)| *open == call);
                self.tried.extend(asked.map(|(_, connection)| connection.node()));
                self.cluster.widen();
                self.again()
            }
            Arrival::Lost { call, written } => {
                self.close(call);
                if written && self.question.changes() {
                    self.doubt = self.doubt.or(Some(Doubt::Unanswered));
                }
                self.cluster.widen();
                self.again()
            }
            Arrival::Reply { call, asked_at, reply } => {
                let node = self.close(call);
                match reply {
                    Reply::Outcome(Outcome::NotDone(why)) => self.not_done(node, why),
                    Reply::Outcome(Outcome::Unknown) => {
                        self.doubt = Some(Doubt::Undecided);
                        self.tried.extend(node);
                        self.again()
                    }
                    Reply::Unmet(masters) => self.failed(Reason::MastersMissing(masters)),
                    Reply::NotAllowed(why) => self.rejected(Error::NotAllowed(why)),
                    Reply::Declined(why) => self.rejected(Error::Refused(Refusal::Declined(why))),
                    Reply::Outcome(
                        Outcome::Done(_)
                        | Outcome::Found(_)
                        | Outcome::Woken(_)
                        | Outcome::Refused(_)
                        | Outcome::Founded(_)
                        | Outcome::Configured { .. },
                    )
                    | Reply::Local(_)
                    | Reply::Status(_)
                    | Reply::Page(_)
                    | Reply::Waiting(_)
                    | Reply::Hosted(_)
                    | Reply::Posted(_) => Verdict::Over(Ok(Answered {
                        asked_at,
                        reply,
                        doubted: self.in_doubt().is_some(),
                    })),
                }
            }
        }
    }

    /// Whether a sending over this connection was not answered.
    fn waits_at(&self, connection: &Arc<Connection>) -> bool {
        self.open.iter().any(|(_, open)| Arc::ptr_eq(open, connection))
    }

    /// A sending ended; which node it was sent to.
    fn close(&mut self, call: u64) -> Option<NodeId> {
        let place = self.open.iter().position(|(open, _)| *open == call)?;
        Some(self.open.swap_remove(place).1.node())
    }

    /// Whether some sending may have taken effect, or still may.
    fn in_doubt(&self) -> Option<Doubt> {
        let in_flight = self.question.changes() && !self.open.is_empty();
        self.doubt.or(in_flight.then_some(Doubt::Unanswered))
    }

    /// This sending certainly had no effect.
    fn not_done(&mut self, node: Option<NodeId>, why: NotDone) -> Verdict {
        self.tried.extend(node);
        let (reason, elsewhere) = match why {
            NotDone::Invalid(invalid) => {
                return Verdict::Over(Err(Error::Invalid(invalid.into())));
            }
            NotDone::NoQuorum => (Reason::NoQuorum, self.untried()),
            NotDone::Draining => (Reason::Draining, true),
            NotDone::Cancelled => (Reason::Cancelled, true),
            NotDone::TimedOut => (Reason::TooLate, false),
            // One that lost its node file knows of no cluster, whatever the others do.
            NotDone::NotFounded => (Reason::NotFounded, self.untried()),
            NotDone::Limit(limit) => (limit.into(), false),
            NotDone::Changing => (Reason::Changing, false),
            NotDone::NotActive => (Reason::NotActive, true),
            NotDone::Unreachable(master) => (Reason::MasterUnreachable(master), false),
        };
        if elsewhere {
            self.reason = Some(reason);
            self.cluster.widen();
            return self.again();
        }
        self.failed(reason)
    }

    /// This sending certainly had no effect, and another one would fare no better.
    fn failed(&mut self, reason: Reason) -> Verdict {
        if self.in_doubt().is_some() {
            self.reason = Some(reason);
            return self.again();
        }
        let waited = reason == Reason::TooLate && self.question.waits();
        Verdict::Over(Err(if waited { Error::TimedOut } else { Error::NotDone(reason) }))
    }

    /// This sending had no effect, and no other one would have any. An earlier one may have.
    fn rejected(&self, error: Error) -> Verdict {
        let doubt = self.in_doubt();
        Verdict::Over(Err(doubt.map_or(error, Error::Unknown)))
    }

    /// Whether another node is connected that was not asked yet.
    fn untried(&self) -> bool {
        let other = self.cluster.choose(None, &self.tried);
        other.is_some_and(|connection| !self.tried.contains(&connection.node()))
    }

    /// The deadline has come.
    fn expired(&mut self) -> Result<Answered, Error> {
        for (call, connection) in std::mem::take(&mut self.open) {
            let written = connection.abandon(call, self.question.orphan());
            if written && self.question.changes() {
                self.doubt = self.doubt.or(Some(Doubt::Unanswered));
            }
        }
        let connected = self.cluster.is_connected();
        Err(match (self.doubt, self.reason.take()) {
            (Some(doubt), _) => Error::Unknown(doubt),
            (None, Some(reason)) => Error::NotDone(reason),
            (None, None) if !connected => self.cluster.causes().into(),
            (None, None) if self.question.waits() => Error::TimedOut,
            (None, None) if self.question.changes() => Error::NotDone(Reason::TooLate),
            (None, None) => Error::NotDone(Reason::Unanswered),
        })
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let kept = self.delivered.map(|done| done.token);
        let orphan = self.question.orphan().map(|orphan| Orphan { kept, ..orphan });
        for (call, connection) in &self.open {
            if self.delivered.is_some_and(|done| done.repeated) {
                // Not cancelled: this may be the sending that took effect, and the node would undo it.
                connection.forget(*call, orphan.clone());
            } else {
                connection.abandon(*call, orphan.clone());
            }
        }
        // What arrived between the last look and now.
        while let Some(arrival) = self.mailbox.try_take() {
            if let Arrival::Reply { reply: Reply::Outcome(Outcome::Done(done)), .. } = arrival
                && let Some(orphan) = orphan.clone()
            {
                self.cluster.give_back(orphan, done.token);
            }
        }
    }
}
