//! Changes of the members, up to where the core takes over: who the nodes are that an operator names.
//!
//! A configuration names members by incarnation and address, an operator only by name. A name that is no member's is a
//! *guest*: for as long as the change waits for it, the handshake lets it in, if it is of this cluster or of none, and of
//! the same constants. Where a guest listens the operator says, or the guest itself, by *knocking*: a node that is
//! refused for its name only is remembered for a while. Over TLS its certificate says that it is who it says.
//!
//! What an operator asks for is said about the members as they are. If another change comes first, it is worked out again
//! from what came of that.

use std::collections::BTreeMap;

use leasehold_core::{Amendment, Candidate, Epoch, Instant, Member, Peer, Span, Ticket};

use crate::handshake::Known;

/// Strangers that are remembered, and for how long.
const KNOCKS: usize = 32;
const REMEMBERED: Span = Span::from_secs(30);
/// A change waits no longer for guests.
const MEETING: Span = Span::from_secs(10);

/// Nodes that were refused only because they are no members.
#[derive(Debug, Default)]
pub(crate) struct Knocks(BTreeMap<String, (Member, Instant)>);

impl Knocks {
    /// A node wants to be let in.
    pub(crate) fn note(&mut self, now: Instant, member: &Member) {
        self.0.retain(|_, (_, at)| now.since(*at) < REMEMBERED);
        let room = self.0.len() < KNOCKS || self.0.contains_key(&member.name);
        if room && member.well_formed() {
            self.0.insert(member.name.clone(), (member.clone(), now));
        }
    }

    /// Where a node of this name says that it listens.
    pub(crate) fn address(&self, now: Instant, name: &str) -> Option<String> {
        let (member, at) = self.0.get(name)?;
        (now.since(*at) < REMEMBERED).then(|| member.peer.clone())
    }
}

/// Masters and replicas.
pub(crate) type Members = (Vec<Member>, Vec<Member>);

/// Why an amendment is not a list of members.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unclear {
    /// It makes no sense as things are.
    Declined(String),
    /// These were not met yet.
    Guests(Vec<Candidate>),
}

/// The members as an operator wants them; `met` finds a node that is linked.
pub(crate) fn work_out(
    amendment: &Amendment,
    members: &[Peer],
    met: impl Fn(&str) -> Option<Member>,
) -> Result<Members, Unclear> {
    let place = |name: &str| members.iter().find(|peer| peer.member.name == name);
    let strange =
        |name: &str| Unclear::Declined(format!("`{name}` is no member; {}", who(members)));
    let (mut masters, mut replicas): Members = (Vec::new(), Vec::new());
    for peer in members {
        let role = if peer.master { &mut masters } else { &mut replicas };
        role.push(peer.member.clone());
    }
    match amendment {
        Amendment::Set { masters, replicas } => {
            return set((masters, replicas), members, met);
        }
        Amendment::Add(candidate) => match place(&candidate.name) {
            None => replicas.push(guest(candidate, met)?),
            Some(peer) if peer.master => {
                let name = &candidate.name;
                return Err(Unclear::Declined(format!(
                    "`{name}` is a master already; `leasehold members demote {name}` makes it a replica"
                )));
            }
            Some(_) => {}
        },
        Amendment::Promote(name) => {
            let peer = place(name).ok_or_else(|| strange(name))?;
            if !peer.master {
                replicas.retain(|member| member.name != *name);
                masters.push(peer.member.clone());
            }
        }
        Amendment::Demote(name) => {
            let peer = place(name).ok_or_else(|| strange(name))?;
            if peer.master {
                masters.retain(|member| member.name != *name);
                replicas.push(peer.member.clone());
            }
        }
        Amendment::Remove(name) => {
            place(name).ok_or_else(|| strange(name))?;
            masters.retain(|member| member.name != *name);
            replicas.retain(|member| member.name != *name);
        }
        Amendment::Replace(candidate) => {
            let old = place(&candidate.name).ok_or_else(|| strange(&candidate.name))?;
            if old.up {
                return Err(Unclear::Declined(format!(
                    "`{}` is there and is the one that was admitted; there is nothing to replace",
                    candidate.name
                )));
            }
            let new = guest(candidate, met)?;
            for member in masters.iter_mut().chain(&mut replicas) {
                if member.name == new.name {
                    *member = new.clone();
                }
            }
        }
    }
    if masters.is_empty() {
        return Err(Unclear::Declined("a cluster needs at least one master".into()));
    }
    Ok((masters, replicas))
}

fn guest(candidate: &Candidate, met: impl Fn(&str) -> Option<Member>) -> Result<Member, Unclear> {
    met(&candidate.name).ok_or_else(|| Unclear::Guests(vec![candidate.clone()]))
}

/// Exactly these. Who is a member already stays as it is, unless another address is given for it.
fn set(
    (masters, replicas): (&[Candidate], &[Candidate]),
    members: &[Peer],
    met: impl Fn(&str) -> Option<Member>,
) -> Result<Members, Unclear> {
    let mut guests = Vec::new();
    let mut find = |candidate: &Candidate| {
        let old = members.iter().map(|peer| &peer.member).find(|m| m.name == candidate.name);
        let stays = |old: &&Member| candidate.peer.as_ref().is_none_or(|peer| old.peer == *peer);
        let elsewhere = |new: &Member| candidate.peer.as_ref().is_none_or(|peer| new.peer == *peer);
        let found = old.filter(stays).cloned().or_else(|| met(&candidate.name).filter(elsewhere));
        if found.is_none() {
            guests.push(candidate.clone());
        }
        found
    };
    let found = (
        masters.iter().filter_map(&mut find).collect::<Vec<_>>(),
        replicas.iter().filter_map(&mut find).collect::<Vec<_>>(),
    );
    if masters.is_empty() {
        return Err(Unclear::Declined("a cluster needs at least one master".into()));
    }
    if guests.is_empty() { Ok(found) } else { Err(Unclear::Guests(guests)) }
}

/// The members in a sentence.
fn who(members: &[Peer]) -> String {
    let list = |master: bool| {
        let names = members.iter().filter(|peer| peer.master == master);
        names.map(|peer| peer.member.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let (masters, replicas) = (list(true), list(false));
    if replicas.is_empty() {
        format!("the masters are {masters}")
    } else {
        format!("the masters are {masters}, the replicas {replicas}")
    }
}

/// A change that an operator waits for.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) ticket: Ticket,
    pub(crate) amendment: Amendment,
    /// No guest is waited for after this.
    pub(crate) meet_by: Instant,
    pub(crate) give_up: Instant,
    /// What the core was asked for, and in which epoch.
    pub(crate) begun: Option<(Epoch, Members)>,
    /// It is to be worked out again: another change came first.
    pub(crate) again: bool,
}

/// All changes that operators wait for at this node.
#[derive(Debug, Default)]
pub(crate) struct Amending {
    pub(crate) wanted: Vec<Wanted>,
    /// Who may come in beside the members.
    pub(crate) guests: Vec<Known>,
}

impl Amending {
    pub(crate) fn ask(
        &mut self,
        now: Instant,
        ticket: Ticket,
        patience: Span,
        amendment: Amendment,
    ) {
        self.wanted.push(Wanted {
            ticket,
            amendment,
            meet_by: now.after(patience.split(2).min(MEETING)),
            give_up: now.after(patience),
            begun: None,
            again: false,
        });
    }

    /// When something has to be looked at again.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.waiting().map(|wanted| wanted.meet_by).min()
    }

    /// Those that the core does not know of yet.
    fn waiting(&self) -> impl Iterator<Item = &Wanted> {
        self.wanted.iter().filter(|wanted| wanted.begun.is_none())
    }

    /// Nobody waits for this any more, and the core does not know of it.
    pub(crate) fn cancel(&mut self, ticket: Ticket) -> bool {
        let waits = |wanted: &Wanted| wanted.ticket == ticket && wanted.begun.is_none();
        let cancelled = self.wanted.iter().any(waits);
        self.wanted.retain(|wanted| !waits(wanted));
        cancelled
    }

    /// Another configuration is in force. Which changes are to be taken back from the core, because they were said about
    /// other members than these.
    pub(crate) fn overtaken(&mut self, epoch: Epoch, members: &[Peer]) -> Vec<Ticket> {
        let same = |(masters, replicas): &Members| {
            let all = masters.iter().map(|member| (member, true));
            let mut all = all.chain(replicas.iter().map(|member| (member, false)));
            masters.len() + replicas.len() == members.len()
                && all.all(|(m, master)| {
                    members.iter().any(|peer| peer.member == *m && peer.master == master)
                })
        };
        let mut overtaken = Vec::new();
        for wanted in &mut self.wanted {
            let stale = |(of, wanted): &(Epoch, Members)| *of < epoch && !same(wanted);
            if wanted.begun.as_ref().is_some_and(stale) {
                wanted.again = true;
                overtaken.push(wanted.ticket);
            }
        }
        overtaken
    }
}

#[cfg(test)]
mod tests {
    use leasehold_core::{NodeId, Standing};

    use super::*;

    fn member(name: &str, id: u64) -> Member {
        let at = |port: u16| format!("{name}:{port}");
        Member { id: NodeId(id), name: name.into(), peer: at(1), client: at(2), http: at(3) }
    }

    fn peers() -> Vec<Peer> {
        let peer = |name, id, master| {
            let (member, standing) = (member(name, id), Standing::Active);
            Peer { member, master, standing, up: name != "c" }
        };
        vec![peer("a", 1, true), peer("b", 2, true), peer("c", 3, true), peer("d", 4, false)]
    }

    fn candidate(name: &str) -> Candidate {
        Candidate { name: name.into(), peer: None }
    }

    fn names((masters, replicas): Members) -> String {
        let list = |members: Vec<Member>| {
            members.iter().map(|m| format!("{}{}", m.name, m.id.0)).collect::<Vec<_>>().join(" ")
        };
        format!("{} / {}", list(masters), list(replicas))
    }

    fn worked_out(amendment: &Amendment) -> String {
        let met = |name: &str| match name {
            "c" => Some(member("c", 33)),
            "e" => Some(member("e", 5)),
            _ => None,
        };
        match work_out(amendment, &peers(), met) {
            Ok(members) => names(members),
            Err(Unclear::Declined(why)) => why,
            Err(Unclear::Guests(guests)) => format!("waits for {}", guests[0].name),
        }
    }

    #[test]
    fn each_amendment_changes_what_it_says_and_may_be_repeated() {
        for (amendment, expected) in [
            (Amendment::Add(candidate("e")), "a1 b2 c3 / d4 e5"),
            (Amendment::Add(candidate("d")), "a1 b2 c3 / d4"),
            (Amendment::Promote("d".into()), "a1 b2 c3 d4 / "),
            (Amendment::Promote("a".into()), "a1 b2 c3 / d4"),
            (Amendment::Demote("a".into()), "b2 c3 / d4 a1"),
            (Amendment::Demote("d".into()), "a1 b2 c3 / d4"),
            (Amendment::Remove("b".into()), "a1 c3 / d4"),
            (Amendment::Replace(candidate("c")), "a1 b2 c33 / d4"),
            (
                Amendment::Set { masters: vec![candidate("e")], replicas: vec![candidate("a")] },
                "e5 / a1",
            ),
        ] {
            assert_eq!(worked_out(&amendment), expected, "{amendment:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_declined_in_words() {
        for (amendment, expected) in [
            (Amendment::Add(candidate("a")), "is a master already"),
            (Amendment::Promote("z".into()), "`z` is no member; the masters are a, b, c"),
            (Amendment::Remove("z".into()), "the replicas d"),
            (Amendment::Replace(candidate("a")), "nothing to replace"),
            (Amendment::Set { masters: vec![], replicas: vec![] }, "at least one master"),
            (Amendment::Add(candidate("f")), "waits for f"),
        ] {
            let said = worked_out(&amendment);
            assert!(said.contains(expected), "{amendment:?}: {said}");
        }
    }

    #[test]
    fn a_change_is_overtaken_by_another_and_not_by_itself() {
        let mut amending = Amending::default();
        amending.ask(
            Instant::from_micros(0),
            Ticket(1),
            Span::from_secs(9),
            Amendment::Remove("d".into()),
        );
        assert_eq!(amending.overtaken(Epoch(2), &peers()), []);
        let without: Vec<Peer> = peers().into_iter().take(3).collect();
        let wanted = work_out(&amending.wanted[0].amendment, &peers(), |_| None).unwrap();
        amending.wanted[0].begun = Some((Epoch(1), wanted));
        assert_eq!(amending.overtaken(Epoch(1), &peers()), []);
        assert_eq!(amending.overtaken(Epoch(2), &without), []);
        assert_eq!(amending.overtaken(Epoch(2), &peers()), [Ticket(1)]);
    }

    #[test]
    fn strangers_are_remembered_for_a_while_and_in_bounded_number() {
        let mut knocks = Knocks::default();
        for i in 0..1_000_u64 {
            knocks.note(Instant::from_micros(0), &member(&format!("n{i}"), i));
        }
        assert_eq!(knocks.0.len(), KNOCKS);
        let later = Instant::from_micros(0).after(REMEMBERED);
        assert_eq!(knocks.address(Instant::from_micros(0), "n1"), Some("n1:1".into()));
        assert_eq!(knocks.address(later, "n1"), None);
        knocks.note(later, &member("new", 1));
        assert_eq!(knocks.0.len(), 1);
    }
}
