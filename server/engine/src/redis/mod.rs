//! The Redis engine: the truth is in Redis, and many servers share it.

pub mod wire;
