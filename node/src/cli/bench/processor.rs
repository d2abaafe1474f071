//! How much processor time processes have used, and which processes a cluster on this machine consists of.
//!
//! Both come from Linux's `/proc`. Elsewhere nothing is found, and nothing is shown.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

/// The processor time of these processes since they began. None if one of them is gone, or cannot be looked at.
pub(super) fn used(pids: &[u32]) -> Option<Duration> {
    pids.iter().map(|pid| stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)).sum()
}

/// User and system time in a line of `/proc/PID/stat`.
fn stat(line: &str) -> Option<Duration> {
    // The name may hold anything, brackets too; no field behind it does.
    let (_, fields) = line.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let second = rustix::param::clock_ticks_per_second();
    Some(Duration::from_millis((user + system).saturating_mul(1_000) / second.max(1)))
}

/// The processes of this machine that listen at one of these addresses, in order.
pub(super) fn listening(addresses: &[String]) -> Vec<u32> {
    let local = |address: &&String| {
        let host = address.rsplit_once(':').map_or("", |(host, _)| host);
        host == "localhost" || host.trim_matches(['[', ']']).parse().is_ok_and(is_loopback)
    };
    let port = |address: &String| address.rsplit_once(':')?.1.parse::<u16>().ok();
    let ports: BTreeSet<u16> = addresses.iter().filter(local).filter_map(port).collect();
    if ports.is_empty() {
        return Vec::new();
    }
    let sockets: BTreeSet<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| {
            table.lines().filter_map(|line| listener(line, &ports)).collect::<Vec<_>>()
        })
        .collect();
    let mut pids: Vec<u32> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| holds(*pid, &sockets))
        .collect();
    pids.sort_unstable();
    pids
}

const fn is_loopback(address: std::net::IpAddr) -> bool {
    address.is_loopback()
}

/// The name of the socket in this line of the kernel's table, if it listens at one of these ports.
fn listener(line: &str, ports: &BTreeSet<u16>) -> Option<String> {
    let mut fields = line.split_ascii_whitespace();
    let (_, port) = fields.nth(1)?.rsplit_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let listens = fields.nth(1)? == "0A";
    let socket = fields.nth(5)?;
    (listens && ports.contains(&port)).then(|| format!("socket:[{socket}]"))
}

/// Whether the process has one of these sockets open.
fn holds(pid: u32, sockets: &BTreeSet<String>) -> bool {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
    open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .any(|target| target.to_str().is_some_and(|target| sockets.contains(target)))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_line_of_stat_is_understood_whatever_the_process_is_called() {
        let second = rustix::param::clock_ticks_per_second();
        let line = format!("7 (a) S) 1) S 1 7 7 0 -1 4 9 0 0 0 {second} {second} 0 0 20 0 1 0");
        assert_eq!(stat(&line), Some(Duration::from_secs(2)));
        assert_eq!(stat("7 (cut short) S 1 7"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn whoever_listens_is_found_by_its_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        assert_eq!(listening(&[address]), [std::process::id()]);
        let elsewhere = listener.local_addr().unwrap().port();
        assert_eq!(listening(&[format!("192.0.2.1:{elsewhere}")]), [0_u32; 0]);
        assert!(used(&[std::process::id()]).is_some());
    }
}
