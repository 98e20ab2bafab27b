//! How long an engine's calls take, and how they fail.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::Either;
use lockstead_core::{
    Acquire, Acquired, Cancel, Cancelled, Census, EndSession, Get, Grant, HoldId, List, Release, Released, Renew,
    ResourceView, ResumeSession, Time,
};
use lockstead_engine::{Answer, Capabilities, Engine, EngineError, Readiness, Result, SharedKey, StoreView, at_hand};

use super::labels::{Failure, Label, Operation};
use super::series::{Counter, Each, Histogram};
use super::text::Text;

/// 5 µs to 5 s: in memory, on a disk, over a network, or by one that is hardly there.
const CALLS: &[u64] = &[
    5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000,
];

/// What the calls of one engine were like.
#[derive(Debug)]
pub(super) struct EngineCalls {
    engine: &'static str,
    took: Each<Operation, Histogram>,
    failed: Each<(Operation, Failure), Counter>,
}

/// An engine whose calls are measured, each from when it is made until its answer is there.
pub(super) struct Measured {
    engine: Arc<dyn Engine>,
    calls: Arc<EngineCalls>,
}

impl EngineCalls {
    pub(super) fn new(engine: &'static str) -> Self {
        Self { engine, took: Each::new(|| Histogram::new(CALLS)), failed: Each::default() }
    }

    fn measure<T: Send + 'static>(
        self: &Arc<Self>,
        operation: Operation,
        call: impl FnOnce() -> Answer<T>,
    ) -> Answer<T> {
        let begun = lockstead_clock::time();
        match call() {
            Either::Left(answer) => {
                let answer = answer.into_inner();
                self.answered(operation, begun, &answer);
                at_hand(answer)
            }
            Either::Right(call) => {
                let calls = self.clone();
                let measured = call.inspect(move |answer| calls.answered(operation, begun, answer));
                Either::Right(measured.boxed())
            }
        }
    }

    fn answered<T>(&self, operation: Operation, begun: Time, answer: &Result<T>) {
        self.took.of(operation).observe(lockstead_clock::time().since(begun));
        let failure = match answer {
            Ok(_) => return,
            Err(EngineError::Unavailable(_)) => Failure::Unavailable,
            Err(EngineError::Refused(_) | EngineError::Invalid(_)) => Failure::Refused,
        };
        self.failed.of((operation, failure)).add(1);
    }

    fn labels(&self, more: impl Label) -> Vec<(&'static str, &'static str)> {
        let mut labels = vec![("engine", self.engine)];
        more.write(&mut labels);
        labels
    }
}

/// Adds what there is of all engines.
pub(super) fn write(text: &mut Text, engines: &[Arc<EngineCalls>]) {
    let name = "lockstead_engine_call_seconds";
    text.begin(name, "histogram", "From a call of the engine to its answer.");
    for calls in engines {
        for (operation, took) in calls.took.iter() {
            text.histogram(name, &calls.labels(operation), took);
        }
    }
    let name = "lockstead_engine_errors_total";
    text.begin(
        name,
        "counter",
        "Calls of the engine that failed: the rules refused them, or its store was unavailable.",
    );
    for calls in engines {
        for (of, failed) in calls.failed.iter() {
            text.sample(name, &calls.labels(of), failed.get());
        }
    }
}

impl Measured {
    pub(super) const fn new(engine: Arc<dyn Engine>, calls: Arc<EngineCalls>) -> Self {
        Self { engine, calls }
    }
}

impl Engine for Measured {
    fn name(&self) -> &'static str {
        self.engine.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.engine.capabilities()
    }

    fn acquire(&self, acquire: Acquire) -> Answer<Acquired> {
        self.calls.measure(Operation::Acquire, || self.engine.acquire(acquire))
    }

    fn renew(&self, renew: Renew) -> Answer<Grant> {
        self.calls.measure(Operation::Renew, || self.engine.renew(renew))
    }

    fn release(&self, release: Release) -> Answer<Released> {
        self.calls.measure(Operation::Release, || self.engine.release(release))
    }

    fn cancel(&self, cancel: Cancel) -> Answer<Cancelled> {
        self.calls.measure(Operation::Cancel, || self.engine.cancel(cancel))
    }

    fn end_session(&self, end: EndSession) -> Answer<usize> {
        self.calls.measure(Operation::EndSession, || self.engine.end_session(end))
    }

    fn resume_session(&self, resume: ResumeSession) -> Answer<Vec<HoldId>> {
        self.calls.measure(Operation::ResumeSession, || self.engine.resume_session(resume))
    }

    fn get(&self, get: Get) -> Answer<ResourceView> {
        self.calls.measure(Operation::Get, || self.engine.get(get))
    }

    fn list(&self, list: List) -> Answer<Vec<ResourceView>> {
        self.calls.measure(Operation::List, || self.engine.list(list))
    }

    fn census(&self) -> Census {
        self.engine.census()
    }

    fn valid_until(&self) -> Option<Time> {
        self.engine.valid_until()
    }

    fn readiness(&self) -> Readiness {
        self.engine.readiness()
    }

    fn store(&self) -> Option<StoreView> {
        self.engine.store()
    }

    fn shared_key(&self) -> Option<SharedKey> {
        self.engine.shared_key()
    }
}
