//! The Redis engine, several on one Redis: what one of them alone can't show, and what it does when Redis fails.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod acks;
mod across;
mod agreement;
mod away;
mod crowd;
mod cut;
mod damaged;
mod gone;
mod leases;
mod lost_data;
mod many;
mod moves;
mod races;
