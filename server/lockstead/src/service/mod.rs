//! What the server does, whatever transport a request came by: sessions, waiting, limits. Below it are the engines, which
//! know no waiting; above it the transports, which decide nothing about locks.

mod caller;
mod counted_leases;
mod drain;
mod engines;
mod error;
mod hold;
mod lease;
mod own_session;
pub mod random;
mod request;
mod router;
pub mod session;
#[cfg(test)]
mod tests;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use lockstead_core::limits::{PAGE_BYTES_MAX, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX};
use lockstead_core::{Field, Get, Invalid, List, Name, ResourceKey, ResourceView, Scope};
use lockstead_engine::Readiness;

pub use caller::Caller;
pub use drain::Drain;
pub use engines::Engines;
pub use error::{Error, Result};
pub use hold::{HoldEvent, HoldStream};
pub use request::{Ask, LeaseAsk, NotAcquired, Outcome};
pub use router::{Router, loss_message, loss_reason};

use crate::telemetry::Metrics;
use crate::telemetry::metrics::State;
use crate::telemetry::traces;

/// Everything that the transports can ask for. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    engines: Engines,
    router: Arc<Router>,
    sessions: Arc<session::Sessions>,
    metrics: Arc<Metrics>,
    /// Every wait ends with it.
    drain: Drain,
}

impl Service {
    /// A service over these engines, whose listener is `router`. It ends with `drain`.
    pub fn new(engines: Engines, router: Arc<Router>, metrics: Arc<Metrics>, drain: Drain) -> Self {
        let engines = engines.measured(&metrics);
        Self { engines, router, sessions: Arc::default(), metrics, drain }
    }

    /// The engines behind it.
    pub fn engines(&self) -> &Engines {
        &self.engines
    }

    /// The sessions of this server.
    pub fn sessions(&self) -> &session::Sessions {
        &self.sessions
    }

    /// How it ends.
    pub fn drain(&self) -> &Drain {
        &self.drain
    }

    /// What it counts.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Everything it counts, as Prometheus reads it.
    pub fn render_metrics(&self) -> String {
        self.metrics.render(&State {
            is_ready: self.check_ready().is_ok(),
            is_draining: self.drain.has_begun(),
            sessions: self.sessions.count(),
            scopes: self.engines.iter().map(|(scope, engine)| (scope, engine.census())).collect(),
            store: self.engines.iter().find_map(|(_, engine)| engine.store()),
        })
    }

    /// Whether it takes requests; the error says why not.
    pub fn check_ready(&self) -> Result<()> {
        self.check_not_draining()?;
        match self.engines.readiness() {
            Readiness::Ready => Ok(()),
            Readiness::NotReady(why) => Err(Error::NotReady(why)),
        }
    }

    fn check_not_draining(&self) -> Result<()> {
        if self.drain.has_begun() { Err(Error::Draining) } else { Ok(()) }
    }

    /// How long from now nobody else is granted what a session with this timeout holds.
    fn valid_for(&self, session_timeout: Duration) -> Duration {
        let left = self.engines.valid_until().map(|until| until.since(lockstead_clock::time()));
        left.map_or(session_timeout, |left| left.min(session_timeout))
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

impl Caller {
    /// Who holds a resource and who waits for it.
    pub async fn get(&self, scope: Scope, key: ResourceKey) -> Result<ResourceView> {
        traces::note_resource(scope, &key);
        self.may_ask()?;
        self.may_read(scope, &key.name)?;
        Ok(self.engines.of(scope)?.get(Get(key)).await?)
    }

    /// The sessions of this server, oldest first.
    pub fn session_views(&self) -> Result<Vec<session::SessionView>> {
        self.may_ask()?;
        self.may_administer_server()?;
        Ok(self.sessions.views())
    }

    /// A page of the resources in use, in order of their names.
    pub async fn list_page(&self, scope: Scope, list: List) -> Result<Page> {
        self.may_ask()?;
        self.may_list(scope, &list.prefix)?;
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
