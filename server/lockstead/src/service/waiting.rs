//! Waiting for a lease: who waits, and what happens when they go away.
//!
//! All callers with one request id share a [`Cell`]. The last one to go away without an answer takes the acquire back,
//! and until that is done nobody may start the same request anew: otherwise its new hold could be given back in place of
//! the old.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::Either;
use lockstead_core::{AcquireRef, Cancel, Grant, HoldId, IfGranted, RequestId};
use lockstead_engine::Engine;
use tokio::sync::Notify;

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
    /// What the hold will be called, if there will be one.
    hold: HoldId,
    request: Option<RequestId>,
    state: Mutex<CellState>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct CellState {
    callers: usize,
    /// There has been more than one, so that none of them knows what became of what the others asked.
    shared: bool,
    grant: Option<Grant>,
    /// A caller has taken the grant with it, so the hold has an owner.
    taken: bool,
    /// The last caller has gone, or its wait is over, and the acquire is being taken back.
    closing: bool,
}

/// One caller's wait. Dropped without an answer, it takes the acquire back, unless others still wait for it.
pub(super) struct Waiter {
    waits: Arc<Waits>,
    cell: Arc<Cell>,
    engine: Arc<dyn Engine>,
    settled: bool,
}

impl Waits {
    /// Tells those who wait for it of a grant.
    pub(super) fn grant(&self, grant: Grant) {
        let cell = lock(&self.cells).by_hold.get(&grant.hold).cloned();
        if let Some(cell) = cell {
            lock(&cell.state).grant = Some(grant);
            cell.changed.notify_waiters();
        }
    }

    /// Enters the wait for a request. To be done before the engine is asked, so that no grant can be missed.
    pub(super) async fn enter(
        self: &Arc<Self>,
        engine: &Arc<dyn Engine>,
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
                    return Waiter { waits: self.clone(), cell: cell.clone(), engine: engine.clone(), settled: false };
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
        let cell = Arc::new(Cell { hold, request: request.cloned(), state: Mutex::default(), changed: Notify::new() });
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
            cells.remove(cell);
            cell.changed.notify_waiters();
            return false;
        }
        true
    }

    fn close(&self, cell: &Cell) {
        lock(&self.cells).remove(cell);
        cell.changed.notify_waiters();
    }
}

impl Cells {
    fn remove(&mut self, cell: &Cell) {
        self.by_hold.remove(&cell.hold);
        if let Some(request) = &cell.request {
            self.by_request.remove(request);
        }
    }
}

impl Waiter {
    /// What to call the hold.
    pub(super) fn hold(&self) -> HoldId {
        self.cell.hold
    }

    /// Returns when the hold is granted.
    pub(super) async fn granted(&self) -> Grant {
        loop {
            let changed = self.cell.changed.notified();
            if let Some(grant) = lock(&self.cell.state).grant {
                return grant;
            }
            changed.await;
        }
    }

    /// Keeps newcomers out until this caller has its answer, unless others wait for the same request already. Returns
    /// whether there are none.
    pub(super) fn close_if_last(&self) -> bool {
        let mut state = lock(&self.cell.state);
        state.closing = state.callers == 1;
        state.closing
    }

    /// The caller takes the grant with it.
    pub(super) fn take(mut self) {
        lock(&self.cell.state).taken = true;
        self.settled = true;
    }

    /// The caller has its answer, and as far as it knows there is nothing to take back.
    pub(super) fn settle(mut self) {
        self.settled = true;
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if !self.waits.leave(&self.cell, self.settled) {
            return;
        }
        let cancel = Cancel { acquire: AcquireRef::Hold(self.cell.hold), if_granted: IfGranted::GiveBack };
        match self.engine.cancel(cancel) {
            Either::Left(_) => self.waits.close(&self.cell),
            Either::Right(pending) => {
                let (waits, cell) = (self.waits.clone(), self.cell.clone());
                tokio::spawn(async move {
                    if let Err(error) = pending.await {
                        tracing::warn!(%error, "an abandoned acquire could not be taken back; its lease will expire");
                    }
                    waits.close(&cell);
                });
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;
    use lockstead_core::{
        Acquire, Acquired, Cancelled, Claim, Event, Get, Kind, Metadata, Mode, Name, Owner, Party, ResourceKey,
    };
    use lockstead_engine::{Listener, MemoryEngine};

    use super::*;

    struct Nobody;

    impl Listener for Nobody {
        fn on_events(&self, _: Vec<Event>) {}
    }

    /// Callers who ask for a lock that somebody holds, all under one request id.
    struct Callers {
        waits: Arc<Waits>,
        engine: Arc<dyn Engine>,
        request: RequestId,
    }

    impl Callers {
        async fn new() -> Self {
            let engine = Arc::new(MemoryEngine::start(Nobody));
            let callers = Self { waits: Arc::default(), engine, request: RequestId::parse("same").unwrap() };
            let held = callers.ask(HoldId::from_bits(1), RequestId::parse("holder").unwrap(), false).await;
            assert!(matches!(held, Acquired::Granted(_)));
            callers
        }

        async fn enter(&self, hold: u128) -> Waiter {
            self.waits.enter(&self.engine, HoldId::from_bits(hold), Some(&self.request)).await
        }

        async fn ask(&self, hold: HoldId, request: RequestId, queue: bool) -> Acquired {
            let party = Party::Lease { ttl: Duration::from_secs(60), request: Some(request) };
            let (name, claim) = (Name::parse("x").unwrap(), Claim::Lock(Mode::Exclusive));
            let (owner, metadata) = (Owner::default(), Metadata::default());
            self.engine.acquire(Acquire { hold, name, claim, party, owner, metadata, queue }).await.unwrap()
        }

        async fn ask_as(&self, waiter: &Waiter, queue: bool) -> Acquired {
            self.ask(waiter.hold(), self.request.clone(), queue).await
        }

        async fn waiting(&self) -> usize {
            let key = ResourceKey { kind: Kind::Lock, name: Name::parse("x").unwrap() };
            self.engine.get(Get(key)).await.unwrap().waiter_count
        }
    }

    #[tokio::test]
    async fn a_try_that_outlives_the_wait_it_repeats_takes_that_back() {
        let callers = Callers::new().await;
        let patient = callers.enter(2).await;
        assert!(matches!(callers.ask_as(&patient, true).await, Acquired::Queued { .. }));
        let hasty = callers.enter(4).await;
        drop(patient);
        assert!(matches!(callers.ask_as(&hasty, false).await, Acquired::Held { .. }));
        hasty.settle();
        assert_eq!(callers.waiting().await, 0);
    }

    #[tokio::test]
    async fn nobody_joins_a_wait_that_is_being_withdrawn() {
        let callers = Callers::new().await;
        let first = callers.enter(2).await;
        assert!(matches!(callers.ask_as(&first, true).await, Acquired::Queued { .. }));
        assert!(first.close_if_last());
        let mut second = Box::pin(callers.enter(4));
        assert!(second.as_mut().now_or_never().is_none());
        let cancel = Cancel { acquire: AcquireRef::Hold(first.hold()), if_granted: IfGranted::Keep };
        assert!(matches!(callers.engine.cancel(cancel).await.unwrap(), Cancelled::Withdrawn { .. }));
        first.settle();
        let second = second.await;
        assert!(matches!(callers.ask_as(&second, true).await, Acquired::Queued { .. }));
        drop(second);
        assert_eq!(callers.waiting().await, 0);
    }
}
