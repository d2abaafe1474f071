//! The clients of a run: programs that use the client library as programs do, and tell what it tells them.

use std::time::Duration;

use leasehold_client::clock::simulated::elapsed;
use leasehold_client::{Belief, Client, Lock, clock};
use leasehold_core::Key;
use leasehold_sim::dice::{Dice, Roll, Stream};

use crate::machines::connect;
use crate::plan::{MASTERS, MS, NODES, Plan};
use crate::record::{Shared, Until, lock};

/// Tasks of one program, which share its client.
const HANDS: usize = 2;

/// A program, from its start to the end of the faults.
pub(crate) async fn live(machine: usize, shared: Shared) {
    let plan = lock(&shared).plan().clone();
    let start = elapsed();
    let mut roll = plan.dice.roll(Stream::Client(machine), start);
    let first = roll.index(NODES);
    let nodes: Vec<usize> =
        if roll.one_in(3) { vec![first] } else { vec![first, roll.index(MASTERS)] };
    let client = connect(machine, &nodes).await;
    let hands = (0..HANDS).map(|hand| {
        let dice = Dice::new(roll.bits());
        let hand =
            Hand { machine, hand, client: client.clone(), shared: shared.clone(), dice, acts: 0 };
        tokio::spawn(hand.work(plan.clone()))
    });
    for hand in hands.collect::<Vec<_>>() {
        drop(hand.await);
    }
    // Releases of dropped guards are still under way.
    std::future::pending::<()>().await;
}

struct Hand {
    machine: usize,
    hand: usize,
    client: Client,
    shared: Shared,
    dice: Dice,
    acts: u64,
}

impl Hand {
    async fn work(mut self, plan: Plan) {
        while elapsed() < plan.quiet {
            self.acts += 1;
            let mut roll = self.dice.roll(Stream::Client(self.hand), self.acts);
            pause(&mut roll, 300).await;
            let key = roll.index(plan.keys);
            match roll.below(20) {
                0..8 => self.guarded(key, &plan, roll).await,
                8..14 => self.leased(key, &plan, roll).await,
                14..17 => drop(self.client.read(self.key(key)).await),
                17 => drop(self.client.read_local(self.key(key)).await),
                18 => {
                    let patience = Duration::from_millis(roll.below(1_000));
                    drop(self.client.wait_released(self.key(key), patience).await);
                }
                // Somebody who loses patience in the middle of a call.
                _ => {
                    let patience = Duration::from_micros(roll.magnitude(100, 500 * MS));
                    let lock = self.lock(key, &plan, &mut roll);
                    if let Ok(Ok(lease)) = tokio::time::timeout(patience, lock.lease()).await {
                        drop(lease.release().await);
                    }
                }
            }
        }
    }

    fn key(&self, key: usize) -> Key {
        lock(&self.shared).key(key)
    }

    /// A value that nobody else writes.
    fn value(&self, part: u64) -> String {
        format!("c{}.{}.{}.{part}", self.machine, self.hand, self.acts)
    }

    fn lock(&self, key: usize, plan: &Plan, roll: &mut Roll) -> Lock {
        let longest = plan.timing.max_lease.as_millis();
        let ttl = roll.magnitude(200, longest * 3 / 4);
        let mut lock =
            self.client.lock(self.key(key)).value(self.value(0)).label("is", self.value(0));
        lock = lock.ttl(Duration::from_millis(ttl));
        if roll.one_in(4) {
            lock = lock.delay(Duration::from_millis(roll.magnitude(10, longest / 4)));
        }
        if !roll.one_in(3) {
            lock = lock.wait(Duration::from_millis(roll.magnitude(50, longest * 2)));
        }
        lock
    }

    /// Holds a key with a guard.
    async fn guarded(&self, key: usize, plan: &Plan, mut roll: Roll) {
        let lock_now = self.lock(key, plan, &mut roll).auto_extend(!roll.one_in(4));
        let Ok(guard) = lock_now.await else { return };
        let until = Until::Guard(guard.belief());
        let belief = lock(&self.shared).believe(self.machine, key, guard.token(), until);
        // One whose answer was late may be over when it begins.
        if guard.is_held() {
            tokio::spawn(watch(guard.belief(), belief, self.machine, self.shared.clone()));
        }
        for step in 0..roll.below(5) {
            pause(&mut roll, 800).await;
            if !guard.is_held() {
                break;
            }
            let longest = plan.timing.max_lease.as_millis() / 2;
            match roll.below(3) {
                0 => drop(guard.update(self.value(step + 1), None).await),
                1 => {
                    let ttl = Duration::from_millis(roll.magnitude(200, longest));
                    drop(guard.extend(ttl).await);
                }
                _ => {}
            }
        }
        let end = roll.below(4);
        if end == 0 {
            let longest = Duration::from(plan.timing.max_lease);
            drop(tokio::time::timeout(longest, guard.lost()).await);
            pause(&mut roll, 500).await;
        }
        // Dropping it releases the key as well, whatever the guard has heard.
        lock(&self.shared).give_up(belief);
        if end > 1 {
            drop(guard.release().await);
        }
    }

    /// Holds a key without a guard, by looking at the clock.
    async fn leased(&self, key: usize, plan: &Plan, mut roll: Roll) {
        let Ok(mut lease) = self.lock(key, plan, &mut roll).lease().await else { return };
        let until = Until::Lease(lease.valid_until());
        let belief = lock(&self.shared).believe(self.machine, key, lease.token(), until);
        for step in 0..roll.below(4) {
            pause(&mut roll, 500).await;
            if !lease.is_valid() {
                break;
            }
            if roll.one_in(2) {
                let ttl = roll.magnitude(200, plan.timing.max_lease.as_millis() / 2);
                if lease.extend(Duration::from_millis(ttl)).await.is_ok() {
                    lock(&self.shared).prolong(belief, lease.valid_until());
                }
            } else {
                drop(lease.update(self.value(step + 1), None).await);
            }
        }
        // Half of them are left to run out: nobody knows better than the clock when they end.
        if roll.one_in(2) {
            lock(&self.shared).give_up(belief);
            drop(lease.release().await);
        }
    }
}

/// Notes that a guard has lost its key, and that it did so in time.
async fn watch(guard: Belief, belief: usize, machine: usize, shared: Shared) {
    let why = guard.lost().await;
    let (now, until) = (clock::now(), guard.valid_until());
    let mut record = lock(&shared);
    record.lost(belief, &why);
    if now > until && !record.stood_still(machine) {
        let story = format!("c{machine} heard at {now:?} that it lost {why:?} at {until:?}");
        record.violate("guards hear in time", story);
    }
}

async fn pause(roll: &mut Roll, most_millis: u64) {
    tokio::time::sleep(Duration::from_micros(roll.magnitude(100, most_millis * MS))).await;
}
