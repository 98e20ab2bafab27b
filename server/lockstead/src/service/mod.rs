//! What the server does, whatever transport a request came by: sessions, waiting, limits. Below it are the engines, which
//! know no waiting; above it the transports, which decide nothing about locks.

mod engines;
mod error;
mod hold;
mod lease;
mod own_session;
pub mod random;
mod request;
mod router;
pub mod session;
mod waiting;

use std::sync::Arc;

use lockstead_core::limits::{PAGE_BYTES_MAX, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX};
use lockstead_core::{Census, Field, Get, Invalid, List, Name, ResourceKey, ResourceView, Scope};
use tokio_util::sync::CancellationToken;

pub use engines::Engines;
pub use error::{Error, Result};
pub use hold::{HoldEvent, HoldStream};
pub use request::{Ask, LeaseAsk, NotAcquired, Outcome};
pub use router::{Router, loss_message, loss_reason};

use crate::telemetry::Metrics;

/// Everything that the transports can ask for. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    engines: Engines,
    router: Arc<Router>,
    sessions: Arc<session::Sessions>,
    metrics: Arc<Metrics>,
    /// Cancelled when the server begins to shut down. Every wait ends then.
    draining: CancellationToken,
}

impl Service {
    /// A service over these engines, whose listener is `router`. It ends its waits when `draining` is cancelled.
    pub fn new(engines: Engines, router: Arc<Router>, metrics: Arc<Metrics>, draining: CancellationToken) -> Self {
        Self { engines, router, sessions: Arc::default(), metrics, draining }
    }

    /// Who holds a resource and who waits for it.
    pub async fn get(&self, scope: Scope, key: ResourceKey) -> Result<ResourceView> {
        Ok(self.engines.of(scope)?.get(Get(key)).await?)
    }

    /// The engines behind it.
    pub fn engines(&self) -> &Engines {
        &self.engines
    }

    /// The sessions of this server.
    pub fn sessions(&self) -> &session::Sessions {
        &self.sessions
    }

    /// What it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Everything it counts, as Prometheus reads it.
    pub fn render_metrics(&self) -> String {
        let censuses = self.engines.iter().map(|(_, engine)| engine.census());
        let census = censuses.fold(Census::default(), |sum, one| Census {
            resources: sum.resources + one.resources,
            holds: sum.holds + one.holds,
        });
        self.metrics.render(self.sessions.count(), census)
    }

    /// Whether the server is shutting down.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    fn check_not_draining(&self) -> Result<()> {
        if self.is_draining() { Err(Error::Draining) } else { Ok(()) }
    }
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Page {
    /// Those on it.
    pub resources: Vec<ResourceView>,
    /// The last name on it, if there are more, or may be.
    pub next: Option<Name>,
}

impl Service {
    /// A page of the resources in use, in order of their names.
    pub async fn list_page(&self, scope: Scope, list: List) -> Result<Page> {
        let size = list.at_most;
        let mut resources = self.engines.of(scope)?.list(List { at_most: size + 1, ..list }).await?;
        let is_full = resources.iter().map(ResourceView::size).sum::<usize>() >= PAGE_BYTES_MAX;
        let more = is_full || resources.len() > size;
        resources.truncate(size);
        let next = resources.last().filter(|_| more).map(|view| view.key.name.clone());
        Ok(Page { resources, next })
    }
}

/// How many resources go on a page, if the caller wishes for so many; 0 is no wish.
pub fn page_size(wished: usize) -> usize {
    if wished == 0 { PAGE_SIZE_DEFAULT } else { wished.min(PAGE_SIZE_MAX) }
}

/// The name after which a page begins: the token is the last name of the page before.
pub fn page_start(token: &str) -> Result<Option<Name>> {
    let wrong = |_| Invalid::new(Field::PageToken, "this is not a page token; it comes with the page before");
    let start = (!token.is_empty()).then(|| Name::parse(token).map_err(wrong)).transpose()?;
    Ok(start)
}
