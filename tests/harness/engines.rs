//! Redis engines, each of which plays a server of its own.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test that can't begin has failed")]

use std::sync::Arc;
use std::time::Duration;

use lockstead_engine::{Engine, PARTITIONS, Readiness, RedisEngine, RedisSettings, RedisTarget, SharedKey};
use tokio::sync::OnceCell;

use crate::events::EventLog;
use crate::fixture::{Fixture, random};
use crate::sweeper::Sweeper;
use crate::{ClusterSetup, RedisServer, eventually};

/// How long what a server has survives its silence. Short, since an empty Redis costs a test that much; long enough for
/// a busy machine.
pub const SERVER_LEASE: Duration = Duration::from_secs(2);

/// Of a new server on this Redis.
pub fn settings(redis: &RedisServer) -> RedisSettings {
    settings_at(&redis.url())
}

/// Of a new server that is told this address.
pub fn settings_at(url: &str) -> RedisSettings {
    let mut key = [0; 32];
    key[..16].copy_from_slice(&random().to_le_bytes());
    let server = u64::try_from(random() >> 64).unwrap();
    RedisSettings {
        target: RedisTarget::parse(url, None).unwrap(),
        server,
        key: SharedKey::from_bytes(key),
        server_lease: SERVER_LEASE,
        min_acks: 0,
        partitions: PARTITIONS,
        send_twice: false,
        mutation: None,
    }
}

/// Starts a server, and returns once it can serve. Its end is the end of the fixture and its clones: without a goodbye,
/// as if it had crashed.
pub async fn start(settings: RedisSettings) -> Fixture {
    let fixture = start_unready(settings);
    until_ready(&fixture).await;
    fixture
}

/// Starts a server.
pub fn start_unready(settings: RedisSettings) -> Fixture {
    let events = Arc::new(EventLog::default());
    Fixture::new(Arc::new(RedisEngine::start(settings, events.clone())), events)
}

/// Returns once the engine can serve.
pub async fn until_ready(fixture: &Fixture) {
    eventually("an engine that can serve", async || fixture.engine.readiness() == Readiness::Ready).await;
}

/// A Redis of its own for a test, and so many servers on it, which share the names of the scenario.
pub async fn servers<const N: usize>() -> (RedisServer, [Fixture; N]) {
    servers_on(RedisServer::start().await).await
}

/// So many servers on this Redis, which share the names of the scenario.
pub async fn servers_on<const N: usize>(redis: RedisServer) -> (RedisServer, [Fixture; N]) {
    let servers = servers_at(&redis.url()).await;
    (redis, servers)
}

/// So many servers on the Redis that all tests of this process share, and must not disturb.
pub async fn servers_on_shared<const N: usize>() -> [Fixture; N] {
    servers_at(&shared_redis().await.url()).await
}

/// The Redis of all tests of this process that do not disturb it, and use names of their own: only the first of them
/// waits for the reclaim window of an empty Redis.
pub async fn shared_redis() -> &'static RedisServer {
    static SHARED: OnceCell<(RedisServer, Sweeper)> = OnceCell::const_new();
    let start = async || {
        let redis = RedisServer::start().await;
        let sweeper = Sweeper::of([redis.folder()]);
        (redis, sweeper)
    };
    &SHARED.get_or_init(start).await.0
}

/// The same as a Cluster.
pub async fn shared_cluster() -> &'static ClusterSetup {
    static SHARED: OnceCell<(ClusterSetup, Sweeper)> = OnceCell::const_new();
    let start = async || {
        let cluster = ClusterSetup::start().await;
        for node in &cluster.nodes {
            // No test wants a failover here, and none may come of a machine that is busy for a while.
            node.command(&["CONFIG", "SET", "cluster-node-timeout", "60000"]).await;
        }
        let sweeper = Sweeper::of(cluster.nodes.iter().map(RedisServer::folder));
        (cluster, sweeper)
    };
    &SHARED.get_or_init(start).await.0
}

/// So many servers that are told this address, which share the names of the scenario.
pub async fn servers_at<const N: usize>(url: &str) -> [Fixture; N] {
    let all: [Fixture; N] = std::array::from_fn(|_| start_unready(settings_at(url)));
    for fixture in &all {
        until_ready(fixture).await;
    }
    std::array::from_fn(|at| all[0].beside(all[at].engine.clone(), all[at].events.clone()))
}

/// Waits until nothing holds or waits in the scenario's part of the engine.
pub async fn until_nothing_is_left(fixture: &Fixture) {
    eventually("an engine in which nothing is left", async || fixture.all().await.is_empty()).await;
}

/// As far as this engine has promised that what is held now is safe.
pub fn promised(engine: &dyn Engine) -> lockstead_core::Time {
    engine.valid_until().expect("an engine whose word needs renewal")
}
