//! What each thing that a client may ask for needs the right to.

use leasehold_core::wire::ClientItem;
use leasehold_core::{Action, Owner};

use crate::auth::{Pass, Verb};
use crate::metrics::{Ending, Metrics, Op};

/// The right that `item` needs, and for which key; none for what everybody may who was let in: to see how the
/// cluster is, to take back what one asked for, and to send mail to an address. Nobody can guess an address: the name of
/// the connection and the mailbox's number are secrets ([`clients`](crate::clients)). So it is known to whoever its owner told
/// it, and to whoever may read the key that holds it. With the client's name for the request.
pub(crate) fn needed(item: &ClientItem) -> Option<(u64, Verb, &[u8])> {
    match item {
        ClientItem::Request { call, request } => Some((*call, verb(&request.action), &request.key)),
        ClientItem::LocalRead { call, key } | ClientItem::Waiting { call, key } => {
            Some((*call, Verb::Read, key))
        }
        ClientItem::List { call, prefix, .. } | ClientItem::Watch { call, prefix } => {
            Some((*call, Verb::Read, prefix))
        }
        ClientItem::Init { call, .. } | ClientItem::Amend { call, .. } => {
            Some((*call, Verb::Admin, &[]))
        }
        ClientItem::Hello(_)
        | ClientItem::Cancel { .. }
        | ClientItem::Status { .. }
        | ClientItem::Host { .. }
        | ClientItem::Post { .. }
        | ClientItem::Receipt { .. }
        | ClientItem::Beat => None,
    }
}

/// The right that an operation on a key needs. Who names neither value nor token means whoever holds the key.
pub(crate) fn verb(action: &Action) -> Verb {
    match action {
        Action::Read | Action::WaitHeld | Action::WaitReleased => Verb::Read,
        Action::Lock { .. } => Verb::Lock,
        Action::Extend { owner, .. }
        | Action::Update { owner, .. }
        | Action::Release { owner, .. } => {
            if *owner == Owner::default() {
                Verb::Force
            } else {
                Verb::Lock
            }
        }
    }
}

/// What an item that needs a right asks for, for those who count.
fn op(item: &ClientItem) -> Option<Op> {
    match item {
        ClientItem::Request { request, .. } => Some(Op::of(&request.action)),
        ClientItem::LocalRead { .. } => Some(Op::GetLocal),
        ClientItem::Waiting { .. } => Some(Op::Waiters),
        ClientItem::List { .. } => Some(Op::List),
        ClientItem::Watch { .. } => Some(Op::Watch),
        ClientItem::Init { .. } => Some(Op::Init),
        ClientItem::Amend { .. } => Some(Op::Members),
        ClientItem::Hello(_)
        | ClientItem::Cancel { .. }
        | ClientItem::Status { .. }
        | ClientItem::Host { .. }
        | ClientItem::Post { .. }
        | ClientItem::Receipt { .. }
        | ClientItem::Beat => None,
    }
}

/// Takes out of `items` what the client may not do. Returns the names of those requests, each with what is lacking.
pub(crate) fn take_denied(
    pass: &Pass,
    items: &mut Vec<ClientItem>,
    metrics: &Metrics,
) -> Vec<(u64, String)> {
    let mut denied = Vec::new();
    if !pass.is_open() {
        items.retain(|item| {
            let Some((call, verb, key)) = needed(item) else { return true };
            match pass.may(verb, key) {
                Ok(()) => true,
                Err(why) => {
                    denied.push((call, why));
                    if let Some(op) = op(item) {
                        metrics.ended(op, Ending::NotAllowed);
                    }
                    false
                }
            }
        });
    }
    denied
}

#[cfg(test)]
mod tests {
    use leasehold_core::{Bytes, OpId, Span, Token};

    use super::*;

    #[test]
    fn whoever_names_nobody_means_anybody_and_needs_force() {
        let (id, lease) = (OpId::default(), Span::from_secs(1));
        let owner = |token| Owner { value: None, token };
        let extend = |token| Action::Extend { id, owner: owner(token), lease };
        let release = |token| Action::Release { id, owner: owner(token) };
        let update =
            |token| Action::Update { id, owner: owner(token), value: Bytes::EMPTY, meta: None };
        for named in [Some(Token(7)), None] {
            let expected = if named.is_some() { Verb::Lock } else { Verb::Force };
            for action in [extend(named), release(named), update(named)] {
                assert_eq!(verb(&action), expected, "{action:?}");
            }
        }
    }
}
