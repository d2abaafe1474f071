//! How much processor time processes have used, by Linux's `/proc`.

use std::fs;
use std::time::Duration;

/// User and system time of these processes since they began; those that are gone count nothing.
pub(crate) fn used(pids: &[u32]) -> Duration {
    let stat = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    pids.iter().filter_map(|pid| time(&stat(pid)?)).sum()
}

fn time(line: &str) -> Option<Duration> {
    // The name may hold anything, brackets too; no field behind it does.
    let (_, fields) = line.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let second = rustix::param::clock_ticks_per_second().max(1);
    Some(Duration::from_millis((user + system).saturating_mul(1_000) / second))
}
