//! The signals that this process passes on instead of being ended by them.

use std::fs;
use std::io;
use std::task::Poll;

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind, signal};

/// Passed on to the command.
const PASSED_ON: [Signal; 9] = [
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::TERM,
    Signal::USR1,
    Signal::USR2,
    Signal::ALARM,
    Signal::WINCH,
    Signal::CONT,
];
/// A terminal stops this process with it, but not the command, which would then outlive its lease. So it is not heeded.
const NOT_HEEDED: Signal = Signal::TSTP;

/// Listens from the moment it is made.
#[derive(Debug)]
pub(super) struct Heard {
    signals: Vec<(Signal, unix::Signal)>,
    children: unix::Signal,
}

/// What was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sound {
    /// To be passed on.
    Signal(Signal),
    /// A child has ended, stopped or gone on.
    Child,
}

impl Heard {
    pub(super) fn new() -> io::Result<Self> {
        let ignored = ignored();
        let mut signals = Vec::new();
        for heard in PASSED_ON.into_iter().chain([NOT_HEEDED]) {
            // What nohup or a shell has this process ignore, its command ignores as well.
            if ignored & (1 << (heard.as_raw() - 1)) == 0 {
                signals.push((heard, signal(SignalKind::from_raw(heard.as_raw()))?));
            }
        }
        Ok(Self { signals, children: signal(SignalKind::child())? })
    }

    /// Waits for any. Cancel safe.
    pub(super) async fn next(&mut self) -> Sound {
        std::future::poll_fn(|context| {
            for (heard, stream) in &mut self.signals {
                while stream.poll_recv(context).is_ready() {
                    if *heard != NOT_HEEDED {
                        return Poll::Ready(Sound::Signal(*heard));
                    }
                }
            }
            self.children.poll_recv(context).map(|_| Sound::Child)
        })
        .await
    }

    /// Waits for one that usually ends a process.
    pub(super) async fn told_to_end(&mut self) -> Signal {
        loop {
            if let Sound::Signal(signal) = self.next().await
                && [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM].contains(&signal)
            {
                return signal;
            }
        }
    }
}

/// The signals that this process was started to ignore, one bit each, as far as the system tells.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
