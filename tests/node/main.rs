//! The node scope, beside programs that know nothing of Lockstead: real ones, on the same files.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on has failed")]

mod bad_files;
mod crash;
mod directory;
mod docs;
mod fixture;
mod foreign;
mod notes;
mod pool;
mod programs;
mod two_servers;
mod waiting;
