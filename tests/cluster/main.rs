//! Several real servers over a real Redis, as their clients see them.

#![allow(clippy::unwrap_used, reason = "a test that fails is what it is for")]

mod cost;
mod cut_off;
mod drain;
mod killed_server;
mod redis_faults;
mod servers;
mod two_servers;
