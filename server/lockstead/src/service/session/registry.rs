//! All sessions of this server.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use lockstead_core::limits::SESSIONS_MAX;
use lockstead_core::{Metadata, Owner, SessionId, WallTime};
use tokio::sync::mpsc;

use super::actor::{Actor, Attach};
use super::attachment::{Inbound, Outbound};
use super::message::{Resume, Secret};
use super::{OnDisconnect, SessionOptions};
use crate::service::error::{Error, Result};
use crate::service::own_session::OwnSession;
use crate::service::{Service, random};

/// The sessions that are open, whether attached to a stream or waiting for a resume.
#[derive(Debug, Default)]
pub struct Sessions {
    by_id: RwLock<HashMap<SessionId, Arc<Session>>>,
}

/// What the actor of a session shares with others.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) secret: Secret,
    pub(super) options: SessionOptions,
    opened_at: WallTime,
    pub(super) attached: AtomicBool,
    pub(super) waiting: AtomicUsize,
    attaches: mpsc::Sender<Attach>,
}

/// A session as an operator may see it.
#[derive(Clone, Debug)]
pub struct SessionView {
    /// Which.
    pub id: SessionId,
    /// Who, in its own words.
    pub owner: Owner,
    /// What it wants others to know.
    pub metadata: Metadata,
    /// Since when.
    pub opened_at: WallTime,
    /// How long it survives silence.
    pub timeout: Duration,
    /// What happens when its stream breaks.
    pub on_disconnect: OnDisconnect,
    /// Whether it has a stream now.
    pub attached: bool,
    /// How many of its acquires stand in a queue.
    pub waiting: usize,
}

impl Service {
    /// Opens a session on a stream. It ends by itself; what the client is to know comes out of `outbound`.
    pub fn open_session(&self, options: SessionOptions, inbound: Inbound, outbound: Outbound) -> Result<()> {
        self.check_not_draining()?;
        let id = SessionId::from_bits(random::bits());
        let (attaches, attach_queue) = mpsc::channel(1);
        let session = Arc::new(Session {
            id,
            secret: Secret::from_bits(random::bits()),
            options,
            opened_at: lockstead_clock::wall_time(),
            attached: AtomicBool::new(true),
            waiting: AtomicUsize::new(0),
            attaches,
        });
        self.sessions.insert(session.clone())?;
        let (own, mailbox) = OwnSession::begin(self, id);
        let actor = Actor::new(self.clone(), session, own, mailbox, attach_queue);
        tokio::spawn(actor.run(inbound, outbound));
        Ok(())
    }

    /// Goes on with a session on a new stream.
    pub async fn resume_session(&self, resume: Resume, inbound: Inbound, outbound: Outbound) -> Result<()> {
        self.check_not_draining()?;
        let session = self.sessions.get(resume.session).ok_or(Error::SessionNotFound)?;
        if !session.secret.matches(resume.resume_secret) {
            return Err(Error::SessionNotFound);
        }
        // The actor answers on the new stream; if it has ended, so has the session.
        let attach = Attach { resume, inbound, outbound };
        session.attaches.send(attach).await.map_err(|_| Error::SessionNotFound)
    }
}

impl Sessions {
    fn insert(&self, session: Arc<Session>) -> Result<()> {
        let mut by_id = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        if by_id.len() >= SESSIONS_MAX {
            return Err(Error::TooManySessions);
        }
        by_id.insert(session.id, session);
        Ok(())
    }

    pub(super) fn remove(&self, id: SessionId) {
        self.by_id.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    fn get(&self, id: SessionId) -> Option<Arc<Session>> {
        self.by_id.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.by_id.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// All of them, oldest first.
    pub fn views(&self) -> Vec<SessionView> {
        let by_id = self.by_id.read().unwrap_or_else(PoisonError::into_inner);
        let mut views: Vec<_> = by_id.values().map(|session| session.view()).collect();
        views.sort_by_key(|view| (view.opened_at, view.id));
        views
    }
}

impl Session {
    fn view(&self) -> SessionView {
        SessionView {
            id: self.id,
            owner: self.options.owner.clone(),
            metadata: self.options.metadata.clone(),
            opened_at: self.opened_at,
            timeout: self.options.timeout,
            on_disconnect: self.options.on_disconnect,
            attached: self.attached.load(Ordering::Relaxed),
            waiting: self.waiting.load(Ordering::Relaxed),
        }
    }
}
