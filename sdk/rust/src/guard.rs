//! What a holder has in its hands.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use lockstead_clock::time;
use lockstead_core::{HoldId, Time};
use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::loss::{HoldState, Loss};
use crate::session::{Command, Handle, Hold, Release};

/// A lock, or permits of a semaphore, that is held. Dropping it gives it back in the background.
///
/// A guard keeps its client's session alive, even if the [`Client`](crate::Client) itself was dropped.
///
/// Holding is a matter of time: a client that can't hear its server must stop believing in what it holds. So look at
/// [`Guard::ensure_held`] before each step that needs the lock, or let [`Guard::lost`] interrupt the work; and hand
/// [`Guard::token`] to the storage that the lock protects, which can then refuse a holder that is late.
#[must_use = "a guard that is dropped gives its hold back at once"]
pub struct Guard {
    hold: Arc<Hold>,
    handle: Arc<Handle>,
    is_released: bool,
}

/// Becomes ready when the hold is lost; see [`Guard::lost`]. Does not keep the hold.
///
/// A hold that is released is never lost, and then this is never ready.
#[must_use = "futures do nothing unless awaited"]
pub struct LostFuture {
    hold: Arc<Hold>,
    waiting: BoxFuture<'static, Loss>,
}

impl Guard {
    pub(crate) fn new(hold: Arc<Hold>, handle: Arc<Handle>) -> Self {
        Self { hold, handle, is_released: false }
    }

    #[cfg(test)]
    pub(crate) fn hold(&self) -> &Arc<Hold> {
        &self.hold
    }

    /// The fencing token: greater than that of every earlier grant of this name, and below 2^53.
    pub fn token(&self) -> u64 {
        self.hold.token
    }

    /// Names this grant. A secret: whoever knows it can release the hold.
    pub fn hold_id(&self) -> HoldId {
        self.hold.id
    }

    /// The name of the lock or semaphore.
    pub fn name(&self) -> &str {
        &self.hold.resource.name
    }

    /// How the hold stands at this very moment. Right at any time, also when the program was stopped or the machine was
    /// suspended just before. Once lost, it is lost for good.
    pub fn state(&self) -> HoldState {
        self.hold.state(time())
    }

    /// Until when nobody else is granted it, on the clock of [`crate::now`]. Moves on with every ping that the server
    /// answers; it can move back when another server takes the session over, which may be able to promise less. If the hold
    /// is lost: until when it could be relied on.
    pub fn valid_until(&self) -> Time {
        self.hold.valid_until()
    }

    /// How long nobody else is granted it, as far as is known now; zero if it is lost.
    pub fn remaining(&self) -> Duration {
        let now = time();
        if self.hold.loss(now).is_some() { Duration::ZERO } else { self.valid_until().since(now) }
    }

    /// Whether it is still held: the check to make before each step that needs it.
    ///
    /// # Errors
    /// The [`Loss`], if it is lost.
    pub fn ensure_held(&self) -> std::result::Result<(), Loss> {
        self.hold.loss(time()).map_or(Ok(()), Err)
    }

    /// Becomes ready when the hold is lost, at the latest when its validity ends. Can be called and awaited any number of
    /// times, and stays valid after the guard is gone. The runtime in which the client was connected must be running;
    /// [`Guard::state`] needs no runtime.
    pub fn lost(&self) -> LostFuture {
        LostFuture::new(Arc::clone(&self.hold))
    }

    /// Gives it back, and returns when the server has seen that. (If the future is dropped before, it is given back all
    /// the same.) A server that can't reach its store just then completes it later, by itself; this returns at once.
    ///
    /// # Errors
    /// [`Error::Lost`] if it was lost before, [`Error::Closed`] if the client's runtime has ended.
    pub async fn release(mut self) -> Result<()> {
        self.ensure_held()?;
        let (answer, released) = oneshot::channel();
        self.is_released = true;
        let release = Release { hold: Arc::clone(&self.hold), answer: Some(answer) };
        self.handle.send(Command::Release(release))?;
        released.await.unwrap_or(Err(Error::Closed))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.is_released {
            self.handle.release_quietly(Arc::clone(&self.hold));
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Guard")
            .field("name", &self.name())
            .field("token", &self.token())
            .field("state", &state)
            .finish()
    }
}

impl LostFuture {
    fn new(hold: Arc<Hold>) -> Self {
        let waiting = Arc::clone(&hold);
        Self { hold, waiting: async move { waiting.until_lost().await }.boxed() }
    }
}

impl Clone for LostFuture {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.hold))
    }
}

impl Future for LostFuture {
    type Output = Loss;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Loss> {
        self.waiting.poll_unpin(context)
    }
}

impl fmt::Debug for LostFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LostFuture").field("name", &self.hold.resource.name).finish_non_exhaustive()
    }
}
