//! All sessions of this server.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use lockstead_core::limits::SESSIONS_MAX;
use lockstead_core::{Metadata, Owner, SessionId, WallTime};
use lockstead_engine::SharedKey;
use tokio::sync::{Notify, mpsc};

use super::actor::Actor;
use super::attachment::{Inbound, Outbound};
use super::message::Resume;
use super::resume::{Attach, ON_THE_MOVE};
use super::{OnDisconnect, SessionOptions};
use crate::access::CountedSession;
use crate::service::error::{Error, Result};
use crate::service::{Caller, random};

/// The sessions that are open, whether attached to a stream or waiting for a resume.
#[derive(Debug, Default)]
pub struct Sessions {
    by_id: RwLock<HashMap<SessionId, Arc<Session>>>,
    /// The last of them has ended.
    emptied: Notify,
}

/// What the actor of a session shares with others.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    /// What its resume secret is signed with.
    pub(super) key: SharedKey,
    pub(super) options: SessionOptions,
    opened_at: WallTime,
    pub(super) attached: AtomicBool,
    pub(super) waiting: AtomicUsize,
    /// Boxed, for a channel has room for dozens, and hardly ever there is one.
    attaches: mpsc::Sender<Box<Attach>>,
    /// What it counts against its caller's quota, for as long as it lives.
    _counted: Option<CountedSession>,
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
    /// Since when this server has it.
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

impl Caller {
    /// Opens a session on a stream. It lives while its actor runs; what the client is to know comes out of `outbound`.
    pub fn open_session(&self, options: SessionOptions, inbound: Inbound, outbound: Outbound) -> Result<Actor> {
        self.check_not_draining()?;
        let counted = self.may(|identity| {
            identity.count_request()?;
            identity.count_session()
        })?;
        let key = self.engines.shared_key()?;
        let id = SessionId::from_bits(random::bits());
        let (session, attaches) = Session::new(id, key, self.with_principal(options), counted);
        self.sessions.enter(&session)?;
        self.metrics.session_opened();
        let mut actor = Actor::new(self.clone(), session, attaches, false);
        actor.open(inbound, outbound);
        Ok(actor)
    }

    /// Goes on with a session on a new stream.
    pub async fn resume_session(&self, resume: Resume, inbound: Inbound, outbound: Outbound) -> Result<()> {
        self.check_not_draining()?;
        let session = match self.sessions.get(resume.session) {
            Some(session) if resume.resume_secret.proves(session.id, self.identity().name(), &session.key) => session,
            Some(_) => return Err(Error::SessionNotFound),
            None => self.adopt(&resume)?,
        };
        // The actor answers on the new stream; if it has ended, so has the session, here.
        let gone =
            if self.engines.outlive_server() { Error::BackendUnavailable(ON_THE_MOVE) } else { Error::SessionNotFound };
        session
            .attaches
            .send(Box::new(Attach { caller: self.clone(), resume, inbound, outbound }))
            .await
            .map_err(|_| gone)
    }

    /// Whoever does not say who it is has its principal for an owner.
    fn with_principal(&self, options: SessionOptions) -> SessionOptions {
        match self.identity().name() {
            Some(name) if options.owner.as_str().is_empty() => {
                SessionOptions { owner: Owner::parse(name).unwrap_or_default(), ..options }
            }
            _ => options,
        }
    }

    /// Takes a session in that another server of the same engine has, or had.
    fn adopt(&self, resume: &Resume) -> Result<Arc<Session>> {
        if !self.engines.outlive_server() {
            return Err(Error::SessionNotFound);
        }
        let key = self.engines.shared_key()?;
        if !resume.resume_secret.proves(resume.session, self.identity().name(), &key) {
            return Err(Error::SessionNotFound);
        }
        if resume.attempt == 0 {
            // That of a session which was never resumed: whoever opened it has it.
            return Err(Error::SessionSuperseded);
        }
        let options = resume.options.clone().ok_or(Error::SessionNotFound)?;
        // What it has it keeps, whatever its quota says.
        let counted = self.identity().count_session().ok().flatten();
        let (session, attaches) = Session::new(resume.session, key, self.with_principal(options), counted);
        if let Some(adopted) = self.sessions.enter(&session)? {
            // By another attempt, at the same time.
            return Ok(adopted);
        }
        tokio::spawn(Actor::new(self.clone(), session.clone(), attaches, true).run());
        Ok(session)
    }
}

impl Sessions {
    /// Enters a new session; returns the one that is there already, if so.
    fn enter(&self, session: &Arc<Session>) -> Result<Option<Arc<Session>>> {
        let mut by_id = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        let count = by_id.len();
        match by_id.entry(session.id) {
            Entry::Occupied(there) => Ok(Some(there.get().clone())),
            Entry::Vacant(_) if count >= SESSIONS_MAX => Err(Error::TooManySessions),
            Entry::Vacant(place) => {
                place.insert(session.clone());
                Ok(None)
            }
        }
    }

    pub(super) fn remove(&self, id: SessionId) {
        let mut by_id = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        by_id.remove(&id);
        if by_id.is_empty() {
            self.emptied.notify_waiters();
        }
    }

    /// Returns once there is none.
    pub async fn none_left(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.count() == 0 {
                return;
            }
            emptied.await;
        }
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
    /// A session without a stream, and the end at which new streams for it arrive.
    fn new(
        id: SessionId,
        key: SharedKey,
        options: SessionOptions,
        counted: Option<CountedSession>,
    ) -> (Arc<Self>, mpsc::Receiver<Box<Attach>>) {
        let (attaches, arriving) = mpsc::channel(1);
        let session = Self {
            id,
            key,
            options,
            opened_at: lockstead_clock::wall_time(),
            attached: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            attaches,
            _counted: counted,
        };
        (Arc::new(session), arriving)
    }

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
