//! Tests of the routes, over a real engine.

mod calls;
mod connection;
mod document;
mod edges;
mod harness;
mod holds;
mod lists;
mod wrong_input;
