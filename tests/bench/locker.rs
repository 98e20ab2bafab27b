//! What every lock service can do, and the workloads that need no more than that.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::Failure;
use crate::clock::nanos;
use crate::load::{Measured, Operation, Shared, Span, run};

const CONTENDED: &str = "compare/hand-over";

/// One worker's way to take a lock and to give it back.
pub(crate) trait Locker: Send + Sized + 'static {
    /// What is given back.
    type Held: Send;

    /// One client, shared by so many workers.
    fn open(address: &str, workers: usize) -> impl Future<Output = Result<Vec<Self>, Failure>> + Send;

    /// Takes a lock, for as long as it takes.
    fn acquire(&mut self, lock: &str) -> impl Future<Output = Result<Self::Held, Failure>> + Send;

    /// Gives it back, and returns when it is free.
    fn release(&mut self, held: Self::Held) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Acquire and release of locks that nobody else wants, so many pairs at a time on one client.
pub(crate) async fn pairs<L: Locker>(address: &str, in_flight: usize, time: Duration) -> Result<Measured, Failure> {
    let lockers = L::open(address, in_flight).await?.into_iter().enumerate();
    run(time, lockers.map(|(worker, locker)| Pair { locker, lock: format!("compare/pair/{worker}") }).collect()).await
}

struct Pair<L> {
    locker: L,
    lock: String,
}

impl<L: Locker> Operation for Pair<L> {
    async fn once(&mut self) -> Result<(), Failure> {
        let held = self.locker.acquire(&self.lock).await?;
        self.locker.release(held).await
    }
}

/// One lock that all workers of a client want: each waits, holds for no time at all, and waits again. What is measured is
/// the time from one's beginning to release until another one knows that it holds. (Where there is no queue, a worker often
/// takes again what it has just released; that is no hand-over.)
pub(crate) async fn hand_over<L: Locker>(address: &str, waiters: usize, time: Duration) -> Result<Measured, Failure> {
    let lockers = L::open(address, waiters).await?;
    let measured = Shared::during(Span::starting_now(time))?;
    let released_at = Arc::new(AtomicU64::new(0));
    let take_turns = |locker| tokio::spawn(take_turns(locker, released_at.clone(), measured.clone()));
    let tasks: Vec<_> = lockers.into_iter().map(take_turns).collect();
    for task in tasks {
        task.await??;
    }
    Ok(measured.take())
}

/// `released_at`: when the last holder began to release; only a holder reads or writes it.
async fn take_turns<L: Locker>(mut locker: L, released_at: Arc<AtomicU64>, measured: Shared) -> Result<(), Failure> {
    let mut mine = 0;
    loop {
        let held = locker.acquire(CONTENDED).await?;
        let now = nanos();
        let released = released_at.load(Ordering::Acquire);
        if released > 0 && released != mine {
            measured.record(released, now);
        }
        mine = nanos();
        released_at.store(mine, Ordering::Release);
        locker.release(held).await?;
        if now >= measured.span.to {
            return Ok(());
        }
    }
}
