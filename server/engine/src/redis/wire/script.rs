//! Scripts, by which everything is decided.

/// A Lua script that Redis knows by its hash.
#[derive(Debug)]
pub struct Script {
    pub(super) source: String,
    pub(super) sha1: String,
    pub(super) writes: bool,
}

impl Script {
    /// `writes`: what it answers counts only once as many replicas have it as `--redis-min-acks` asks for.
    pub fn new(source: impl Into<String>, writes: bool) -> Self {
        let source = source.into();
        let sha1 = redis::Script::new(&source).get_hash().to_owned();
        Self { source, sha1, writes }
    }
}
