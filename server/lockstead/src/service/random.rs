//! Random bits for ids and secrets.

use std::cell::RefCell;

use lockstead_engine::SharedKey;

/// How many ids are drawn from the operating system at a time; a system call for each would be a tenth of what an
/// acquire costs.
const POOL_IDS: usize = 64;
const ID_BYTES: usize = 16;

struct Pool {
    bytes: [u8; POOL_IDS * ID_BYTES],
    used: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; POOL_IDS * ID_BYTES], used: POOL_IDS * ID_BYTES }) };
}

/// 128 bits that nobody can guess, from the operating system's generator.
///
/// # Panics
/// If the operating system has no randomness to give, without which no secret would be one.
pub fn bits() -> u128 {
    POOL.with_borrow_mut(|pool| {
        if pool.used == pool.bytes.len() {
            #[expect(clippy::expect_used, reason = "there is no safe way to go on")]
            getrandom::fill(&mut pool.bytes).expect("the operating system gives random bytes");
            pool.used = 0;
        }
        let mut id = [0; ID_BYTES];
        let taken = &mut pool.bytes[pool.used..pool.used + ID_BYTES];
        id.copy_from_slice(taken);
        // What was handed out is a secret of somebody else.
        taken.fill(0);
        pool.used += ID_BYTES;
        u128::from_le_bytes(id)
    })
}

/// A key for a server that shares it with nobody.
pub fn key() -> SharedKey {
    let mut bytes = [0; 32];
    for half in bytes.chunks_exact_mut(ID_BYTES) {
        half.copy_from_slice(&self::bits().to_le_bytes());
    }
    SharedKey::from_bytes(bytes)
}

/// A name for this server among those that share an engine.
pub fn server_name() -> u64 {
    u64::try_from(bits() >> 64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn no_two_are_alike() {
        let drawn: HashSet<u128> = (0..10_000).map(|_| super::bits()).collect();
        assert_eq!(drawn.len(), 10_000);
    }
}
