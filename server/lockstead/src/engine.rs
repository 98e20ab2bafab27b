//! Which engines a server has.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use lockstead_engine::{Engine, MemoryEngine, PARTITIONS, RedisEngine, RedisSettings};
#[cfg(target_os = "linux")]
use lockstead_engine::{LockFamily, NodeEngine, NodeSettings};
use thiserror::Error;

use crate::config::{Node, Redis, Settings};
use crate::service::{Router, random};

/// Engines at work.
pub struct Started {
    /// That of the cluster scope.
    pub engine: Arc<dyn Engine>,
    /// That of the node scope, if there is one.
    pub node: Option<Arc<dyn Engine>>,
    /// Ready if it finds, before it has ever served, that it is set up in a way that waiting can't mend: what is wrong, and
    /// what to do about it.
    pub misconfigured: BoxFuture<'static, String>,
}

/// An engine that can't start with these settings.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct EngineSettingsError(String);

/// Starts the engines that the settings ask for, which tell `router` what happens. It waits for nothing but the lock
/// directory: an engine whose store can't be reached says so when it is asked whether it is ready.
pub fn start_engine(settings: &Settings, router: Arc<Router>) -> Result<Started, EngineSettingsError> {
    let node = start_node(&settings.node, router.clone())?;
    let started = match &settings.redis {
        None => of_memory(router),
        Some(redis) => of_redis(redis, router),
    };
    Ok(Started { node, ..started })
}

fn start_node(node: &Node, router: Arc<Router>) -> Result<Option<Arc<dyn Engine>>, EngineSettingsError> {
    match of_kernel(node, router) {
        Ok(engine) => Ok(Some(engine)),
        Err(why) if node.is_asked_for => Err(EngineSettingsError(why)),
        Err(why) => {
            tracing::warn!(why, "this server has no node scope");
            Ok(None)
        }
    }
}

#[cfg(target_os = "linux")]
fn of_kernel(node: &Node, router: Arc<Router>) -> Result<Arc<dyn Engine>, String> {
    let family = match node.family {
        crate::config::LockFamily::Flock => LockFamily::Flock,
        crate::config::LockFamily::Both => LockFamily::Both,
    };
    let settings = NodeSettings { directory: node.directory.clone(), family };
    let engine = NodeEngine::start(&settings, random::key(), router).map_err(|error| error.to_string())?;
    Ok(Arc::new(engine))
}

#[cfg(not(target_os = "linux"))]
fn of_kernel(_: &Node, _: Arc<Router>) -> Result<Arc<dyn Engine>, String> {
    Err("--lock-dir: the node scope needs Linux".to_owned())
}

fn of_memory(router: Arc<Router>) -> Started {
    let engine = MemoryEngine::start(random::key(), router);
    Started { engine: Arc::new(engine), node: None, misconfigured: std::future::pending().boxed() }
}

fn of_redis(redis: &Redis, router: Arc<Router>) -> Started {
    if redis.target.is_behind_sentinels() && redis.min_acks == 0 {
        tracing::warn!(
            "behind Sentinel, a failover can lose the last grants, and a primary that is cut off goes on granting; the safe \
             setting is --redis-min-acks 1 or more"
        );
    }
    let settings = RedisSettings {
        target: redis.target.clone(),
        server: random::server_name(),
        key: random::key(),
        server_lease: redis.server_lease,
        min_acks: redis.min_acks,
        partitions: PARTITIONS,
        send_twice: false,
        mutation: None,
    };
    let engine = RedisEngine::start(settings, router);
    let misconfigured = engine.misconfigured().boxed();
    Started { engine: Arc::new(engine), node: None, misconfigured }
}
