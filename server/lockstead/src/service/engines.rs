//! The engines of this server, by scope, and the ids that tell which one a hold lives in.

use std::future::Future;
use std::sync::Arc;

use lockstead_core::{Field, HoldId, Invalid, Scope, Time};
use lockstead_engine::{Engine, Readiness, SharedKey};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::error::{Error, Result};
use crate::telemetry::Metrics;

/// The lowest bit of a hold id: set for holds of the node scope. It saves a map from hold to engine.
const NODE_BIT: u128 = 1;

/// One engine for each scope that this server offers.
#[derive(Clone)]
pub struct Engines {
    cluster: Arc<dyn Engine>,
    node: Option<Arc<dyn Engine>>,
    /// Calls whose callers have gone.
    calls: TaskTracker,
}

impl Engines {
    /// With this engine for the cluster scope.
    pub fn new(cluster: Arc<dyn Engine>) -> Self {
        Self { cluster, node: None, calls: TaskTracker::new() }
    }

    /// With this engine for the node scope, if there is one.
    #[must_use]
    pub fn with_node(self, node: Option<Arc<dyn Engine>>) -> Self {
        Self { node, ..self }
    }

    /// The same, with every call measured.
    pub(super) fn measured(self, metrics: &Metrics) -> Self {
        let Self { cluster, node, calls } = self;
        Self { cluster: metrics.measure(cluster), node: node.map(|node| metrics.measure(node)), calls }
    }

    /// The engine of a scope.
    pub fn of(&self, scope: Scope) -> Result<&Arc<dyn Engine>> {
        match scope {
            Scope::Cluster => Ok(&self.cluster),
            Scope::Node => {
                let none = || Invalid::new(Field::Scope, "this server offers the cluster scope only").into();
                self.node.as_ref().ok_or_else(none)
            }
        }
    }

    /// The engine in which a hold lives.
    pub fn of_hold(&self, hold: HoldId) -> Result<&Arc<dyn Engine>> {
        self.of(self.scope_of_hold(hold))
    }

    /// The scope to look for a hold in: the one that its id tells, if this server offers that. An id that no server made
    /// tells anything, and is to be found unknown rather than in the wrong scope.
    pub fn scope_of_hold(&self, hold: HoldId) -> Scope {
        let told = told_scope(hold);
        if self.of(told).is_ok() { told } else { Scope::default() }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (Scope, &Arc<dyn Engine>)> {
        std::iter::once((Scope::Cluster, &self.cluster)).chain(self.node.iter().map(|node| (Scope::Node, node)))
    }

    /// What people call them.
    pub fn names(&self) -> String {
        self.iter().map(|(_, engine)| engine.name()).collect::<Vec<_>>().join(", ")
    }

    /// Until when their word is good; `None`: as long as the server lives.
    pub fn valid_until(&self) -> Option<Time> {
        self.iter().filter_map(|(_, engine)| engine.valid_until()).min()
    }

    /// Whether all of them can serve; if not, what the first that can't says of it.
    pub fn readiness(&self) -> Readiness {
        let not_ready = self.iter().map(|(_, engine)| engine.readiness()).find(|one| *one != Readiness::Ready);
        not_ready.unwrap_or(Readiness::Ready)
    }

    /// Whether sessions can go on at another server.
    pub fn outlive_server(&self) -> bool {
        self.cluster.capabilities().outlives_server
    }

    /// What all servers sign with to which sessions can go.
    pub(super) fn shared_key(&self) -> Result<SharedKey> {
        let unknown = "the store that keeps the truth has not been reached yet; try again later, or ask another server";
        self.cluster.shared_key().ok_or(Error::BackendUnavailable(unknown))
    }

    /// Sees a call through whose caller has gone.
    pub(super) fn see_through(&self, call: impl Future<Output = ()> + Send + 'static) {
        // Without a runtime the process is ending, and the engines with it.
        if let Ok(runtime) = Handle::try_current() {
            self.calls.spawn_on(call, &runtime);
        }
    }

    /// Returns when all calls have been seen through; to be asked for when no more can come.
    pub async fn settled(&self) {
        self.calls.close();
        self.calls.wait().await;
    }
}

/// The scope that an id tells, which a server made.
pub(super) const fn told_scope(hold: HoldId) -> Scope {
    if hold.bits() & NODE_BIT == 0 { Scope::Cluster } else { Scope::Node }
}

/// Draws the id of a new hold.
pub(super) fn new_hold_id(scope: Scope) -> HoldId {
    let bits = super::random::bits();
    HoldId::from_bits(match scope {
        Scope::Cluster => bits & !NODE_BIT,
        Scope::Node => bits | NODE_BIT,
    })
}

#[cfg(test)]
mod tests {
    use lockstead_engine::{MemoryEngine, SharedKey};

    use super::*;
    use crate::service::Router;

    #[tokio::test]
    async fn a_hold_id_tells_its_scope_among_those_that_there_are() {
        let router = Arc::new(Router::new(Arc::default()));
        let engines = Engines::new(Arc::new(MemoryEngine::start(SharedKey::from_bytes([0; 32]), router)));
        assert_eq!(engines.scope_of_hold(new_hold_id(Scope::Cluster)), Scope::Cluster);
        assert_eq!(engines.scope_of_hold(new_hold_id(Scope::Node)), Scope::Cluster, "there is no other");
        let node = engines.of(Scope::Cluster).unwrap().clone();
        let engines = engines.with_node(Some(node));
        assert_eq!(engines.scope_of_hold(new_hold_id(Scope::Cluster)), Scope::Cluster);
        assert_eq!(engines.scope_of_hold(new_hold_id(Scope::Node)), Scope::Node);
    }
}
