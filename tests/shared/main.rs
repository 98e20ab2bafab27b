//! Several servers over one engine that they share: sessions that move, and servers that drain.
//!
//! Mostly the engine is a stand-in, one memory engine under all servers of a test: these tests are about what is above it.
//! Those in `redis` are about the whole: real servers over a real Redis.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on has failed")]

mod drains;
mod engine;
mod moves;
mod readiness;
mod redis;
mod servers;
mod talk;
