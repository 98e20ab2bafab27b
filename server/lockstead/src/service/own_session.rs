//! Whoever has a session ends it, however it goes away itself.

use std::sync::Arc;

use futures::future::Either;
use lockstead_core::{EndReason, EndSession, Event, SessionId};
use tokio::sync::mpsc;

use super::Service;
use super::engines::Engines;
use super::router::Router;

/// A session in the engines. It ends with this value, even if that is dropped by a panic.
pub(super) struct OwnSession {
    id: SessionId,
    engines: Engines,
    router: Arc<Router>,
    ended: bool,
}

impl OwnSession {
    /// A session that has nothing yet, and the mailbox for its events. To be made before the engines hear of it.
    pub(super) fn begin(service: &Service, id: SessionId) -> (Self, mpsc::UnboundedReceiver<Event>) {
        let mailbox = service.router.open_mailbox(id);
        let (engines, router) = (service.engines.clone(), service.router.clone());
        (Self { id, engines, router, ended: false }, mailbox)
    }

    pub(super) fn id(&self) -> SessionId {
        self.id
    }

    /// Gives back all it has, and returns when that is done.
    pub(super) async fn end(&mut self, reason: EndReason) {
        self.ended = true;
        self.router.close_mailbox(self.id);
        for (_, engine) in self.engines.iter() {
            if let Err(error) = engine.end_session(EndSession { session: self.id, reason }).await {
                tracing::warn!(%error, session = %self.id, "the holds of a session could not be ended");
            }
        }
    }
}

impl Drop for OwnSession {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.router.close_mailbox(self.id);
        for (_, engine) in self.engines.iter() {
            let end = EndSession { session: self.id, reason: EndReason::Disconnected };
            // At hand means done. Otherwise it must go on without its owner, who is no more.
            if let Either::Right(pending) = engine.end_session(end) {
                tokio::spawn(pending);
            }
        }
    }
}
