//! The engines of this server, by scope, and the ids that tell which one a hold lives in.

use std::sync::Arc;

use lockstead_core::{Field, HoldId, Invalid, Scope};
use lockstead_engine::Engine;

use super::error::Result;

/// The lowest bit of a hold id: set for holds of the node scope. It saves a map from hold to engine.
const NODE_BIT: u128 = 1;

/// One engine for each scope that this server offers.
#[derive(Clone)]
pub struct Engines {
    cluster: Arc<dyn Engine>,
}

impl Engines {
    /// With this engine for the cluster scope.
    pub fn new(cluster: Arc<dyn Engine>) -> Self {
        Self { cluster }
    }

    /// The engine of a scope.
    pub fn of(&self, scope: Scope) -> Result<&Arc<dyn Engine>> {
        match scope {
            Scope::Cluster => Ok(&self.cluster),
            Scope::Node => Err(Invalid::new(Field::Scope, "this server offers the cluster scope only").into()),
        }
    }

    /// The engine in which a hold lives.
    pub fn of_hold(&self, hold: HoldId) -> Result<&Arc<dyn Engine>> {
        self.of(self.scope_of_hold(hold))
    }

    /// The scope to look for a hold in: the one that its id tells, if this server offers that. An id that no server made
    /// tells anything, and is to be found unknown rather than in the wrong scope.
    pub fn scope_of_hold(&self, hold: HoldId) -> Scope {
        let told = if hold.bits() & NODE_BIT == 0 { Scope::Cluster } else { Scope::Node };
        if self.of(told).is_ok() { told } else { Scope::default() }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (Scope, &Arc<dyn Engine>)> {
        std::iter::once((Scope::Cluster, &self.cluster))
    }
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
    }
}
