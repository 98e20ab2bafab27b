//! What can be done to servers, clients and Redis, and what may come of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::history::HungOn;
use crate::plan::{Site, Topology};

/// Something that breaks, and is mended after a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Fault {
    /// A server is killed, and started again after a while.
    ServerKilled { server: usize, down_ms: u64 },
    /// All servers are.
    AllServersKilled { down_ms: u64 },
    /// A server stands still.
    ServerStopped { server: usize, for_ms: u64 },
    /// A server is told to end, and started again when it has.
    ServerDrained { server: usize },
    /// A server and Redis can't hear each other.
    ServerCut { server: usize, for_ms: u64 },

    /// A client is killed, and another one takes its place.
    ClientKilled { client: usize },
    /// A client stands still.
    ClientStopped { client: usize, for_ms: u64 },
    /// A client and the servers can't hear each other.
    ClientCut { client: usize, for_ms: u64 },
    /// All connections of a client break.
    ClientReset { client: usize },

    /// Redis is killed, and comes back without its data.
    RedisKilled { down_ms: u64 },
    /// All data is deleted.
    RedisFlushed,
    /// The node of a partition stands still.
    RedisStopped { partition: u16, for_ms: u64 },
    /// Redis breaks all its connections.
    RedisReset,
    /// The primary of a partition dies with its last writes, and a replica takes over.
    RedisFailedOver { partition: u16 },
}

/// Whom a fault concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Victim {
    Everybody,
    Client(usize),
}

impl Fault {
    /// Its name in the summary.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::ServerKilled { .. } => "server killed",
            Self::AllServersKilled { .. } => "all servers killed",
            Self::ServerStopped { .. } => "server stopped",
            Self::ServerDrained { .. } => "server drained",
            Self::ServerCut { .. } => "server cut from Redis",
            Self::ClientKilled { .. } => "client killed",
            Self::ClientStopped { .. } => "client stopped",
            Self::ClientCut { .. } => "client cut",
            Self::ClientReset { .. } => "client's connections broken",
            Self::RedisKilled { .. } => "Redis killed, back empty",
            Self::RedisFlushed => "Redis flushed",
            Self::RedisStopped { .. } => "Redis stopped",
            Self::RedisReset => "Redis' connections broken",
            Self::RedisFailedOver { .. } => "Redis failed over",
        }
    }

    pub(crate) fn victim(&self) -> Victim {
        match self {
            Self::ClientKilled { client }
            | Self::ClientStopped { client, .. }
            | Self::ClientCut { client, .. }
            | Self::ClientReset { client } => Victim::Client(*client),
            _ => Victim::Everybody,
        }
    }

    /// Whether a server may see the streams of a client end before the client does. A session that is released by its
    /// break is free from that moment on: its user chose speed.
    pub(crate) fn ends_streams_of(&self, client: usize, site: &Site) -> bool {
        match self {
            Self::ServerDrained { .. } => true,
            Self::ServerKilled { .. } | Self::AllServersKilled { .. } => !site.outlives_servers(),
            Self::ClientReset { client: victim } => *victim == client,
            _ => false,
        }
    }

    /// Whether it alone, after it lasted so long, is reason enough for a client to lose a hold.
    pub(crate) fn excuses(&self, site: &Site, lasted_ms: u64, client: usize, hung_on: HungOn, reason: &str) -> bool {
        let silent_too_long = lasted_ms >= site.patience_ms(client) / 3;
        let is_release = hung_on == HungOn::Release;
        match self {
            // The memory engine's holds end with their server.
            Self::ServerKilled { .. } | Self::AllServersKilled { .. } | Self::ServerDrained { .. }
                if !site.outlives_servers() =>
            {
                true
            }
            Self::AllServersKilled { .. } => reason != "BROKEN",
            // Another server goes on with a session that is kept, if there is one.
            Self::ServerKilled { .. } => is_release && reason == "DISCONNECTED" || site.servers < 2,
            Self::ServerDrained { .. } => site.servers < 2,
            Self::ServerStopped { .. } | Self::ServerCut { .. } | Self::RedisStopped { .. } => {
                silent_too_long && reason != "BROKEN"
            }
            Self::ClientStopped { client: victim, .. } | Self::ClientCut { client: victim, .. } => {
                *victim == client && silent_too_long && (reason == "EXPIRED" || is_release && reason == "DISCONNECTED")
            }
            Self::ClientReset { client: victim } => *victim == client && is_release && reason == "DISCONNECTED",
            Self::ClientKilled { .. } => false,
            // Whoever lives puts back what was lost.
            Self::RedisFlushed | Self::RedisReset => false,
            Self::RedisKilled { .. } => silent_too_long && reason != "BROKEN",
            Self::RedisFailedOver { .. } => matches!(reason, "BACKEND_LOST" | "EXPIRED"),
        }
    }

    /// Whether it can happen at a place like this.
    pub(crate) fn is_possible(&self, site: &Site) -> bool {
        let redis = site.topology != Topology::Memory;
        match self {
            Self::ServerCut { .. } | Self::RedisKilled { .. } => site.topology == Topology::Single,
            // A primary that wakes up believes for a moment that it still is one. Only acknowledged writes protect from it.
            Self::RedisStopped { .. } => site.topology == Topology::Single || redis && site.min_acks > 0,
            Self::RedisFailedOver { .. } => matches!(site.topology, Topology::Sentinel | Topology::Cluster),
            Self::RedisFlushed | Self::RedisReset => redis,
            Self::AllServersKilled { .. } => site.servers > 1,
            _ => true,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind();
        match self {
            Self::ServerKilled { server, down_ms } => write!(f, "{kind}: {server}, back after {down_ms} ms"),
            Self::AllServersKilled { down_ms } | Self::RedisKilled { down_ms } => {
                write!(f, "{kind}, after {down_ms} ms")
            }
            Self::ServerStopped { server, for_ms } | Self::ServerCut { server, for_ms } => {
                write!(f, "{kind}: {server}, for {for_ms} ms")
            }
            Self::ServerDrained { server } => write!(f, "{kind}: {server}"),
            Self::ClientKilled { client } | Self::ClientReset { client } => write!(f, "{kind}: {client}"),
            Self::ClientStopped { client, for_ms } | Self::ClientCut { client, for_ms } => {
                write!(f, "{kind}: {client}, for {for_ms} ms")
            }
            Self::RedisStopped { partition, for_ms } => {
                write!(f, "{kind}: the node of partition {partition}, for {for_ms} ms")
            }
            Self::RedisFailedOver { partition } => write!(f, "{kind}: the node of partition {partition}"),
            Self::RedisFlushed | Self::RedisReset => f.write_str(kind),
        }
    }
}
