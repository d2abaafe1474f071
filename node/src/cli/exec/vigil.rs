//! What the command is sent, and when.
//!
//! The belief in the lease ends a margin before the lease can end anywhere (see [`Guard`](leasehold_client::Guard)): that
//! is when the group is killed. It is told to end `grace` before that. Once it was told, the end stays where it was,
//! even if an extension succeeds after all: a command that is ending does not go on working.
//!
//! Each time round the clock is read first and then the group is looked at. A process that was stopped goes on in here, finds
//! that the time is up, and kills before it does anything else.

use std::time::Duration;

use leasehold_client::{Belief, Lost, clock};
use leasehold_core::{Instant, Span};
use rustix::process::Signal;

use super::group::Group;
use super::heard::{Heard, Sound};

/// How it ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The command ended by itself, while the key was held, with this code.
    ByItself(u8),
    /// The command was ended because the key was about to be lost, or was.
    Lost {
        /// It was only ended after the lease may have ended elsewhere.
        late: bool,
        /// Why the belief has ended, if it has.
        why: Option<Lost>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// It was told to end, and will be killed then.
    Told(Instant),
    Killed,
}

/// Stays with a command until it has ended.
pub(super) async fn keep(
    group: Group,
    belief: &Belief,
    grace: Duration,
    heard: &mut Heard,
) -> Ended {
    let mut phase = Phase::Running;
    let mut late = false;
    loop {
        let now = clock::now();
        let left = Span::from(belief.remaining());
        let due = match phase {
            Phase::Running if left.is_zero() => Some(Signal::KILL),
            Phase::Running if left <= grace.into() => Some(Signal::TERM),
            Phase::Told(end) if left.is_zero() || now >= end => Some(Signal::KILL),
            Phase::Running | Phase::Told(_) | Phase::Killed => None,
        };
        if let Some(signal) = due {
            late |= now > belief.valid_until();
            send(&group, signal);
            phase =
                if signal == Signal::KILL { Phase::Killed } else { Phase::Told(now.after(left)) };
        }
        if group.has_ended() {
            late |= phase != Phase::Running && clock::now() > belief.valid_until();
            return end(group, phase, belief, late);
        }
        let next = match phase {
            Phase::Running => now.after(left.minus(grace.into())),
            Phase::Told(end) => end,
            Phase::Killed => FAR,
        };
        tokio::select! {
            biased;
            () = clock::sleep_until(next) => {}
            // Long before its time, if the cluster says that it is over.
            _ = belief.lost(), if phase != Phase::Killed => {}
            sound = heard.next() => match sound {
                Sound::Signal(signal) => send(&group, signal),
                Sound::Child => {}
            }
        }
    }
}

/// Nothing more is to be done then.
const FAR: Instant = Instant::from_micros(u64::MAX);

fn end(group: Group, phase: Phase, belief: &Belief, late: bool) -> Ended {
    let why = belief.ensure_held().err();
    match group.bury() {
        Ok(code) if phase == Phase::Running => Ended::ByItself(code),
        Ok(_) => Ended::Lost { late, why },
        Err(error) => {
            super::complain(&format!("cannot end all of the command: {error}"));
            Ended::Lost { late: true, why }
        }
    }
}

fn send(group: &Group, signal: Signal) {
    let sent = group.signal(signal).and_then(|()| match signal {
        // What is stopped cannot heed it.
        Signal::TERM => group.signal(Signal::CONT),
        _ => Ok(()),
    });
    if let Err(error) = sent {
        super::complain(&format!("cannot send a signal to the command: {error}"));
    }
}
