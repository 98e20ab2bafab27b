//! What a client says on its session, and what it is told; checked and free of any transport.

use std::time::Duration;

use lockstead_api::v1::LossReason;
use lockstead_core::{Grant, HoldId, Invalid, OwnerKey, ResourceKey, Scope, SessionId, Token};

use super::SessionOptions;
use super::secret::Secret;
use crate::service::error::Error;
use crate::service::request::{Ask, NotAcquired};

/// From the client, once the session is open.
#[derive(Clone, Debug)]
pub enum Message {
    /// Keeps the session alive.
    Ping {
        /// Given back in the pong.
        sequence: u64,
    },
    /// Answers the server's ping.
    Pong,
    /// Asks for a hold.
    Acquire(SessionAsk),
    /// Gives a hold back.
    Release {
        /// The client's number for this operation.
        request: u64,
        /// Which.
        hold: HoldId,
    },
    /// Takes an acquire back.
    Cancel {
        /// The client's number for the acquire.
        request: u64,
    },
    /// Ends the session.
    Close,
    /// An operation that is wrong in itself.
    Invalid {
        /// The client's number for it.
        request: u64,
        /// What is wrong.
        invalid: Invalid,
    },
}

/// An acquire of a session.
#[derive(Clone, Debug)]
pub struct SessionAsk {
    /// The client's number for it.
    pub request: u64,
    /// What is asked. An empty owner or metadata means the session's.
    pub ask: Ask,
    /// Makes it re-entrant.
    pub owner_key: Option<OwnerKey>,
}

/// To the client.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The session is open.
    Opened(Box<Opened>),
    /// The session goes on.
    Resumed {
        /// From when the resume was sent.
        valid_for: Duration,
        /// Claimed holds that are gone, and why.
        lost: Vec<(HeldHold, LossReason)>,
    },
    /// Answers a ping.
    Pong {
        /// From the ping.
        sequence: u64,
        /// From when the ping was sent.
        valid_for: Duration,
    },
    /// Asks for a sign of life.
    Ping {
        /// To be given back.
        sequence: u64,
    },
    /// An acquire waits.
    Queued {
        /// Which.
        request: u64,
        /// 1 is next.
        position: usize,
    },
    /// An acquire holds.
    Acquired {
        /// Which.
        request: u64,
        /// What it got.
        granted: Granted,
    },
    /// An acquire got nothing.
    NotAcquired {
        /// Which.
        request: u64,
        /// Why.
        why: NotAcquired,
    },
    /// A release is done.
    Released {
        /// Which.
        request: u64,
        /// How many acquires the hold still stands for.
        entries: u32,
    },
    /// An operation was in error.
    Failed {
        /// Which.
        request: u64,
        /// Why.
        error: Box<Error>,
    },
    /// A hold is gone.
    Lost {
        /// Which, and of what.
        held: Box<HeldHold>,
        /// Why.
        reason: LossReason,
    },
    /// The server is about to stop, and the session can move to another one.
    Draining {
        /// How long the server waits for that.
        within: Duration,
    },
    /// The session is over.
    Ended {
        /// What became of its holds.
        reason: LossReason,
        /// In a sentence.
        message: &'static str,
    },
}

/// What a client must know of a hold of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Names it.
    pub hold: HoldId,
    /// Greater than that of every grant before.
    pub token: Token,
    /// How many acquires it stands for.
    pub entries: u32,
}

impl From<Grant> for Granted {
    fn from(Grant { hold, token, entries, .. }: Grant) -> Self {
        Self { hold, token, entries }
    }
}

/// What a client must know of its new session.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Names it.
    pub session: SessionId,
    /// Proves that it is the client's.
    pub resume_secret: Secret,
    /// In force.
    pub timeout: Duration,
    /// From when the open was sent.
    pub valid_for: Duration,
}

/// A client's wish to go on with its session on a new stream.
#[derive(Clone, Debug)]
pub struct Resume {
    /// Which session.
    pub session: SessionId,
    /// Proves that it is the client's.
    pub resume_secret: Secret,
    /// Of two attaches, the higher one wins.
    pub attempt: u32,
    /// What the client holds.
    pub holds: Vec<(HeldHold, u32)>,
    /// The acquires that it will repeat.
    pub pending: Vec<u64>,
    /// How it was opened, for a server that does not know it.
    pub options: Option<SessionOptions>,
}

/// A hold, and what it is of.
#[derive(Clone, Debug)]
pub struct HeldHold {
    /// Which.
    pub hold: HoldId,
    /// Who shares the resource.
    pub scope: Scope,
    /// Of what.
    pub resource: ResourceKey,
}
