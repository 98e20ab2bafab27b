//! How the server ends, in two steps.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lockstead_core::Time;
use tokio_util::sync::CancellationToken;

/// First it drains: nothing new begins, and sessions move to other servers if their engine outlives this one. Then what is
/// left ends. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    begun: CancellationToken,
    over: CancellationToken,
    until: Arc<OnceLock<Time>>,
}

impl Drain {
    /// Begins it, for at most so long.
    pub fn begin(&self, within: Duration) {
        self.until.get_or_init(|| lockstead_clock::time().saturating_add(within));
        self.begun.cancel();
    }

    /// Ends it: every session and every wait that is left ends now.
    pub fn end(&self) {
        self.begin(Duration::ZERO);
        self.over.cancel();
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// How long it still goes on, at most.
    pub fn left(&self) -> Duration {
        self.until.get().map(|until| until.since(lockstead_clock::time())).unwrap_or_default()
    }

    /// Returns once it has begun.
    pub async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// Returns once it is over.
    pub async fn over(&self) {
        self.over.cancelled().await;
    }
}
