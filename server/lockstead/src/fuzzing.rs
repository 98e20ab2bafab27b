//! Parsers that are nobody else's business, for the targets in `fuzz/`. Each reads what it is given and throws the outcome
//! away; that it comes to one is all that matters.

pub use crate::access::fuzzing::read_access;
pub use crate::config::fuzzing::read_config;
pub use crate::grpc::fuzzing::read_messages;
pub use crate::http::fuzzing::read_bodies;
