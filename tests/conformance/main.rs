//! One suite for every engine: what the `# Behavior` lists of [`lockstead_engine::Engine`] promise.
//!
//! An engine joins with one line, `conformance!(name, fixture)`. Scenarios speak to `dyn Engine` only, and await events
//! instead of sleeping, so that they suit engines whose events come before the answer as well as after it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod memory;
mod node;
mod redis;
mod suite;

use lockstead_tests::{events, fixture};
use suite::conformance;

conformance!(memory_engine, crate::memory::fixture);
conformance!(node_engine, crate::node::fixture);
conformance!(redis_engine, crate::redis::fixture);
conformance!(redis_engine_that_repeats_itself, crate::redis::fixture_that_repeats_itself);
conformance!(redis_cluster_engine, crate::redis::fixture_on_a_cluster);
