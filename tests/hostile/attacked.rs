//! A server under attack, beside a client that uses it as it should.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lockstead_client::{Client, now};
use lockstead_tests::{Logged, Memory, PATIENCE, eventually};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinHandle;

/// Once the attack is over, the process may be so much larger than before: what its allocator keeps.
const KEPT_MAX_BYTES: usize = 48 << 20;
/// Nobody else waits longer than this for a lock that is free, on a machine that has to play all of them.
const SERVED_WITHIN: Duration = Duration::from_secs(5);
/// How often somebody else must have been served.
const SERVED_AT_LEAST: usize = 10;

pub(crate) struct Attacked {
    server: Logged,
    before: Memory,
    others: JoinHandle<()>,
    count: Arc<AtomicUsize>,
}

impl Attacked {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts a server with more flags, and the client beside it.
    pub(crate) async fn start_with(prepare: impl FnOnce(&mut Command)) -> Self {
        allow_many_files();
        let server = Logged::start_with(prepare);
        let client = Client::connect(&server.url).await.unwrap();
        let count = Arc::<AtomicUsize>::default();
        let others = tokio::spawn(go_on(client, count.clone()));
        let mut attacked = Self { before: Memory::of(server.id()), server, others, count };
        attacked.serves().await;
        // What it takes to serve at all is no growth.
        attacked.before = Memory::of(attacked.server.id());
        attacked
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> &str {
        self.server.address()
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> &str {
        &self.server.url
    }

    /// Waits until somebody else was served some more.
    pub(crate) async fn serves(&self) {
        let before = self.count.load(Ordering::Relaxed);
        eventually("others are served", async || {
            assert!(!self.others.is_finished(), "others are not served");
            self.count.load(Ordering::Relaxed) >= before + SERVED_AT_LEAST
        })
        .await;
    }

    /// How many files the server has open; connections are files.
    pub(crate) fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.server.id())).unwrap().count()
    }

    /// By how much the process has been larger than at its start, at most.
    pub(crate) fn growth(&self) -> usize {
        Memory::of(self.server.id()).peak.saturating_sub(self.before.now)
    }

    /// That the process has never been larger than at its start by more than this, is not much larger now, and is well.
    pub(crate) async fn assert_unharmed(self, growth_max_bytes: usize) {
        let small_again = eventually("the server is small again", async || {
            Memory::of(self.server.id()).now <= self.before.now + KEPT_MAX_BYTES
        });
        small_again.await;
        self.assert_bounded(growth_max_bytes).await;
    }

    /// The same, however large the process is now: what its allocator has once had for very many small things, it keeps.
    pub(crate) async fn assert_bounded(mut self, growth_max_bytes: usize) {
        self.serves().await;
        let (before, grown, limit) = (self.before.now >> 20, self.growth() >> 20, growth_max_bytes >> 20);
        println!("memory: {before} MiB before, {grown} MiB more at most, of {limit}");
        assert!(grown <= limit, "the server grew by {grown} MiB, and may by {limit}");
        self.server.assert_well();
    }
}

impl Drop for Attacked {
    fn drop(&mut self) {
        self.others.abort();
    }
}

/// Acquires and releases, and fails if that takes long.
async fn go_on(client: Client, count: Arc<AtomicUsize>) {
    for turn in 0_usize.. {
        let asked = now();
        let acquire = client.lock(format!("others/{}", turn % 10)).acquire();
        let guard = tokio::time::timeout(PATIENCE, acquire).await.expect("an answer in time").expect("a free lock");
        guard.release().await.expect("a hold");
        let took = now().since(asked);
        assert!(took < SERVED_WITHIN, "an acquire and a release of a free lock took {took:?}");
        count.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// As many as the system lets this process and its children have.
fn allow_many_files() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("the soft limit can be raised");
}
