//! Several servers over one engine that they share: sessions that move, and servers that drain.
//!
//! The engine is a stand-in, one memory engine under all servers of a test: these tests are about what is above it.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on has failed")]

mod drains;
mod engine;
mod moves;
mod readiness;
mod servers;
mod talk;
