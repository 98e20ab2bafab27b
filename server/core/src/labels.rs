//! The texts that a request may carry, each within its limits.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::invalid::{Field, Invalid};
use crate::limits::{
    METADATA_KEY_MAX_BYTES, METADATA_MAX_ENTRIES, METADATA_VALUE_MAX_BYTES, OWNER_KEY_MAX_BYTES, OWNER_MAX_BYTES,
    REQUEST_ID_MAX_BYTES,
};

/// Who holds or waits, in its own words; may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Owner(Arc<str>);

/// What makes acquires of one session re-entrant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerKey(Arc<str>);

/// The caller's own name for a request for a lease.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(Arc<str>);

/// What a holder wants others to know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Metadata(Option<Arc<BTreeMap<String, String>>>);

impl Owner {
    /// Checks an owner text.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.len() > OWNER_MAX_BYTES {
            let message = format!("the owner text is too long; it can have {OWNER_MAX_BYTES} bytes");
            return Err(Invalid::new(Field::Owner, message));
        }
        if text.chars().any(char::is_control) {
            return Err(Invalid::new(Field::Owner, "the owner text has a control character"));
        }
        Ok(Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl OwnerKey {
    /// Checks a key: 1 to 128 bytes.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match text.len() {
            1..=OWNER_KEY_MAX_BYTES => Ok(Self(text.into())),
            _ => Err(Invalid::new(Field::OwnerKey, format!("an owner key has 1 to {OWNER_KEY_MAX_BYTES} bytes"))),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl RequestId {
    /// Checks a request id: 1 to 128 bytes.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match text.len() {
            1..=REQUEST_ID_MAX_BYTES => Ok(Self(text.into())),
            _ => Err(Invalid::new(Field::RequestId, format!("a request id has 1 to {REQUEST_ID_MAX_BYTES} bytes"))),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Metadata {
    /// Checks a map.
    pub fn parse(entries: BTreeMap<String, String>) -> Result<Self, Invalid> {
        let wrong = |why: String| Err(Invalid::new(Field::Metadata, why));
        if entries.len() > METADATA_MAX_ENTRIES {
            return wrong(format!("the metadata has too many entries; it can have {METADATA_MAX_ENTRIES}"));
        }
        if entries.keys().any(|key| key.is_empty() || key.len() > METADATA_KEY_MAX_BYTES) {
            return wrong(format!("a metadata key has 1 to {METADATA_KEY_MAX_BYTES} bytes"));
        }
        if entries.values().any(|value| value.len() > METADATA_VALUE_MAX_BYTES) {
            return wrong(format!("a metadata value is too long; it can have {METADATA_VALUE_MAX_BYTES} bytes"));
        }
        Ok(Self((!entries.is_empty()).then(|| Arc::new(entries))))
    }

    /// All entries, in order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|map| map.iter()).map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_has_its_limits() {
        assert!(Owner::parse("").is_ok());
        assert!(Owner::parse(&"o".repeat(255)).is_ok());
        assert!(Owner::parse(&"o".repeat(256)).is_err());
        assert!(Owner::parse("a\tb").is_err());
        assert!(OwnerKey::parse("").is_err());
        assert!(OwnerKey::parse(&"k".repeat(129)).is_err());
        assert!(RequestId::parse("").is_err());
        assert!(RequestId::parse(&"r".repeat(128)).is_ok());
        assert!(RequestId::parse(&"r".repeat(129)).is_err());
    }

    #[test]
    fn metadata_is_small() {
        let map = |count: usize, key: usize, value: usize| {
            (0..count).map(|i| (format!("{i:0key$}"), "v".repeat(value))).collect()
        };
        assert!(Metadata::parse(map(16, 64, 512)).is_ok());
        assert!(Metadata::parse(map(17, 3, 1)).is_err());
        assert!(Metadata::parse(map(1, 65, 1)).is_err());
        assert!(Metadata::parse(map(1, 1, 513)).is_err());
        assert!(Metadata::parse(BTreeMap::from([(String::new(), String::new())])).is_err());
        assert!(Metadata::parse(BTreeMap::new()).unwrap().is_empty());
    }
}
