//! End to end: a real server, real clients, real kills.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on has failed")]

mod bad_input;
mod broken_output;
mod command_line;
mod curl_hold;
mod fifo;
mod guarantees;
mod idle_connections;
mod killed_client;
mod lists;
mod logged;
mod many_servers;
mod metrics;
mod protocols;
mod readme;
mod requests;
mod serve;
mod sessions;
mod silent_client;
mod traces;
mod vanished_waiter;
