//! Static tokens. The file has their digests only, so whoever reads it has no token yet.

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::policy::Principal;
use crate::service::random;

/// SHA-256 of a token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Digest([u8; 32]);

/// A token of the file.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) digest: Digest,
    pub(super) principal: Principal,
    /// From when on it is not good any more.
    pub(super) expires: Option<jiff::Timestamp>,
}

/// A new token. Its `Debug` does not show it.
pub struct Token(String);

impl Token {
    /// One that nobody can guess: 256 bits.
    pub fn generate() -> Self {
        Self(format!("lockstead_{:032x}{:032x}", random::bits(), random::bits()))
    }

    /// The token itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What the access file is to say, as `sha256`.
    pub fn digest(&self) -> String {
        Digest::of(&self.0).to_hex()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Digest {
    pub(super) fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// Reads 64 hexadecimal digits.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let (first, second) = text.split_at(32);
        let half = |digits| u128::from_str_radix(digits, 16).ok().map(u128::to_be_bytes);
        let bytes = [half(first)?, half(second)?].concat();
        bytes.try_into().ok().map(Self)
    }

    fn to_hex(self) -> String {
        let (first, second) = self.0.split_at(16);
        let half = |bytes: &[u8]| bytes.iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
        format!("{:032x}{:032x}", half(first), half(second))
    }
}

/// Even a digest helps somebody who tries to guess what it is of.
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest")
    }
}

/// Finds the entry of a token. The time it takes tells nothing of where, or how nearly, one was found.
pub(super) fn find<'a>(entries: &'a [Entry], digest: &Digest) -> Option<&'a Entry> {
    let (mut found, mut at) = (Choice::from(0), 0_u32);
    for (index, entry) in (0..).zip(entries) {
        let same = entry.digest.0.ct_eq(&digest.0);
        at.conditional_assign(&index, same);
        found |= same;
    }
    bool::from(found).then(|| entries.get(at as usize)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(token: &str) -> Entry {
        let principal = Principal { name: format!("owner of {token}"), groups: Vec::new() };
        Entry { digest: Digest::of(token), principal, expires: None }
    }

    #[test]
    fn a_token_is_found_by_its_digest() {
        let entries: Vec<_> = ["a", "b", "c"].map(entry).to_vec();
        for token in ["a", "b", "c"] {
            let found = find(&entries, &Digest::of(token)).unwrap();
            assert_eq!(found.principal.name, format!("owner of {token}"));
        }
        assert!(find(&entries, &Digest::of("d")).is_none());
        assert!(find(&[], &Digest::of("a")).is_none());
    }

    #[test]
    fn a_new_token_has_the_digest_that_the_file_wants() {
        let token = Token::generate();
        assert_eq!(Digest::parse(&token.digest()), Some(Digest::of(token.reveal())));
        assert_ne!(token.reveal(), Token::generate().reveal());
        assert!(!format!("{token:?}").contains(token.reveal()));
        // printf abc | sha256sum
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::parse(known), Some(Digest::of("abc")));
        for wrong in ["", "abc", &known[1..], &format!("{known}0"), &known.replace('b', "g"), &"é".repeat(32)] {
            assert_eq!(Digest::parse(wrong), None, "{wrong}");
        }
    }
}
