//! The command and all that it starts: one process group, which dies with this process.
//!
//! The system ends a process together with its parent only if it asks for that itself, after it was forked. So this binary
//! starts itself once more ([`inside`]); that process asks, looks whether its parent is still there, and becomes
//! the command. What leaves the group (`setsid`, a daemon) is out of reach, and so are the command's own children
//! if this process is killed: the system then kills the command alone.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use crate::exit::code;

/// What the process takes that becomes the command.
#[derive(clap::Args, Debug)]
pub(crate) struct Inside {
    /// Who started it
    #[arg(long)]
    parent: u32,
    /// What it becomes
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Becomes the command. Returns only if that cannot be.
pub(crate) fn inside(Inside { parent, command }: Inside) -> ExitCode {
    let failed = |code: u8, words: String| {
        super::super::show(&super::complaint(code, &words));
        ExitCode::from(code)
    };
    let Some((program, arguments)) = command.split_first() else {
        return failed(code::USAGE, "no command".to_owned());
    };
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        return failed(code::CANNOT_RUN, format!("cannot tie a process to its parent: {error}"));
    }
    // It may have died before that was asked for.
    let its =
        rustix::process::getppid().and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok());
    if its != Some(parent) {
        return failed(code::LOST, "whoever held the key has ended".to_owned());
    }
    let error = Command::new(program).args(arguments).exec();
    let code =
        if error.kind() == io::ErrorKind::NotFound { code::NOT_FOUND } else { code::CANNOT_RUN };
    failed(code, format!("cannot run {}: {error}", program.to_string_lossy()))
}

/// A command that runs.
#[derive(Debug)]
pub(super) struct Group {
    leader: Child,
    id: Pid,
}

impl Group {
    /// Starts a command. By the thread that lives as long as this process: with it the command dies.
    pub(super) fn start(
        command: &[OsString],
        environment: &[(&'static str, String)],
    ) -> io::Result<Self> {
        let mut start = Command::new(own_binary()?);
        start
            .arg0("leasehold")
            .args(["exec-inside", "--parent"])
            .arg(std::process::id().to_string());
        start.arg("--").args(command).envs(environment.iter().map(|(name, value)| (*name, value)));
        if io::IsTerminal::is_terminal(&io::stdin()) {
            // To a terminal a group of its own is in the background: reading from it would stop the command for good.
            start.stdin(Stdio::null());
        }
        let leader = start.process_group(0).spawn()?;
        let id = Pid::from_child(&leader);
        Ok(Self { leader, id })
    }

    /// Sends a signal to all of it.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        match rustix::process::kill_process_group(self.id, signal) {
            // Nobody is left, or nobody but the dead.
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the command itself has ended. It is still there for the system, so that its number is nobody else's.
    pub(super) fn has_ended(&self) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(rustix::process::waitid(WaitId::Pid(self.id), look), Ok(Some(_)))
    }

    /// Kills what the command has left behind, and tells how it ended.
    pub(super) fn bury(mut self) -> io::Result<u8> {
        self.signal(Signal::KILL)?;
        Ok(exit_code(self.leader.wait()?))
    }
}

#[cfg(target_os = "linux")]
fn own_binary() -> io::Result<std::path::PathBuf> {
    // The very same, even if another version has been installed over it.
    Ok("/proc/self/exe".into())
}

#[cfg(not(target_os = "linux"))]
fn own_binary() -> io::Result<std::path::PathBuf> {
    std::env::current_exe()
}

/// As shells do it.
fn exit_code(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(u8::MAX),
        (None, Some(signal)) => code_of_signal(signal),
        (None, None) => u8::MAX,
    }
}

/// The exit code of what a signal ended.
pub(super) fn code_of_signal(signal: i32) -> u8 {
    u8::try_from(signal.saturating_add(128)).unwrap_or(u8::MAX)
}
