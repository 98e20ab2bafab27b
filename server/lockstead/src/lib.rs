//! The Lockstead server and command line.
//!
//! Data flows one way: a transport ([`grpc`], [`http`]) reads a request and hands it to the [`service`], which asks an
//! engine; events come back up. See ARCHITECTURE.md.

pub mod access;
mod app;
pub mod cli;
pub mod config;
pub mod engine;
#[doc(hidden)]
pub mod fuzzing;
pub mod grpc;
pub mod http;
mod listener;
mod reload;
mod room;
pub mod server;
pub mod service;
pub mod telemetry;
pub mod tls;
