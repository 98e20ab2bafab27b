//! What a server says of itself.

use std::collections::BTreeMap;
use std::time::Duration;

use lockstead_core::{Now, duration, limits};
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::time;
use super::value::Scope;
use crate::service::Engines;

/// What there is to know of the server beside its service.
#[derive(Clone, Debug)]
pub struct Info {
    version: String,
    started: Now,
}

impl Info {
    /// Of a server of this version that starts now.
    pub fn new(version: impl Into<String>) -> Self {
        Self { version: version.into(), started: lockstead_clock::now() }
    }
}

/// About the server.
#[derive(Serialize, ToSchema)]
pub(super) struct ServerInfo {
    /// The server's version.
    #[schema(example = "0.1.0")]
    version: String,
    /// When it started, by its clock.
    #[schema(format = DateTime, example = "2026-11-21T02:17:50.123456Z")]
    started_at: String,
    /// How long ago that was.
    #[schema(example = "90s")]
    uptime: String,
    /// The scopes it offers, by name.
    scopes: BTreeMap<Scope, ScopeInfo>,
    /// How much of everything there can be.
    limits: Limits,
}

/// One scope of the server.
#[derive(Serialize, ToSchema)]
struct ScopeInfo {
    /// Where its truth is kept: `memory`, `redis` or `node`.
    #[schema(example = "memory")]
    engine: &'static str,
    /// In what this engine differs from others.
    capabilities: Capabilities,
}

/// In what engines differ.
#[derive(Serialize, ToSchema)]
struct Capabilities {
    /// Holds outlive the server that granted them, so that its clients can move to another one.
    #[schema(example = false)]
    outlives_server: bool,
}

/// How much of everything there can be.
#[derive(Serialize, ToSchema)]
struct Limits {
    #[schema(example = 255)]
    name_max_bytes: usize,
    #[schema(example = 255)]
    owner_max_bytes: usize,
    #[schema(example = 128)]
    request_id_max_bytes: usize,
    #[schema(example = 16)]
    metadata_max_entries: usize,
    #[schema(example = 64)]
    metadata_key_max_bytes: usize,
    #[schema(example = 512)]
    metadata_value_max_bytes: usize,
    #[schema(example = 65_536)]
    body_max_bytes: usize,
    #[schema(example = 1_000_000)]
    semaphore_limit_max: u32,
    #[schema(example = "100ms")]
    ttl_min: String,
    #[schema(example = "1d")]
    ttl_max: String,
    #[schema(example = "30s")]
    ttl_default: String,
    #[schema(example = "365d")]
    wait_max: String,
    #[schema(example = 200_000)]
    waiters_per_resource_max: usize,
    #[schema(example = 4_000_000)]
    holds_max: usize,
    #[schema(example = 100_000)]
    sessions_max: usize,
    #[schema(example = 100)]
    page_size_default: usize,
    #[schema(example = 1000)]
    page_size_max: usize,
}

impl ServerInfo {
    pub(super) fn new(info: &Info, engines: &Engines) -> Self {
        let uptime = lockstead_clock::time().since(info.started.time);
        let scopes = engines.iter().map(|(scope, engine)| {
            let capabilities = Capabilities { outlives_server: engine.capabilities().outlives_server };
            (scope.into(), ScopeInfo { engine: engine.name(), capabilities })
        });
        Self {
            version: info.version.clone(),
            started_at: time(info.started.wall),
            uptime: duration::format(Duration::from_secs(uptime.as_secs())),
            scopes: scopes.collect(),
            limits: Limits::of_this_server(),
        }
    }
}

impl Limits {
    fn of_this_server() -> Self {
        Self {
            name_max_bytes: limits::NAME_MAX_BYTES,
            owner_max_bytes: limits::OWNER_MAX_BYTES,
            request_id_max_bytes: limits::REQUEST_ID_MAX_BYTES,
            metadata_max_entries: limits::METADATA_MAX_ENTRIES,
            metadata_key_max_bytes: limits::METADATA_KEY_MAX_BYTES,
            metadata_value_max_bytes: limits::METADATA_VALUE_MAX_BYTES,
            body_max_bytes: limits::HTTP_BODY_MAX_BYTES,
            semaphore_limit_max: limits::SEMAPHORE_LIMIT_MAX,
            ttl_min: duration::format(limits::TTL_MIN),
            ttl_max: duration::format(limits::TTL_MAX),
            ttl_default: duration::format(limits::TTL_DEFAULT),
            wait_max: duration::format(limits::WAIT_MAX),
            waiters_per_resource_max: limits::WAITERS_PER_RESOURCE_MAX,
            holds_max: limits::HOLDS_MAX,
            sessions_max: limits::SESSIONS_MAX,
            page_size_default: limits::PAGE_SIZE_DEFAULT,
            page_size_max: limits::PAGE_SIZE_MAX,
        }
    }
}
