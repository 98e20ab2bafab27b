//! Where the servers of all cases run, and their Redis: only the first case has to wait for it.

use std::sync::OnceLock;
use std::time::Duration;

use lockstead_engine::RedisSettings;
use lockstead_tests::engines::{settings, settings_at, shared_cluster, shared_redis};
use tokio::runtime::Runtime;

use crate::steps::{Ask, Who};

/// How soon a call is given up follows from it, and here none may fail. Two servers that reach all partitions at once, in
/// each case anew, keep a busy machine waiting for longer than other tests do.
const LEASE: Duration = Duration::from_secs(5);

/// A kind of Redis.
pub(crate) trait Site: 'static {
    /// The one of this process.
    fn world() -> &'static World;

    /// An acquire, as it is said where the reference's rules hold.
    fn ask(ask: Ask) -> Ask {
        ask
    }
}

pub(crate) struct World {
    pub(crate) runtime: Runtime,
    /// Of a new server.
    pub(crate) settings: Box<dyn Fn() -> RedisSettings + Send + Sync>,
}

/// A single Redis, with all names in one partition: whatever happens, happens in one order.
pub(crate) struct OneRedis;

/// A Cluster, whose partitions know nothing of each other.
pub(crate) struct Cluster;

impl Site for OneRedis {
    fn world() -> &'static World {
        static WORLD: OnceLock<World> = OnceLock::new();
        WORLD.get_or_init(|| {
            let runtime = runtime();
            let redis = runtime.block_on(shared_redis());
            World {
                runtime,
                settings: Box::new(|| RedisSettings { partitions: 1, server_lease: LEASE, ..settings(redis) }),
            }
        })
    }
}

impl Site for Cluster {
    fn world() -> &'static World {
        static WORLD: OnceLock<World> = OnceLock::new();
        WORLD.get_or_init(|| {
            let runtime = runtime();
            let url = runtime.block_on(shared_cluster()).url();
            let settings = move || RedisSettings { server_lease: LEASE, ..settings_at(&url) };
            World { runtime, settings: Box::new(settings) }
        })
    }

    /// Each name has request ids of its own. What one stands for, its partition remembers; that it is used for another name,
    /// only the server notices that has the lease.
    fn ask(ask: Ask) -> Ask {
        let Who::Lease { ttl, request: Some(request) } = ask.who else { return ask };
        let own = match ask.thing.name {
            "a" => ["r", "s"],
            "b" => ["t", "u"],
            _ => ["v", "w"],
        };
        let request = Some(own[usize::from(request.as_bytes()[0]) % 2]);
        Ask { who: Who::Lease { ttl, request }, ..ask }
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}
