//! A process that the rig started: it can be stopped, killed and weighed, and does not outlive the rig.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};

use rustix::process::{Pid, Signal, kill_process};

/// A process that ends with its owner.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stopped: bool,
}

/// A command whose process dies even if the rig is killed.
#[must_use]
pub fn dying_with_us(program: &Path, through: &[String]) -> Command {
    // `ip netns exec` and `setpriv` become what they start, so the number stays the child's.
    let words = through.iter().map(String::as_str);
    let mut words: Vec<&str> = words.chain(["setpriv", "--pdeathsig", "KILL", "--"]).collect();
    let first = words.remove(0);
    let mut command = Command::new(first);
    command.args(words).arg(program).env_remove("LEASEHOLD_ENDPOINTS").env_remove("RUST_LOG");
    command
}

impl Process {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        Ok(Self { child: command.spawn()?, stopped: false })
    }

    /// The process itself, for its pipes.
    pub const fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it stands still.
    #[must_use]
    pub const fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Lets it stand still.
    pub fn stop(&mut self) {
        self.stopped = true;
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn go_on(&mut self) {
        self.stopped = false;
        self.signal(Signal::CONT);
    }

    /// Asks it to end.
    pub fn end(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends it at once, as a power failure would.
    pub fn kill(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Bytes of memory that it has in use.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        let kilobytes = line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or(0);
        kilobytes.saturating_mul(1_024)
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        // One that has ended and was not waited for yet still has its number, so nobody else is hit.
        if let Some(id) = id {
            kill_process(id, signal).ok();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
