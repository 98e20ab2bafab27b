//! Several real servers over a real Redis, as their clients see them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod cost;
mod cut_off;
mod drain;
mod killed_server;
mod redis_faults;
mod rolling_restart;
mod servers;
mod two_servers;
