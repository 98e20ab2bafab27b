//! Access control against a real server: who is let in, what each may do, and what a server that asks nobody refuses.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod certificates;
mod exposed;
mod issuer;
mod keys;
mod quotas;
mod routes;
mod rules;
mod session;
mod setup;
mod tls;
mod tokens;
