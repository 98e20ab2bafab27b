//! Where the truth about locks is kept: the contract that every engine fulfils, and the engines.
//!
//! An engine answers at once and never waits for a lock. Waiting, its time limits and whoever does it live above.

mod error;
mod memory;
#[cfg(target_os = "linux")]
mod node;
mod redis;

use std::future::{Ready, ready};
use std::sync::Arc;

use futures::future::{BoxFuture, Either};
use lockstead_core::{
    Acquire, Acquired, Cancel, Cancelled, Census, EndSession, Event, Get, Grant, HoldId, List, Release, Released,
    Renew, ResourceView, ResumeSession, Time,
};

#[doc(hidden)]
pub use self::redis::Mutation;
#[doc(hidden)]
pub use self::redis::wire;
pub use self::redis::wire::{Target as RedisTarget, TargetError as RedisTargetError};
#[doc(hidden)]
pub use self::redis::{KEYS as REDIS_KEYS, source as redis_script};
pub use self::redis::{PARTITIONS, RedisEngine, RedisSettings};
pub use error::{EngineError, Result};
pub use memory::MemoryEngine;
#[cfg(target_os = "linux")]
pub use node::{LockFamily, NodeEngine, NodeError, NodeSettings};

/// An engine's answer: at hand, or on its way. Await it in either case; one that is at hand costs no allocation.
pub type Answer<T> = Either<Ready<Result<T>>, BoxFuture<'static, Result<T>>>;

/// An answer that is at hand.
pub fn at_hand<T>(result: Result<T>) -> Answer<T> {
    Either::Left(ready(result))
}

/// Keeps the truth about the resources of one scope.
///
/// # Behavior
/// - Every method is atomic: nobody sees half of its effect.
/// - What is due at the time of a call has ended before the call takes effect.
/// - A call that fails with [`EngineError::Refused`] or [`EngineError::Invalid`] has changed nothing.
/// - A call that fails with [`EngineError::Unavailable`] may have happened. If it was an acquire, the engine gives back
///   what it may have got as soon as it can, and no event comes of it; any other but a resume is carried out as soon as
///   the engine can. Nobody need repeat it.
/// - Calls may take effect in another order than that in which they were made, unless the one was answered before the
///   other was made.
/// - Events reach the [`Listener`] in the order in which they happened, each once; those of a call possibly before its
///   answer.
/// - Dropping a future before it is ready cancels nothing: the call may have happened.
pub trait Engine: Send + Sync + 'static {
    /// What people call it: `memory`, `redis`, `node`.
    fn name(&self) -> &'static str;

    /// In what it differs from other engines.
    fn capabilities(&self) -> Capabilities;

    /// Asks for a hold.
    ///
    /// # Behavior
    /// - Grants if the permits are free and nobody waits; else queues, or answers [`Acquired::Held`] if it may not.
    /// - Permits may also be with programs that are nobody's clients, if the engine shares its resources with such. They
    ///   appear in no list.
    /// - Serves a queue strictly in order of arrival: a head that does not fit holds up all behind it.
    /// - A queued acquire ends with exactly one of [`Event::Granted`], a cancel, or the end of its session.
    /// - Repeating a request (same session and number, or same request id) gives the first one's hold, or its place in
    ///   the queue. Asking for something else under it is refused.
    /// - Re-enters a hold of the same session and owner key; this passes the queue, for it takes no permits.
    /// - The token is greater than at every earlier grant of the name.
    fn acquire(&self, acquire: Acquire) -> Answer<Acquired>;

    /// Moves the deadline of a lease.
    ///
    /// # Behavior
    /// - The new deadline counts from this call. The token stays.
    /// - Refused if the hold is over, is not of that resource, or is no lease.
    fn renew(&self, renew: Renew) -> Answer<Grant>;

    /// Gives a hold back.
    ///
    /// # Behavior
    /// - The next waiters that fit are granted in the same step.
    /// - By its session: gives up one entry; the hold ends with the last. By its bearer: the hold ends, and its session is
    ///   told by [`Event::Ended`].
    /// - Refused if the hold is over, or is not the releaser's.
    fn release(&self, release: Release) -> Answer<Released>;

    /// Takes an acquire back.
    ///
    /// # Behavior
    /// - A waiter leaves the queue without a trace, and those behind it that fit now are granted.
    /// - A grant is kept or given back, as asked. One that is given back leaves no trace either: the same request may
    ///   come again.
    fn cancel(&self, cancel: Cancel) -> Answer<Cancelled>;

    /// Ends a session with all it has.
    ///
    /// # Behavior
    /// - None of its waiters is granted in passing.
    /// - Answers how many holds and waiters there were; 0 for a session that the engine has never seen.
    /// - Leaves a session alone that another server has.
    fn end_session(&self, end: EndSession) -> Answer<usize>;

    /// Makes a session what its client says it is, and this server the one that has it.
    ///
    /// # Behavior
    /// - If the engine [outlives a server](Capabilities::outlives_server), the session may have been another server's;
    ///   that one hears of it by [`Event::Moved`]. If it comes back, no news of the way it went follows the answer to that.
    /// - Of two resumes the higher attempt wins, wherever they are made. The other is answered that nothing is left.
    /// - One that fails with [`EngineError::Unavailable`] is not carried out later: its client comes again, with a higher
    ///   attempt.
    /// - Keeps the holds that the client lists (cut down to the entries it lists) and the acquires that it will repeat;
    ///   gives back everything else.
    /// - Answers which of the listed holds are not the session's (any more).
    fn resume_session(&self, resume: ResumeSession) -> Answer<Vec<HoldId>>;

    /// Describes one resource; without parties if nobody uses it.
    fn get(&self, get: Get) -> Answer<ResourceView>;

    /// Describes the resources in use, in order of their names, bytewise; ends with the one that takes the page to
    /// [`PAGE_BYTES_MAX`](lockstead_core::limits::PAGE_BYTES_MAX).
    fn list(&self, list: List) -> Answer<Vec<ResourceView>>;

    /// How much this server has in the engine.
    fn census(&self) -> Census;

    /// How long the engine's word is good without hearing more: nobody else is granted before that what this server's
    /// sessions hold now, or will be granted until then. `None`: as long as the server lives.
    ///
    /// # Behavior
    /// - Once it has passed, the holds concerned have ended by [`EndReason::BackendLost`](lockstead_core::EndReason).
    fn valid_until(&self) -> Option<Time>;

    /// Whether it can serve, for an operator.
    fn readiness(&self) -> Readiness;

    /// How the store is that keeps the truth, if that is apart from this server; for an operator.
    fn store(&self) -> Option<StoreView> {
        None
    }

    /// A secret that all servers of this engine share, so that one can check what another has signed. `None`: not known
    /// yet.
    fn shared_key(&self) -> Option<SharedKey>;
}

/// Whether an engine can serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It can.
    Ready,
    /// Not now: what is wrong and what to do about it, in a sentence without secrets.
    NotReady(String),
}

/// A store apart from this server, as this server sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreView {
    /// Partitions in service.
    pub serving: usize,
    /// Partitions in their reclaim window: nothing is granted there.
    pub reclaiming: usize,
    /// Partitions out of reach.
    pub away: usize,
    /// How often a partition that was known was found in another epoch: the store had restarted, failed over, or lost its
    /// data, and a reclaim window began.
    pub epoch_changes: u64,
}

/// A secret of all servers of an engine. Its `Debug` shows nothing of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SharedKey([u8; 32]);

impl SharedKey {
    /// From random bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes it was made from.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedKey(secret)")
    }
}

/// In what engines differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Holds outlive the server that granted them, so that its clients can move to another one.
    pub outlives_server: bool,
}

/// Hears what happens in an engine.
pub trait Listener: Send + Sync + 'static {
    /// Takes note of events. Called in their order, possibly while the engine is locked: must not wait, nor call the
    /// engine.
    fn on_events(&self, events: Vec<Event>);
}

impl<L: Listener> Listener for Arc<L> {
    fn on_events(&self, events: Vec<Event>) {
        self.as_ref().on_events(events);
    }
}
