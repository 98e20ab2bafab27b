//! Settings of the engine that keeps the truth in Redis.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use lockstead_core::duration;
use lockstead_engine::RedisTarget;
use serde::Deserialize;

use super::ConfigError;

const SERVER_LEASE_DEFAULT: Duration = Duration::from_secs(10);
const SERVER_LEASES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(300);

/// Where Redis is, and how far it is trusted.
#[derive(Clone, Debug)]
pub struct Redis {
    /// Its addresses, and who may sign its certificates.
    pub target: RedisTarget,
    /// How many replicas must have a grant before it counts.
    pub min_acks: u32,
    /// How long a server's holds outlive its last word.
    pub server_lease: Duration,
}

/// Addresses as they were given, which may hold passwords. Its `Debug` shows nothing of them.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct RedisUrls(String);

impl From<String> for RedisUrls {
    fn from(urls: String) -> Self {
        Self(urls)
    }
}

impl std::fmt::Debug for RedisUrls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RedisUrls(secret)")
    }
}

/// What was said about Redis, wherever it was said.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) urls: Option<RedisUrls>,
    pub(super) ca: Option<PathBuf>,
    pub(super) min_acks: Option<u32>,
    pub(super) server_lease: Option<Duration>,
}

impl Redis {
    /// Puts the settings together. What is said without `--redis`, and would be in vain, is taken for a mistake.
    pub(super) fn new(said: Said) -> Result<Option<Self>, ConfigError> {
        let Said { urls, ca, min_acks, server_lease } = said;
        if let Some(lease) = server_lease.filter(|lease| !SERVER_LEASES.contains(lease)) {
            return Err(ConfigError::ServerLease(duration::format(lease)));
        }
        let Some(RedisUrls(urls)) = urls else {
            let in_vain = [
                ca.map(|_| "--redis-ca"),
                min_acks.filter(|acks| *acks > 0).map(|_| "--redis-min-acks"),
                server_lease.map(|_| "--server-lease"),
            ];
            return in_vain.into_iter().flatten().next().map_or(Ok(None), |said| Err(ConfigError::NoRedis(said)));
        };
        let target = RedisTarget::parse(&urls, ca.as_deref())?;
        let server_lease = server_lease.unwrap_or(SERVER_LEASE_DEFAULT);
        Ok(Some(Self { target, min_acks: min_acks.unwrap_or(0), server_lease }))
    }
}
