//! Client for [Lockstead](https://github.com/lockstead/lockstead), a lock service.
//!
//! ```no_run
//! use lockstead_client::Client;
//!
//! # async fn write_report(_token: u64) -> std::io::Result<()> { Ok(()) }
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let client = Client::connect("http://127.0.0.1:7420").await?;
//!
//!     let guard = client.lock("reports/daily").acquire().await?;
//!     tokio::select! {
//!         written = write_report(guard.token()) => written?,
//!         loss = guard.lost() => return Err(loss.into()),
//!     }
//!     guard.release().await?;
//!     Ok(())
//! }
//! ```
//!
//! A [`Client`] has one session, with one server at a time: a stream that carries all operations and is kept alive by one ping,
//! whatever it holds. [`Client::lock`] and [`Client::semaphore`] begin a [`Request`], and [`Request::acquire`] gives a
//! [`Guard`]. Two acquires exclude each other even if they come from one client, unless they share an
//! [owner key](Request::owner_key).
//!
//! # Losing a hold
//!
//! No lock service can keep a program from running on after its lock was given to somebody else, so a holder must know.
//! A guard computes by itself until when its hold is good, on a clock that also counts the time during which the machine
//! was suspended: [`Guard::state`] and [`Guard::ensure_held`] are right at any instant, connected or not. What was lost
//! stays lost.
//!
//! With [`OnDisconnect::Release`], the default, a broken connection frees everything at once. With
//! [`OnDisconnect::Keep`] the client attaches to its session again, and a guard is [at risk](HoldState::AtRisk) meanwhile,
//! until the session's validity has passed.
//!
//! # Several servers
//!
//! Servers that share a store share their sessions. Of [several addresses](Builder::server) the client uses one at a time,
//! beginning with a random one:
//!
//! - A server that is *about to stop* says so. The session then moves to another one over a second stream, while the first
//!   is still in use, whatever [`OnDisconnect`] says: nothing is lost or at risk, and acquires made meanwhile wait for the
//!   next server. Behind a single address that leads to many servers this works as well.
//! - A server that *dies or falls silent* is left for the next one. With [`OnDisconnect::Keep`] the holds are at risk until
//!   that one confirms them; the addresses are tried in quick succession, and only then is there a pause. With
//!   [`OnDisconnect::Release`] they are lost with the stream.
//! - A server that has looked for the session *in vain* ends it: its holds are lost, and acquires that wait go on in a new
//!   session. So servers that share nothing are no replacement for one another.
//! - A server that *can't reach its store* puts acquires off, and the client repeats them as long as their wait lasts. What
//!   it holds is good for as long as the server vouches for it, and lost then; the session and its waits go on.
//!
//! # Servers with access control
//!
//! They want to know who asks: give the client a [token](Builder::token), a [file with one](Builder::token_file) that is
//! renewed by others, or a [certificate](Builder::client_certificate). With `https://` a server proves itself by a
//! certificate of an authority that the system trusts, or of [one that you name](Builder::tls_ca).
//!
//! Whatever happens, the [fencing token](Guard::token) grows with every grant of a name. A storage that refuses smaller
//! tokens than it has seen is safe even from holders that don't look.

mod client;
mod config;
mod error;
mod guard;
mod lease;
mod list;
mod loss;
mod request;
mod resource;
mod session;
mod transport;

pub use client::Client;
pub use config::{Builder, OnDisconnect};
pub use error::{Error, NotAcquired, NotAcquiredReason, Result, Unavailable};
pub use guard::{Guard, LostFuture};
pub use lease::{Lease, LeaseRequest};
pub use list::{List, Page};
pub use lockstead_api::v1::ErrorReason;
pub use lockstead_core::{HoldId, Kind, Mode, Scope, Time};
pub use loss::{HoldState, Loss, LossReason};
pub use request::{Demand, Lock, Request, Semaphore};
pub use resource::{Holder, Resource, Waiter};

/// The time on the clock on which the validity of holds is measured. It has nothing to do with the time of day; on
/// Linux, it also runs while the machine is suspended.
pub fn now() -> Time {
    lockstead_clock::time()
}
