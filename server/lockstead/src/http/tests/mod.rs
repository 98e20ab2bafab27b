//! Tests of the routes, over a real engine.

mod document;
mod harness;
