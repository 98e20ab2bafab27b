//! The values that requests carry, checked as they are read. Their schemas say the same in the document.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use lockstead_core::{HoldId, Metadata, Owner, RequestId, Wait, bounds, duration, limits};
use serde::de::{Deserializer, Error, Unexpected, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    /// By one holder, alone.
    Exclusive,
    /// Beside other shared holders.
    Shared,
}

/// Who shares the resource: all servers of the cluster, or this machine only. The same name in two scopes is two
/// resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Scope {
    /// All servers of the cluster.
    Cluster,
    /// This machine: the kernel's file locks.
    Node,
}

/// A value that is written as text.
pub(super) trait Text: Sized {
    /// What the document calls it.
    const NAME: &'static str;
    /// What it is, to follow "expected".
    const EXPECTED: &'static str;

    /// Reads it. The error is a sentence.
    fn parse(text: &str) -> Result<Self, String>;

    /// What the document says of it.
    fn schema() -> ObjectBuilder;
}

/// A text that was read as a `T`.
pub(super) struct Checked<T>(pub(super) T);

/// How long a lease is good without renewal.
#[derive(Clone, Copy)]
pub(super) struct Ttl(pub(super) Duration);

/// See [`Owner`].
pub(super) type OwnerText = Checked<Owner>;
/// See [`RequestId`].
pub(super) type RequestIdText = Checked<RequestId>;
/// See [`HoldId`].
pub(super) type HoldIdText = Checked<HoldId>;
/// See [`Wait`].
pub(super) type WaitText = Checked<Wait>;
/// See [`Ttl`].
pub(super) type TtlText = Checked<Ttl>;

impl Text for Ttl {
    const NAME: &'static str = "Ttl";
    const EXPECTED: &'static str = "a duration such as \"30s\"";

    fn parse(text: &str) -> Result<Self, String> {
        let ttl = duration::parse(text)?;
        bounds::ttl(ttl).map(Self).map_err(|invalid| invalid.message)
    }

    fn schema() -> ObjectBuilder {
        ObjectBuilder::new()
            .description(Some(
                "How long a lease is good without renewal: 100ms to 24h. A number with a unit: ms, s, m, h or d.",
            ))
            .pattern(Some(DURATION_PATTERN))
            .examples([json!("30s"), json!("500ms")])
    }
}

impl Text for Wait {
    const NAME: &'static str = "Wait";
    const EXPECTED: &'static str = "a duration such as \"5s\", or \"forever\"";

    fn parse(text: &str) -> Result<Self, String> {
        if text == "forever" {
            return Ok(Self::Forever);
        }
        let wait = duration::parse(text).map_err(|message| format!("{message}; or forever"))?;
        Self::up_to(wait).map_err(|invalid| invalid.message)
    }

    fn schema() -> ObjectBuilder {
        ObjectBuilder::new()
            .description(Some(
                "How long to wait: up to 365d, or `forever`. 0s is to try once. A number with a unit: ms, s, m, h or d.",
            ))
            .pattern(Some(format!("{DURATION_PATTERN}|^forever$")))
            .examples([json!("5s"), json!("forever")])
    }
}

impl Text for Owner {
    const NAME: &'static str = "Owner";
    const EXPECTED: &'static str = "a text";

    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|invalid| invalid.message)
    }

    fn schema() -> ObjectBuilder {
        ObjectBuilder::new()
            .description(Some("Who asks, for people to read: up to 255 bytes without control characters."))
            .max_length(Some(limits::OWNER_MAX_BYTES))
            .pattern(Some(NO_CONTROLS_PATTERN))
            .examples([json!("worker-7")])
    }
}

impl Text for RequestId {
    const NAME: &'static str = "RequestId";
    const EXPECTED: &'static str = "a text";

    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|invalid| invalid.message)
    }

    fn schema() -> ObjectBuilder {
        ObjectBuilder::new()
            .description(Some(
                "The caller's own name for the request, up to 128 bytes, best a UUID. Repeating the request with the \
                 same id gives the same hold, so one whose answer was lost can be repeated safely. Over Redis each name \
                 has its own acquire: the same id for another name is sure to be noticed only by the server that granted \
                 or last renewed the lease, while it lasts.",
            ))
            .min_length(Some(1))
            .max_length(Some(limits::REQUEST_ID_MAX_BYTES))
            .examples([json!("0197a1d2-6e0f-7c51-9f39-0f6a3f1f8d5e")])
    }
}

impl Text for HoldId {
    const NAME: &'static str = "HoldId";
    const EXPECTED: &'static str = "a text";

    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|invalid| invalid.message)
    }

    fn schema() -> ObjectBuilder {
        ObjectBuilder::new()
            .description(Some(
                "Names one grant. A secret of its holder: whoever knows it can release the hold. 32 hexadecimal digits.",
            ))
            .pattern(Some("^[0-9a-fA-F]{32}$"))
            .examples([json!("5f0c8a1b9e7d4c3fa26b10d98e4f7c52")])
    }
}

const NO_CONTROLS_PATTERN: &str = r"^[^\u0000-\u001F\u007F-\u009F]*$";
const DURATION_PATTERN: &str = r"^[0-9]{1,17}(\.[0-9]{1,3})?(ms|s|m|h|d)$";

impl<T: Text> PartialSchema for Checked<T> {
    fn schema() -> RefOr<Schema> {
        T::schema().schema_type(SchemaType::Type(Type::String)).into()
    }
}

impl<T: Text> ToSchema for Checked<T> {
    fn name() -> Cow<'static, str> {
        T::NAME.into()
    }
}

impl<'de, T: Text> Deserialize<'de> for Checked<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor(PhantomData)).map(Self)
    }
}

struct TextVisitor<T>(PhantomData<T>);

impl<T: Text> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::parse(text).map_err(E::custom)
    }
}

/// See [`Metadata`].
pub(super) struct MetadataMap(pub(super) Metadata);

impl<'de> Deserialize<'de> for MetadataMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = BTreeMap::<String, String>::deserialize(deserializer)?;
        Metadata::parse(entries).map(Self).map_err(D::Error::custom)
    }
}

impl PartialSchema for MetadataMap {
    fn schema() -> RefOr<Schema> {
        let text = |max| ObjectBuilder::new().schema_type(SchemaType::Type(Type::String)).max_length(Some(max));
        ObjectBuilder::new()
            .description(Some(
                "For people and programs to read, such as a leader's address: up to 16 entries, keys of 1 to 64 bytes, \
                 values up to 512.",
            ))
            .property_names(Some(text(limits::METADATA_KEY_MAX_BYTES).min_length(Some(1)).build()))
            .additional_properties(Some(text(limits::METADATA_VALUE_MAX_BYTES)))
            .max_properties(Some(limits::METADATA_MAX_ENTRIES))
            .examples([json!({"address": "10.0.0.7:8080"})])
            .into()
    }
}

impl ToSchema for MetadataMap {
    fn name() -> Cow<'static, str> {
        "Metadata".into()
    }
}

/// A number of things. One that is too large for it is read as the largest: what is too many is for others to say.
#[derive(Clone, Copy)]
pub(super) struct Count(pub(super) u32);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u64(CountVisitor).map(Self)
    }
}

impl PartialSchema for Count {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(SchemaType::Type(Type::Integer)).minimum(Some(0)).into()
    }
}

impl ToSchema for Count {}

struct CountVisitor;

impl Visitor<'_> for CountVisitor {
    type Value = u32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<u32, E> {
        Ok(u32::try_from(number).unwrap_or(u32::MAX))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<u32, E> {
        Err(E::invalid_value(Unexpected::Signed(number), &self))
    }

    /// `4.0` is a whole number, to JSON and to what writes it.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "what is too large becomes the largest"
    )]
    fn visit_f64<E: Error>(self, number: f64) -> Result<u32, E> {
        if number < 0.0 || number.fract() != 0.0 {
            return Err(E::invalid_value(Unexpected::Float(number), &self));
        }
        Ok(number as u32)
    }
}

impl From<Mode> for lockstead_core::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Exclusive => Self::Exclusive,
            Mode::Shared => Self::Shared,
        }
    }
}

impl From<lockstead_core::Mode> for Mode {
    fn from(mode: lockstead_core::Mode) -> Self {
        match mode {
            lockstead_core::Mode::Exclusive => Self::Exclusive,
            lockstead_core::Mode::Shared => Self::Shared,
        }
    }
}

impl From<Scope> for lockstead_core::Scope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Cluster => Self::Cluster,
            Scope::Node => Self::Node,
        }
    }
}

impl From<lockstead_core::Scope> for Scope {
    fn from(scope: lockstead_core::Scope) -> Self {
        match scope {
            lockstead_core::Scope::Cluster => Self::Cluster,
            lockstead_core::Scope::Node => Self::Node,
        }
    }
}
