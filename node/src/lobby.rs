//! Connections that have not said yet who they are: a bounded number at each port. When one more comes than there is room for,
//! one of those who are there has to go.
//!
//! It is one of the address that has the most of them there, so that whoever comes alone finds room beside a crowd. Of that
//! address it is the oldest of those who have been asked and say nothing: whoever is welcome says so within moments, and to keep others
//! out a stranger would have to fill the whole lobby within such a moment, and not once in the time that a handshake may
//! take. Where all have said something and wait for this node, it is the one that came last, so that the work for
//! those before was not in vain. Addresses from which somebody was welcome before are turned away last.
//!
//! What is done for them is paced ([`meter`](crate::meter)), with a purse of their own for addresses that are known. So a
//! stranger waits for no longer than a full lobby takes.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use leasehold_core::Span;
use tokio::sync::oneshot;
use tracing::warn;

use crate::clock::Clock;
use crate::counters::Counters;
use crate::meter::{Meter, Turn};
use crate::quiet::Quiet;
use crate::room::site;

/// Of one address there may be a part of what there is room for.
const PART: usize = 2;
/// Addresses that are remembered because somebody there was welcome. The one that was welcome longest ago is forgotten.
const KNOWN: usize = 256;

/// Where connections wait until they are known.
#[derive(Debug)]
pub(crate) struct Lobby {
    /// Who is expected here, for the log.
    whom: &'static str,
    most: usize,
    clock: Clock,
    counters: Arc<Counters>,
    strangers: Meter,
    familiar: Meter,
    crowd: Mutex<Crowd>,
}

#[derive(Debug, Default)]
struct Crowd {
    entered: u64,
    /// The oldest first. What is dropped here has to go.
    inside: VecDeque<Entry>,
    by: HashMap<IpAddr, usize>,
    /// The one that was welcome last comes last.
    known: VecDeque<IpAddr>,
    quiet: Quiet,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    site: IpAddr,
    known: bool,
    silent: Arc<AtomicBool>,
    #[expect(dead_code, reason = "its drop is what counts")]
    stays: oneshot::Sender<()>,
}

/// Why a connection did not come to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unmet {
    /// It took too long.
    Late,
    /// Others needed the room. That was counted and said.
    ShownOut,
}

impl Lobby {
    /// For this many at a time.
    pub(crate) fn new(
        whom: &'static str,
        most: usize,
        clock: Clock,
        counters: &Arc<Counters>,
    ) -> Arc<Self> {
        Arc::new(Self {
            whom,
            most,
            clock,
            counters: Arc::clone(counters),
            strangers: Meter::new(clock),
            familiar: Meter::new(clock),
            crowd: Mutex::default(),
        })
    }

    /// Lets a connection from this address in, if there is room or somebody else has to make some.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Stranger> {
        let address = site(address);
        let (stays, shown_out) = oneshot::channel();
        let silent = Arc::new(AtomicBool::new(false));
        let mut crowd = self.crowd();
        let number = crowd.entered;
        crowd.entered += 1;
        let known = crowd.known.contains(&address);
        let entry = Entry { number, site: address, known, silent: Arc::clone(&silent), stays };
        crowd.inside.push_back(entry);
        let count = crowd.by.entry(address).or_default();
        *count += 1;
        let too_many_of_one = *count > (self.most / PART).max(1);
        if too_many_of_one || crowd.inside.len() > self.most {
            let goes = crowd.surplus(too_many_of_one.then_some(address));
            crowd.remove(goes);
            self.counters.connections_refused.add(1);
            self.say(
                &mut crowd,
                "more connections came than may wait to be known; some were closed",
            );
            if goes == Some(number) {
                return None;
            }
        }
        drop(crowd);
        Some(Stranger { lobby: Arc::clone(self), number, known, silent, shown_out })
    }

    /// Somebody at this address was welcome.
    pub(crate) fn remember(&self, address: IpAddr) {
        let address = site(address);
        let known = &mut self.crowd().known;
        known.retain(|other| *other != address);
        known.push_back(address);
        if known.len() > KNOWN {
            known.pop_front();
        }
    }

    fn say(&self, crowd: &mut Crowd, words: &str) {
        if crowd.quiet.lets(self.clock.now(), words) {
            warn!("at the port for {}: {words}", self.whom);
        }
    }

    fn crowd(&self) -> MutexGuard<'_, Crowd> {
        self.crowd.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Crowd {
    /// Who has to go: of this address, or of whichever has the most here.
    fn surplus(&self, of: Option<IpAddr>) -> Option<u64> {
        let strangers = self.inside.iter().any(|entry| !entry.known);
        let judged = |entry: &&Entry| match of {
            Some(address) => entry.site == address,
            None => !(entry.known && strangers),
        };
        let beside = |entry: &Entry| self.by.get(&entry.site).copied().unwrap_or_default();
        let most = self.inside.iter().filter(judged).map(beside).max()?;
        let mut crowd = self.inside.iter().filter(judged).filter(|entry| beside(entry) == most);
        let silent = crowd.clone().find(|entry| entry.silent.load(Ordering::Relaxed));
        silent.or_else(|| crowd.next_back()).map(|entry| entry.number)
    }

    fn remove(&mut self, number: Option<u64>) {
        let place = self.inside.iter().position(|entry| Some(entry.number) == number);
        let Some(gone) = place.and_then(|place| self.inside.remove(place)) else { return };
        if let Some(count) = self.by.get_mut(&gone.site) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by.remove(&gone.site);
            }
        }
    }
}

/// A connection in the lobby, until this is dropped.
#[derive(Debug)]
pub(crate) struct Stranger {
    lobby: Arc<Lobby>,
    number: u64,
    known: bool,
    /// Whether the other end was asked and has not answered.
    silent: Arc<AtomicBool>,
    shown_out: oneshot::Receiver<()>,
}

impl Stranger {
    /// What comes of `work`, which finds out who it is.
    pub(crate) async fn meet<T>(
        mut self,
        patience: Span,
        work: impl Future<Output = T>,
    ) -> Result<T, Unmet> {
        let lobby = Arc::clone(&self.lobby);
        let meter = if self.known { &lobby.familiar } else { &lobby.strangers };
        let silent = Arc::clone(&self.silent);
        let now = |turn| {
            silent.store(turn == Turn::Theirs, Ordering::Relaxed);
            if turn == Turn::Ours {
                lobby.counters.handshakes_delayed.add(1);
                lobby.say(
                    &mut lobby.crowd(),
                    "handshakes want more of the processor than they may have, and wait",
                );
            }
        };
        tokio::select! {
            biased;
            met = lobby.clock.limit(patience, meter.paced(work, now)) => met.ok_or(Unmet::Late),
            // Nothing is ever sent: the other end is dropped.
            _ = &mut self.shown_out => Err(Unmet::ShownOut),
        }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.lobby.crowd().remove(Some(self.number));
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    const PATIENCE: Span = Span::from_secs(60);

    fn lobby(most: usize) -> (Arc<Lobby>, Arc<Counters>) {
        let counters = Arc::new(Counters::default());
        (Lobby::new("tests", most, Clock::system(), &counters), counters)
    }

    fn at(host: u8) -> IpAddr {
        [10, 0, 0, host].into()
    }

    /// Has it been asked, and say nothing for ever.
    fn silent(stranger: &Stranger) {
        stranger.silent.store(true, Ordering::Relaxed);
    }

    fn stays(stranger: &mut Stranger) -> bool {
        stranger.shown_out.try_recv() == Err(oneshot::error::TryRecvError::Empty)
    }

    #[tokio::test]
    async fn the_oldest_of_the_silent_goes_and_who_is_known_makes_room() {
        let (lobby, counters) = lobby(3);
        let [works, oldest, known] = [1, 2, 3].map(|host| lobby.enter(at(host)).unwrap());
        silent(&oldest);
        silent(&known);
        let mut newest = lobby.enter(at(4)).unwrap();
        assert!(stays(&mut newest));
        assert_eq!(oldest.meet(PATIENCE, pending::<()>()).await, Err(Unmet::ShownOut));
        assert_eq!(counters.connections_refused.count(), 1);
        assert_eq!(known.meet(PATIENCE, ready(7)).await, Ok(7));
        let _fourth = lobby.enter(at(5)).unwrap();
        assert!(stays(&mut newest), "there was room for it");
        // Nobody is silent: who comes now came for nothing.
        assert!(lobby.enter(at(6)).is_none());
        assert_eq!(works.meet(PATIENCE, ready(7)).await, Ok(7));
        assert!(lobby.enter(at(6)).is_some());
        assert_eq!(counters.connections_refused.count(), 2);
    }

    #[test]
    fn who_comes_alone_finds_room_beside_a_crowd() {
        let (lobby, _) = lobby(8);
        let mut alone = lobby.enter(at(1)).unwrap();
        silent(&alone);
        let mut crowd: Vec<_> = (0..4).map(|_| lobby.enter(at(2)).unwrap()).collect();
        assert!(lobby.enter(at(2)).is_none(), "it is half of what there is room for");
        silent(&crowd[2]);
        crowd.push(lobby.enter(at(2)).unwrap());
        assert!(!stays(&mut crowd[2]), "in the place of another of the same address");
        let _pair = [lobby.enter(at(3)).unwrap(), lobby.enter(at(3)).unwrap()];
        let _one = lobby.enter(at(4)).unwrap();
        let mut another = lobby.enter(at(5)).unwrap();
        assert!(stays(&mut alone) && stays(&mut another));
        assert!(!stays(&mut crowd[4]), "the last of the greediest");
    }

    #[test]
    fn who_was_welcome_before_is_turned_away_last() {
        let (lobby, _) = lobby(4);
        lobby.remember(at(1));
        let mut known: Vec<_> = (0..2).map(|_| lobby.enter(at(1)).unwrap()).collect();
        known.iter().for_each(silent);
        let mut others: Vec<_> = [2, 3].map(|host| lobby.enter(at(host)).unwrap()).into();
        silent(&others[1]);
        let _fifth = lobby.enter(at(4)).unwrap();
        assert!(!stays(&mut others[1]) && known.iter_mut().all(stays));
        // It is forgotten when enough others were welcome.
        for host in 0..=255 {
            lobby.remember([10, 0, 1, host].into());
        }
        drop(known.pop());
        let stranger = lobby.enter(at(1)).unwrap();
        assert!(!stranger.known);
    }

    #[tokio::test]
    async fn everything_that_goes_makes_room() {
        let (lobby, _) = lobby(4);
        for _ in 0..3 {
            let all: Vec<_> = (0..9).filter_map(|host| lobby.enter(at(host))).collect();
            assert_eq!(all.len(), 4);
            drop(all);
            assert!(lobby.crowd().inside.is_empty() && lobby.crowd().by.is_empty());
        }
        let late = lobby.enter(at(1)).unwrap().meet(Span::from_millis(1), pending::<()>()).await;
        assert_eq!(late, Err(Unmet::Late));
        assert!(lobby.crowd().inside.is_empty());
    }
}
