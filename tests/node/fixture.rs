//! A server with a lock directory of its own, and a client of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lockstead_client::{Client, Guard, Lock, Request, Semaphore};
use lockstead_tests::{PATIENCE, Server};
use tempfile::TempDir;

/// What a test begins with.
pub(crate) struct Node {
    pub(crate) server: Server,
    pub(crate) client: Client,
    pub(crate) directory: Arc<TempDir>,
}

impl Node {
    /// With the usual settings.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With more flags.
    pub(crate) async fn start_with(flags: &[&str]) -> Self {
        Self::start_on(Arc::new(tempfile::tempdir().unwrap()), flags).await
    }

    /// On a directory that others have too.
    pub(crate) async fn start_on(directory: Arc<TempDir>, flags: &[&str]) -> Self {
        let path = directory.path().to_str().unwrap().to_owned();
        let server = Server::start_with(&[&["--lock-dir", &path], flags].concat());
        let client = Client::connect(&server.url).await.unwrap();
        Self { server, client, directory }
    }

    /// Another server on the same directory.
    pub(crate) async fn another(&self) -> Self {
        Self::start_on(self.directory.clone(), &[]).await
    }

    pub(crate) fn lock(&self, name: &str) -> Request<Lock> {
        self.client.lock(name).node_scope()
    }

    pub(crate) fn semaphore(&self, name: &str, limit: u32) -> Request<Semaphore> {
        self.client.semaphore(name, limit).node_scope()
    }

    /// A file in its lock directory.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// How many lock files the server has open.
    pub(crate) fn open_lock_files(&self) -> usize {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", self.server.id())).unwrap();
        // Some are closed meanwhile.
        let paths = descriptors.filter_map(|descriptor| std::fs::read_link(descriptor.unwrap().path()).ok());
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "lock")).count()
    }

    /// Asks for the lock in the background, and returns when it stands in the queue at this place.
    pub(crate) async fn wait_for(&self, request: Request<Lock>, name: &str, place: u32) -> Waiting {
        let waiting = Waiting(tokio::spawn(async move { request.acquire().await.unwrap() }));
        let queued = async {
            while self.lock(name).get().await.unwrap().waiter_count < place {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, queued).await.expect("it waits");
        waiting
    }
}

/// Somebody who waits.
pub(crate) struct Waiting(tokio::task::JoinHandle<Guard>);

impl Waiting {
    /// Returns once it holds.
    pub(crate) async fn granted(self) -> Guard {
        tokio::time::timeout(PATIENCE, self.0).await.expect("a grant in time").unwrap()
    }

    /// Whether it waits still.
    pub(crate) fn waits(&self) -> bool {
        !self.0.is_finished()
    }
}

/// The name of a file as text.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
