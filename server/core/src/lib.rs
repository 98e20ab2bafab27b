//! Lockstead's rules, and nothing else: locks and semaphores as one primitive, their queues, leases, sessions, fencing
//! tokens and request ids, as a state machine.
//!
//! [`Machine::apply`] takes a command and the time, and returns an outcome and events. It does no I/O, reads no clock and
//! draws no random number (this crate depends on nothing that could), so the same commands at the same times always give
//! the same outcomes.
//!
//! A resource has a limit of permits, holders that have some of them, and a queue. An exclusive lock takes all permits of
//! its resource, a shared lock takes one, a semaphore acquire takes what it asks for. There is one rule for grants: *the
//! head of the queue is granted as soon as its permits are free, and nobody else is granted before it* (but for a
//! re-entry, which takes nothing). Where others than the machine's own clients use what a resource stands for, a [`Gate`]
//! has the last word on each grant.

pub mod bounds;
mod command;
pub mod duration;
mod ended;
mod gate;
mod id_map;
mod ids;
mod invalid;
mod labels;
pub mod limits;
mod machine;
mod name;
mod parties;
mod queue_lengths;
mod resource;
mod time;
mod view;

pub use bounds::Wait;
pub use command::{
    Acquire, AcquireRef, Acquired, Cancel, Cancelled, EndReason, EndSession, Event, Expire, Get, Grant, IfGranted,
    Knock, Lease, List, Lose, Party, Refusal, Release, Released, Releaser, Renew, ResumeSession,
};
pub use gate::{Closed, Entrant, Gate, Open};
pub use ids::{HoldId, SessionId};
pub use invalid::{Field, Invalid};
pub use labels::{Metadata, Owner, OwnerKey, RequestId};
pub use machine::{Applied, Census, Command, Machine};
pub use name::Name;
pub use resource::{Claim, Kind, Mode, Permits, ResourceKey, Scope, Token};
pub use time::{Now, Time, WallTime};
pub use view::{HolderView, ResourceView, WaiterView};
