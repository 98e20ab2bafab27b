//! Settings of the engine that keeps the truth in Redis.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lockstead_core::duration;
use serde::Deserialize;

use super::ConfigError;

const SERVER_LEASE_DEFAULT: Duration = Duration::from_secs(10);
const SERVER_LEASES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(300);
/// What a file of certificates has at least once.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";

/// Where Redis is, and how far it is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redis {
    /// Its addresses.
    pub urls: RedisUrls,
    /// Certificates of those who may sign Redis' own; `None`: those that the system trusts.
    pub ca: Option<PathBuf>,
    /// How many replicas must have a grant before it counts.
    pub min_acks: u32,
    /// How long a server's holds outlive its last word.
    pub server_lease: Duration,
}

/// Addresses as they were given, which may hold passwords. Its `Debug` shows nothing of them.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct RedisUrls(String);

impl RedisUrls {
    /// As they were given. Not to be shown.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether Sentinel tells which Redis is the primary.
    pub fn has_sentinel(&self) -> bool {
        self.schemes().any(|scheme| scheme.is_some_and(|scheme| scheme.ends_with("+sentinel")))
    }

    fn uses_tls(&self) -> bool {
        self.schemes().any(|scheme| scheme.is_some_and(|scheme| scheme.starts_with("rediss")))
    }

    fn schemes(&self) -> impl Iterator<Item = Option<&str>> {
        self.0.split(',').map(|url| {
            let (scheme, rest) = url.trim().split_once("://")?;
            (scheme.starts_with("redis") && !rest.is_empty()).then_some(scheme)
        })
    }

    /// What is certainly wrong with them. Says which it is by its place, and nothing of what it is.
    fn check(&self) -> Result<(), ConfigError> {
        match self.schemes().position(|scheme| scheme.is_none()) {
            Some(before) => Err(ConfigError::RedisUrl(before + 1)),
            None => Ok(()),
        }
    }
}

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
        let (min_acks, server_lease) = (min_acks.unwrap_or(0), server_lease.unwrap_or(SERVER_LEASE_DEFAULT));
        if !SERVER_LEASES.contains(&server_lease) {
            return Err(ConfigError::ServerLease(duration::format(server_lease)));
        }
        let Some(urls) = urls else {
            return match (ca, min_acks) {
                (Some(_), _) => Err(ConfigError::NoRedis("--redis-ca")),
                (None, 1..) => Err(ConfigError::NoRedis("--redis-min-acks")),
                (None, 0) => Ok(None),
            };
        };
        urls.check()?;
        if let Some(path) = &ca {
            if !urls.uses_tls() {
                return Err(ConfigError::CaWithoutTls);
            }
            check_certificates(path)?;
        }
        Ok(Some(Self { urls, ca, min_acks, server_lease }))
    }
}

fn check_certificates(path: &Path) -> Result<(), ConfigError> {
    let text = std::fs::read(path).map_err(|source| ConfigError::Ca { path: path.to_owned(), source })?;
    if text.windows(CERTIFICATE.len()).any(|part| part == CERTIFICATE.as_bytes()) {
        Ok(())
    } else {
        Err(ConfigError::NoCertificate(path.to_owned()))
    }
}
