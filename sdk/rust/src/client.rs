//! The client.

use std::fmt;
use std::sync::Arc;

use lockstead_core::Kind;

use crate::config::Builder;
use crate::error::Result;
use crate::list::List;
use crate::request::{Lock, Request, Semaphore};
use crate::session::Handle;

/// A client of a lock service: one session, which carries all its operations. Cheap to clone; a process needs one.
///
/// Dropping the last clone and the last [`Guard`](crate::Guard) ends the session.
#[derive(Clone)]
pub struct Client {
    handle: Arc<Handle>,
}

impl Client {
    pub(crate) fn new(handle: Arc<Handle>) -> Self {
        Self { handle }
    }

    /// Connects to a server, such as `http://127.0.0.1:7420`, or to one of several, separated by commas. Must be called
    /// within a tokio runtime, in which the client then lives.
    ///
    /// # Errors
    /// See [`Builder::connect`].
    pub async fn connect(servers: impl AsRef<str>) -> Result<Self> {
        Self::builder().server(servers).connect().await
    }

    /// Describes a client with other settings than the usual ones.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Begins a request about the lock of this name: 1 to 255 bytes, with `/` between levels.
    pub fn lock(&self, name: impl Into<String>) -> Request<Lock> {
        Request::lock(Arc::clone(&self.handle), name.into())
    }

    /// Begins a request about the semaphore of this name, which has `limit` permits (1 to 1,000,000). All who use it at
    /// the same time must agree on the limit.
    pub fn semaphore(&self, name: impl Into<String>, limit: u32) -> Request<Semaphore> {
        Request::semaphore(Arc::clone(&self.handle), name.into(), limit)
    }

    /// Begins a request for the locks in use whose names start with `prefix`; all, if it is empty.
    pub fn list_locks(&self, prefix: impl Into<String>) -> List {
        List::new(Arc::clone(&self.handle), Kind::Lock, prefix.into())
    }

    /// Begins a request for the semaphores in use whose names start with `prefix`; all, if it is empty.
    pub fn list_semaphores(&self, prefix: impl Into<String>) -> List {
        List::new(Arc::clone(&self.handle), Kind::Semaphore, prefix.into())
    }

    /// Names the session in the server's lists and logs; no secret. `None` while no stream is up. A session that was lost
    /// is followed by another, with another id.
    pub fn session_id(&self) -> Option<String> {
        self.handle.session_id()
    }

    /// Gives everything back, ends the session and all waits, and returns when the server has seen it. Guards that are
    /// still there are lost; acquires fail with [`Error::Closed`](crate::Error::Closed).
    ///
    /// # Errors
    /// [`Error::Unavailable`](crate::Error::Unavailable) if the server did not answer within the connect timeout. What
    /// was held then ends with the session timeout.
    pub async fn close(&self) -> Result<()> {
        self.handle.close().await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers: Vec<_> = self.handle.config.servers.iter().map(|server| &server.address).collect();
        f.debug_struct("Client").field("servers", &servers).field("session_id", &self.session_id()).finish()
    }
}
