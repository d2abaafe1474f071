//! What is shown: results on standard output, everything else on standard error, and the exit code.

use leasehold_client::{Cause, Error, Holder, WaitingReport};
use leasehold_node::names;

use super::meant::Action;
use super::perform::Report;
use super::typed::Global;
use super::words::{self, text, time};
use super::{json, members, tables};
use crate::exit::code;

/// What a command leaves behind.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) out: String,
    pub(super) err: String,
    pub(super) code: u8,
}

/// Shows what came of a command.
pub(super) fn render(
    op: &str,
    action: &Action,
    result: Result<Report, Error>,
    global: &Global,
) -> Shown {
    match result {
        Ok(report) => {
            let out = if global.json {
                lines(json::report(op, action, &report).iter())
            } else {
                human(action, &report)
            };
            Shown { out, err: aside(action, &report, global), code: report_code(&report) }
        }
        Err(error) => {
            let words = words::error(action, &error);
            let object = json::error(op, Some(action), &error, &words);
            complaint(&object, &words, error_code(&error), global)
        }
    }
}

/// Shows that a command makes no sense.
pub(super) fn misused(op: &str, wrong: &str, global: &Global) -> Shown {
    let words = format!("{wrong}; see `leasehold {op} --help`");
    complaint(&json::invalid(op, "invalid", wrong), &words, code::USAGE, global)
}

/// Shows that this machine cannot even start.
pub(super) fn broken(op: &str, why: &str, global: &Global) -> Shown {
    complaint(&json::invalid(op, "unreachable", why), why, code::CANNOT_CONNECT, global)
}

pub(super) fn complaint(
    object: &serde_json::Value,
    words: &str,
    code: u8,
    global: &Global,
) -> Shown {
    let out = if global.json { lines([object]) } else { String::new() };
    let silent = global.json && global.quiet;
    let err = if silent { String::new() } else { format!("leasehold: {words}\n") };
    Shown { out, err, code }
}

fn lines<'a>(objects: impl IntoIterator<Item = &'a serde_json::Value>) -> String {
    objects.into_iter().map(|object| format!("{object}\n")).collect()
}

/// The exit code of an error.
pub(super) const fn error_code(error: &Error) -> u8 {
    match error {
        Error::Refused(_) => code::REFUSED,
        Error::NotDone(_) => code::NOT_DONE,
        Error::Unknown(_) => code::UNKNOWN,
        Error::NotAllowed(_) => code::NOT_ALLOWED,
        Error::Unreachable(_) => code::CANNOT_CONNECT,
        Error::TimedOut => code::TIMED_OUT,
        Error::Invalid(_) => code::USAGE,
    }
}

/// The exit code where nobody could be asked, for these causes.
fn nobody<'a>(mut causes: impl Iterator<Item = &'a Cause>) -> u8 {
    if causes.any(|cause| matches!(cause, Cause::NotAllowed(_))) {
        code::NOT_ALLOWED
    } else {
        code::CANNOT_CONNECT
    }
}

fn report_code(report: &Report) -> u8 {
    match report {
        Report::Read(None) => code::REFUSED,
        Report::Nodes(nodes) | Report::Members(nodes)
            if nodes.iter().all(|node| node.status.is_err()) =>
        {
            nobody(nodes.iter().filter_map(|node| node.status.as_ref().err()))
        }
        Report::Waiting(nodes) if nodes.iter().all(|node| node.waiting.is_err()) => {
            nobody(nodes.iter().filter_map(|node| node.waiting.as_ref().err()))
        }
        Report::Founded(_)
        | Report::Locked { .. }
        | Report::Extended { .. }
        | Report::Updated(_)
        | Report::Released(_)
        | Report::Read(Some(_))
        | Report::Held(_)
        | Report::Free
        | Report::Current(_)
        | Report::Listed(_)
        | Report::Waiting(_)
        | Report::Members(_)
        | Report::Amended(_)
        | Report::Nodes(_) => code::DONE,
    }
}

fn human(action: &Action, report: &Report) -> String {
    match report {
        Report::Founded(cluster) => format!("cluster {}\n", names::of_cluster(*cluster)),
        Report::Locked { token, valid_for, .. } => {
            let value = match action {
                Action::Lock { value, .. } => text(value.as_bytes()),
                Action::Init
                | Action::Extend { .. }
                | Action::Update { .. }
                | Action::Release { .. }
                | Action::Get { .. }
                | Action::Wait { .. }
                | Action::List { .. }
                | Action::Waiters { .. }
                | Action::FenceCheck { .. }
                | Action::Members
                | Action::Amend(_)
                | Action::Status => String::new(),
            };
            format!("token {token}, value {value}, valid for {}\n", time(*valid_for))
        }
        Report::Extended { token, valid_for, .. } => {
            format!("token {token}, valid for {}\n", time(*valid_for))
        }
        Report::Updated(updated) => format!("token {}, updated\n", updated.token),
        Report::Released(released) => match released.token {
            Some(token) => format!("token {token}, released\n"),
            None => "released\n".to_owned(),
        },
        Report::Read(Some(holder)) | Report::Held(holder) | Report::Current(holder) => held(holder),
        Report::Read(None) => String::new(),
        Report::Free => "released\n".to_owned(),
        Report::Listed(all) => tables::listed(all),
        Report::Waiting(nodes) => tables::waiting(nodes),
        Report::Members(nodes) if nodes.iter().all(|node| node.status.is_err()) => {
            tables::nodes(nodes)
        }
        Report::Members(nodes) => members::table(nodes),
        Report::Amended(amended) => format!("epoch {}\n", amended.epoch.0),
        Report::Nodes(nodes) => tables::nodes(nodes),
    }
}

fn held(holder: &Holder) -> String {
    let mut line = format!("token {}, value {}, ", holder.token, text(&holder.value));
    if holder.remaining.is_zero() {
        line.push_str("lease ended, held in delay");
    } else {
        line.push_str(&format!("remaining {}", time(holder.remaining)));
    }
    if !holder.delay.is_zero() {
        line.push_str(&format!(", delay {}", time(holder.delay)));
    }
    line.push_str(&format!(", age {}", time(holder.age)));
    for (name, label) in &holder.labels {
        line.push_str(&format!(", {}={}", text(name.as_bytes()), text(label.as_bytes())));
    }
    line.push('\n');
    line
}

/// What is said beside the result.
fn aside(action: &Action, report: &Report, global: &Global) -> String {
    let mut err = String::new();
    if global.quiet {
        return err;
    }
    let key = text(action.key().unwrap_or_default().as_bytes());
    match report {
        Report::Read(None) => err.push_str(&format!("leasehold: {key} is not held\n")),
        Report::Released(released) if !released.confirmed => err.push_str(&format!(
            "leasehold: the first answer was lost; {key} is no longer held, by this release or because its lease had ended\n"
        )),
        Report::Amended(amended) if !amended.complete => err.push_str(
            "leasehold: agreed on; the masters do not vote yet, see `leasehold members`\n",
        ),
        Report::Listed(all) => err.push_str(&format!(
            "leasehold: {} held, by one node's own records, which may be stale\n",
            all.len()
        )),
        Report::Waiting(nodes) => err.push_str(&beside_waiting(&key, nodes)),
        Report::Locked { votes, .. }
        | Report::Extended { votes, .. }
        | Report::Updated(leasehold_client::Updated { votes, .. })
        | Report::Released(leasehold_client::Released { votes, .. })
            if global.verbose > 0 =>
        {
            err.push_str(&format!(
                "leasehold: {} masters voted, {} accepted in time, {} were needed\n",
                votes.votes, votes.commits, votes.quorum
            ));
        }
        Report::Founded(_)
        | Report::Locked { .. }
        | Report::Extended { .. }
        | Report::Updated(_)
        | Report::Released(_)
        | Report::Read(Some(_))
        | Report::Held(_)
        | Report::Free
        | Report::Current(_)
        | Report::Members(_)
        | Report::Amended(_)
        | Report::Nodes(_) => {}
    }
    err
}

/// Who could not be asked, and who is not shown.
fn beside_waiting(key: &str, nodes: &[WaitingReport]) -> String {
    let mut err = String::new();
    let mut all = 0;
    for node in nodes {
        let name = text(node.name.as_deref().unwrap_or(&node.address).as_bytes());
        match &node.waiting {
            Ok(waiting) => {
                all += waiting.all;
                let hidden =
                    waiting.all.saturating_sub(u64::try_from(waiting.first.len()).unwrap_or(0));
                if hidden > 0 {
                    err.push_str(&format!("leasehold: {hidden} more wait at {name}\n"));
                }
            }
            Err(cause) => {
                let cause = text(cause.to_string().as_bytes());
                err.push_str(&format!("leasehold: {name} could not be asked: {cause}\n"));
            }
        }
    }
    if all == 0 {
        err.push_str(&format!("leasehold: nobody is known to wait for {key}\n"));
    }
    err
}
