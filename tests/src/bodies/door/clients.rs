//! What the clients do, and what they make of the answers.

use leasehold_core::{
    Action, Bytes, Input, KeyRequest, OpId, Outcome, Owner, Refusal, Request, Span, Ticket, Token,
};

use super::super::Choices;
use super::super::oracle::{Belief, UPDATED};
use super::{CLIENTS, Call, Holding, KEYS, NODES, PATIENCE, Play, Sending};

impl Play {
    pub(super) fn ask(&mut self, choices: &mut Choices<'_>) {
        let (client, node) = (choices.below(CLIENTS), choices.below(NODES));
        let (key, what) = (choices.below(KEYS), choices.byte());
        if self.clients[client].call.is_some() {
            self.give_up(client, false);
        }
        let action = self.action(client, key, what);
        let id = self.draw();
        let call = Call { client, key, action, open: 0, possible: false };
        self.calls.insert(id, call);
        self.clients[client].call = Some(id);
        self.send(id, node);
    }

    pub(super) fn action(&mut self, client: usize, key: usize, what: u8) -> Action {
        let lease = Span::from_millis([100, 300, 1_000, 2_000][usize::from(what >> 6)]);
        let by_value = what & 8 != 0;
        let chain = (client as u64, self.draw());
        let Some(holding) = &mut self.clients[client].holding[key] else {
            if what & 7 == 0 {
                return Action::Read;
            }
            let value = Bytes::from(format!("{client}.{}", chain.1).as_str());
            let id = OpId { chain, step: 0 };
            let wait = if what & 16 == 0 { Span::ZERO } else { PATIENCE };
            let (token, over) = (None, false);
            let holding = Holding { chain, step: 0, value: value.clone(), token, over };
            self.clients[client].holding[key] = Some(holding);
            let (meta, delay) = (Bytes::from(""), Span::ZERO);
            return Action::Lock { id, value, meta, lease, delay, wait };
        };
        let owner = Owner {
            value: (by_value || holding.token.is_none()).then(|| holding.value.clone()),
            token: holding.token,
        };
        holding.step += 1;
        let id = OpId { chain: holding.chain, step: holding.step };
        match what & 7 {
            0 | 1 => Action::Read,
            2 | 3 => Action::Extend { id, owner, lease },
            4 => {
                let value = [&holding.value[..], &[UPDATED]].concat();
                Action::Update { id, owner, value: Bytes::from(&value[..]), meta: None }
            }
            5 => Action::WaitReleased,
            _ => {
                holding.over = true;
                if let Some(token) = holding.token {
                    self.oracle.gives_up(key, token);
                }
                Action::Release { id, owner }
            }
        }
    }

    pub(super) fn send(&mut self, id: u64, node: usize) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        if self.machines[node].node.is_none() {
            return;
        }
        call.open += 1;
        let sending = Sending {
            call: id,
            node,
            before: self.clients[call.client].clock.reads(self.time),
            asked: self.moment,
            above: self.oracle.newest(call.key),
            taken: self.machines[node].clock.reads(self.time),
        };
        let key = ["a", "b"][call.key].into();
        let request =
            Request::Key(KeyRequest { key, patience: PATIENCE, action: call.action.clone() });
        let ticket = Ticket(self.draw());
        self.sendings.insert(ticket, sending);
        self.hand(node, Input::Request { ticket, request });
    }

    pub(super) fn ask_again(&mut self, choices: &mut Choices<'_>) {
        let (client, node) = (choices.below(CLIENTS), choices.below(NODES));
        if let Some(call) = self.clients[client].call {
            self.send(call, node);
        }
    }

    /// The client does not wait for its answer any more, and may say so.
    pub(super) fn give_up(&mut self, client: usize, says_so: bool) {
        let Some(id) = self.clients[client].call.take() else { return };
        if says_so {
            let its = self.sendings.iter().filter(|(_, sending)| sending.call == id);
            let its: Vec<(Ticket, usize)> = its.map(|(t, sending)| (*t, sending.node)).collect();
            for (ticket, node) in its {
                self.hand(node, Input::Cancel(ticket));
            }
        }
        self.doom(id);
    }

    pub(super) fn reply(&mut self, n: usize, ticket: Ticket, outcome: &Outcome) {
        if self.changes.remove(&ticket).is_some() {
            return;
        }
        let sending = self.sendings.remove(&ticket);
        let sending = sending.expect("a request is answered once");
        assert_eq!(sending.node, n, "the node that was asked answers");
        let Some(call) = self.calls.get(&sending.call) else { return };
        let (client, key, action) = (call.client, call.key, call.action.clone());
        let awaited = self.clients[client].call == Some(sending.call);
        match outcome {
            Outcome::Done(done) => {
                if let (Action::Lock { value, .. }, false) = (&action, done.repeated) {
                    self.oracle.acquired(key, done.token, sending.above, value);
                }
                if let Action::Release { .. } = action {
                    self.oracle.gave_up(key, done.token, self.moment);
                }
                if awaited {
                    self.took_effect(&sending, &action, done.token, done.valid_for);
                }
            }
            Outcome::Found(holder) => {
                self.oracle.found(key, sending.asked, self.time, holder.as_ref());
            }
            Outcome::Refused(refusal) => self.refused(&sending, key, &action, refusal, awaited),
            Outcome::Woken(_)
            | Outcome::NotDone(_)
            | Outcome::Unknown
            | Outcome::Founded(_)
            | Outcome::Configured { .. } => {}
        }
        let possible = matches!(outcome, Outcome::Done(_) | Outcome::Unknown);
        if awaited {
            self.clients[client].call = None;
            if !possible && matches!(action, Action::Lock { .. }) {
                self.clients[client].holding[key] = None;
            }
        }
        self.answered(sending.call, possible);
    }

    fn took_effect(
        &mut self,
        sending: &Sending,
        action: &Action,
        token: Token,
        valid_for: Option<Span>,
    ) {
        let Some(call) = self.calls.get(&sending.call) else { return };
        let (key, id) = (call.key, call.client);
        let client = &mut self.clients[id];
        let Some(holding) = &mut client.holding[key] else { return };
        let over = holding.over;
        match action {
            Action::Lock { .. } | Action::Extend { .. } => holding.token = Some(token),
            Action::Update { value, .. } => holding.value = value.clone(),
            Action::Release { .. } => client.holding[key] = None,
            Action::Read | Action::WaitHeld | Action::WaitReleased => {}
        }
        if let (Some(valid_for), false) = (valid_for, over) {
            let until = client.clock.shows(sending.before.after(valid_for));
            let belief = Belief { client: id, token, since: self.moment, until };
            self.oracle.believes(key, self.time, belief);
        }
    }

    fn refused(
        &mut self,
        sending: &Sending,
        key: usize,
        action: &Action,
        refusal: &Refusal,
        awaited: bool,
    ) {
        let owner = match action {
            Action::Extend { owner, .. }
            | Action::Update { owner, .. }
            | Action::Release { owner, .. } => owner,
            Action::Lock { .. } => &Owner::default(),
            Action::Read | Action::WaitHeld | Action::WaitReleased => return,
        };
        if let Refusal::Held(holder) = refusal {
            self.oracle.found(key, sending.asked, self.time, Some(holder));
        }
        // By value as well, somebody may hold it and have updated the value in between: only the token tells.
        if let Owner { value: None, token: Some(token) } = owner {
            self.oracle.is_no_owner(key, *token, sending.asked, self.time);
            if let (Some(call), true) = (self.calls.get(&sending.call), awaited) {
                self.clients[call.client].holding[key] = None;
            }
        }
    }

    /// A sending was answered, or never will be.
    pub(super) fn answered(&mut self, id: u64, possible: bool) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.open -= 1;
        call.possible |= possible;
        self.doom(id);
    }

    /// Notes what a lock wanted as never done if no sending of it can have been.
    fn doom(&mut self, id: u64) {
        let Some(call) = self.calls.get(&id) else { return };
        if call.open > 0 || self.clients[call.client].call == Some(id) {
            return;
        }
        if let (Action::Lock { value, .. }, false) = (&call.action, call.possible) {
            self.oracle.never(call.key, value.clone(), self.moment);
        }
        self.calls.remove(&id);
    }
}
