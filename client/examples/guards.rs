//! What many guards cost: holds N keys for a while and says how much processor time that took.
//!
//! Usage: `guards ENDPOINTS [N] [SECONDS]`, with endpoints as `a:p,b:p`.
#![expect(clippy::print_stdout, reason = "it says what it measured")]

use std::time::Duration;

use leasehold_client::{Client, Error, Guard, Options, clock};
use rustix::time::{ClockId, clock_gettime};

/// Processor time that this process has used, in seconds.
fn used() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), 0).as_secs_f64()
        + Duration::from_nanos(time.tv_nsec.unsigned_abs()).as_secs_f64()
}

/// Acquires keys, a few hundred at a time.
async fn acquire(client: &Client, count: usize) -> Result<Vec<Guard>, Error> {
    const AT_A_TIME: usize = 200;
    let mut guards = Vec::with_capacity(count);
    for start in (0..count).step_by(AT_A_TIME) {
        let mut locks = tokio::task::JoinSet::new();
        for place in start..(start + AT_A_TIME).min(count) {
            let lock = client.lock(format!("guards/{}/{place}", std::process::id()));
            locks.spawn(lock.value("guards").ttl(Duration::from_secs(30)).into_future());
        }
        for guard in locks.join_all().await {
            guards.push(guard?);
        }
    }
    Ok(guards)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let endpoints = words.next().ok_or("usage: guards ENDPOINTS [N] [SECONDS]")?;
    let count: usize = words.next().map_or(Ok(5_000), |word| word.parse())?;
    let seconds: u64 = words.next().map_or(Ok(60), |word| word.parse())?;
    let options = Options::new().timeout(Duration::from_secs(30));
    let client = Client::connect(endpoints.split(','), options).await?;
    let guards = acquire(&client, count).await?;
    let (start, before) = (clock::now(), used());
    clock::sleep_until(start.after(Duration::from_secs(seconds).into())).await;
    let (took, cost) = (Duration::from(clock::now().since(start)), used() - before);
    let held = guards.iter().filter(|guard| guard.is_held()).count();
    let share = cost / took.as_secs_f64() * 100.0;
    println!(
        "{held} of {count} guards held after {took:.1?}: {cost:.2} s of processor time, {share:.2} % of a core"
    );
    let mut releases = tokio::task::JoinSet::new();
    for guard in guards {
        releases.spawn(guard.release());
    }
    let released = releases.join_all().await.into_iter().filter(Result::is_ok).count();
    println!("{released} released");
    Ok(())
}
