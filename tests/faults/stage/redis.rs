//! Redis, in whatever shape.

use lockstead_tests::{ClusterSetup, RedisServer, SentinelSetup};
use rustix::process::Signal;

use super::{Breakable, pause};
use crate::fault::RedisFault;
use crate::plan::{Site, Topology};

/// For how long a primary goes on alone before it dies.
const LOST_WRITES_MS: u64 = 300;
/// How long it stays away then where nothing but its absence keeps servers from it.
const FORGOTTEN_MS: u64 = 3_000;

/// What the servers keep the truth in.
#[derive(Debug)]
pub(crate) enum Redis {
    None,
    Single(RedisServer),
    Sentinel { setup: SentinelSetup, min_acks: u32 },
    Cluster(ClusterSetup),
}

impl Redis {
    /// Starts it.
    pub(crate) async fn start(site: &Site) -> Self {
        match site.topology {
            Topology::Memory => Self::None,
            Topology::Single => Self::Single(RedisServer::start().await),
            Topology::Sentinel => Self::Sentinel { setup: SentinelSetup::start().await, min_acks: site.min_acks },
            Topology::Cluster => Self::Cluster(ClusterSetup::start().await),
        }
    }

    /// Where it is, if it is at one place.
    pub(crate) fn address(&self) -> Option<String> {
        if let Self::Single(server) = self { Some(server.address()) } else { None }
    }

    /// How servers find it.
    pub(crate) fn urls(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Single(server) => Some(server.url()),
            Self::Sentinel { setup, .. } => Some(setup.url()),
            Self::Cluster(setup) => Some(setup.url()),
        }
    }
}

impl Breakable for Redis {
    type Fault = RedisFault;

    async fn suffer(&mut self, fault: &RedisFault) {
        match self {
            Self::None => {}
            Self::Single(server) => suffer(server, fault).await,
            Self::Sentinel { setup, min_acks } => sentinel(setup, *min_acks, fault).await,
            Self::Cluster(setup) => cluster(setup, fault).await,
        }
    }
}

/// What happens to one node alone.
async fn suffer(node: &mut RedisServer, fault: &RedisFault) {
    match *fault {
        RedisFault::Killed { down_ms, .. } => {
            node.kill();
            pause(down_ms).await;
            node.restart().await;
        }
        RedisFault::Flushed { .. } => _ = node.command(&["FLUSHALL"]).await,
        RedisFault::Stopped { for_ms, .. } => {
            node.signal(Signal::STOP);
            pause(for_ms).await;
            node.signal(Signal::CONT);
        }
        RedisFault::Reset => {
            for kind in ["normal", "pubsub"] {
                node.command(&["CLIENT", "KILL", "TYPE", kind]).await;
            }
        }
        // There is nothing to fail over to.
        RedisFault::FailedOver { .. } => {}
    }
}

async fn sentinel(setup: &mut SentinelSetup, min_acks: u32, fault: &RedisFault) {
    // On a machine that is slow they may have had doubts of their own.
    setup.settle().await;
    if let RedisFault::FailedOver { .. } = fault {
        setup.fail_over_losing(pause(LOST_WRITES_MS)).await;
        if min_acks == 0 {
            pause(FORGOTTEN_MS).await;
        }
        for node in setup.nodes.iter_mut().filter(|node| !node.is_running()) {
            node.restart().await;
        }
    } else {
        let primary = setup.primary().port();
        if let Some(node) = setup.nodes.iter_mut().find(|node| node.port() == primary) {
            suffer(node, fault).await;
        }
    }
    setup.settle().await;
}

async fn cluster(setup: &mut ClusterSetup, fault: &RedisFault) {
    setup.settle().await;
    match *fault {
        RedisFault::FailedOver { partition } => {
            setup.kill_primary_of(partition).await;
            setup.restart_killed().await;
        }
        RedisFault::Killed { partition, .. }
        | RedisFault::Flushed { partition }
        | RedisFault::Stopped { partition, .. } => {
            let primary = setup.primary_of(partition).await;
            suffer(&mut setup.nodes[primary], fault).await;
        }
        RedisFault::Reset => {
            for node in &mut setup.nodes {
                suffer(node, fault).await;
            }
        }
    }
    setup.settle().await;
}
