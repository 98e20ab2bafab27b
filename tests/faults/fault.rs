//! What can be done to servers, clients and Redis, and what may come of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::history::HungOn;
use crate::plan::{Site, Topology};

/// Something that breaks, and is mended after a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "snake_case")]
pub(crate) enum Fault {
    Server(ServerFault),
    Redis(RedisFault),
    Client(ClientFault),
}

/// What a server suffers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum ServerFault {
    /// It is killed, and started again after a while.
    Killed { server: usize, down_ms: u64 },
    /// All servers are.
    AllKilled { down_ms: u64 },
    /// It stands still.
    Stopped { server: usize, for_ms: u64 },
    /// It is told to end, and started again when it has.
    Drained { server: usize },
    /// It and Redis can't hear each other.
    Cut { server: usize, for_ms: u64 },
}

/// What Redis suffers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum RedisFault {
    /// The primary of a partition is killed, and comes back without its data.
    Killed { partition: u16, down_ms: u64 },
    /// All its data is deleted.
    Flushed { partition: u16 },
    /// It stands still.
    Stopped { partition: u16, for_ms: u64 },
    /// All nodes break all connections.
    Reset,
    /// The primary of a partition dies with its last writes, and a replica takes over.
    FailedOver { partition: u16 },
}

/// What a client suffers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum ClientFault {
    /// It is killed, and another one takes its place.
    Killed { client: usize },
    /// It stands still.
    Stopped { client: usize, for_ms: u64 },
    /// It and the servers can't hear each other.
    Cut { client: usize, for_ms: u64 },
    /// All its connections break.
    Reset { client: usize },
}

/// A loss that wants a reason.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charge<'a> {
    pub(crate) client: usize,
    pub(crate) hung_on: HungOn,
    /// The word that the client was told.
    pub(crate) reason: &'a str,
    /// How long the fault had lasted by then.
    pub(crate) lasted_ms: u64,
}

impl Fault {
    /// Its name in the summary.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Server(ServerFault::Killed { .. }) => "server killed",
            Self::Server(ServerFault::AllKilled { .. }) => "all servers killed",
            Self::Server(ServerFault::Stopped { .. }) => "server stopped",
            Self::Server(ServerFault::Drained { .. }) => "server drained",
            Self::Server(ServerFault::Cut { .. }) => "server cut from Redis",
            Self::Redis(RedisFault::Killed { .. }) => "Redis killed and back empty",
            Self::Redis(RedisFault::Flushed { .. }) => "Redis flushed",
            Self::Redis(RedisFault::Stopped { .. }) => "Redis stopped",
            Self::Redis(RedisFault::Reset) => "connections to Redis broken",
            Self::Redis(RedisFault::FailedOver { .. }) => "Redis failed over",
            Self::Client(ClientFault::Killed { .. }) => "client killed",
            Self::Client(ClientFault::Stopped { .. }) => "client stopped",
            Self::Client(ClientFault::Cut { .. }) => "client cut from the servers",
            Self::Client(ClientFault::Reset { .. }) => "connections of a client broken",
        }
    }

    /// The only client that suffers from it; `None` if all may.
    pub(crate) fn victim(&self) -> Option<usize> {
        if let Self::Client(fault) = self { Some(fault.client()) } else { None }
    }

    /// Whether it may concern a client.
    pub(crate) fn concerns(&self, client: usize) -> bool {
        self.victim().is_none_or(|victim| victim == client)
    }

    /// Whether a server may see the streams of a client end before the client does. A session that is released by its
    /// break is free from that moment on: its user chose speed.
    pub(crate) fn ends_streams_of(&self, client: usize, site: &Site) -> bool {
        match self {
            Self::Server(ServerFault::Drained { .. }) => true,
            Self::Server(ServerFault::Killed { .. } | ServerFault::AllKilled { .. }) => !site.outlives_servers(),
            Self::Client(ClientFault::Reset { client: victim }) => *victim == client,
            _ => false,
        }
    }

    /// Whether it alone is reason enough for a client to lose a hold.
    pub(crate) fn excuses(&self, site: &Site, charge: &Charge) -> bool {
        // Nobody breaks holds here.
        if charge.reason == "BROKEN" || !self.concerns(charge.client) {
            return false;
        }
        // A lease that could not be renewed in time ends. One that could must be there.
        if charge.hung_on == HungOn::Ttl {
            return charge.reason == "EXPIRED" || !site.outlives_servers();
        }
        let too_long = charge.lasted_ms >= site.patience_ms(charge.client) / 3;
        let by_break = charge.hung_on == HungOn::Release && charge.reason == "DISCONNECTED";
        match self {
            Self::Server(fault) => fault.excuses(site, too_long, by_break),
            // Whoever lives puts back what was lost.
            Self::Redis(RedisFault::Flushed { .. } | RedisFault::Reset) | Self::Client(ClientFault::Killed { .. }) => {
                false
            }
            Self::Redis(RedisFault::Killed { .. } | RedisFault::Stopped { .. }) => too_long,
            Self::Redis(RedisFault::FailedOver { .. }) => matches!(charge.reason, "BACKEND_LOST" | "EXPIRED"),
            Self::Client(ClientFault::Stopped { .. } | ClientFault::Cut { .. }) => {
                too_long && (charge.reason == "EXPIRED" || by_break)
            }
            Self::Client(ClientFault::Reset { .. }) => by_break,
        }
    }

    /// Whether it can happen at a place like this.
    pub(crate) fn is_possible(&self, site: &Site) -> bool {
        let (single, redis) = (site.topology == Topology::Single, site.topology != Topology::Memory);
        // One that comes back believes for a while that it still is the primary. Only acknowledged writes protect from that.
        let two_primaries = match site.topology {
            Topology::Memory | Topology::Single => false,
            Topology::Sentinel => matches!(self, Self::Redis(RedisFault::Stopped { .. } | RedisFault::Killed { .. })),
            Topology::Cluster => matches!(self, Self::Redis(RedisFault::Stopped { .. })),
        };
        match self {
            // Behind Sentinels and in a Cluster there is more than one way.
            Self::Server(ServerFault::Cut { .. }) => single,
            Self::Server(ServerFault::AllKilled { .. }) => site.servers > 1,
            Self::Redis(RedisFault::FailedOver { .. }) => redis && !single,
            Self::Redis(_) => redis && (site.min_acks > 0 || !two_primaries),
            Self::Server(_) | Self::Client(_) => true,
        }
    }

    /// How long it is planned to last; mending takes a little more.
    pub(crate) fn lasts_ms(&self) -> u64 {
        match self {
            Self::Server(ServerFault::Killed { down_ms, .. } | ServerFault::AllKilled { down_ms })
            | Self::Redis(RedisFault::Killed { down_ms, .. }) => *down_ms,
            Self::Server(ServerFault::Stopped { for_ms, .. } | ServerFault::Cut { for_ms, .. })
            | Self::Client(ClientFault::Stopped { for_ms, .. } | ClientFault::Cut { for_ms, .. })
            | Self::Redis(RedisFault::Stopped { for_ms, .. }) => *for_ms,
            _ => 0,
        }
    }

    fn target(&self) -> Option<String> {
        match self {
            Self::Server(
                ServerFault::Killed { server, .. }
                | ServerFault::Stopped { server, .. }
                | ServerFault::Drained { server }
                | ServerFault::Cut { server, .. },
            ) => Some(format!("server {server}")),
            Self::Client(fault) => Some(format!("client {}", fault.client())),
            Self::Redis(
                RedisFault::Killed { partition, .. }
                | RedisFault::Flushed { partition }
                | RedisFault::Stopped { partition, .. }
                | RedisFault::FailedOver { partition },
            ) => Some(format!("the primary of partition {partition}")),
            Self::Server(ServerFault::AllKilled { .. }) | Self::Redis(RedisFault::Reset) => None,
        }
    }
}

impl ServerFault {
    fn excuses(&self, site: &Site, too_long: bool, by_break: bool) -> bool {
        match self {
            // The memory engine's holds end with their server.
            Self::Killed { .. } | Self::Drained { .. } if !site.outlives_servers() => true,
            Self::AllKilled { .. } => true,
            // Another server goes on with the session, if there is one.
            Self::Killed { .. } => by_break || site.servers < 2,
            Self::Drained { .. } => site.servers < 2,
            Self::Stopped { .. } | Self::Cut { .. } => too_long,
        }
    }
}

impl ClientFault {
    pub(crate) fn client(&self) -> usize {
        match self {
            Self::Killed { client }
            | Self::Stopped { client, .. }
            | Self::Cut { client, .. }
            | Self::Reset { client } => *client,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        if let Some(target) = self.target() {
            write!(f, ": {target}")?;
        }
        if self.lasts_ms() > 0 {
            write!(f, ", for {} ms", self.lasts_ms())?;
        }
        Ok(())
    }
}
