//! The transport's own tasks, which the session's task carries out itself.
//!
//! A message would pass through three tasks: from the session's to the one that frames messages, and on to the one that
//! writes to the socket. Each wakes the next, perhaps on another thread, and for small messages that is most of what they
//! cost. As parts of one task they wake nobody.

use std::future::poll_fn;
use std::task::{Context, Poll};

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use hyper::rt::Executor;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

type Task = BoxFuture<'static, ()>;

/// What the transport has begun.
pub(super) struct Tasks {
    begun: mpsc::UnboundedReceiver<Task>,
    running: FuturesUnordered<Task>,
    starter: Starter,
}

/// Where the transport begins them.
#[derive(Clone)]
pub(super) struct Starter(mpsc::UnboundedSender<Task>);

impl Tasks {
    pub(super) fn new() -> Self {
        let (sender, begun) = mpsc::unbounded_channel();
        Self { begun, running: FuturesUnordered::new(), starter: Starter(sender) }
    }

    pub(super) fn starter(&self) -> Starter {
        self.starter.clone()
    }

    /// Carries them out, for as long as this is awaited. Safe to drop and call again.
    pub(super) async fn run(&mut self) -> std::convert::Infallible {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<std::convert::Infallible> {
        loop {
            while let Poll::Ready(Some(task)) = self.begun.poll_recv(context) {
                self.running.push(task);
            }
            match self.running.poll_next_unpin(context) {
                Poll::Ready(Some(())) => {}
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl Executor<Task> for Starter {
    fn execute(&self, task: Task) {
        // The session's task has ended, but its connections may still be in use.
        if let Err(mpsc::error::SendError(task)) = self.0.send(task) {
            tokio::spawn(task);
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        // A stream that was left is still read for a while.
        let Ok(runtime) = Handle::try_current() else { return };
        self.begun.close();
        while let Ok(task) = self.begun.try_recv() {
            self.running.push(task);
        }
        for task in std::mem::take(&mut self.running) {
            runtime.spawn(task);
        }
    }
}
