//! The kernel's file locks, without anything around them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

use crate::Failure;
use crate::clock::nanos;
use crate::contender::{Contender, Measuring, Workload};
use crate::figures::of_operations;
use crate::load::{Measured, Shared, Span};

pub(crate) struct Flock {
    folder: TempDir,
}

pub(crate) fn start() -> Result<Flock, Failure> {
    Ok(Flock { folder: tempfile::tempdir()? })
}

impl Contender for Flock {
    fn name(&self) -> &'static str {
        "flock"
    }

    fn processes(&self) -> Vec<u32> {
        Vec::new()
    }

    fn measure(&self, workload: Workload, time: Duration) -> Option<Measuring<'_>> {
        let threads = match workload {
            Workload::Pairs { in_flight: 1 } => 1,
            Workload::HandOver { waiters } => waiters,
            _ => return None,
        };
        let path = self.folder.path().join("compare.lock");
        let measuring = async move {
            let measured = if threads == 1 {
                tokio::task::spawn_blocking(move || pairs(&path, Span::starting_now(time))).await??
            } else {
                hand_over(path, threads, time).await?
            };
            Ok(of_operations(&measured))
        };
        Some(measuring.boxed())
    }
}

fn open(path: &Path) -> Result<File, Failure> {
    Ok(File::options().create(true).append(true).open(path)?)
}

fn pairs(path: &Path, span: Span) -> Result<Measured, Failure> {
    let (file, mut measured) = (open(path)?, Measured::during(span)?);
    let mut start = nanos();
    while start < span.to {
        flock(&file, FlockOperation::LockExclusive)?;
        flock(&file, FlockOperation::Unlock)?;
        let end = nanos();
        measured.record(start, end);
        start = end;
    }
    Ok(measured)
}

async fn hand_over(path: PathBuf, threads: usize, time: Duration) -> Result<Measured, Failure> {
    let measured = Shared::during(Span::starting_now(time))?;
    let released_at = Arc::new(AtomicU64::new(0));
    let take_turns = |_| {
        let (path, released_at, measured) = (path.clone(), released_at.clone(), measured.clone());
        tokio::task::spawn_blocking(move || take_turns(&path, &released_at, &measured))
    };
    let workers: Vec<_> = (0..threads).map(take_turns).collect();
    for worker in workers {
        worker.await??;
    }
    Ok(measured.take())
}

/// A thread mostly takes again what it has just released, before the kernel has woken anybody: only what went to another
/// counts. `released_at`: when the last holder began to release.
fn take_turns(path: &Path, released_at: &AtomicU64, measured: &Shared) -> Result<(), Failure> {
    let file = open(path)?;
    let mut mine = 0;
    loop {
        flock(&file, FlockOperation::LockExclusive)?;
        let now = nanos();
        let released = released_at.load(Ordering::Acquire);
        if released > 0 && released != mine {
            measured.record(released, now);
        }
        mine = nanos();
        released_at.store(mine, Ordering::Release);
        flock(&file, FlockOperation::Unlock)?;
        if now >= measured.span.to {
            return Ok(());
        }
    }
}
