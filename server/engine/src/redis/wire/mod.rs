//! Reaches Redis; knows nothing of locks.
//!
//! A [`Wire`] finds the node that has a partition's keys, whether there is one node, one named by Sentinels, or a Cluster,
//! and keeps a connection to it. It never repeats a call: whoever makes it is told by [`WireError`] whether it may have
//! happened, and gets a new [`Link`].
//!
//! What leads to a link is work that many wait for and one does: a *survey* finds out which node has what, and is made
//! anew when a connection is lost or a node refuses; surveys are paced, so that whoever tries again and again does no
//! harm. No lock is held meanwhile.

mod connection;
mod dial;
mod error;
mod info;
mod link;
mod pace;
mod permission;
mod routes;
mod script;
mod sentinel;
mod survey;
mod target;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared as SharedFuture};
use lockstead_tasks::{Starter, Tasks};

use connection::Connection;
pub use error::WireError;
use link::Acks;
pub use link::Link;
pub(super) use pace::Pace;
pub use permission::RULE;
use routes::Routes;
pub use script::Script;
use target::Address;
pub use target::{Fault, Target, TargetError};

/// WAIT holds up everything that comes after it on its connection, so that its limit is a part of a call's.
const ACKS_SHARE: u32 = 4;

/// Work that many wait for. It goes on if nobody does, and its outcome stays.
type Attempt<T> = SharedFuture<BoxFuture<'static, Result<Arc<T>, WireError>>>;

/// The way to Redis.
pub struct Wire {
    shared: Arc<Shared>,
}

struct Shared {
    target: Target,
    min_acks: u32,
    answer_within: Duration,
    /// Begins what drives a connection.
    tasks: Starter,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last survey, or the one under way.
    routes: Option<Attempt<Routes>>,
    /// What the last survey found.
    nodes: Vec<Address>,
    surveys: usize,
    pace: Pace,
    connections: HashMap<(Address, Lane), Attempt<Connection>>,
}

/// A partition that has its connection for itself. Those that wait for acknowledgements do, or they would wait for each
/// other's.
type Lane = Option<u16>;

impl Wire {
    /// A way to `target` on which a call that writes counts only once `min_acks` replicas have it. Nothing is reached for
    /// before the first link; then everything is answered, or fails, within `answer_within`.
    pub fn new(target: Target, min_acks: u32, answer_within: Duration) -> Self {
        // Nobody carries these out, so each connection is a task of its own.
        Self::carried_by(Tasks::default().starter(), target, min_acks, answer_within)
    }

    /// The same, with connections that are parts of the task that carries out `tasks`.
    pub(super) fn carried_by(tasks: Starter, target: Target, min_acks: u32, answer_within: Duration) -> Self {
        let state = Mutex::default();
        Self { shared: Arc::new(Shared { target, min_acks, answer_within, tasks, state }) }
    }

    /// A connection to the node that has the keys of `{partition}` now: the one there is, unless it is closed or its node
    /// has refused. One try; after a failure the next one waits a little, so that it may be asked for at once.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn link(&self, partition: u16) -> Result<Link, WireError> {
        let routes = self.shared.routes().await?;
        let link = self.shared.reach(&routes, partition).await;
        if link.is_err() {
            routes.doubt();
        }
        link
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which node has what, as found by the last survey, or by a new one if that is in doubt.
    fn routes(self: &Arc<Self>) -> Attempt<Routes> {
        let mut state = self.state();
        let connections = state.connections.len();
        state.connections.retain(|_, connection| !is_over(connection));
        let has_lost_some = state.connections.len() < connections;
        let known = state.routes.as_ref().filter(|routes| match routes.peek() {
            None => true,
            Some(Ok(routes)) => !routes.are_doubted() && !has_lost_some,
            Some(Err(_)) => false,
        });
        if let Some(routes) = known {
            return routes.clone();
        }
        // Whoever wants answers soon wants the way to them back soon.
        let pause = state.pace.next_pause(lockstead_clock::time(), getrandom::u32().unwrap_or_default());
        let pause = pause.min(self.answer_within);
        let shared = self.clone();
        let survey = attempt(async move {
            tokio::time::sleep(pause).await;
            let routes = Routes::new(shared.survey().await?);
            shared.state().nodes = routes.nodes();
            Ok(routes)
        });
        state.routes.insert(survey).clone()
    }

    async fn reach(self: &Arc<Self>, routes: &Arc<Routes>, partition: u16) -> Result<Link, WireError> {
        let node = routes.node_of(partition).ok_or_else(|| {
            WireError::Elsewhere(format!("no node of the Cluster has the slot of {{{partition}}}; see `CLUSTER SLOTS`"))
        })?;
        let needs_acks = self.min_acks > 0;
        let connection = self.connection(node, needs_acks.then_some(partition)).await?;
        if !connection.info.is_primary {
            connection.close();
            return Err(self.is_replica(&connection));
        }
        connection.check_permissions(partition, self.min_acks).await?;
        let acks = needs_acks.then(|| Acks {
            needed: self.min_acks,
            within: self.answer_within / ACKS_SHARE,
            mark: format!("lockstead:{{{partition}}}:acks").into(),
        });
        Ok(Link { connection, routes: routes.clone(), acks })
    }

    /// The connection to a node, made if there is none.
    fn connection(self: &Arc<Self>, node: &Address, lane: Lane) -> Attempt<Connection> {
        let mut state = self.state();
        let key = (node.clone(), lane);
        if let Some(connection) = state.connections.get(&key).filter(|connection| !is_over(connection)) {
            return connection.clone();
        }
        let (shared, node) = (self.clone(), node.clone());
        let connection =
            attempt(async move { Connection::open(&shared.target, &node, shared.answer_within, &shared.tasks).await });
        state.connections.insert(key, connection.clone());
        connection
    }

    fn is_replica(&self, connection: &Connection) -> WireError {
        let node = &connection.node;
        if self.target.is_behind_sentinels() || connection.info.is_in_cluster {
            WireError::Elsewhere(format!("Redis at {node} has become a replica"))
        } else {
            let hint = "write the address of its primary, or its Sentinels by redis+sentinel://";
            WireError::Misconfigured(format!("Redis at {node} is a replica: {hint}"))
        }
    }
}

impl State {
    fn is_connected(&self, node: &Address) -> bool {
        self.connections.iter().any(|((other, _), attempt)| {
            other == node && matches!(attempt.peek(), Some(Ok(connection)) if connection.is_open())
        })
    }
}

fn is_over(attempt: &Attempt<Connection>) -> bool {
    match attempt.peek() {
        None => false,
        Some(Ok(connection)) => !connection.is_open(),
        Some(Err(_)) => true,
    }
}

fn attempt<T: Send + Sync + 'static>(work: impl Future<Output = Result<T, WireError>> + Send + 'static) -> Attempt<T> {
    let task = tokio::spawn(work);
    let outcome = async move {
        let ended = task.await.map_err(|_| WireError::Broken("the server is ending".to_owned()))?;
        ended.map(Arc::new)
    };
    outcome.boxed().shared()
}
