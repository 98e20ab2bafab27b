//! Answers for the wire.

use lockstead_api::{convert, v1};
use lockstead_core::{Claim, Name, ResourceKey, Scope};

use crate::service::session::{HeldHold, Reply};
use crate::service::{Error, HoldEvent, NotAcquired, Outcome, Result, loss_message};

pub(super) fn outcome(scope: Scope, name: &Name, outcome: Outcome) -> v1::AcquireResponse {
    use v1::acquire_response::Outcome as Wire;
    let outcome = match outcome {
        Outcome::Acquired(grant) => Wire::Acquired(convert::hold_to_wire(scope, name, &grant)),
        Outcome::NotAcquired(why) => Wire::NotAcquired(not_acquired(why)),
    };
    v1::AcquireResponse { outcome: Some(outcome) }
}

fn not_acquired(why: NotAcquired) -> v1::NotAcquired {
    convert::not_acquired_to_wire(why.reason, why.holders)
}

pub(super) fn hold_refused(why: NotAcquired) -> v1::HoldResponse {
    v1::HoldResponse { event: Some(v1::hold_response::Event::NotAcquired(not_acquired(why))) }
}

pub(super) fn hold_event(scope: Scope, name: &Name, claim: Claim, event: HoldEvent) -> Result<v1::HoldResponse> {
    use v1::hold_response::Event as Wire;
    let event = match event {
        HoldEvent::Queued(position) => Wire::Queued(v1::Queued { position: convert::saturate(position) }),
        HoldEvent::Acquired(grant) => Wire::Acquired(convert::hold_to_wire(scope, name, &grant)),
        HoldEvent::NotAcquired(why) => Wire::NotAcquired(not_acquired(why)),
        HoldEvent::KeepAlive => Wire::KeepAlive(v1::KeepAlive {}),
        HoldEvent::Lost(hold, reason) => {
            let resource = ResourceKey { kind: claim.kind(), name: name.clone() };
            Wire::Lost(hold_lost(&HeldHold { hold, scope, resource }, reason))
        }
        HoldEvent::Released => Wire::Released(v1::HoldReleased {}),
        HoldEvent::Draining => return Err(Error::Draining),
    };
    Ok(v1::HoldResponse { event: Some(event) })
}

fn hold_lost(held: &HeldHold, reason: v1::LossReason) -> v1::HoldLost {
    v1::HoldLost {
        hold_id: held.hold.reveal(),
        resource: Some(convert::resource_id_to_wire(held.scope, &held.resource)),
        reason: reason.into(),
        message: loss_message(reason).to_owned(),
    }
}

pub(super) fn reply(reply: Reply) -> v1::SessionResponse {
    use v1::session_response::Message as Wire;
    let message = match reply {
        Reply::Opened(opened) => Wire::Opened(v1::SessionOpened {
            session_id: opened.session.to_string(),
            resume_secret: opened.resume_secret.reveal(),
            session_timeout: Some(convert::duration_to_wire(opened.timeout)),
            valid_for: Some(convert::duration_to_wire(opened.valid_for)),
        }),
        Reply::Resumed { valid_for, lost } => Wire::Resumed(v1::SessionResumed {
            valid_for: Some(convert::duration_to_wire(valid_for)),
            lost: lost.iter().map(|(held, reason)| hold_lost(held, *reason)).collect(),
        }),
        Reply::Pong { sequence, valid_for } => {
            Wire::Pong(v1::Pong { sequence, valid_for: Some(convert::duration_to_wire(valid_for)) })
        }
        Reply::Ping { sequence } => Wire::Ping(v1::Ping { sequence }),
        Reply::Queued { request, position } => {
            Wire::Queued(v1::SessionQueued { request_id: request, position: convert::saturate(position) })
        }
        Reply::Acquired { request, granted } => Wire::Acquired(v1::SessionAcquired {
            request_id: request,
            hold_id: granted.hold.reveal(),
            fencing_token: granted.token.get(),
            entries: granted.entries,
        }),
        Reply::NotAcquired { request, why } => {
            Wire::NotAcquired(v1::SessionNotAcquired { request_id: request, why: Some(not_acquired(why)) })
        }
        Reply::Released { request, entries } => Wire::Released(v1::SessionReleased { request_id: request, entries }),
        Reply::Failed { request, error } => Wire::Failed(v1::SessionFailed {
            request_id: request,
            reason: error.reason().into(),
            message: error.to_string(),
        }),
        Reply::Lost { held, reason } => Wire::Lost(hold_lost(&held, reason)),
        Reply::Draining { within } => {
            Wire::Draining(v1::SessionDraining { within: Some(convert::duration_to_wire(within)) })
        }
        Reply::Ended { reason, message } => {
            Wire::Ended(v1::SessionEnded { reason: reason.into(), message: message.to_owned() })
        }
    };
    v1::SessionResponse { message: Some(message) }
}
