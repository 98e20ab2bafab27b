//! What every lock service can do, and the workloads that need no more than that.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::Failure;
use crate::clock::nanos;
use crate::load::{Measured, Operation, Span, run};

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
/// the time from one's beginning to release until the next one knows that it holds.
pub(crate) async fn hand_over<L: Locker>(address: &str, waiters: usize, time: Duration) -> Result<Measured, Failure> {
    let lockers = L::open(address, waiters).await?;
    let span = Span::starting_now(time);
    let released_at = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> =
        lockers.into_iter().map(|locker| tokio::spawn(take_turns(locker, released_at.clone(), span))).collect();
    let mut measured = Measured::during(span)?;
    for task in tasks {
        measured.add(&task.await??)?;
    }
    Ok(measured)
}

/// `released_at`: when the last holder began to release; only a holder reads or writes it.
async fn take_turns<L: Locker>(mut locker: L, released_at: Arc<AtomicU64>, span: Span) -> Result<Measured, Failure> {
    let mut measured = Measured::during(span)?;
    loop {
        let held = locker.acquire(CONTENDED).await?;
        let now = nanos();
        let released = released_at.load(Ordering::Acquire);
        if released > 0 {
            measured.record(released, now);
        }
        released_at.store(nanos(), Ordering::Release);
        locker.release(held).await?;
        if now >= span.to {
            return Ok(measured);
        }
    }
}
