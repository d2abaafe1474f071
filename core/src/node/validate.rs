//! Whether a request is one that this cluster takes at all.

use crate::request::{Action, Invalid, KeyRequest, Limit};
use crate::settings::{Limits, MIN_LEASE, Settings};
use crate::time::Span;

/// What is wrong with the request, if anything is.
pub(super) fn fault(request: &KeyRequest, settings: &Settings) -> Option<Invalid> {
    let limits = &settings.limits;
    let longer = |bytes: &[u8], limit: u32| u32::try_from(bytes.len()).map_or(true, |n| n > limit);
    let lease = |lease: Span, delay: Span| {
        if lease < MIN_LEASE {
            Some(Invalid::LeaseTooShort(MIN_LEASE))
        } else if lease.plus(delay) > settings.timing.max_lease {
            Some(Invalid::LeaseTooLong(settings.timing.max_lease))
        } else {
            None
        }
    };
    let value =
        |value: &[u8]| longer(value, limits.value).then_some(Invalid::ValueTooLong(limits.value));
    let meta = |meta: &[u8]| longer(meta, limits.meta).then_some(Invalid::MetaTooLong(limits.meta));
    if request.key.is_empty() {
        return Some(Invalid::KeyEmpty);
    }
    if longer(&request.key, limits.key) {
        return Some(Invalid::KeyTooLong(limits.key));
    }
    match &request.action {
        Action::Lock { value: v, meta: m, lease: l, delay, .. } => {
            value(v).or_else(|| meta(m)).or_else(|| lease(*l, *delay))
        }
        Action::Extend { lease: l, .. } => lease(*l, Span::ZERO),
        Action::Update { value: v, meta: m, .. } => {
            value(v).or_else(|| m.as_ref().and_then(|m| meta(m)))
        }
        Action::Release { .. } | Action::Read | Action::WaitHeld | Action::WaitReleased => None,
    }
}

/// The limit that a configuration of so many members exceeds, if it does.
pub(super) fn too_many(masters: usize, replicas: usize, limits: &Limits) -> Option<Limit> {
    let more = |count: usize, limit: u32| u32::try_from(count).map_or(true, |n| n > limit);
    if more(masters, limits.masters) {
        Some(Limit::Masters)
    } else {
        more(replicas, limits.replicas).then_some(Limit::Replicas)
    }
}
