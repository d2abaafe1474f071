//! The scopes that there are.

use leasehold_core::{Drift, Span, Timing};

use super::client::{Planned, Want};
use super::scope::{Budget, First, Jump, Scope};

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

/// The longest lease, and the one that is asked for.
const LEASE: Span = Span::from_secs(60);

const fn timing(operation: u64, promise: u64, sync: u64) -> Timing {
    Timing {
        max_lease: LEASE,
        op_timeout: Span::from_secs(operation),
        promise_timeout: Span::from_secs(promise),
        sync_timeout: Span::from_secs(sync),
        max_clock_drift: Drift::DEFAULT,
    }
}

const fn jump(by: Span, times: u8) -> Jump {
    Jump { by, times }
}

const fn secs(secs: u64) -> Span {
    Span::from_secs(secs)
}

fn lock() -> Want {
    Want::Lock(LEASE)
}

/// Three masters that keep true time, and nothing else.
fn three(name: &'static str, about: &'static str) -> Scope {
    Scope {
        name,
        about,
        timing: timing(5, 5, 5),
        nodes: 3,
        masters: 3,
        walls: Vec::new(),
        rates: Vec::new(),
        prelude: Vec::new(),
        clients: Vec::new(),
        budget: Budget::default(),
        finds: &[],
    }
}

const BOTH: [&[usize]; 2] = [&[A, B], &[B, C]];

/// All of them.
#[must_use]
pub fn scopes() -> Vec<Scope> {
    vec![
        rivals(),
        late_accept(),
        forget_horizon(),
        implied_age(),
        expiry_extend(),
        revived(),
        retry(),
        restart(),
        drift(),
        takeover(),
        lost_votes(),
        successor(),
    ]
}

fn rivals() -> Scope {
    Scope {
        clients: vec![vec![Planned::free(lock(), &[A])], vec![Planned::free(lock(), &[B])]],
        ..three("rivals", "two coordinators lock one key at the same time")
    }
}

fn late_accept() -> Scope {
    let first = Planned { late_at: Some(C), ..Planned::atomic(lock(), &[A], &[&[A, B, C]]) };
    Scope {
        prelude: vec![(Span::ZERO, First::Ask(0))],
        clients: vec![
            vec![
                first,
                Planned::free(Want::Extend(LEASE), &[A]),
                Planned::free(Want::Release, &[A]).hasty(),
            ],
            vec![Planned::atomic(Want::Read, &[B], &BOTH)],
        ],
        budget: Budget { jumps: vec![jump(secs(80), 1)], ..Budget::default() },
        finds: &["own-promise"],
        ..three("late-accept", "a master misses an accept and gets the next one much later")
    }
}

fn forget_horizon() -> Scope {
    Scope {
        timing: timing(2, 5, 2),
        prelude: vec![(Span::ZERO, First::Ask(0))],
        clients: vec![
            vec![
                Planned::atomic(lock(), &[A], &[&[A, B, C]]),
                Planned::free(Want::Extend(LEASE), &[B]),
                Planned::atomic(Want::Release, &[A], &[&[A, B]]).hasty(),
            ],
            vec![Planned::atomic(Want::Read, &[B], &BOTH)],
        ],
        budget: Budget { jumps: vec![jump(secs(4), 1), jump(secs(58), 1)], ..Budget::default() },
        finds: &["horizon"],
        ..three("forget-horizon", "an extension that reached one master outlives a release")
    }
}

fn implied_age() -> Scope {
    let late = |want| Planned { late_at: Some(C), ..Planned::atomic(want, &[A], &[&[A, B, C]]) };
    Scope {
        timing: timing(2, 20, 2),
        prelude: vec![(Span::ZERO, First::Ask(0)), (Span::ZERO, First::Ask(0))],
        clients: vec![
            vec![late(lock()), late(Want::Extend(LEASE)), Planned::free(Want::Release, &[A])],
            vec![Planned::atomic(Want::Read, &[B], &BOTH)],
        ],
        budget: Budget { jumps: vec![jump(secs(19), 2), jump(secs(50), 1)], ..Budget::default() },
        finds: &["implied-age"],
        ..three("implied-age", "accepts without votes reach a master late, one after the other")
    }
}

fn expiry_extend() -> Scope {
    Scope {
        timing: timing(2, 2, 2),
        prelude: vec![(Span::ZERO, First::Ask(0))],
        clients: vec![
            vec![
                Planned::atomic(lock(), &[A], &[&[A, B, C]]),
                Planned::free(Want::Extend(LEASE), &[C]),
            ],
            vec![
                Planned::atomic(Want::Read, &[B], &BOTH),
                Planned::atomic(Want::Read, &[B], &BOTH),
            ],
        ],
        budget: Budget { jumps: vec![jump(secs(59), 1), jump(secs(7), 2)], ..Budget::default() },
        finds: &["age-from-promise"],
        ..three("expiry-extend", "a lease is extended at one master just before it ends")
    }
}

fn revived() -> Scope {
    Scope {
        timing: timing(2, 2, 2),
        prelude: vec![(Span::ZERO, First::Ask(0))],
        clients: vec![
            vec![
                Planned::atomic(lock(), &[A], &[&[A, B]]),
                Planned::free(Want::Extend(LEASE), &[A]),
            ],
            vec![
                Planned::atomic(Want::Read, &[B], &BOTH),
                Planned::atomic(Want::Read, &[B], &BOTH),
            ],
        ],
        budget: Budget { jumps: vec![jump(secs(59), 1), jump(secs(7), 2)], ..Budget::default() },
        finds: &["settle-before-extend"],
        ..three("revived", "an extension that reached one master outlives what the others know")
    }
}

fn retry() -> Scope {
    Scope {
        clients: vec![
            vec![Planned::free(lock(), &[B])],
            vec![Planned::atomic(Want::Free(0), &[A], &[&[A, B, C], &[A, C]])],
            vec![Planned::atomic(Want::Read, &[C], &[&[A, C], &[B, C]])],
        ],
        budget: Budget { jumps: vec![jump(Span::from_millis(3_800), 1)], ..Budget::default() },
        finds: &["retry-unknown", "retry-floor"],
        ..three("retry", "a coordinator that is overtaken votes again on what it may have done")
    }
}

fn restart() -> Scope {
    Scope {
        clients: vec![
            vec![Planned::free(lock(), &[A])],
            vec![Planned::atomic(lock(), &[B], &BOTH)],
        ],
        budget: Budget {
            jumps: vec![jump(secs(11), 1)],
            fragile: vec![B, C],
            restarts: 1,
            ..Budget::default()
        },
        finds: &["joining", "aged"],
        ..three("restart", "a master forgets, and takes over from the others")
    }
}

fn drift() -> Scope {
    let within: [&[usize]; 3] = [&[A, B], &[B, C], &[A, C]];
    Scope {
        rates: vec![
            vec![1_000, 1_000, 1_000, -1_000],
            vec![1_000, -1_000, 1_000, -1_000],
            vec![-1_000, 1_000, 1_000, 0],
        ],
        clients: vec![
            vec![
                Planned::atomic(lock(), &[A], &[&[A, B, C], &[A, B]]),
                Planned::free(Want::Extend(secs(10)), &[A, B]),
            ],
            vec![Planned::atomic(lock(), &[B], &within)],
        ],
        budget: Budget {
            jumps: vec![jump(secs(11), 1), jump(Span::from_micros(59_940_061), 1)],
            ..Budget::default()
        },
        finds: &["belief", "never-shorter"],
        ..three("drift", "clocks at the extremes of drift, around the end of a lease")
    }
}

fn takeover() -> Scope {
    Scope {
        prelude: vec![(Span::ZERO, First::Ask(0))],
        clients: vec![
            vec![Planned::atomic(lock(), &[A], &[&[A, B]])],
            vec![Planned::free(Want::Masters(vec![C]), &[B])],
            vec![Planned::atomic(lock(), &[C], &[&[C]])],
        ],
        budget: Budget { fragile: vec![A], restarts: 1, ..Budget::default() },
        ..three("takeover", "one of three masters becomes the only one, while another restarts")
    }
}

fn lost_votes() -> Scope {
    Scope {
        prelude: vec![(Span::ZERO, First::Ask(0)), (Span::ZERO, First::Restart(A))],
        budget: Budget::default(),
        finds: &["active-in", "epoch-sync"],
        name: "lost-votes",
        about: "a master that forgot its votes is asked what it knows by one that takes over",
        ..takeover()
    }
}

fn successor() -> Scope {
    Scope {
        nodes: 2,
        masters: 1,
        // The first master's wall clock is far ahead, until it restarts.
        walls: vec![(1 << 42, 0), (0, 0)],
        prelude: vec![
            (Span::ZERO, First::Ask(0)),
            (Span::ZERO, First::Restart(A)),
            (secs(76), First::Ask(1)),
        ],
        clients: vec![
            vec![Planned::atomic(lock(), &[A], &[&[A]])],
            vec![
                Planned::atomic(Want::Read, &[A], &[&[A]]),
                Planned::free(Want::Masters(vec![B]), &[A]),
            ],
            vec![Planned::atomic(lock(), &[B], &[&[B]])],
        ],
        budget: Budget {
            jumps: vec![jump(secs(76), 1), jump(Span::from_millis(300), 1)],
            fragile: vec![A, B],
            restarts: 2,
            ..Budget::default()
        },
        finds: &["ceiling-after-sync"],
        ..three("successor", "one master takes over from another whose clock was far ahead")
    }
}
