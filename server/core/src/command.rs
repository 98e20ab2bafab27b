//! What the machine can be told, what it answers, and what it reports of its own.

use std::time::Duration;

use thiserror::Error;

use crate::ids::{HoldId, SessionId};
use crate::labels::{Metadata, Owner, OwnerKey, RequestId};
use crate::limits::{ENTRIES_PER_HOLD_MAX, HOLDS_MAX, HOLDS_PER_SESSION_MAX, WAITERS_PER_RESOURCE_MAX};
use crate::name::Name;
use crate::resource::{Claim, Kind, ResourceKey, Token};
use crate::time::WallTime;
use crate::view::HolderView;

/// Asks for a hold. Outcome: `Result<Acquired, Refusal>`.
#[derive(Clone, Debug)]
pub struct Acquire {
    /// A fresh random id, which names the hold if this request makes one.
    pub hold: HoldId,
    /// Of the resource.
    pub name: Name,
    /// What is wanted of it.
    pub claim: Claim,
    /// Who the hold would belong to.
    pub party: Party,
    /// Who asks, for people to read.
    pub owner: Owner,
    /// What the holder wants others to know.
    pub metadata: Metadata,
    /// Whether to stand in the queue if there is no grant now.
    pub queue: bool,
}

/// What a hold hangs on, and what makes its request the same when it comes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Party {
    /// It lives and ends with a session.
    Session {
        /// Which.
        session: SessionId,
        /// The session's own number for the acquire.
        request: u64,
        /// Makes the acquire re-entrant.
        owner_key: Option<OwnerKey>,
    },
    /// It ends at a deadline.
    Lease {
        /// From the grant to the deadline.
        ttl: Duration,
        /// The caller's own name for the acquire.
        request: Option<RequestId>,
    },
}

/// Moves the deadline of a lease. Outcome: `Result<Grant, Refusal>`.
#[derive(Clone, Debug)]
pub struct Renew {
    /// What is held.
    pub resource: ResourceKey,
    /// By which hold.
    pub hold: HoldId,
    /// From now to the new deadline; `None`: as long as before.
    pub ttl: Option<Duration>,
}

/// Gives a hold back. Outcome: `Result<Released, Refusal>`.
#[derive(Clone, Debug)]
pub struct Release {
    /// Which.
    pub hold: HoldId,
    /// Who says so.
    pub by: Releaser,
}

/// Who releases.
#[derive(Clone, Debug)]
pub enum Releaser {
    /// The session it belongs to; it gives up one entry.
    Session(SessionId),
    /// Anybody who knows the hold id and what it holds; the hold ends whatever its entries.
    Bearer(ResourceKey),
}

/// Takes an acquire back. Outcome: [`Cancelled`].
#[derive(Clone, Debug)]
pub struct Cancel {
    /// Which.
    pub acquire: AcquireRef,
    /// What to do if it has been granted already.
    pub if_granted: IfGranted,
}

/// Names an earlier acquire.
#[derive(Clone, Debug)]
pub enum AcquireRef {
    /// By its hold id: that of a lease.
    Hold(HoldId),
    /// By the session's number for it.
    Request(SessionId, u64),
}

/// What a cancel does to an acquire that was granted in the meantime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfGranted {
    /// The grant stands.
    Keep,
    /// The grant is given back.
    GiveBack,
}

/// Ends a session with all its holds and waiters. Outcome: how many there were.
#[derive(Clone, Debug)]
pub struct EndSession {
    /// Which.
    pub session: SessionId,
    /// What late calls about its holds are told.
    pub reason: EndReason,
}

/// Makes a session what its client says it is, after a break in which messages were lost. What it has beside that is
/// given back. Outcome: the claimed holds that are gone.
#[derive(Clone, Debug)]
pub struct ResumeSession {
    /// Which.
    pub session: SessionId,
    /// The client's count of its resumes. Where several servers believe that a session is theirs, the one with the
    /// highest attempt is right.
    pub attempt: u32,
    /// What its client holds, with the number of entries of each.
    pub holds: Vec<(HoldId, u32)>,
    /// The acquires that its client is about to repeat.
    pub pending: Vec<u64>,
}

/// Ends what is due and does nothing else. Outcome: none.
#[derive(Clone, Copy, Debug)]
pub struct Expire;

/// Asks the gate again whether the head of a queue may in, because others may have let go. Outcome: none.
#[derive(Clone, Debug)]
pub struct Knock(pub ResourceKey);

/// Ends holds because what they rest on is gone. Those whom it concerns are told, and only then are others let in.
/// Outcome: none.
#[derive(Clone, Debug)]
pub struct Lose(pub Vec<HoldId>);

/// Describes one resource. Outcome: a `ResourceView`, without parties if nobody uses it.
#[derive(Clone, Debug)]
pub struct Get(pub ResourceKey);

/// Describes the resources in use, in order of their names, until that makes a page: `limits::PAGE_BYTES_MAX`. Outcome: a
/// `Vec<ResourceView>`.
#[derive(Clone, Debug)]
pub struct List {
    /// Of this kind.
    pub kind: Kind,
    /// Whose names start so.
    pub prefix: String,
    /// Whose names come after this one.
    pub after: Option<Name>,
    /// At most so many.
    pub at_most: usize,
}

/// The answer to an acquire that was in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// It holds.
    Granted(Grant),
    /// It waits. A [`Event::Granted`] will come, unless it is cancelled first.
    Queued {
        /// The hold that it will be; differs from the request's own if it repeats an earlier one.
        hold: HoldId,
        /// 1 is next.
        position: usize,
    },
    /// It neither holds nor waits.
    Held {
        /// Who holds instead, oldest first.
        holders: Vec<HolderView>,
    },
}

/// A hold, as its holder gets to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its id.
    pub hold: HoldId,
    /// What it has of its resource.
    pub claim: Claim,
    /// Its fencing token.
    pub token: Token,
    /// How many acquires it stands for.
    pub entries: u32,
    /// Since when.
    pub acquired_at: WallTime,
    /// When it ends by itself, if it is a lease.
    pub lease: Option<Lease>,
}

/// The time limits of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// From its grant or last renewal to its deadline.
    pub ttl: Duration,
    /// The deadline on the wall clock.
    pub expires_at: WallTime,
}

/// The answer to a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Released {
    /// How many acquires the hold still stands for; 0: it has ended.
    pub entries: u32,
}

/// The answer to a cancel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It left the queue.
    Withdrawn {
        /// Who holds instead, oldest first.
        holders: Vec<HolderView>,
    },
    /// It had been granted, and the grant was given back.
    GivenBack,
    /// It has been granted, and the grant stands.
    Kept,
    /// No such acquire waits or holds.
    Unknown,
}

/// Why a command was refused. It changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The hold has ended, or others hold the resource.
    #[error("this is not the holder: {}", match ended { Some(reason) => reason.as_str(), None => "somebody else is" })]
    NotHolder {
        /// How the hold ended, if that is still remembered.
        ended: Option<EndReason>,
    },
    /// Nothing is known of the hold.
    #[error("no such hold is known; it may have ended long ago")]
    HoldNotFound,
    /// The hold belongs to a session.
    #[error("this hold belongs to a session, whose pings keep it; only a lease can be renewed")]
    NotALease,
    /// The semaphore is in use with another limit.
    #[error("the semaphore is in use with the limit {in_use}; all who share it must name the same limit")]
    LimitMismatch {
        /// The limit in use.
        in_use: u32,
    },
    /// The request id stands for another request.
    #[error("this request id already stands for another request; choose a new one")]
    RequestIdReused,
    /// A re-entry wants more than the hold has.
    #[error("a re-entrant acquire can't ask for more than it holds; release first, then acquire what is needed")]
    ReentryTooLarge,
    /// A hold was re-entered too often.
    #[error("this hold stands for {ENTRIES_PER_HOLD_MAX} acquires already; each needs a release of its own")]
    TooManyEntries,
    /// The queue is full.
    #[error("{WAITERS_PER_RESOURCE_MAX} others wait for this already; try again later")]
    QueueFull,
    /// The session has too many holds and waiters.
    #[error(
        "this session has {HOLDS_PER_SESSION_MAX} holds and waiters already; release some, or open another session"
    )]
    SessionFull,
    /// The engine has too many holds and waiters.
    #[error("the server has {HOLDS_MAX} holds and waiters already; try again later")]
    EngineFull,
    /// It can't be told whether others hold the resource.
    #[error("{0}")]
    OutOfOrder(&'static str),
}

/// How a hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// Its holder released it.
    Released,
    /// Its deadline, or its session's timeout, has passed.
    Expired,
    /// Its session's stream ended.
    Disconnected,
    /// The store that keeps the truth was out of reach, or lost what it knew, for longer than a hold survives that.
    BackendLost,
}

impl EndReason {
    /// What happened, as the end of a sentence.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Released => "the hold was released",
            Self::Expired => "the hold's deadline has passed",
            Self::Disconnected => "the hold's connection ended",
            Self::BackendLost => "the store that keeps the truth was out of reach for too long, or lost what it knew",
        }
    }
}

/// Something that happened to others than the sender of the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A waiter holds now.
    Granted {
        /// Whom to tell; `None`: whoever waits for the lease.
        to: Option<(SessionId, u64)>,
        /// What it got.
        grant: Grant,
    },
    /// A hold has ended against its holder's will.
    Ended {
        /// Whom to tell; `None`: nobody, it was a lease.
        to: Option<SessionId>,
        /// Which.
        hold: HoldId,
        /// Of what.
        resource: ResourceKey,
        /// How.
        reason: EndReason,
    },
    /// A lease's acquire has left the queue: it was repeated on another server, and waits there now.
    Withdrawn {
        /// What the hold would have been called.
        hold: HoldId,
    },
    /// A session was resumed on another server, with all it has. Nothing of it is left on this one.
    Moved {
        /// Which.
        session: SessionId,
    },
}
