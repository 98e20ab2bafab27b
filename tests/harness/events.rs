//! A listener that writes down what it hears, and lets scenarios wait for it.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a scenario that does not go as it should fails by panicking"
)]

use std::sync::Mutex;

use lockstead_core::{EndReason, Event, Grant, HoldId, ResourceKey, SessionId};
use lockstead_engine::Listener;
use tokio::sync::Notify;

use crate::PATIENCE;

/// All events of one engine, in their order.
#[derive(Debug, Default)]
pub struct EventLog {
    events: Mutex<Vec<Event>>,
    news: Notify,
}

impl Listener for EventLog {
    fn on_events(&self, events: Vec<Event>) {
        self.events.lock().unwrap().extend(events);
        self.news.notify_waiters();
    }
}

impl EventLog {
    /// What has been heard so far.
    pub fn so_far(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    /// What has been heard so far, which is forgotten: the next of the same kind can be awaited.
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.events.lock().unwrap())
    }

    /// The grants so far to requests of this session, by request, in their order.
    pub fn grants_to(&self, session: SessionId) -> Vec<u64> {
        let to_session = |event| match event {
            Event::Granted { to: Some((to, request)), .. } if to == session => Some(request),
            _ => None,
        };
        self.so_far().into_iter().filter_map(to_session).collect()
    }

    /// Waits for the grant to a session's request.
    pub async fn granted(&self, session: SessionId, request: u64) -> Grant {
        self.first(&format!("a grant to request {request} of {session}"), |event| match event {
            Event::Granted { to, grant } if *to == Some((session, request)) => Some(*grant),
            _ => None,
        })
        .await
    }

    /// Waits for the grant of a lease.
    pub async fn lease_granted(&self, hold: HoldId) -> Grant {
        self.first("the grant of a lease", |event| match event {
            Event::Granted { to: None, grant } if grant.hold == hold => Some(*grant),
            _ => None,
        })
        .await
    }

    /// Waits for the grant of a hold, whosever it is.
    pub async fn granted_hold(&self, hold: HoldId) -> Grant {
        self.first("the grant of a hold", |event| match event {
            Event::Granted { grant, .. } if grant.hold == hold => Some(*grant),
            _ => None,
        })
        .await
    }

    /// Waits for the end of a hold against its holder's will.
    pub async fn ended(&self, ended: HoldId) -> (Option<SessionId>, ResourceKey, EndReason) {
        self.first("the end of a hold", |event| match event {
            Event::Ended { to, hold, resource, reason } if *hold == ended => Some((*to, resource.clone(), *reason)),
            _ => None,
        })
        .await
    }

    /// Waits until a session has moved to another server.
    pub async fn moved(&self, session: SessionId) {
        let moved = Event::Moved { session };
        self.first(&format!("the move of {session}"), |event| (*event == moved).then_some(())).await;
    }

    /// The ends of holds so far, in their order.
    pub fn ends(&self) -> Vec<(HoldId, EndReason)> {
        let end = |event| match event {
            Event::Ended { hold, reason, .. } => Some((hold, reason)),
            _ => None,
        };
        self.so_far().into_iter().filter_map(end).collect()
    }

    /// Waits for the first event in which `find` finds something.
    async fn first<T>(&self, what: &str, find: impl Fn(&Event) -> Option<T>) -> T {
        let found = async {
            loop {
                let news = self.news.notified();
                tokio::pin!(news);
                // From here on no event is missed.
                news.as_mut().enable();
                if let Some(found) = self.events.lock().unwrap().iter().find_map(&find) {
                    return found;
                }
                news.await;
            }
        };
        let Ok(found) = tokio::time::timeout(PATIENCE, found).await else {
            panic!("never heard of {what}; heard of {:?}", self.so_far());
        };
        found
    }
}
