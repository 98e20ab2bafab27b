//! Waiting for a lease: who waits, and what happens when they go away.
//!
//! All callers with one request id share a [`Cell`]. The last one to go away without an answer takes the acquire back,
//! and until that is done nobody may start the same request anew: otherwise its new hold could be given back in place of
//! the old.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::Either;
use lockstead_core::{AcquireRef, Acquired, Cancel, Grant, HoldId, IfGranted, RequestId};
use lockstead_engine::{Answer, Result};
use tokio::sync::Notify;

use super::engines::Engines;
use super::error::Error;
use super::own_session::Call;

/// What those hear who wait where a request does not wait any more.
const ELSEWHERE: &str =
    "this request was repeated on another server, which answers it now; repeat it if you still want it";

/// All who wait for leases.
#[derive(Debug, Default)]
pub(super) struct Waits {
    cells: Mutex<Cells>,
}

#[derive(Debug, Default)]
struct Cells {
    by_hold: HashMap<HoldId, Arc<Cell>>,
    by_request: HashMap<RequestId, Arc<Cell>>,
}

#[derive(Debug)]
struct Cell {
    request: Option<RequestId>,
    state: Mutex<CellState>,
    changed: Notify,
}

#[derive(Debug)]
struct CellState {
    /// What the hold will be called, if there will be one.
    hold: HoldId,
    callers: usize,
    /// There has been more than one caller, so that what one of them was answered does not speak for the acquire.
    shared: bool,
    outcome: Option<Outcome>,
    /// A caller has taken the grant with it, so the hold has an owner.
    taken: bool,
    /// The acquire is being taken back on behalf of its last caller, and nobody may join it any more.
    closing: bool,
}

/// What has become of an acquire that waited.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    Granted(Grant),
    /// It was repeated on another server, and waits there.
    Elsewhere,
}

/// One caller's wait. Dropped without an answer, it takes the acquire back, unless others still wait for it.
pub(super) struct Waiter {
    waits: Arc<Waits>,
    cell: Arc<Cell>,
    engines: Engines,
    /// The engine's answer to the acquire is on its way.
    asking: Option<Call<Result<Acquired>>>,
    settled: bool,
}

impl Waits {
    /// Tells those who wait for it of a grant.
    pub(super) fn grant(&self, grant: Grant) {
        self.end(grant.hold, Outcome::Granted(grant));
    }

    /// Tells those who wait for it here that they do so in vain.
    pub(super) fn withdraw(&self, hold: HoldId) {
        self.end(hold, Outcome::Elsewhere);
    }

    fn end(&self, hold: HoldId, outcome: Outcome) {
        let cell = lock(&self.cells).by_hold.get(&hold).cloned();
        if let Some(cell) = cell {
            lock(&cell.state).outcome = Some(outcome);
            cell.changed.notify_waiters();
        }
    }

    /// Enters the wait for a request. To be done before the engine is asked, so that no grant can be missed.
    pub(super) async fn enter(
        self: &Arc<Self>,
        engines: &Engines,
        hold: HoldId,
        request: Option<&RequestId>,
    ) -> Waiter {
        loop {
            let cell = self.join(hold, request);
            let closed = cell.changed.notified();
            {
                let mut state = lock(&cell.state);
                if !state.closing {
                    state.callers += 1;
                    state.shared |= state.callers > 1;
                    return Waiter::new(self.clone(), cell.clone(), engines.clone());
                }
            }
            closed.await;
        }
    }

    fn join(&self, hold: HoldId, request: Option<&RequestId>) -> Arc<Cell> {
        let mut cells = lock(&self.cells);
        if let Some(cell) = request.and_then(|request| cells.by_request.get(request)) {
            return cell.clone();
        }
        let state = CellState { hold, callers: 0, shared: false, outcome: None, taken: false, closing: false };
        let cell = Arc::new(Cell { request: request.cloned(), state: Mutex::new(state), changed: Notify::new() });
        cells.by_hold.insert(hold, cell.clone());
        if let Some(request) = request {
            cells.by_request.insert(request.clone(), cell.clone());
        }
        cell
    }

    /// One caller less. Returns whether the acquire is to be taken back now.
    fn leave(&self, cell: &Cell, settled: bool) -> bool {
        // The map is locked first, so that nobody joins a cell that is on its way out of it.
        let mut cells = lock(&self.cells);
        let mut state = lock(&cell.state);
        state.callers -= 1;
        if state.callers > 0 {
            return false;
        }
        state.closing = true;
        if state.taken || (settled && !state.shared) {
            cells.remove(cell, state.hold);
            cell.changed.notify_waiters();
            return false;
        }
        true
    }

    fn close(&self, cell: &Cell) {
        let mut cells = lock(&self.cells);
        let hold = lock(&cell.state).hold;
        cells.remove(cell, hold);
        cell.changed.notify_waiters();
    }
}

impl Cells {
    fn remove(&mut self, cell: &Cell, hold: HoldId) {
        self.by_hold.remove(&hold);
        if let Some(request) = &cell.request {
            self.by_request.remove(request);
        }
    }
}

impl Waiter {
    const fn new(waits: Arc<Waits>, cell: Arc<Cell>, engines: Engines) -> Self {
        Self { waits, cell, engines, asking: None, settled: false }
    }

    /// What to call the hold.
    pub(super) fn hold(&self) -> HoldId {
        lock(&self.cell.state).hold
    }

    /// The engine calls the hold so. Returns whether that is news.
    pub(super) fn learn_name(&self, hold: HoldId) -> bool {
        let mut cells = lock(&self.waits.cells);
        let mut state = lock(&self.cell.state);
        if state.hold == hold {
            return false;
        }
        cells.by_hold.remove(&state.hold);
        cells.by_hold.insert(hold, self.cell.clone());
        state.hold = hold;
        true
    }

    /// Returns the engine's answer to the acquire. A caller that goes away before it is there leaves when it is: until then
    /// a cancel could come before what it cancels.
    pub(super) async fn see_to(&mut self, answer: Answer<Acquired>) -> Result<Acquired> {
        let call = match answer {
            Either::Left(answer) => return answer.into_inner(),
            Either::Right(call) => self.asking.insert(call),
        };
        let answer = call.await;
        self.asking = None;
        answer
    }

    /// Returns when the hold is granted, or can't be any more.
    pub(super) async fn granted(&mut self) -> std::result::Result<Grant, Error> {
        loop {
            let changed = self.cell.changed.notified();
            let outcome = lock(&self.cell.state).outcome;
            match outcome {
                Some(Outcome::Granted(grant)) => return Ok(grant),
                Some(Outcome::Elsewhere) => return Err(Error::BackendUnavailable(ELSEWHERE)),
                None => {}
            }
            changed.await;
        }
    }

    /// Whether nobody else waits for the same request; if so, nobody will until this caller is gone. Only then may the
    /// caller withdraw the acquire, which would otherwise be withdrawn from under one who has just joined.
    pub(super) fn close_if_last(&self) -> bool {
        let mut state = lock(&self.cell.state);
        state.closing |= state.callers == 1;
        state.closing
    }

    /// The caller takes the grant with it.
    pub(super) fn take(mut self, grant: Grant) {
        let mut state = lock(&self.cell.state);
        (state.outcome, state.taken) = (Some(Outcome::Granted(grant)), true);
        drop(state);
        // Others with the same request id have it, too.
        self.cell.changed.notify_waiters();
        self.settled = true;
    }

    /// The caller has its answer, and has left nothing to be taken back.
    pub(super) fn settle(mut self) {
        self.settled = true;
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if let Some(call) = self.asking.take() {
            let later = Self::new(self.waits.clone(), self.cell.clone(), self.engines.clone());
            return self.engines.see_through(async move {
                _ = call.await;
                drop(later);
            });
        }
        if !self.waits.leave(&self.cell, self.settled) {
            return;
        }
        let hold = self.hold();
        let cancel = Cancel { acquire: AcquireRef::Hold(hold), if_granted: IfGranted::GiveBack };
        match self.engines.of_hold(hold).map(|engine| engine.cancel(cancel)) {
            Ok(Either::Right(pending)) => {
                let (waits, cell) = (self.waits.clone(), self.cell.clone());
                self.engines.see_through(async move {
                    // If it failed, the engine sees to it as soon as it can.
                    _ = pending.await;
                    waits.close(&cell);
                });
            }
            Ok(Either::Left(_)) | Err(_) => self.waits.close(&self.cell),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lockstead_core::{Acquire, Claim, Get, Metadata, Mode, Name, Owner, Party, Scope};
    use lockstead_engine::{MemoryEngine, SharedKey};

    use super::*;
    use crate::service::Router;
    use crate::telemetry::Metrics;

    fn lease(hold: u128, request: Option<&RequestId>, queue: bool) -> Acquire {
        let party = Party::Lease { ttl: Duration::from_secs(60), request: request.cloned() };
        let (name, claim) = (Name::parse("x").unwrap(), Claim::Lock(Mode::Exclusive));
        let (owner, metadata) = (Owner::default(), Metadata::default());
        Acquire { hold: HoldId::from_bits(hold), name, claim, party, owner, metadata, queue }
    }

    /// The one who waits goes away while a repeat that only tries is under way: the repeat has its answer, and nobody is
    /// left to wait.
    #[tokio::test]
    async fn the_last_to_go_takes_the_acquire_back_whatever_its_own_answer() {
        let router = Arc::new(Router::new(Arc::new(Metrics::new())));
        let engines = Engines::new(Arc::new(MemoryEngine::start(SharedKey::from_bytes([0; 32]), router.clone())));
        let engine = engines.of(Scope::Cluster).unwrap();
        engine.acquire(lease(1, None, false)).await.unwrap();
        let request = RequestId::parse("r").unwrap();
        let patient = router.waits.enter(&engines, HoldId::from_bits(2), Some(&request)).await;
        let queued = engine.acquire(lease(2, Some(&request), true)).await.unwrap();
        assert!(matches!(queued, Acquired::Queued { .. }));

        let trying = router.waits.enter(&engines, HoldId::from_bits(3), Some(&request)).await;
        drop(patient);
        let held = engine.acquire(lease(3, Some(&request), false)).await.unwrap();
        assert!(matches!(held, Acquired::Held { .. }));
        trying.settle();
        assert_eq!(engine.get(Get(lease(1, None, false).resource())).await.unwrap().waiter_count, 0);
    }

    /// Else the newcomer would stand in no queue, and wait for ever.
    #[tokio::test]
    async fn nobody_joins_an_acquire_that_its_last_caller_withdraws() {
        let router = Arc::new(Router::new(Arc::new(Metrics::new())));
        let engines = Engines::new(Arc::new(MemoryEngine::start(SharedKey::from_bytes([0; 32]), router.clone())));
        let request = RequestId::parse("r").unwrap();
        let first = router.waits.enter(&engines, HoldId::from_bits(1), Some(&request)).await;
        let second = router.waits.enter(&engines, HoldId::from_bits(2), Some(&request)).await;
        assert!(!first.close_if_last(), "the second waits on");
        drop(first);
        assert!(second.close_if_last());
        let mut third = std::pin::pin!(router.waits.enter(&engines, HoldId::from_bits(3), Some(&request)));
        assert!(futures::poll!(third.as_mut()).is_pending());
        second.settle();
        assert_eq!(third.await.hold(), HoldId::from_bits(3));
    }
}
