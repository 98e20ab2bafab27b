//! Hashing for maps keyed by ids that are random already.

use std::hash::{BuildHasherDefault, Hasher};

/// Takes the low bits of a random id for its hash. Safe because the ids in these maps are made by the server, at random:
/// nobody outside can choose two that collide. And it keeps the machine deterministic, which the standard hasher's random
/// keys would not.
#[derive(Debug, Default)]
pub(crate) struct IdHasher(u64);

pub(crate) type IdHasherBuilder = BuildHasherDefault<IdHasher>;

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "half of a random id is random enough")]
    fn write_u128(&mut self, id: u128) {
        self.0 = id as u64;
    }
}
