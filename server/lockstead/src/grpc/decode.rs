//! Requests from the wire, checked.

use lockstead_api::{convert, v1};
use lockstead_core::limits::HOLDS_PER_SESSION_MAX;
use lockstead_core::{HoldId, Invalid, List, Metadata, Name, Owner, OwnerKey, RequestId, Scope, SessionId, bounds};

use crate::service::session::{HeldHold, Message, OnDisconnect, Resume, Secret, SessionAsk, SessionOptions};
use crate::service::{Ask, Error, LeaseAsk, Result, page_size, page_start};

pub(super) fn lease(wire: v1::AcquireRequest) -> Result<LeaseAsk> {
    let request_id = if wire.request_id.is_empty() { None } else { Some(RequestId::parse(&wire.request_id)?) };
    let ttl = bounds::ttl_or_default(convert::ttl(wire.ttl)?)?;
    let ask = ask(wire.claim, wire.wait, &wire.owner, wire.metadata)?;
    Ok(LeaseAsk { ask, ttl, request_id })
}

pub(super) fn hold(wire: v1::HoldRequest) -> Result<Ask> {
    Ok(ask(wire.claim, wire.wait, &wire.owner, wire.metadata)?)
}

fn ask(
    claim: Option<v1::Claim>,
    wait: Option<v1::Wait>,
    owner: &str,
    metadata: std::collections::BTreeMap<String, String>,
) -> std::result::Result<Ask, Invalid> {
    let (scope, name, claim) = convert::claim(claim)?;
    let (wait, owner, metadata) = (convert::wait(wait)?, Owner::parse(owner)?, Metadata::parse(metadata)?);
    Ok(Ask { scope, name, claim, wait, owner, metadata })
}

pub(super) fn list(wire: v1::ListRequest) -> Result<(Scope, List)> {
    let scope = convert::scope(wire.scope)?;
    let after: Option<Name> = page_start(&wire.page_token)?;
    let at_most = page_size(usize::try_from(wire.page_size).unwrap_or(usize::MAX));
    Ok((scope, List { kind: convert::kind(wire.kind)?, prefix: wire.prefix, after, at_most }))
}

/// The first message of a session stream.
pub(super) enum First {
    Open(SessionOptions),
    Resume(Resume),
}

pub(super) fn first(wire: v1::SessionRequest) -> Result<First> {
    match wire.message {
        Some(v1::session_request::Message::Open(open)) => Ok(First::Open(session_options(open)?)),
        Some(v1::session_request::Message::Resume(resume)) => Ok(First::Resume(resume_session(resume)?)),
        _ => Err(Error::bad_session("the first message of a session must be open or resume")),
    }
}

fn session_options(wire: v1::OpenSession) -> std::result::Result<SessionOptions, Invalid> {
    let negative = || Invalid::new(lockstead_core::Field::SessionTimeout, "the session timeout is negative");
    let timeout = wire.session_timeout.map(|wire| convert::duration(wire).ok_or_else(negative)).transpose()?;
    let on_disconnect = match v1::OnDisconnect::try_from(wire.on_disconnect) {
        Ok(v1::OnDisconnect::Keep) => OnDisconnect::Keep,
        Ok(v1::OnDisconnect::Unspecified | v1::OnDisconnect::Release) => OnDisconnect::Release,
        Err(_) => {
            let message = format!("there is no on_disconnect {}", wire.on_disconnect);
            return Err(Invalid::new(lockstead_core::Field::OnDisconnect, message));
        }
    };
    Ok(SessionOptions {
        timeout: bounds::session_timeout(timeout)?,
        on_disconnect,
        owner: Owner::parse(&wire.owner)?,
        metadata: Metadata::parse(wire.metadata)?,
    })
}

fn resume_session(wire: v1::ResumeSession) -> Result<Resume> {
    if wire.holds.len().max(wire.pending_request_ids.len()) > HOLDS_PER_SESSION_MAX {
        let most = HOLDS_PER_SESSION_MAX;
        let why = format!("a resume lists more than the {most} holds and acquires that a session can have");
        return Err(Error::bad_session(why));
    }
    let session = SessionId::parse(&wire.session_id).ok_or(Error::SessionNotFound)?;
    let resume_secret = Secret::parse(&wire.resume_secret).ok_or(Error::SessionNotFound)?;
    let holds = wire.holds.into_iter().map(|held| {
        let (scope, resource) = convert::resource_id(held.resource)?;
        Ok((HeldHold { hold: HoldId::parse(&held.hold_id)?, scope, resource }, held.entries))
    });
    let holds = holds.collect::<std::result::Result<_, Invalid>>()?;
    let options = wire.options.map(session_options).transpose()?;
    Ok(Resume { session, resume_secret, attempt: wire.attempt, holds, pending: wire.pending_request_ids, options })
}

/// A later message of a session stream. An operation that is wrong in itself spoils itself only; a message that is no
/// operation ends the stream.
pub(super) fn message(wire: v1::SessionRequest) -> Result<Message> {
    use v1::session_request::Message as Wire;
    Ok(match wire.message {
        Some(Wire::Ping(ping)) => Message::Ping { sequence: ping.sequence },
        Some(Wire::Pong(_)) => Message::Pong,
        Some(Wire::Acquire(wire)) => {
            let request = wire.request_id;
            acquire(wire).map_or_else(|invalid| Message::Invalid { request, invalid }, Message::Acquire)
        }
        Some(Wire::Release(v1::SessionRelease { request_id: request, hold_id })) => match HoldId::parse(&hold_id) {
            Ok(hold) => Message::Release { request, hold },
            Err(invalid) => Message::Invalid { request, invalid },
        },
        Some(Wire::Cancel(cancel)) => Message::Cancel { request: cancel.request_id },
        Some(Wire::Close(_)) => Message::Close,
        Some(Wire::Open(_) | Wire::Resume(_)) => {
            return Err(Error::bad_session("the session is open; open or resume can't come again"));
        }
        None => return Err(Error::bad_session("an empty message; is the client newer than this server?")),
    })
}

fn acquire(wire: v1::SessionAcquire) -> std::result::Result<SessionAsk, Invalid> {
    let owner_key = if wire.owner_key.is_empty() { None } else { Some(OwnerKey::parse(&wire.owner_key)?) };
    let ask = ask(wire.claim, wire.wait, &wire.owner, wire.metadata)?;
    Ok(SessionAsk { request: wire.request_id, ask, owner_key })
}
