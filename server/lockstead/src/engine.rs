//! Which engine a server has.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use lockstead_engine::{Engine, MemoryEngine};
use thiserror::Error;

use crate::config::{Redis, Settings};
use crate::service::{Router, random};

/// An engine at work.
pub struct Started {
    /// The engine.
    pub engine: Arc<dyn Engine>,
    /// Ready if it finds, before it has ever served, that it is set up in a way that waiting can't mend: what is wrong, and
    /// what to do about it.
    pub misconfigured: BoxFuture<'static, String>,
}

/// An engine that can't start with these settings.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct EngineSettingsError(String);

/// Starts the engine that the settings ask for, which tells `router` what happens. It waits for nothing: an engine whose
/// store can't be reached says so when it is asked whether it is ready.
pub fn start_engine(settings: &Settings, router: Arc<Router>) -> Result<Started, EngineSettingsError> {
    match &settings.redis {
        None => Ok(of_memory(router)),
        Some(redis) => of_redis(redis),
    }
}

fn of_memory(router: Arc<Router>) -> Started {
    let engine = MemoryEngine::start(random::key(), router);
    Started { engine: Arc::new(engine), misconfigured: std::future::pending().boxed() }
}

fn of_redis(redis: &Redis) -> Result<Started, EngineSettingsError> {
    if redis.urls.has_sentinel() && redis.min_acks == 0 {
        tracing::warn!(
            "behind Sentinel, a failover can lose the last grants, and a primary that is cut off goes on granting; the safe \
             setting is --redis-min-acks 1 or more"
        );
    }
    Err(EngineSettingsError(
        "--redis: the engine for it is not built yet; leave it out to keep everything in memory".into(),
    ))
}
