//! The memory engine: the state machine behind a mutex, with one timer. One server; its end is the end of its holds.

use std::sync::{Arc, Mutex, PoisonError};

use lockstead_core::{
    Acquire, Acquired, Cancel, Cancelled, Census, Command, EndSession, Expire, Get, Grant, HoldId, List, Machine,
    Refusal, Release, Released, Renew, ResourceView, ResumeSession, Time,
};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::{Answer, Capabilities, Engine, Listener, Readiness, Result, SharedKey, at_hand};

/// Keeps everything in this process.
#[derive(Debug)]
pub struct MemoryEngine {
    shared: Arc<Shared>,
    timer: JoinHandle<()>,
}

struct Shared {
    machine: Mutex<Machine>,
    listener: Box<dyn Listener>,
    key: SharedKey,
    /// Wakes the timer when there is a deadline earlier than the one it sleeps for.
    earlier_deadline: Notify,
}

impl MemoryEngine {
    /// Starts an engine in which nothing is held. Its timer runs on the current runtime, until the engine is dropped.
    ///
    /// `key` is what it answers to [`Engine::shared_key`]: it has nobody to share it with, and no randomness of its own.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(key: SharedKey, listener: impl Listener) -> Self {
        let shared = Arc::new(Shared {
            machine: Mutex::new(Machine::new()),
            listener: Box::new(listener),
            key,
            earlier_deadline: Notify::new(),
        });
        let timer = tokio::spawn(run_timer(shared.clone()));
        Self { shared, timer }
    }
}

impl Drop for MemoryEngine {
    fn drop(&mut self) {
        self.timer.abort();
    }
}

/// Ends leases when they are due, so that waiters need not wait for somebody else to call.
async fn run_timer(shared: Arc<Shared>) {
    let mut deadline = None;
    loop {
        tokio::select! {
            () = lockstead_clock::sleep_until_some(deadline) => {}
            () = shared.earlier_deadline.notified() => {}
        }
        deadline = shared.expire();
    }
}

impl Shared {
    fn apply<C: Command>(&self, command: C) -> C::Outcome {
        // A panic inside the machine is a defect, but one that must not take every other lock with it.
        let mut machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        let before = machine.next_deadline();
        let applied = machine.apply(lockstead_clock::now(), command);
        if !applied.events.is_empty() {
            // Inside the lock, so that events keep their order.
            self.listener.on_events(applied.events);
        }
        let after = machine.next_deadline();
        drop(machine);
        if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
            self.earlier_deadline.notify_one();
        }
        applied.outcome
    }

    fn answer<C: Command<Outcome = std::result::Result<T, Refusal>>, T>(&self, command: C) -> Result<T> {
        Ok(self.apply(command)?)
    }

    fn expire(&self) -> Option<Time> {
        self.apply(Expire);
        self.machine.lock().unwrap_or_else(PoisonError::into_inner).next_deadline()
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Engine for MemoryEngine {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { outlives_server: false }
    }

    fn acquire(&self, acquire: Acquire) -> Answer<Acquired> {
        at_hand(self.shared.answer(acquire))
    }

    fn renew(&self, renew: Renew) -> Answer<Grant> {
        at_hand(self.shared.answer(renew))
    }

    fn release(&self, release: Release) -> Answer<Released> {
        at_hand(self.shared.answer(release))
    }

    fn cancel(&self, cancel: Cancel) -> Answer<Cancelled> {
        at_hand(Ok(self.shared.apply(cancel)))
    }

    fn end_session(&self, end: EndSession) -> Answer<usize> {
        at_hand(Ok(self.shared.apply(end)))
    }

    fn resume_session(&self, resume: ResumeSession) -> Answer<Vec<HoldId>> {
        at_hand(Ok(self.shared.apply(resume)))
    }

    fn get(&self, get: Get) -> Answer<ResourceView> {
        at_hand(Ok(self.shared.apply(get)))
    }

    fn list(&self, list: List) -> Answer<Vec<ResourceView>> {
        at_hand(Ok(self.shared.apply(list)))
    }

    fn census(&self) -> Census {
        self.shared.machine.lock().unwrap_or_else(PoisonError::into_inner).census()
    }

    fn valid_until(&self) -> Option<Time> {
        None
    }

    fn readiness(&self) -> Readiness {
        Readiness::Ready
    }

    fn shared_key(&self) -> Option<SharedKey> {
        Some(self.shared.key)
    }
}
