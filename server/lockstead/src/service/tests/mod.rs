//! The service over an engine whose answers come when the test lets them, or not at all.

mod callers;
mod client;
mod promises;
mod resumes;
mod sessions;
mod slow_engine;
