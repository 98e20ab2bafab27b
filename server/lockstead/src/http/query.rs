//! Queries, read strictly: no unknown parameter, none twice, nothing that is not UTF-8. An empty parameter is one that is
//! not there, so that a script can write `?scope=$SCOPE`.

use std::borrow::Cow;
use std::num::IntErrorKind;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use lockstead_api::v1::ErrorReason;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::value::{Error, MapDeserializer};
use serde::de::{DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::json;
use super::problem::{Problem, Result};

/// The query of a request as a `T`.
pub(super) struct Params<T>(pub(super) T);

/// The query of a request that takes no parameters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoParams {}

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        decode(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

pub(super) fn decode<T: DeserializeOwned>(query: &str) -> Result<T> {
    if percent_decode_str(query).decode_utf8().is_err() {
        return Err(Problem::new(ErrorReason::InvalidBody, "the query is not UTF-8"));
    }
    let pairs = form_urlencoded::parse(query.as_bytes()).map(|(name, value)| (name, Value(value)));
    serde_path_to_error::deserialize(MapDeserializer::new(pairs)).map_err(|error| json::wrong_field(&error).in_query())
}

/// The value of a parameter: a text, from which a number can be read.
struct Value<'a>(Cow<'a, str>);

impl IntoDeserializer<'_, Error> for Value<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Value<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> std::result::Result<V::Value, Error> {
        visitor.visit_str(&self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> std::result::Result<V::Value, Error> {
        if self.0.is_empty() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> std::result::Result<V::Value, Error> {
        match self.0.parse::<u64>() {
            Ok(number) => visitor.visit_u64(number),
            Err(error) if *error.kind() == IntErrorKind::PosOverflow => visitor.visit_u64(u64::MAX),
            Err(_) => visitor.visit_str(&self.0),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> std::result::Result<V::Value, Error> {
        visitor.visit_enum(self.0.into_deserializer())
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}
