//! Whoever has a session ends it, however it goes away itself.

use std::sync::Arc;

use futures::future::{BoxFuture, Either};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use lockstead_core::{EndReason, EndSession, Event, Scope, SessionId};
use tokio::sync::mpsc;

use super::Service;
use super::engines::Engines;
use super::router::Router;

/// A call that has not been answered yet.
pub(super) type Call<T> = BoxFuture<'static, T>;

/// A session in the engines, and the calls about it that have not been answered yet. It ends with this value, even if that
/// is dropped by a panic.
pub(super) struct OwnSession<T: Send + 'static> {
    id: SessionId,
    engines: Engines,
    router: Arc<Router>,
    calls: FuturesUnordered<Call<T>>,
    over: bool,
}

impl<T: Send + 'static> OwnSession<T> {
    /// A session that has nothing yet, and the mailbox for its events. To be made before the engines hear of it.
    pub(super) fn begin(service: &Service, id: SessionId) -> (Self, mpsc::UnboundedReceiver<Box<Event>>) {
        let mailbox = service.router.open_mailbox(id);
        let (engines, router) = (service.engines.clone(), service.router.clone());
        (Self { id, engines, router, calls: FuturesUnordered::new(), over: false }, mailbox)
    }

    pub(super) fn id(&self) -> SessionId {
        self.id
    }

    /// Takes on a call that [`OwnSession::answered`] is to return the answer of.
    pub(super) fn track(&self, call: Call<T>) {
        self.calls.push(call);
    }

    /// Returns the next answer to a tracked call; never, if there is none. Safe to drop and call again.
    pub(super) async fn answered(&mut self) -> T {
        match self.calls.next().await {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    /// The next of these answers, if it is there already.
    pub(super) fn answered_now(&mut self) -> Option<T> {
        self.calls.next().now_or_never().flatten()
    }

    /// Hands out the calls that have not been answered yet, for their answers to be passed over.
    pub(super) fn take_calls(&mut self) -> FuturesUnordered<Call<T>> {
        std::mem::take(&mut self.calls)
    }

    /// Gives back all it has, and returns how many holds and waiters there were in each scope when that is done.
    pub(super) async fn end(&mut self, reason: EndReason) -> Vec<(Scope, usize)> {
        self.over = true;
        self.router.close_mailbox(self.id);
        let ended = end_in(&self.engines, self.id, reason).await;
        self.clean_up(reason);
        ended
    }

    /// Lets go of a session that goes on at another server. It ends only in those engines that know no other server.
    pub(super) fn leave(&mut self) {
        self.over = true;
        self.router.close_mailbox(self.id);
        for (_, engine) in self.engines.iter().filter(|(_, engine)| !engine.capabilities().outlives_server) {
            let end = EndSession { session: self.id, reason: EndReason::Disconnected };
            if let Either::Right(call) = engine.end_session(end) {
                self.engines.see_through(async { _ = call.await });
            }
        }
    }

    /// A call that was under way at the end may have come after it. What it got is given back once it is over.
    fn clean_up(&mut self, reason: EndReason) {
        let calls = self.take_calls();
        if calls.is_empty() {
            return;
        }
        let (engines, id) = (self.engines.clone(), self.id);
        self.engines.see_through(async move {
            over(calls).await;
            end_in(&engines, id, reason).await;
        });
    }
}

/// Returns when all these calls have been answered, whatever they were.
pub(super) async fn over<T>(calls: FuturesUnordered<Call<T>>) {
    calls.for_each(|_| std::future::ready(())).await;
}

async fn end_in(engines: &Engines, session: SessionId, reason: EndReason) -> Vec<(Scope, usize)> {
    let mut ended = Vec::new();
    for (scope, engine) in engines.iter() {
        match engine.end_session(EndSession { session, reason }).await {
            Ok(count) => ended.push((scope, count)),
            Err(error) => tracing::debug!(%error, %session, "the session's holds end when the engine can be reached"),
        }
    }
    ended
}

impl<T: Send + 'static> Drop for OwnSession<T> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        self.router.close_mailbox(self.id);
        for (_, engine) in self.engines.iter() {
            let end = EndSession { session: self.id, reason: EndReason::Disconnected };
            // At hand means done. Otherwise it must go on without its owner, who is no more.
            if let Either::Right(call) = engine.end_session(end) {
                self.engines.see_through(async { _ = call.await });
            }
        }
        self.clean_up(EndReason::Disconnected);
    }
}
