//! What a request can have wrong with it.

use std::fmt;

/// The part of a request that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the field it names")]
pub enum Field {
    Name,
    Kind,
    Mode,
    Scope,
    Permits,
    Limit,
    Ttl,
    Wait,
    Owner,
    OwnerKey,
    Metadata,
    RequestId,
    HoldId,
    SessionTimeout,
    OnDisconnect,
    PageToken,
}

/// A request that can't be carried out as it stands. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Which part of it.
    pub field: Field,
    /// What is wrong with it, as a sentence for a person.
    pub message: String,
}

impl Invalid {
    /// `field` is wrong as `message` says.
    pub fn new(field: Field, message: impl Into<String>) -> Self {
        Self { field, message: message.into() }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Invalid {}
