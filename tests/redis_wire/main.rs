//! How Lockstead reaches Redis: every topology, and everything that can go wrong on the way.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod acks;
mod breaks;
mod calls;
mod cluster;
mod harness;
mod permissions;
mod reach;
mod refusals;
mod sentinel;
mod tls;
mod valkey;
