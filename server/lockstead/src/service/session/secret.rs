//! Resume secrets: what proves that a session is its client's, to every server of the same engine.

use hmac::{Hmac, KeyInit, Mac};
use lockstead_core::SessionId;
use lockstead_engine::SharedKey;
use sha2::Sha256;

/// Half of the signature, which is as hard to guess as a hold id.
const SECRET_BYTES: usize = 16;
/// Keeps these signatures apart from whatever else may be signed with the same key.
const PURPOSE: &[u8] = b"lockstead session ";

/// The signature of a session's id under the key that all servers of an engine share. Its `Debug` shows nothing of it.
#[derive(Clone, Copy)]
pub struct Secret([u8; SECRET_BYTES]);

impl Secret {
    /// That of a session, good for this principal only.
    pub(super) fn sign(session: SessionId, principal: Option<&str>, key: &SharedKey) -> Self {
        let signature = mac(session, principal, key).finalize().into_bytes();
        Self(std::array::from_fn(|at| signature[at]))
    }

    /// Whether it is that of this session and principal, found out in constant time.
    pub(super) fn proves(self, session: SessionId, principal: Option<&str>, key: &SharedKey) -> bool {
        mac(session, principal, key).verify_truncated_left(&self.0).is_ok()
    }

    /// Reads what [`Secret::reveal`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 2 * SECRET_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = digits.then(|| u128::from_str_radix(text, 16).ok())??;
        Some(Self(number.to_be_bytes()))
    }

    /// As the client gets to see it.
    pub fn reveal(self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }
}

fn mac(session: SessionId, principal: Option<&str>, key: &SharedKey) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "it takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("a key for HMAC");
    mac.update(PURPOSE);
    mac.update(session.to_string().as_bytes());
    if let Some(principal) = principal {
        mac.update(b" ");
        mac.update(principal.as_bytes());
    }
    mac
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_proves_its_session_under_its_key_and_nothing_else() {
        let (session, key) = (SessionId::from_bits(7), SharedKey::from_bytes([1; 32]));
        let secret = Secret::sign(session, None, &key);
        assert!(Secret::parse(&secret.reveal()).unwrap().proves(session, None, &key));
        assert!(!secret.proves(SessionId::from_bits(8), None, &key));
        assert!(!secret.proves(session, None, &SharedKey::from_bytes([2; 32])));
        let of_ci = Secret::sign(session, Some("ci"), &key);
        assert!(of_ci.proves(session, Some("ci"), &key) && !of_ci.proves(session, Some("cd"), &key));
        assert!(!of_ci.proves(session, None, &key) && !secret.proves(session, Some("ci"), &key));
        for at in 0..SECRET_BYTES {
            let mut other = secret;
            other.0[at] ^= 1;
            assert!(!other.proves(session, None, &key), "byte {at}");
        }
    }

    /// Servers of different versions share sessions, so it must not change.
    #[test]
    fn a_secret_is_the_same_in_every_version() {
        let secret = Secret::sign(SessionId::from_bits(7), None, &SharedKey::from_bytes([1; 32]));
        assert_eq!(secret.reveal(), "2452575a1b3bb9e0ae167d3be05adba9");
    }

    #[test]
    fn what_is_no_secret_is_not_read() {
        for text in ["", "7", &"g".repeat(32), &"0".repeat(31), &"0".repeat(33), &"é".repeat(16)] {
            assert!(Secret::parse(text).is_none(), "{text:?}");
        }
    }
}
