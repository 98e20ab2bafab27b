//! What the server gave: ids to go on with, and to give back at the end.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use lockstead_api::v1;
use lockstead_api::v1::lock_service_client::LockServiceClient;

/// So many are remembered.
const SESSIONS: usize = 64;
const HOLDS: usize = 256;
/// Longer than anything lasts that was asked for.
const SETTLED_WITHIN: Duration = Duration::from_secs(20);

#[derive(Clone, Debug, Default)]
pub(crate) struct Yields(Arc<Mutex<All>>);

#[derive(Debug, Default)]
struct All {
    holds: VecDeque<(v1::ResourceId, String)>,
    /// Leases that have not been released, by their ids.
    leases: HashMap<String, v1::ResourceId>,
    sessions: VecDeque<(String, String)>,
}

impl Yields {
    fn with<T>(&self, act: impl FnOnce(&mut All) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn note_hold(&self, resource: v1::ResourceId, id: String) {
        self.with(|all| {
            if all.holds.len() == HOLDS {
                all.holds.pop_front();
            }
            all.holds.push_back((resource, id));
        });
    }

    pub(crate) fn note_lease(&self, hold: &v1::Hold) {
        let Some(resource) = hold.resource.clone() else { return };
        self.note_hold(resource.clone(), hold.hold_id.clone());
        self.with(|all| all.leases.insert(hold.hold_id.clone(), resource));
    }

    pub(crate) fn note_released(&self, id: &str) {
        self.with(|all| all.leases.remove(id));
    }

    pub(crate) fn note_session(&self, opened: &v1::SessionOpened) {
        self.with(|all| {
            if all.sessions.len() == SESSIONS {
                all.sessions.pop_front();
            }
            all.sessions.push_back((opened.session_id.clone(), opened.resume_secret.clone()));
        });
    }

    pub(crate) fn any_hold(&self, rng: &mut Rng) -> Option<(v1::ResourceId, String)> {
        let draw = rng.usize(..HOLDS);
        self.with(|all| all.holds.get(draw % all.holds.len().max(1)).cloned())
    }

    pub(crate) fn any_session(&self, rng: &mut Rng) -> Option<(String, String)> {
        let draw = rng.usize(..SESSIONS);
        self.with(|all| all.sessions.get(draw % all.sessions.len().max(1)).cloned())
    }

    /// Releases all leases that are known, and waits until nothing is held or waited for. That the server answers shows that
    /// it still serves.
    pub(crate) async fn give_back(&self, url: &str) -> Result<(), String> {
        let mut client = LockServiceClient::connect(url.to_owned()).await.map_err(|error| error.to_string())?;
        for (hold_id, resource) in self.with(|all| std::mem::take(&mut all.leases)) {
            // Most have ended by themselves.
            _ = client.release(v1::ReleaseRequest { resource: Some(resource), hold_id }).await;
        }
        let mut left = Vec::new();
        let settled = async {
            loop {
                left = in_use(&mut client).await?;
                if left.is_empty() {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        match tokio::time::timeout(SETTLED_WITHIN, settled).await {
            Ok(settled) => settled,
            Err(_) => Err(format!("still in use: {left:?}")),
        }
    }
}

async fn in_use(client: &mut LockServiceClient<tonic::transport::Channel>) -> Result<Vec<v1::Resource>, String> {
    let mut all = Vec::new();
    for kind in [v1::Kind::Lock, v1::Kind::Semaphore] {
        for scope in [v1::Scope::Cluster, v1::Scope::Node] {
            let list = v1::ListRequest { kind: kind.into(), scope: scope.into(), ..v1::ListRequest::default() };
            let answer = client.list(list).await.map_err(|status| format!("the server does not list: {status}"))?;
            all.extend(answer.into_inner().resources);
        }
    }
    Ok(all)
}
