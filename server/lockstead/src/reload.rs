//! Files that are read again when they change: certificates and the access file.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use sha2::{Digest, Sha256};

/// How often to look. Looking works with whatever brings the files: an editor, a renewal, or a Kubernetes volume, which
/// swaps a link of a folder above.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Some files that belong together, and what to do when one of them has changed.
pub(crate) struct Watched {
    what: &'static str,
    paths: Vec<PathBuf>,
    reload: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
    seen: [u8; 32],
}

impl Watched {
    /// Files that have just been read.
    pub(crate) fn new(
        what: &'static str,
        paths: Vec<PathBuf>,
        reload: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        let seen = fingerprint(&paths);
        Self { what, paths, reload: Box::new(reload), seen }
    }

    fn look(&mut self) {
        let now = fingerprint(&self.paths);
        if now == self.seen {
            return;
        }
        self.seen = now;
        match (self.reload)() {
            Ok(()) => tracing::info!("{} changed, and was read again", self.what),
            Err(why) => tracing::error!(why, "{} changed, but can't be used; going on with what was there", self.what),
        }
    }
}

/// Looks after all of them, for as long as it is polled.
pub(crate) async fn watch(mut files: Vec<Watched>) -> Infallible {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        files.iter_mut().for_each(Watched::look);
    }
}

/// Of the contents. They are small, and times can't be relied on.
fn fingerprint(paths: &[PathBuf]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for path in paths {
        let content = std::fs::read(path).unwrap_or_default();
        hash.update(content.len().to_le_bytes());
        hash.update(content);
    }
    hash.finalize().into()
}
