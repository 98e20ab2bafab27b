//! Where the engines' events go: to the session they concern, or to the caller who waits for a lease.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use lockstead_api::v1::LossReason;
use lockstead_core::{EndReason, Event, SessionId};
use lockstead_engine::Listener;
use tokio::sync::mpsc;

use super::counted_leases::CountedLeases;
use super::engines::told_scope;
use super::waiting::Waits;
use crate::telemetry::Metrics;

/// Knows who waits for what. Listens to all engines.
#[derive(Debug)]
pub struct Router {
    /// Boxed: a channel has room for dozens of what goes through it, most sessions hear of nothing, and there are many.
    sessions: RwLock<HashMap<SessionId, mpsc::UnboundedSender<Box<Event>>>>,
    pub(super) waits: Arc<Waits>,
    pub(super) leases: CountedLeases,
    metrics: Arc<Metrics>,
}

impl Router {
    /// A router that knows nobody yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { sessions: RwLock::default(), waits: Arc::default(), leases: CountedLeases::default(), metrics }
    }

    /// From now on, the events of a session come out of the returned mailbox. It is unbounded because a session's
    /// events are bounded already: there are at most two for each of its holds.
    pub(super) fn open_mailbox(&self, session: SessionId) -> mpsc::UnboundedReceiver<Box<Event>> {
        let (sender, mailbox) = mpsc::unbounded_channel();
        self.sessions.write().unwrap_or_else(PoisonError::into_inner).insert(session, sender);
        mailbox
    }

    pub(super) fn close_mailbox(&self, session: SessionId) {
        self.sessions.write().unwrap_or_else(PoisonError::into_inner).remove(&session);
    }

    fn deliver(&self, session: SessionId, event: Event) {
        let sessions = self.sessions.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(mailbox) = sessions.get(&session) {
            // A session that has just ended reads no more, and has nothing left to be told about.
            _ = mailbox.send(Box::new(event));
        }
    }
}

impl Listener for Router {
    fn on_events(&self, events: Vec<Event>) {
        for event in events {
            match &event {
                Event::Granted { to: Some((session, _)), .. }
                | Event::Ended { to: Some(session), .. }
                | Event::Moved { session } => {
                    self.deliver(*session, event);
                }
                Event::Granted { to: None, grant } => self.waits.grant(*grant),
                Event::Withdrawn { hold } => self.waits.withdraw(*hold),
                // Of a session's hold, the session counts it.
                Event::Ended { to: None, hold, reason, .. } => {
                    self.metrics.lost(told_scope(*hold), loss_reason(*reason), 1);
                    self.metrics.lease_ended(*hold);
                    self.leases.ended(*hold);
                }
            }
        }
    }
}

/// How the end of a hold is called to its holder.
pub fn loss_reason(reason: EndReason) -> LossReason {
    match reason {
        EndReason::Expired => LossReason::Expired,
        EndReason::Disconnected => LossReason::Disconnected,
        EndReason::Released => LossReason::Broken,
        EndReason::BackendLost => LossReason::BackendLost,
    }
}

/// A loss in a sentence.
pub fn loss_message(reason: LossReason) -> &'static str {
    match reason {
        LossReason::Expired => "the deadline has passed",
        LossReason::Broken => "somebody else ended the hold",
        LossReason::Disconnected => "the stream ended",
        LossReason::ServerLost => "the server is shutting down",
        LossReason::BackendLost => "the store that keeps the truth can't be reached, or has lost what it knew",
        LossReason::Unspecified => "",
    }
}
