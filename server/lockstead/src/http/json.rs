//! JSON, read strictly: no unknown key, no key twice, nothing after the end.

use std::collections::HashSet;
use std::fmt;

use lockstead_api::v1::ErrorReason;
use serde::de::{self, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::problem::{Problem, Result};
use super::reason;

/// Reads a value. An error names the field and the place; a field with a wrong value has a reason of its own.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let wrong = |detail| Problem::new(ErrorReason::InvalidBody, detail);
    let text = std::str::from_utf8(bytes)
        .map_err(|error| wrong(format!("the body is not UTF-8 from byte {} on", error.valid_up_to())))?;
    // First the text as such. What is wrong after this is wrong with a field, so its path tells the reason.
    serde_json::from_str::<WellFormed>(text)
        .map_err(|error| wrong(format!("the body is not JSON as expected: {error}")))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| wrong_field(&error))
}

/// Puts an error where it belongs: to the field at which it occurred.
pub(super) fn wrong_field<E: fmt::Display>(error: &serde_path_to_error::Error<E>) -> Problem {
    let (message, path) = (error.inner().to_string(), error.path());
    let field = match path.iter().next() {
        Some(serde_path_to_error::Segment::Map { key }) => key.as_str(),
        _ => return Problem::new(ErrorReason::InvalidBody, message),
    };
    // Of a name that the request does not have, nothing but the name is wrong.
    if message.starts_with("unknown field") || message.starts_with("duplicate field") {
        return Problem::new(ErrorReason::InvalidBody, message);
    }
    Problem::new(reason::of_field(field), format!("{path}: {message}"))
}

/// Writes a value.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| {
        tracing::error!(%error, "an answer can't be written as JSON");
        Problem::internal()
    })
}

/// Any JSON in which no object has a key twice.
struct WellFormed;

impl<'de> Deserialize<'de> for WellFormed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for WellFormed {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> std::result::Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> std::result::Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> std::result::Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> std::result::Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> std::result::Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> std::result::Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> std::result::Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> std::result::Result<Self, A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            if seen.contains(&key) {
                return Err(de::Error::custom(format_args!("the key `{key}` is there twice")));
            }
            seen.insert(key);
            entries.next_value::<Self>()?;
        }
        Ok(self)
    }
}
