//! One memory engine under several servers. It knows which server has which session, and tells that one what happens to it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::Either;
use lockstead::service::Router;
use lockstead_core::{
    Acquire, AcquireRef, Acquired, Cancel, Cancelled, Census, EndReason, EndSession, Event, Get, Grant, HoldId, List,
    Party, Refusal, Release, Released, Releaser, Renew, ResourceView, ResumeSession, SessionId, Time,
};
use lockstead_engine::{Answer, Capabilities, Engine, Listener, MemoryEngine, Readiness, SharedKey, at_hand};

/// What all servers share.
pub(crate) struct Store {
    engine: MemoryEngine,
    switch: Arc<Switch>,
}

/// Which server has what. It hears all events of the engine, and passes each on.
#[derive(Default)]
struct Switch {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    servers: Vec<Arc<Router>>,
    /// The server that has a session, and the attempt by which it came there.
    sessions: HashMap<SessionId, (usize, u32)>,
    dead: HashSet<usize>,
    not_ready: Option<String>,
}

/// A server's way to the store.
pub(crate) struct SharedEngine {
    store: Arc<Store>,
    server: usize,
}

impl Store {
    pub(crate) fn new() -> Arc<Self> {
        let switch = Arc::new(Switch::default());
        let engine = MemoryEngine::start(SharedKey::from_bytes([7; 32]), switch.clone());
        Arc::new(Self { engine, switch })
    }

    /// A new server's way to it.
    pub(crate) fn engine(self: &Arc<Self>, router: Arc<Router>) -> SharedEngine {
        let mut state = self.switch.state.lock().unwrap();
        state.servers.push(router);
        SharedEngine { store: self.clone(), server: state.servers.len() - 1 }
    }

    /// From now on, nothing of this server reaches the store.
    pub(crate) fn cut_off(&self, server: usize) {
        self.switch.state.lock().unwrap().dead.insert(server);
    }

    /// The server's lease is over: its sessions end.
    pub(crate) async fn sweep(&self, server: usize) {
        let gone = self.switch.state.lock().unwrap().take_sessions_of(server);
        for session in gone {
            self.engine.end_session(EndSession { session, reason: EndReason::Expired }).await.unwrap();
        }
    }

    /// From now on no server can use it, for this reason; or all can.
    pub(crate) fn set_not_ready(&self, why: Option<&str>) {
        self.switch.state.lock().unwrap().not_ready = why.map(str::to_owned);
    }
}

impl State {
    fn take_sessions_of(&mut self, server: usize) -> Vec<SessionId> {
        let of_server = self.sessions.iter().filter(|(_, (of, _))| *of == server);
        let sessions: Vec<_> = of_server.map(|(session, _)| *session).collect();
        for session in &sessions {
            self.sessions.remove(session);
        }
        sessions
    }
}

impl Listener for Switch {
    fn on_events(&self, events: Vec<Event>) {
        let state = self.state.lock().unwrap();
        for event in events {
            match &event {
                Event::Granted { to: Some((session, _)), .. } | Event::Ended { to: Some(session), .. } => {
                    if let Some((server, _)) = state.sessions.get(session) {
                        state.servers[*server].on_events(vec![event]);
                    }
                }
                Event::Moved { .. } | Event::Withdrawn { .. } => unreachable!("a memory engine has one server"),
                // Whoever waits for the lease knows its name.
                Event::Granted { to: None, .. } | Event::Ended { to: None, .. } => {
                    for server in &state.servers {
                        server.on_events(vec![event.clone()]);
                    }
                }
            }
        }
    }
}

impl SharedEngine {
    /// Which of the servers has it.
    pub(crate) fn number(&self) -> usize {
        self.server
    }

    /// Whether this server has the session; one that nobody has is its own from now on.
    fn has(&self, session: SessionId) -> bool {
        let mut state = self.store.switch.state.lock().unwrap();
        state.sessions.entry(session).or_insert((self.server, 0)).0 == self.server
    }

    /// Makes the session this server's, and tells the one that had it. False if a higher attempt has made it another's.
    fn take(&self, session: SessionId, attempt: u32) -> bool {
        let mut state = self.store.switch.state.lock().unwrap();
        let (before, last) = state.sessions.get(&session).copied().unwrap_or((self.server, 0));
        if before != self.server {
            if attempt <= last {
                return false;
            }
            state.servers[before].on_events(vec![Event::Moved { session }]);
        }
        state.sessions.insert(session, (self.server, attempt));
        true
    }

    /// The answer, unless this server is cut off.
    fn ask<T: Send + 'static>(&self, call: impl FnOnce(&MemoryEngine) -> Answer<T>) -> Answer<T> {
        if self.store.switch.state.lock().unwrap().dead.contains(&self.server) {
            return Either::Right(std::future::pending().boxed());
        }
        call(&self.store.engine)
    }
}

impl Engine for SharedEngine {
    fn name(&self) -> &'static str {
        "shared"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { outlives_server: true }
    }

    fn acquire(&self, acquire: Acquire) -> Answer<Acquired> {
        self.ask(|engine| match acquire.party {
            Party::Session { session, .. } if !self.has(session) => at_hand(Err(Refusal::HoldNotFound.into())),
            _ => engine.acquire(acquire),
        })
    }

    fn renew(&self, renew: Renew) -> Answer<Grant> {
        self.ask(|engine| engine.renew(renew))
    }

    fn release(&self, release: Release) -> Answer<Released> {
        self.ask(|engine| match release.by {
            Releaser::Session(session) if !self.has(session) => at_hand(Err(Refusal::HoldNotFound.into())),
            _ => engine.release(release),
        })
    }

    fn cancel(&self, cancel: Cancel) -> Answer<Cancelled> {
        self.ask(|engine| match cancel.acquire {
            AcquireRef::Request(session, _) if !self.has(session) => at_hand(Ok(Cancelled::Unknown)),
            _ => engine.cancel(cancel),
        })
    }

    fn end_session(&self, end: EndSession) -> Answer<usize> {
        self.ask(|engine| {
            if !self.has(end.session) {
                return at_hand(Ok(0));
            }
            let ended = engine.end_session(end.clone());
            self.store.switch.state.lock().unwrap().sessions.remove(&end.session);
            ended
        })
    }

    fn resume_session(&self, resume: ResumeSession) -> Answer<Vec<HoldId>> {
        self.ask(|engine| {
            if self.take(resume.session, resume.attempt) {
                engine.resume_session(resume)
            } else {
                at_hand(Ok(resume.holds.into_iter().map(|(hold, _)| hold).collect()))
            }
        })
    }

    fn get(&self, get: Get) -> Answer<ResourceView> {
        self.ask(|engine| engine.get(get))
    }

    fn list(&self, list: List) -> Answer<Vec<ResourceView>> {
        self.ask(|engine| engine.list(list))
    }

    fn census(&self) -> Census {
        self.store.engine.census()
    }

    fn valid_until(&self) -> Option<Time> {
        None
    }

    fn readiness(&self) -> Readiness {
        let state = self.store.switch.state.lock().unwrap();
        state.not_ready.clone().map_or(Readiness::Ready, Readiness::NotReady)
    }

    fn shared_key(&self) -> Option<SharedKey> {
        self.store.engine.shared_key()
    }
}
