//! The node engine, for the suite.

use std::sync::Arc;

use lockstead_engine::{LockFamily, NodeEngine, NodeSettings, SharedKey};

use crate::events::EventLog;
use crate::fixture::Fixture;

/// A new engine on a lock directory of its own.
pub(crate) async fn fixture() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let settings = NodeSettings { directory: directory.path().to_owned(), family: LockFamily::Both };
    let events = Arc::new(EventLog::default());
    let engine = NodeEngine::start(&settings, SharedKey::from_bytes([0; 32]), events.clone()).unwrap();
    Fixture::new(Arc::new(engine), events).keeping(directory)
}
