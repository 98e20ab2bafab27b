//! The memory engine, for the suite.

use std::sync::Arc;

use lockstead_engine::{MemoryEngine, SharedKey};

use crate::events::EventLog;
use crate::fixture::Fixture;

/// A new engine in which nothing is held.
pub(crate) async fn fixture() -> Fixture {
    let events = Arc::new(EventLog::default());
    Fixture::new(Arc::new(MemoryEngine::start(SharedKey::from_bytes([0; 32]), events.clone())), events)
}
