//! The session: one stream that carries every operation of a client, kept by one task.
//!
//! Clients, guards and waiting acquires share a [`Handle`] and talk to the task by [`Command`]s. The task ([`driver`])
//! does the I/O; what to say and what an answer means is decided by a state machine without I/O ([`state`]).

mod driver;
mod hold;
mod state;
mod stream;
mod unary;
mod validity;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lockstead_api::v1;
use lockstead_core::Time;
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::guard::Guard;
use crate::transport::Transport;

pub(crate) use driver::connect;
pub(crate) use hold::Hold;
pub(crate) use unary::UnaryPatience;

/// What clients, guards and waiting acquires share. The session ends when the last of them is gone.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) config: Arc<Config>,
    commands: mpsc::UnboundedSender<Command>,
    request_ids: Arc<AtomicU64>,
    connection: watch::Receiver<Option<Connection>>,
}

/// The connection over which the session runs now.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    /// The server's place in the configuration.
    pub(crate) server: usize,
    pub(crate) channel: Transport,
    pub(crate) session_id: Arc<str>,
    /// The connection before this one, if there was one, was left in peace: what was asked on it is still answered there.
    pub(crate) in_peace: bool,
}

/// What the session's task is asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// To get a hold.
    Acquire(Box<Acquire>),
    /// To take an acquire back, by its request id.
    Cancel(u64),
    /// To give one entry of a hold back.
    Release(Release),
    /// To give everything back.
    Close(oneshot::Sender<Result<()>>),
}

/// An acquire that is not answered yet.
#[derive(Debug)]
pub(crate) struct Acquire {
    /// As it is asked, but for the wait.
    pub(crate) request: v1::SessionAcquire,
    pub(crate) patience: Patience,
    /// Whom to answer; `None` once nobody waits for the answer any more.
    pub(crate) caller: Option<Caller>,
}

/// Who waits for an acquire.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) answer: oneshot::Sender<Result<Guard>>,
    /// For the guard.
    pub(crate) handle: Arc<Handle>,
}

/// How long an acquire waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Not at all; but for a server, as long as the connect timeout.
    Try,
    /// Until then.
    Until(Time),
    /// As long as it takes.
    Forever,
}

/// The end of one entry of a hold.
#[derive(Debug)]
pub(crate) struct Release {
    pub(crate) hold: Arc<Hold>,
    /// Whom to tell when the server has seen it.
    pub(crate) answer: Option<oneshot::Sender<Result<()>>>,
}

impl Handle {
    /// A number for an operation, unlike those of all others.
    pub(crate) fn next_request_id(&self) -> u64 {
        self.request_ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Hands a command to the session's task, if that is still there.
    pub(crate) fn send(&self, command: Command) -> Result<()> {
        self.commands.send(command).map_err(|_| Error::Closed)
    }

    /// Gives one entry of a hold back without waiting for it. Works in any thread.
    pub(crate) fn release_quietly(&self, hold: Arc<Hold>) {
        // Without a task there is no session, so there is nothing to give back.
        let _ = self.send(Command::Release(Release { hold, answer: None }));
    }

    /// Gives everything back and ends the task; returns when the server has seen it.
    pub(crate) async fn close(&self) -> Result<()> {
        let (answer, closed) = oneshot::channel();
        if self.send(Command::Close(answer)).is_err() {
            return Ok(());
        }
        closed.await.unwrap_or(Ok(()))
    }

    /// The session's id, while it is attached to a server.
    pub(crate) fn session_id(&self) -> Option<String> {
        self.connection.borrow().as_ref().map(|connection| connection.session_id.to_string())
    }
}
