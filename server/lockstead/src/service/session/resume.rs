//! How a session gets a new stream: on the server that has it, or on another one of the same engine.

use std::collections::{HashMap, HashSet};

use futures::FutureExt;
use lockstead_api::v1::LossReason;
use lockstead_core::{HoldId, ResumeSession, Scope};
use lockstead_engine::EngineError;

use super::OnDisconnect;
use super::actor::{Actor, End};
use super::attachment::{Attachment, Inbound, Outbound};
use super::message::{HeldHold, Reply, Resume};
use super::operations::Done;
use crate::service::Caller;
use crate::service::engines::Engines;
use crate::service::error::Error;
use crate::service::own_session;
use crate::telemetry::metrics::From;

/// What a client is told that comes to a session just as that leaves.
pub(super) const ON_THE_MOVE: &str = "the session is on its way from one server to another; resume it again";

/// A new stream for the session.
pub(super) struct Attach {
    /// Who brings it: the same principal, perhaps with newer credentials.
    pub(super) caller: Caller,
    pub(super) resume: Resume,
    pub(super) inbound: Inbound,
    pub(super) outbound: Outbound,
}

/// A new stream that waits for the engines. Nothing is read from it before its client knows what it holds.
pub(super) struct Resuming {
    pub(super) attachment: Attachment,
    /// What the client says it holds.
    listed: Vec<HeldHold>,
    /// What has ended since the engines were asked, of which their answer may know or not.
    ended: HashMap<HoldId, LossReason>,
}

impl Actor {
    pub(super) fn on_attach(&mut self, attach: Attach) -> Option<End> {
        let Attach { caller, resume, inbound, outbound } = attach;
        let mut attachment = Attachment::new(inbound, outbound);
        if self.session.options.on_disconnect == OnDisconnect::Release && self.attachment.is_some() {
            // A client that resumes has lost its stream, even if we have not heard of it yet.
            attachment.send(Err(Error::SessionNotFound));
            return Some(End::Disconnected);
        }
        if resume.attempt <= self.attempt {
            attachment.send(Err(Error::SessionSuperseded));
            return None;
        }
        self.attempt = resume.attempt;
        self.service = caller;
        let old = self.detach().or(self.resuming.take().map(|resuming| resuming.attachment));
        if let Some(mut old) = old {
            old.send(Err(Error::SessionSuperseded));
        }
        self.reconcile(&resume);
        let listed = resume.holds.into_iter().map(|(held, _)| held).collect();
        self.resuming = Some(Resuming { attachment, listed, ended: HashMap::new() });
        None
    }

    /// Makes the engines agree with what the client says it has.
    fn reconcile(&mut self, resume: &Resume) {
        // Those that stay in their queues are pending again when they are repeated. What happens to them before that is
        // the answer to the repetition, and is not told twice.
        // On another server only the engine knows what was pending.
        let was_pending = |request| self.was_elsewhere || self.pending.contains(request);
        self.to_repeat = resume.pending.iter().map(|request| (*request, was_pending(*request))).collect();
        self.pending.clear();
        let engines = &self.service.engines;
        let asked = engines.iter().map(|(scope, engine)| (engine.clone(), command(engines, scope, resume)));
        let asked: Vec<_> = asked.collect();
        // A call that is still under way belongs to the old stream. It has to be over first: what it got afterwards could
        // be something that the client has not listed.
        let before = self.own.take_calls();
        let reconciled = async move {
            own_session::over(before).await;
            let mut gone = Vec::new();
            for (engine, command) in asked {
                gone.extend(engine.resume_session(command).await?);
            }
            Ok(gone)
        };
        self.own.track(reconciled.map(Done::Resume).boxed());
    }

    /// The engines have told what the client has no more.
    pub(super) fn on_resumed(&mut self, result: Result<Vec<HoldId>, EngineError>) {
        let Some(Resuming { mut attachment, listed, ended }) = self.resuming.take() else { return };
        // Whoever had the session before may have promised its holds until now, for as long as the session timeout.
        self.on_sign_of_life();
        let gone = match result {
            Ok(gone) => gone.into_iter().collect::<HashSet<_>>(),
            Err(error) => return attachment.send(Err(error.into())),
        };
        let was_elsewhere = std::mem::take(&mut self.was_elsewhere);
        self.service.metrics.resumed(if was_elsewhere { From::Elsewhere } else { From::Here });
        let unheard = if was_elsewhere { LossReason::ServerLost } else { LossReason::Broken };
        let why_lost = |hold: &HoldId| ended.get(hold).copied().or_else(|| gone.contains(hold).then_some(unheard));
        // What the client does not list, the engines have given back.
        let kept = listed.iter().filter(|held| why_lost(&held.hold).is_none());
        let kept = kept.map(|held| (held.hold, held.scope)).collect();
        self.holds.resumed(self.service.identity(), &kept, &self.service.metrics);
        let lost = listed.into_iter().filter_map(|held| why_lost(&held.hold).map(|reason| (held, reason))).collect();
        self.attach(attachment);
        let valid_for = self.valid_for();
        self.reply(Reply::Resumed { valid_for, lost });
        if self.service.drain.has_begun() {
            self.tell_to_move();
        }
    }

    pub(super) fn on_lost(&mut self, held: HeldHold, reason: LossReason) {
        match &mut self.resuming {
            Some(resuming) => _ = resuming.ended.insert(held.hold, reason),
            None => self.reply(Reply::Lost { held: Box::new(held), reason }),
        }
    }

    /// Another server has the session now.
    pub(super) fn on_moved(&mut self) -> Option<End> {
        // Unless it is on its way back: then the engines' answer to that is the last word.
        self.resuming.is_none().then_some(End::Moved)
    }
}

/// What to tell the engine of a scope.
fn command(engines: &Engines, scope: Scope, resume: &Resume) -> ResumeSession {
    let here = |held: &HeldHold| engines.scope_of_hold(held.hold) == scope;
    let holds = resume.holds.iter().filter(|(held, _)| here(held));
    ResumeSession {
        session: resume.session,
        attempt: resume.attempt,
        holds: holds.map(|(held, entries)| (held.hold, *entries)).collect(),
        pending: resume.pending.clone(),
    }
}
