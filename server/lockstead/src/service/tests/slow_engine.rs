//! A memory engine whose calls a test can hold back: each is carried out, and answered, when the test says so.

use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::Either;
use lockstead_core::{
    Acquire, Acquired, Cancel, Cancelled, Census, EndSession, Event, Get, Grant, HoldId, List, Release, Released,
    Renew, ResourceView, ResumeSession, Time,
};
use lockstead_engine::{Answer, Capabilities, Engine, EngineError, Listener, MemoryEngine, Readiness, SharedKey};
use tokio::sync::{mpsc, oneshot};

use crate::service::Router;

/// What a failed call is told.
pub(super) const AWAY: &str = "the store is away";

/// Which calls are held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Acquire,
    Release,
    Cancel,
    End,
    Resume,
}

/// What the test sets, and the engine does.
pub(super) struct Behaviour {
    pub(super) slow: Vec<Method>,
    pub(super) valid_until: Option<Time>,
    pub(super) readiness: Readiness,
    pub(super) key: Option<SharedKey>,
}

pub(super) struct SlowEngine {
    inner: Arc<MemoryEngine>,
    listener: Arc<Router>,
    behaviour: Mutex<Behaviour>,
    held_back: mpsc::UnboundedSender<HeldBack>,
}

/// A call that was held back. It has not happened yet.
pub(super) struct HeldBack {
    pub(super) method: Method,
    carry_out: CarryOut,
}

type CarryOut = Box<dyn FnOnce(bool) -> Option<Carried> + Send>;

/// A call that has happened, but has not been answered.
pub(super) struct Carried(Box<dyn FnOnce() + Send>);

impl HeldBack {
    /// It happens.
    pub(super) fn carry_out(self) -> Carried {
        (self.carry_out)(true).expect("it is carried out")
    }

    /// It happens and is answered.
    pub(super) fn answer(self) {
        self.carry_out().answer();
    }

    /// It does not happen, and its caller is told so.
    pub(super) fn fail(self) {
        assert!((self.carry_out)(false).is_none());
    }
}

impl Carried {
    /// Its caller hears of it, if it is still there.
    pub(super) fn answer(self) {
        (self.0)();
    }
}

impl SlowEngine {
    /// An engine that is quick at first, and the calls that it will hold back.
    pub(super) fn start(key: SharedKey, listener: Arc<Router>) -> (Arc<Self>, mpsc::UnboundedReceiver<HeldBack>) {
        let (held_back, calls) = mpsc::unbounded_channel();
        let behaviour = Behaviour { slow: Vec::new(), valid_until: None, readiness: Readiness::Ready, key: Some(key) };
        let inner = Arc::new(MemoryEngine::start(key, listener.clone()));
        (Arc::new(Self { inner, listener, behaviour: Mutex::new(behaviour), held_back }), calls)
    }

    /// From now on it behaves so.
    pub(super) fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.behaviour.lock().unwrap());
    }

    /// Tells its listener that this has happened.
    pub(super) fn tell(&self, event: Event) {
        self.listener.on_events(vec![event]);
    }

    /// From now on these calls are held back, and no others.
    pub(super) fn hold_back(&self, methods: &[Method]) {
        self.behave(|behaviour| behaviour.slow = methods.to_vec());
    }

    /// Asks the memory engine now, or lets the test say when.
    fn ask<T: Send + 'static>(
        &self,
        method: Method,
        call: impl FnOnce(&MemoryEngine) -> Answer<T> + Send + 'static,
    ) -> Answer<T> {
        if !self.behaviour.lock().unwrap().slow.contains(&method) {
            return call(&self.inner);
        }
        let inner = self.inner.clone();
        let (tell, told) = oneshot::channel();
        let carry_out: CarryOut = Box::new(move |happens| {
            if !happens {
                _ = tell.send(Err(EngineError::Unavailable(AWAY)));
                return None;
            }
            let answer = call(&inner).now_or_never().expect("the memory engine answers at once");
            Some(Carried(Box::new(move || _ = tell.send(answer))))
        });
        _ = self.held_back.send(HeldBack { method, carry_out });
        Either::Right(async { told.await.unwrap_or(Err(EngineError::Unavailable(AWAY))) }.boxed())
    }
}

impl Engine for SlowEngine {
    fn name(&self) -> &'static str {
        "slow"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { outlives_server: true }
    }

    fn acquire(&self, acquire: Acquire) -> Answer<Acquired> {
        self.ask(Method::Acquire, |engine| engine.acquire(acquire))
    }

    fn renew(&self, renew: Renew) -> Answer<Grant> {
        self.inner.renew(renew)
    }

    fn release(&self, release: Release) -> Answer<Released> {
        self.ask(Method::Release, |engine| engine.release(release))
    }

    fn cancel(&self, cancel: Cancel) -> Answer<Cancelled> {
        self.ask(Method::Cancel, |engine| engine.cancel(cancel))
    }

    fn end_session(&self, end: EndSession) -> Answer<usize> {
        self.ask(Method::End, |engine| engine.end_session(end))
    }

    fn resume_session(&self, resume: ResumeSession) -> Answer<Vec<HoldId>> {
        self.ask(Method::Resume, |engine| engine.resume_session(resume))
    }

    fn get(&self, get: Get) -> Answer<ResourceView> {
        self.inner.get(get)
    }

    fn list(&self, list: List) -> Answer<Vec<ResourceView>> {
        self.inner.list(list)
    }

    fn census(&self) -> Census {
        self.inner.census()
    }

    fn valid_until(&self) -> Option<Time> {
        self.behaviour.lock().unwrap().valid_until
    }

    fn readiness(&self) -> Readiness {
        self.behaviour.lock().unwrap().readiness.clone()
    }

    fn shared_key(&self) -> Option<SharedKey> {
        self.behaviour.lock().unwrap().key
    }
}
