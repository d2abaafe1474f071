//! Words for people: durations, values of strangers, and errors.

use std::time::Duration;

use leasehold_client::{Doubt, Error, Reason, Refusal};

use super::meant::Action;

/// A duration with a unit, rounded down, so that no validity is overstated.
pub(super) fn time(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    match seconds {
        0 => format!("{millis}ms"),
        1..60 => format!("{seconds}.{:02}s", millis / 10),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// Bytes of strangers, so that they cannot do anything to a terminal.
pub(super) fn text(bytes: &[u8]) -> String {
    let Ok(text) = str::from_utf8(bytes) else { return bytes.escape_ascii().to_string() };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

/// A key as an argument that can be pasted into a shell.
fn argument(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,=".contains(c);
    if !key.is_empty() && !key.starts_with('-') && key.chars().all(plain) {
        return key.to_owned();
    }
    format!("'{}'", text(key.as_bytes()).replace('\'', r"'\''"))
}

/// What happened, whether it took effect, and what to do next.
pub(super) fn error(action: &Action, error: &Error) -> String {
    let mut words = what(action, error);
    words.push_str(". ");
    if matches!(error, Error::Unknown(doubt) if *doubt != Doubt::Unconfirmed) {
        words.push_str("It may have taken effect or not. ");
    } else if action.changes() && !matches!(error, Error::Unknown(_)) {
        words.push_str("Nothing was changed. ");
    }
    words.push_str(&advice(action, error));
    words.trim_end().to_owned()
}

fn what(action: &Action, error: &Error) -> String {
    let key = text(action.key().unwrap_or_default().as_bytes());
    match error {
        Error::Refused(Refusal::Held(holder)) => {
            let (value, token) = (text(&holder.value), holder.token);
            let held = format!("{key} is held by {value} with token {token}");
            if holder.remaining.is_zero() {
                format!("{held}; that lease has ended, the key stays taken for its delay")
            } else {
                format!("{held} for another {}", time(holder.remaining))
            }
        }
        Error::Refused(Refusal::NotHeld) => format!("{key} is not held"),
        Error::Refused(Refusal::Declined(why)) => text(why.as_bytes()),
        Error::Refused(Refusal::AlreadyFounded { .. }) => {
            "this cluster was initialised before".to_owned()
        }
        Error::TimedOut => format!("timed out waiting for {key}"),
        Error::NotDone(_)
        | Error::Unknown(_)
        | Error::NotAllowed(_)
        | Error::Unreachable(_)
        | Error::Invalid(_) => text(error.to_string().as_bytes()),
    }
}

const AMENDED: &str = "See how it stands with `leasehold members`, and repeat it if need be.";
/// A new member has to be met first.
const MEET: &str = "Every master-to-be must run and be linked with the node that was asked; the logs of both say why they \
                    are not. A new node's configuration names the members, and the command where it listens: NODE=HOST:PORT.";

/// What to do next.
fn advice(action: &Action, error: &Error) -> String {
    match (action, error) {
        (Action::Amend(_), Error::NotDone(Reason::MastersMissing(_))) => MEET.to_owned(),
        (_, _) => known(action, error),
    }
}

fn known(action: &Action, error: &Error) -> String {
    let key = argument(action.key().unwrap_or_default());
    match error {
        Error::Refused(Refusal::Held(_)) => match action {
            Action::FenceCheck { token, .. } => {
                format!("What is asked for with token {token} must not be done.")
            }
            Action::Lock { .. } => format!(
                "Queue for it with `--wait 30s`, or try `leasehold wait {key} --released`."
            ),
            Action::Init
            | Action::Extend { .. }
            | Action::Update { .. }
            | Action::Release { .. }
            | Action::Get { .. }
            | Action::Wait { .. }
            | Action::List { .. }
            | Action::Waiters { .. }
            | Action::Members
            | Action::Amend(_)
            | Action::Status => format!("Look at it with `leasehold get {key}`."),
        },
        Error::Refused(Refusal::NotHeld) => match action {
            Action::FenceCheck { token, .. } => {
                format!("What is asked for with token {token} must not be done.")
            }
            Action::Extend { .. } | Action::Update { .. } => format!(
                "The lease has ended, somebody else may have held the key since; acquire it again with `leasehold lock {key}`."
            ),
            Action::Init
            | Action::Lock { .. }
            | Action::Release { .. }
            | Action::Get { .. }
            | Action::Wait { .. }
            | Action::List { .. }
            | Action::Waiters { .. }
            | Action::Members
            | Action::Amend(_)
            | Action::Status => String::new(),
        },
        Error::Refused(Refusal::Declined(_)) => String::new(),
        Error::Refused(Refusal::AlreadyFounded { .. }) => {
            "There is nothing to do; look at it with `leasehold status`.".to_owned()
        }
        Error::NotDone(reason) => not_done(reason).to_owned(),
        Error::Unknown(_) => doubt(action),
        Error::NotAllowed(_) => "Ask whoever runs the cluster for the right.".to_owned(),
        Error::Unreachable(_) => {
            "Check --endpoints (or LEASEHOLD_ENDPOINTS) and whether the nodes run; `leasehold dev` starts a cluster to try."
                .to_owned()
        }
        Error::TimedOut => "Wait longer, or try again.".to_owned(),
        Error::Invalid(_) => String::new(),
    }
}

fn doubt(action: &Action) -> String {
    let key = argument(action.key().unwrap_or_default());
    match action {
        Action::Init => "Repeat `leasehold init`: it says if the cluster is there.".to_owned(),
        Action::Amend(_) => AMENDED.to_owned(),
        Action::Lock { value, .. } => format!(
            "See whether {} holds it with `leasehold get {key}`; if so, it ends by itself after its ttl.",
            text(value.as_bytes())
        ),
        Action::Extend { .. }
        | Action::Update { .. }
        | Action::Release { .. }
        | Action::Get { .. }
        | Action::Wait { .. }
        | Action::List { .. }
        | Action::Waiters { .. }
        | Action::FenceCheck { .. }
        | Action::Members
        | Action::Status => format!("See how it stands with `leasehold get {key}`."),
    }
}

const fn not_done(reason: &Reason) -> &'static str {
    match reason {
        Reason::NoQuorum | Reason::TooLate | Reason::Unanswered => {
            "See which nodes are up with `leasehold status`, and try again."
        }
        Reason::NotFounded => "A new cluster needs `leasehold init`, once.",
        Reason::MastersMissing(_) | Reason::MasterUnreachable(_) => {
            "Start every master and repeat `leasehold init`."
        }
        Reason::RecordsFull => "Release what is not needed, or raise the limit on records.",
        Reason::Cancelled
        | Reason::Draining
        | Reason::QueueFull
        | Reason::WaitersFull
        | Reason::Busy => "Try again, with another node among --endpoints.",
        Reason::TooManyCalls => "Ask for less at a time.",
        Reason::TooManyMasters => "Name fewer, or raise limits.masters of that node.",
        Reason::TooManyReplicas => "Name fewer, or raise limits.replicas of that node.",
        Reason::RecordsReplaced => "Try again.",
        Reason::Changing => {
            "Wait until `leasehold status` shows that it is complete, and try again."
        }
        Reason::NotActive => "Name a master with --endpoints; `leasehold status` shows which are.",
        Reason::Nonsense => "Are client and nodes of the same version?",
    }
}
