//! What stands in the way of votes at this moment: at this node, or in the cluster as it sees it.
//!
//! The log says once that it began and once that it is over; in between `status`, `/readyz` and `/metrics` say it for as long as
//! it lasts. It is noted where it is seen: the disk by the task that writes the node file, the quorum by the driver.

use std::sync::{Mutex, MutexGuard, PoisonError};

use leasehold_core::{Instant, NodeId, Span, Standing, Status, Trouble};
use tracing::{info, warn};

use crate::names;

/// Links come and go within less: what lasts shorter is not logged.
const LASTS: Span = Span::from_secs(1);

/// Something that stands in the way, and since when.
#[derive(Clone, Debug)]
struct Obstacle {
    since: Instant,
    words: String,
}

/// What stands in the way at this moment.
#[derive(Debug, Default)]
pub(crate) struct Obstacles {
    disk: Mutex<Option<Obstacle>>,
    quorum: Mutex<Lost>,
}

/// A quorum that is not reached.
#[derive(Debug, Default)]
struct Lost {
    obstacle: Option<Obstacle>,
    logged: bool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in it is whole, whoever panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Obstacles {
    /// The node file cannot be written, for this reason. Whether that was not known.
    pub(crate) fn disk_fails(&self, now: Instant, words: String) -> bool {
        let mut disk = locked(&self.disk);
        let since = disk.as_ref().map_or(now, |before| before.since);
        let news = disk.as_ref().is_none_or(|before| before.words != words);
        *disk = Some(Obstacle { since, words });
        news
    }

    /// The node file was written. Whether it could not be before.
    pub(crate) fn disk_works(&self) -> bool {
        locked(&self.disk).take().is_some()
    }

    /// Why the node file cannot be written.
    pub(crate) fn disk(&self) -> Option<String> {
        locked(&self.disk).as_ref().map(|obstacle| obstacle.words.clone())
    }

    /// Takes note of who votes, and logs when a quorum is lost and when it is back.
    pub(crate) fn see(&self, now: Instant, status: &Status) {
        let mut lost = locked(&self.quorum);
        let founded = status.cluster.is_some() && status.epoch.0 > 0;
        let quorum = Quorum::of(status);
        if !founded || quorum.is_reached() {
            if std::mem::take(&mut *lost).logged {
                info!("a quorum of masters votes and is reached again");
            }
            return;
        }
        let words = format!("no quorum: {quorum}");
        let since = lost.obstacle.as_ref().map_or(now, |before| before.since);
        if !lost.logged && now.since(since) >= LASTS {
            lost.logged = true;
            warn!("{words}");
        }
        lost.obstacle = Some(Obstacle { since, words });
    }

    /// All of it, for `status`.
    pub(crate) fn troubles(&self, now: Instant) -> Vec<Trouble> {
        let disk = locked(&self.disk).clone();
        let quorum = locked(&self.quorum).obstacle.clone();
        let trouble =
            |obstacle: Obstacle| Trouble { ago: now.since(obstacle.since), words: obstacle.words };
        disk.into_iter().chain(quorum).map(trouble).collect()
    }
}

/// Who of the masters votes and is reached, as a node sees it.
#[derive(Debug)]
pub(crate) struct Quorum {
    reached: usize,
    masters: usize,
    /// The others, with what is known of them.
    missing: Vec<String>,
}

impl Quorum {
    pub(crate) fn of(status: &Status) -> Self {
        let mut quorum = Self { reached: 0, masters: 0, missing: Vec::new() };
        for peer in status.members.iter().filter(|peer| peer.master) {
            quorum.masters += 1;
            let own = peer.member.id == status.id && status.id != NodeId::default();
            let (standing, up) =
                if own { (status.standing, true) } else { (peer.standing, peer.up) };
            if up && votes(standing) {
                quorum.reached += 1;
            } else {
                let why = if up { names::of_standing(standing) } else { "link down" };
                quorum.missing.push(format!("{} ({why})", peer.member.name));
            }
        }
        quorum
    }

    pub(crate) const fn is_reached(&self) -> bool {
        self.reached > self.masters / 2
    }
}

impl std::fmt::Display for Quorum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { reached, masters, missing } = self;
        let needed = masters / 2 + 1;
        write!(f, "{reached} of {masters} masters vote and are reached, {needed} are needed")?;
        if !missing.is_empty() {
            write!(f, "; missing: {}", missing.join(", "))?;
        }
        Ok(())
    }
}

const fn votes(standing: Standing) -> bool {
    match standing {
        Standing::Active | Standing::Draining => true,
        Standing::Unknown
        | Standing::Fresh
        | Standing::Joining
        | Standing::Replica
        | Standing::Outside => false,
    }
}

#[cfg(test)]
mod tests {
    use leasehold_core::{ClusterId, Epoch, Member, Peer};

    use super::*;

    fn status(others: [(bool, Standing); 2]) -> Status {
        let peers = [(true, Standing::Active)].into_iter().chain(others);
        let members = (1..).zip(peers).map(|(id, (up, standing))| {
            let member = Member { id: NodeId(id), name: format!("n{id}"), ..Member::default() };
            Peer { member, master: true, standing, up }
        });
        Status {
            id: NodeId(1),
            standing: Standing::Active,
            cluster: Some(ClusterId(1, 2)),
            epoch: Epoch(1),
            members: members.collect(),
            ..Status::default()
        }
    }

    #[test]
    fn what_stands_in_the_way_is_told_for_as_long_as_it_does() {
        let (obstacles, at) =
            (Obstacles::default(), |second: u64| Instant::from_micros(second * 1_000_000));
        let lost = status([(false, Standing::Active), (true, Standing::Joining)]);
        obstacles.see(at(5), &lost);
        obstacles.see(at(7), &lost);
        assert!(obstacles.disk_fails(at(6), "full".into()));
        assert!(
            !obstacles.disk_fails(at(7), "full".into())
                && obstacles.disk_fails(at(8), "gone".into())
        );
        let told: Vec<_> =
            obstacles.troubles(at(9)).into_iter().map(|t| (t.ago, t.words)).collect();
        let quorum = "no quorum: 1 of 3 masters vote and are reached, 2 are needed; missing: n2 (link down), n3 (joining)";
        let seconds = Span::from_secs;
        assert_eq!(told, [(seconds(3), "gone".to_owned()), (seconds(4), quorum.to_owned())]);
        obstacles.see(at(10), &status([(true, Standing::Draining), (false, Standing::Active)]));
        assert!(obstacles.disk_works() && !obstacles.disk_works());
        assert!(obstacles.troubles(at(10)).is_empty());
        // Who belongs to no cluster misses nobody.
        obstacles.see(at(11), &Status { cluster: None, ..lost });
        assert!(obstacles.troubles(at(11)).is_empty());
    }
}
