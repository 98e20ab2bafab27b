//! How Lockstead reaches Redis: every topology, and everything that can go wrong on the way.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod harness;
