//! What happens, in words, for the path to a violation.

use leasehold_core::{Effect, Input, Instant};

use super::world::{name, number_of};
use crate::trace::Trace;

/// What a node is told, at this true time and this time of its own.
pub(super) fn input((now, local): (u64, Instant), number: usize, input: &Input, trace: &mut Trace) {
    let what = || match input {
        Input::Message { from, message } => {
            format!("hears {:?} from {}", message.body, name(number_of(*from)))
        }
        Input::Tick => "does what is due".to_owned(),
        Input::Request { request, .. } => format!("is asked {request:?}"),
        Input::Link { peer, up } => format!("link to {}: {up}", name(number_of(*peer))),
        Input::Persisted(_) => "its file is on disk".to_owned(),
        Input::Cancel(_) | Input::Drain => format!("{input:?}"),
    };
    trace.line(now, Some(local), || name(number), what);
}

/// What a node does.
pub(super) fn effect(
    (now, local): (u64, Instant),
    number: usize,
    effect: &Effect,
    trace: &mut Trace,
) {
    let what = || match effect {
        Effect::Send { to, message } => {
            format!("  sends {:?} to {}", message.body, name(number_of(*to)))
        }
        Effect::Reply { outcome, .. } => format!("  answers {outcome:?}"),
        Effect::Persist(_, file) => {
            let (ceiling, active) = (file.ceiling, file.active_in);
            format!("  writes its file: ceiling {ceiling}, active in {active:?}")
        }
        Effect::Event(event) => format!("  notes {event:?}"),
    };
    trace.line(now, Some(local), || name(number), what);
}
