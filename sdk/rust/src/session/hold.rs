//! One hold, as the session's task and all its guards share it.

use std::sync::{Arc, OnceLock};

use lockstead_api::v1;
use lockstead_core::{HoldId, Time};
use tokio::sync::Notify;

use super::validity::Validity;
use crate::loss::{HoldState, Loss};

/// One hold of a session. Its own loss, if it has one, is decided once; otherwise it goes as its session goes.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) id: HoldId,
    pub(crate) resource: v1::ResourceId,
    pub(crate) token: u64,
    validity: Arc<Validity>,
    loss: OnceLock<Loss>,
    lost: Notify,
}

impl Hold {
    pub(crate) fn new(id: HoldId, resource: v1::ResourceId, token: u64, validity: Arc<Validity>) -> Self {
        Self { id, resource, token, validity, loss: OnceLock::new(), lost: Notify::new() }
    }

    /// How it stands at `now`. Once lost, always lost, for the same reason.
    pub(crate) fn state(&self, now: Time) -> HoldState {
        if let Some(loss) = self.loss.get() {
            return HoldState::Lost(loss.clone());
        }
        match self.validity.state(now) {
            HoldState::Lost(loss) => HoldState::Lost(self.loss.get_or_init(|| loss).clone()),
            state => state,
        }
    }

    /// Why it is lost, if it is.
    pub(crate) fn loss(&self, now: Time) -> Option<Loss> {
        let of_session = || self.validity.loss(now).map(|loss| self.loss.get_or_init(|| loss).clone());
        self.loss.get().cloned().or_else(of_session)
    }

    /// Until when it can be relied on unless the server confirms it again; or until when it could.
    pub(crate) fn valid_until(&self) -> Time {
        self.loss.get().map_or_else(|| self.validity.deadline(), |loss| loss.at)
    }

    /// Ends it, unless it has ended already, and wakes whoever waits for that.
    pub(crate) fn lose(&self, now: Time, loss: &Loss) {
        if self.loss(now).is_none() {
            let _ = self.loss.set(loss.clone());
        }
        self.lost.notify_waiters();
    }

    /// Waits until it is lost.
    pub(crate) async fn until_lost(&self) -> Loss {
        let notified = self.lost.notified();
        tokio::pin!(notified);
        loop {
            // First in line, then look: a loss in between wakes us.
            notified.as_mut().enable();
            if let Some(loss) = self.loss(lockstead_clock::time()) {
                return loss;
            }
            notified.as_mut().await;
            notified.set(self.lost.notified());
        }
    }
}
