//! Sessions: a client's open stream, and all it holds.
//!
//! Each session is an actor, which owns its state from its opening to its end: a part of the task of the connection that opened it,
//! as long as that lives, and else a task of its own. It reads the client's messages, the engines' events and the clock, and writes
//! replies. With `OnDisconnect::Keep` it outlives its stream, and a resume hands it a new one. If its engine outlives the server, a
//! resume on another server begins an actor there, and ends this one.

mod actor;
mod attachment;
mod holds;
mod message;
mod operations;
mod pending;
mod registry;
mod resume;
mod secret;

use std::time::Duration;

use lockstead_core::{Metadata, Owner};

pub use actor::Actor;
pub use attachment::{Inbound, Outbound, OutboundItem, attachment_channel};
pub use message::{Granted, HeldHold, Message, Opened, Reply, Resume, SessionAsk};
pub use registry::{SessionView, Sessions};
pub use secret::Secret;

/// What happens to the holds of a session whose stream breaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDisconnect {
    /// They end at once.
    #[default]
    Release,
    /// They live until the session timeout.
    Keep,
}

/// How a session is opened.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// How long it survives silence.
    pub timeout: Duration,
    /// What happens when its stream breaks.
    pub on_disconnect: OnDisconnect,
    /// Owner of its holds, unless an acquire says otherwise.
    pub owner: Owner,
    /// Metadata of its holds, unless an acquire says otherwise.
    pub metadata: Metadata,
}
