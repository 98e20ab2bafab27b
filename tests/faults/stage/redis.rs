//! Redis, in whatever shape.

use lockstead_tests::RedisServer;
use rustix::process::Signal;

use super::{Breakable, pause};
use crate::fault::RedisFault;
use crate::plan::{Site, Topology};

/// What the servers keep the truth in.
#[derive(Debug)]
pub(crate) enum Redis {
    None,
    Single(RedisServer),
}

impl Redis {
    /// Starts it.
    pub(crate) async fn start(site: &Site) -> Self {
        match site.topology {
            Topology::Memory => Self::None,
            Topology::Single => Self::Single(RedisServer::start().await),
            Topology::Sentinel | Topology::Cluster => unimplemented!(),
        }
    }

    /// Where its only node is.
    pub(crate) fn address(&self) -> Option<String> {
        match self {
            Self::Single(server) => Some(server.address()),
            Self::None => None,
        }
    }

    /// How servers find it.
    pub(crate) fn urls(&self) -> Option<String> {
        match self {
            Self::Single(server) => Some(server.url()),
            Self::None => None,
        }
    }
}

impl Breakable for Redis {
    type Fault = RedisFault;

    async fn suffer(&mut self, fault: &RedisFault) {
        match self {
            Self::None => {}
            Self::Single(server) => single(server, fault).await,
        }
    }
}

async fn single(server: &mut RedisServer, fault: &RedisFault) {
    match *fault {
        RedisFault::Killed { down_ms } => {
            server.kill();
            pause(down_ms).await;
            server.restart().await;
        }
        RedisFault::Flushed => _ = server.command(&["FLUSHALL"]).await,
        RedisFault::Stopped { for_ms, .. } => {
            server.signal(Signal::STOP);
            pause(for_ms).await;
            server.signal(Signal::CONT);
        }
        RedisFault::Reset => {
            for kind in ["normal", "pubsub"] {
                server.command(&["CLIENT", "KILL", "TYPE", kind]).await;
            }
        }
        RedisFault::FailedOver { .. } => {}
    }
}
