//! The operations on keys, over HTTP.

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use leasehold_client::{Doubt, Error, Refusal, labels};
use leasehold_core::wire::{ClientItem, NodeItem};
use leasehold_core::{Action, Bytes, Done, KeyRequest, OpId, Outcome, Owner, Span};

use super::answer::{self, Failure, Otherwise};
use super::ask::{asked_in_body, asked_in_query};
use super::caller::{Caller, Guest};
use super::line::{Cut, Line};
use super::shapes::{
    DoneShape, ExtendAsked, FenceAsked, GetAsked, HeldShape, LockAsked, ReleaseAsked, UpdateAsked,
    WaitAsked, either, key, owner, span, token,
};

/// How long a request may take that does not say so itself.
pub(super) const TIMEOUT: Span = Span::from_secs(10);
/// The lease that is asked for where the caller says nothing.
const TTL: Span = Span::from_secs(30);
/// How much later than the driver this gives up.
pub(super) const GRACE: Span = Span::from_secs(1);
/// How often a lease is extended to find out until when it may be believed.
const CONFIRMATIONS: usize = 3;

/// An answer, or why there is none, to this operation.
pub(super) fn reply<T: serde::Serialize>(op: &'static str, result: Result<T, Failure>) -> Response {
    match result {
        Ok(shape) => Json(shape).into_response(),
        Err(failure) => failure.to(op),
    }
}

/// Acquires a key
///
/// Without `wait` the key is tried once. Count `valid_for_ms` from a reading of your clock before you sent the request. A
/// caller that goes away gives up what it waits for.
#[utoipa::path(post, path = "/v1/lock", tag = "keys", request_body = LockAsked,
    responses((status = 200, description = "The key is held.", body = DoneShape), Otherwise))]
pub(super) async fn lock(Extension(caller): Extension<Caller>, request: Request) -> Response {
    let done = async {
        let (guest, asked) = asked_in_body::<LockAsked>(&caller, request).await?;
        let key = key(asked.key, asked.key_base64)?;
        let lease = asked.ttl.as_deref().map_or(Ok(TTL), |text| span("ttl", text))?;
        let wait = asked.wait.as_deref().map_or(Ok(Span::ZERO), |text| span("wait", text))?;
        let delay = asked.delay.as_deref().map_or(Ok(Span::ZERO), |text| span("delay", text))?;
        let patience = timeout(asked.timeout.as_deref())?.plus(wait);
        let value = either("value", asked.value, asked.value_base64)?.unwrap_or(Bytes::EMPTY);
        let (id, meta) = (new_chain(), labels::encode(&asked.meta));
        let action = Action::Lock { id, value, meta, lease, delay, wait };
        let done = change(&guest, &key, action, patience).await?;
        let done = confirm(&guest, &key, id, done, lease).await?;
        Ok(DoneShape::new("lock", &key, &done))
    };
    reply("lock", done.await)
}

/// Lets a lease end later
///
/// An extension never shortens. Count `valid_for_ms` from a reading of your clock before you sent the request.
#[utoipa::path(post, path = "/v1/extend", tag = "keys", request_body = ExtendAsked,
    responses((status = 200, description = "The lease lasts longer.", body = DoneShape), Otherwise))]
pub(super) async fn extend(Extension(caller): Extension<Caller>, request: Request) -> Response {
    let done = async {
        let (guest, asked) = asked_in_body::<ExtendAsked>(&caller, request).await?;
        let key = key(asked.key, asked.key_base64)?;
        let owner = named(owner(asked.token, asked.value, asked.value_base64)?)?;
        let (id, lease) = (new_chain(), span("ttl", &asked.ttl)?);
        let patience = timeout(asked.timeout.as_deref())?;
        let action = Action::Extend { id, owner, lease };
        let done = change(&guest, &key, action, patience).await?;
        let done = confirm(&guest, &key, id, done, lease).await?;
        Ok(DoneShape::new("extend", &key, &done))
    };
    reply("extend", done.await)
}

/// Replaces the value of a held key
///
/// The lease ends when it would have ended.
#[utoipa::path(post, path = "/v1/update", tag = "keys", request_body = UpdateAsked,
    responses((status = 200, description = "The value is the new one.", body = DoneShape), Otherwise))]
pub(super) async fn update(Extension(caller): Extension<Caller>, request: Request) -> Response {
    let done = async {
        let (guest, asked) = asked_in_body::<UpdateAsked>(&caller, request).await?;
        let key = key(asked.key, asked.key_base64)?;
        let old = either("old", asked.old, asked.old_base64)?;
        let owner = named(Owner { value: old, ..owner(asked.token, None, None)? })?;
        let value = either("value", asked.value, asked.value_base64)?
            .ok_or_else(|| Failure::invalid("there is no `value` and no `value_base64`"))?;
        let meta = asked.meta.as_ref().map(labels::encode);
        let patience = timeout(asked.timeout.as_deref())?;
        let action = Action::Update { id: new_chain(), owner, value, meta };
        let done = change(&guest, &key, action, patience).await?;
        Ok(DoneShape::new("update", &key, &done))
    };
    reply("update", done.await)
}

/// Gives a key up
#[utoipa::path(post, path = "/v1/release", tag = "keys", request_body = ReleaseAsked,
    responses((status = 200, description = "The key is free.", body = DoneShape), Otherwise))]
pub(super) async fn release(Extension(caller): Extension<Caller>, request: Request) -> Response {
    let done = async {
        let (guest, asked) = asked_in_body::<ReleaseAsked>(&caller, request).await?;
        let key = key(asked.key, asked.key_base64)?;
        let owner = owner(asked.token, asked.value, asked.value_base64)?;
        let owner = match (asked.force, owner == Owner::default()) {
            (true, true) => owner,
            (true, false) => {
                return Err(Failure::invalid(
                    "`force` releases the key whoever holds it: give it alone",
                ));
            }
            (false, _) => named(owner)?,
        };
        let patience = timeout(asked.timeout.as_deref())?;
        let action = Action::Release { id: new_chain(), owner };
        let done = change(&guest, &key, action, patience).await?;
        Ok(DoneShape::new("release", &key, &done))
    };
    reply("release", done.await)
}

/// Says who holds a key
///
/// By quorum, or with `local` by what this node knows: at once, but possibly stale or not agreed. A free key is an answer,
/// not an error.
#[utoipa::path(get, path = "/v1/get", tag = "keys", params(GetAsked),
    responses((status = 200, description = "Held or not.", body = HeldShape), Otherwise))]
pub(super) async fn get(Extension(caller): Extension<Caller>, request: Request) -> Response {
    let found = async {
        let (guest, asked) = asked_in_query::<GetAsked>(&caller, request)?;
        let key = key(asked.key, asked.key_base64)?;
        let patience = timeout(asked.timeout.as_deref())?;
        let holder = if asked.local {
            read_local(&guest, &key, patience).await?
        } else {
            read(&guest, &key, patience).await?
        };
        Ok(HeldShape::new("get", &key, holder))
    };
    reply("get", found.await)
}

/// Waits until a key is held, or released
///
/// As far as this node knows by itself.
#[utoipa::path(get, path = "/v1/wait", tag = "keys", params(WaitAsked),
    responses((status = 200, description = "It has come about.", body = HeldShape), Otherwise))]
pub(super) async fn wait(Extension(caller): Extension<Caller>, request: Request) -> Response {
    let woken = async {
        let (guest, asked) = asked_in_query::<WaitAsked>(&caller, request)?;
        let key = key(asked.key, asked.key_base64)?;
        let patience = timeout(asked.timeout.as_deref())?;
        let action = if asked.released { Action::WaitReleased } else { Action::WaitHeld };
        let woken = operate(&guest, &key, action, patience).await?;
        Ok(HeldShape::new("wait", &key, seen(woken, true)?))
    };
    reply("wait", woken.await)
}

/// Says whether a key is held with this fencing token, by quorum
///
/// A service that is asked to act for an owner asks this, and acts only on 200.
#[utoipa::path(get, path = "/v1/fence/check", tag = "keys", params(FenceAsked),
    responses((status = 200, description = "It is held with this token.", body = HeldShape), Otherwise))]
pub(super) async fn fence_check(
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let held = async {
        let (guest, asked) = asked_in_query::<FenceAsked>(&caller, request)?;
        let key = key(asked.key, asked.key_base64)?;
        let token = token(asked.token)?;
        let patience = timeout(asked.timeout.as_deref())?;
        match read(&guest, &key, patience).await? {
            Some(holder) if holder.token == token => {
                Ok(HeldShape::new("fence check", &key, Some(holder)))
            }
            Some(other) => Err(answer::held(other)),
            None => Err(Failure::Of(Error::Refused(Refusal::NotHeld))),
        }
    };
    reply("fence check", held.await)
}

/// An owner who is named at all: whoever names nobody would act on somebody else's lease.
fn named(owner: Owner) -> Result<Owner, Failure> {
    if owner == Owner::default() {
        return Err(Failure::invalid("name the owner: give its token or its value"));
    }
    Ok(owner)
}

/// How long a request may take.
pub(super) fn timeout(text: Option<&str>) -> Result<Span, Failure> {
    text.map_or(Ok(TIMEOUT), |text| span("timeout", text))
}

/// A new chain of operations, which nobody else has.
#[expect(
    clippy::disallowed_methods,
    reason = "an operation gets its identity here, which must differ from every other's"
)]
pub(super) fn new_chain() -> OpId {
    OpId { chain: rand::random(), step: 0 }
}

async fn read(
    guest: &Guest,
    key: &Bytes,
    patience: Span,
) -> Result<Option<leasehold_core::Holder>, Failure> {
    seen(operate(guest, key, Action::Read, patience).await?, false)
}

async fn read_local(
    guest: &Guest,
    key: &Bytes,
    patience: Span,
) -> Result<Option<leasehold_core::Holder>, Failure> {
    let ask = |call| ClientItem::LocalRead { call, key: key.clone() };
    let NodeItem::LocalRead { holder, .. } = converse(guest, ask, patience, false).await? else {
        return Err(nonsense());
    };
    Ok(holder)
}

/// Does something about a key that takes effect or not.
pub(super) async fn change(
    guest: &Guest,
    key: &Bytes,
    action: Action,
    patience: Span,
) -> Result<Done, Failure> {
    let waits = action.queues();
    match operate(guest, key, action, patience).await? {
        Outcome::Done(done) => Ok(done),
        outcome @ (Outcome::Found(_)
        | Outcome::Woken(_)
        | Outcome::Refused(_)
        | Outcome::NotDone(_)
        | Outcome::Unknown
        | Outcome::Founded(_)
        | Outcome::Configured { .. }) => Err(misfit(outcome, waits)),
    }
}

/// Where an earlier sending had taken effect, nobody knows when: extends, which tells until when to believe. The caller
/// counts from before it asked, which is before that.
async fn confirm(
    guest: &Guest,
    key: &Bytes,
    id: OpId,
    mut done: Done,
    lease: Span,
) -> Result<Done, Failure> {
    let owner = Owner { value: None, token: Some(done.token) };
    let mut id = id;
    for _ in 0..CONFIRMATIONS {
        if done.valid_for.is_some() {
            return Ok(done);
        }
        id.step = id.step.saturating_add(1);
        let action = Action::Extend { id, owner: owner.clone(), lease };
        match change(guest, key, action, TIMEOUT).await {
            Ok(extended) => done = Done { repeated: true, ..extended },
            Err(_) => break,
        }
    }
    if done.valid_for.is_some() {
        return Ok(done);
    }
    // The caller will not know of it; if this fails, it ends by itself.
    let action = Action::Release { id: new_chain(), owner };
    drop(change(guest, key, action, TIMEOUT).await);
    Err(Failure::Of(Error::Unknown(Doubt::Unconfirmed)))
}

/// Puts an operation to the cluster.
async fn operate(
    guest: &Guest,
    key: &Bytes,
    action: Action,
    patience: Span,
) -> Result<Outcome, Failure> {
    let changes = match &action {
        Action::Lock { .. }
        | Action::Extend { .. }
        | Action::Update { .. }
        | Action::Release { .. } => true,
        Action::Read | Action::WaitHeld | Action::WaitReleased => false,
    };
    let request = KeyRequest { key: key.clone(), patience, action };
    let ask = |call| ClientItem::Request { call, request };
    let NodeItem::Reply { outcome, .. } = converse(guest, ask, patience, changes).await? else {
        return Err(nonsense());
    };
    Ok(outcome)
}

/// Asks the driver, and waits for the one answer.
pub(super) async fn converse(
    guest: &Guest,
    ask: impl FnOnce(u64) -> ClientItem,
    patience: Span,
    changes: bool,
) -> Result<NodeItem, Failure> {
    let clock = guest.context().clock();
    let sent = async {
        let mut line = guest.line().await?;
        let item = ask(line.call());
        line.send(guest.signed(item)?).await?;
        Ok::<Line, Failure>(line)
    };
    // Before the driver took it, nothing was done.
    let mut line = match clock.limit(patience, sent).await {
        Some(line) => line?,
        None => return Err(answer::unanswered(false)),
    };
    match clock.limit(patience.plus(GRACE), line.next()).await {
        Some(Ok(item)) => {
            guest.done_with(line);
            Ok(item)
        }
        // The line goes, and with it what the driver may still be doing for it.
        Some(Err(Cut)) | None => Err(answer::unanswered(changes)),
    }
}

/// What a read or a wait has seen.
fn seen(outcome: Outcome, waits: bool) -> Result<Option<leasehold_core::Holder>, Failure> {
    match outcome {
        Outcome::Found(holder) | Outcome::Woken(holder) => Ok(holder),
        outcome @ (Outcome::Done(_)
        | Outcome::Refused(_)
        | Outcome::NotDone(_)
        | Outcome::Unknown
        | Outcome::Founded(_)
        | Outcome::Configured { .. }) => Err(misfit(outcome, waits)),
    }
}

/// What an outcome means that is not what was asked for.
pub(super) fn misfit(outcome: Outcome, waits: bool) -> Failure {
    match outcome {
        Outcome::Refused(refusal) => Failure::Of(Error::Refused(refusal.into())),
        Outcome::NotDone(why) => answer::not_done(why, waits),
        Outcome::Unknown => Failure::Of(Error::Unknown(Doubt::Undecided)),
        Outcome::Done(_)
        | Outcome::Found(_)
        | Outcome::Woken(_)
        | Outcome::Founded(_)
        | Outcome::Configured { .. } => Failure::Of(Error::Unknown(Doubt::Nonsense)),
    }
}

/// The driver answered something else than was asked.
pub(super) fn nonsense() -> Failure {
    tracing::error!("the driver answered something else than was asked; this is a defect");
    Failure::Of(Error::Unknown(Doubt::Nonsense))
}
