//! What grows: sessions, holds, queues.

pub(crate) mod engine;
pub(crate) mod sessions;
