//! Random 128-bit ids. They are made outside and come in as arguments: this crate knows no randomness.

use std::fmt;

use crate::invalid::{Field, Invalid};

/// Names one grant. A secret of its holder, so its `Debug` shows nothing of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HoldId(u128);

/// Names a session. Shown in lists and logs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u128);

impl HoldId {
    /// From 128 random bits.
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// The bits it was made from.
    pub const fn bits(self) -> u128 {
        self.0
    }

    /// The id as its holder gets to see it: 32 hexadecimal digits.
    pub fn reveal(self) -> String {
        format!("{:032x}", self.0)
    }

    /// Reads what [`HoldId::reveal`] wrote.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let wrong = || {
            Invalid::new(
                Field::HoldId,
                "the hold id is not one: it has 32 hexadecimal digits, as acquire returned them",
            )
        };
        parse_hex(text).map(Self).ok_or_else(wrong)
    }
}

impl SessionId {
    /// From 128 random bits.
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// The bits it was made from.
    pub const fn bits(self) -> u128 {
        self.0
    }

    /// Reads 32 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        parse_hex(text).map(Self)
    }
}

impl fmt::Debug for HoldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HoldId(secret)")
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

/// In two halves, since what processors do at once is half of it; there is one id in every release.
fn parse_hex(text: &str) -> Option<u128> {
    let half = |digits: &[u8]| {
        let digit = |digit: &u8| char::from(*digit).to_digit(16).map(u64::from);
        digits.iter().try_fold(0_u64, |bits, next| Some(bits << 4 | digit(next)?))
    };
    let (high, low) = text.as_bytes().split_at_checked(16).filter(|_| text.len() == 32)?;
    Some(u128::from(half(high)?) << 64 | u128::from(half(low)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_id_survives_the_round_trip_and_stays_secret() {
        let id = HoldId::from_bits(0x00ab_cdef);
        for bits in [id.bits(), 0, u128::MAX, 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210] {
            assert_eq!(HoldId::parse(&HoldId::from_bits(bits).reveal()).unwrap().bits(), bits);
        }
        assert!(!format!("{id:?}").contains("abcdef"));
        for bad in ["", "abc", "+0000000000000000000000000abcdef", &"g".repeat(32), &"0".repeat(33)] {
            assert!(HoldId::parse(bad).is_err(), "{bad:?}");
        }
    }
}
