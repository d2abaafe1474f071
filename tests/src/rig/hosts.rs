//! Hosts of their own for nodes: network namespaces, joined by a bridge in another one, with nftables between them.
//!
//! This needs root, and the programs `ip` and `nft`. Everything is in namespaces whose names begin with `lhrig-` and the number
//! of the process that made them; they go with their owner, and those of owners that died go when the next one begins.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use super::shuffle;

/// What namespaces' names begin with.
const PREFIX: &str = "lhrig-";

/// Namespaces, one for each node and one for all clients.
#[derive(Debug)]
pub struct Hosts {
    names: Vec<String>,
    hub: String,
}

/// How packets from one host to another are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packets {
    /// They vanish.
    Dropped,
    /// Whoever sends them is told that nobody is there.
    Rejected,
    /// So many of a hundred vanish.
    Lost(u8),
}

/// Why there can be no hosts here.
#[must_use]
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("network namespaces need root".into());
    }
    for program in ["ip", "nft"] {
        let mut version = Command::new(program);
        version.arg("-V").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if version.status().is_err() {
            return Some(format!("the program `{program}` is missing (iproute2, nftables)"));
        }
    }
    let probe = format!("{PREFIX}{}-probe", std::process::id());
    let tried =
        run("ip", &["netns", "add", &probe]).and_then(|()| nft(&probe, "add table inet probe"));
    drop(run("ip", &["netns", "delete", &probe]));
    tried.err().map(|error| format!("network namespaces do not work here: {error}"))
}

/// Why packets at hosts cannot be taken in hand here, by `program`.
#[must_use]
pub fn missing_queue(program: &Path) -> Option<String> {
    let probe = format!("{PREFIX}{}-queue", std::process::id());
    if let Err(error) = run("ip", &["netns", "add", &probe]) {
        return Some(error.to_string());
    }
    let missing = shuffle::missing(&probe, program);
    drop(run("ip", &["netns", "delete", &probe]));
    missing
}

impl Hosts {
    /// So many hosts, and one for clients.
    ///
    /// # Errors
    ///
    /// What `ip` or `nft` complained about.
    pub fn new(count: usize) -> io::Result<Self> {
        sweep();
        let id = std::process::id();
        // One process may have several, one after the other or at the same time.
        static MADE: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let made = MADE.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = |what: &str| format!("{PREFIX}{id}-{made}-{what}");
        let hub = name("hub");
        let mut hosts = Self { names: Vec::new(), hub: hub.clone() };
        run("ip", &["netns", "add", &hub])?;
        run("ip", &["-n", &hub, "link", "set", "lo", "up"])?;
        run("ip", &["-n", &hub, "link", "add", "bridge0", "type", "bridge"])?;
        run("ip", &["-n", &hub, "address", "add", "10.77.0.254/24", "dev", "bridge0"])?;
        run("ip", &["-n", &hub, "link", "set", "bridge0", "up"])?;
        for number in 0..count {
            let host = name(&number.to_string());
            run("ip", &["netns", "add", &host])?;
            hosts.names.push(host.clone());
            let port = format!("port{number}");
            // Made inside the namespaces, so that this machine's own network never sees them.
            let pair = ["-n", &hub, "link", "add", &port, "type", "veth", "peer", "name", "eth0"];
            run("ip", &[&pair[..], &["netns", &host]].concat())?;
            run("ip", &["-n", &hub, "link", "set", &port, "master", "bridge0", "up"])?;
            let address = format!("{}/24", Self::address(number));
            run("ip", &["-n", &host, "address", "add", &address, "dev", "eth0"])?;
            run("ip", &["-n", &host, "link", "set", "eth0", "up"])?;
            run("ip", &["-n", &host, "link", "set", "lo", "up"])?;
            nft(&host, "add table inet rig")?;
            nft(&host, "add chain inet rig in { type filter hook input priority 0; }")?;
            nft(&host, "add chain inet rig out { type filter hook output priority 0; }")?;
        }
        Ok(hosts)
    }

    /// The address of a host.
    #[must_use]
    pub fn address(number: usize) -> String {
        format!("10.77.0.{}", number + 1)
    }

    /// The address of all clients.
    pub const CLIENTS: &'static str = "10.77.0.254";

    /// What a host is called.
    #[must_use]
    pub fn name(&self, number: usize) -> &str {
        &self.names[number]
    }

    /// The words before a command that make it run on a host.
    #[must_use]
    pub fn on(&self, number: usize) -> Vec<String> {
        within(&self.names[number])
    }

    /// The words before a command that make it run where clients are.
    #[must_use]
    pub fn on_hub(&self) -> Vec<String> {
        within(&self.hub)
    }

    /// Treats packets from `from` so that arrive at host `to`, or, if they are rejected, that it sends back, too.
    ///
    /// # Errors
    ///
    /// What `nft` complained about.
    pub fn treat(&self, from: &str, to: usize, packets: Packets) -> io::Result<()> {
        let host = &self.names[to];
        match packets {
            Packets::Dropped => nft(host, &format!("add rule inet rig in ip saddr {from} drop")),
            Packets::Rejected => {
                let with = "reject with icmp type host-unreachable";
                nft(host, &format!("add rule inet rig in ip saddr {from} {with}"))
            }
            Packets::Lost(percent) => nft(
                host,
                &format!(
                    "add rule inet rig in ip saddr {from} numgen random mod 100 < {percent} drop"
                ),
            ),
        }
    }

    /// Lets everything through again.
    ///
    /// # Errors
    ///
    /// What `nft` complained about.
    pub fn heal(&self) -> io::Result<()> {
        for host in &self.names {
            nft(host, "flush chain inet rig in")?;
            nft(host, "flush chain inet rig out")?;
        }
        Ok(())
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in self.names.iter().chain([&self.hub]) {
            // One that cannot be taken away now is when the next rig begins.
            drop(run("ip", &["netns", "delete", name]));
        }
    }
}

/// Takes away what dead rigs have left.
fn sweep() {
    let Ok(left) = std::fs::read_dir("/run/netns") else { return };
    for name in left.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
            drop(run("ip", &["netns", "delete", &name]));
        }
    }
}

fn within(name: &str) -> Vec<String> {
    ["ip", "netns", "exec", name].map(String::from).into()
}

fn nft(host: &str, rule: &str) -> io::Result<()> {
    run("ip", &["netns", "exec", host, "nft", rule])
}

fn run(program: &str, args: &[&str]) -> io::Result<()> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("`{program} {}`: {}", args.join(" "), said.trim())))
}
