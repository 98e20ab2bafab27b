//! The rules as scripts: one command and all it does per line; see [`script::run`] for how to read them.

mod acquire;
mod gate;
mod query;
mod release;
mod renew;
mod script;
mod session;
mod tokens;
