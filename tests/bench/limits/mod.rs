//! What no lock service on the same machine, transport and store can be faster than.

pub(crate) mod echo;
pub(crate) mod flock;
pub(crate) mod publish;
pub(crate) mod scripts;
mod scripts_wire;
