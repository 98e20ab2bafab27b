//! Lockstead, by its Rust client: over each engine, on a session and as unary calls.

use std::process::{Command, Stdio};
use std::time::Duration;

use futures::FutureExt;
use lockstead_client::{Client, Guard, Lease, Scope};
use lockstead_tests::{RedisServer, Server};
use tempfile::TempDir;

use crate::contender::{Contender, Measuring, Workload};
use crate::crowd::{self, Crowd, Member};
use crate::figures::of_operations;
use crate::load::Measured;
use crate::locker::{self, Locker};
use crate::{Failure, scale};

const LEASE_TTL: Duration = Duration::from_secs(30);
/// As Redis is for those who want to keep what they wrote without waiting for the disk.
pub(crate) const APPENDING: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "everysec"];

/// A worker on a session that others share.
pub(crate) struct Session<const NODE: bool = false>(Client);

const fn scope(node: bool) -> Scope {
    if node { Scope::Node } else { Scope::Cluster }
}

impl<const NODE: bool> Locker for Session<NODE> {
    type Held = Guard;

    async fn open(address: &str, workers: usize) -> Result<Vec<Self>, Failure> {
        let client = Client::connect(address).await?;
        Ok((0..workers).map(|_| Self(client.clone())).collect())
    }

    async fn acquire(&mut self, lock: &str) -> Result<Guard, Failure> {
        Ok(self.0.lock(lock).scope(scope(NODE)).acquire().await?)
    }

    async fn release(&mut self, guard: Guard) -> Result<(), Failure> {
        Ok(guard.release().await?)
    }
}

/// A worker with unary calls, on a connection that others share.
struct Unary<const NODE: bool>(Client);

impl<const NODE: bool> Locker for Unary<NODE> {
    type Held = Lease;

    async fn open(address: &str, workers: usize) -> Result<Vec<Self>, Failure> {
        let client = Client::connect(address).await?;
        Ok((0..workers).map(|_| Self(client.clone())).collect())
    }

    async fn acquire(&mut self, lock: &str) -> Result<Lease, Failure> {
        Ok(self.0.lock(lock).scope(scope(NODE)).lease(LEASE_TTL).acquire().await?)
    }

    async fn release(&mut self, lease: Lease) -> Result<(), Failure> {
        Ok(lease.release().await?)
    }
}

/// A server over one of its engines.
pub(crate) struct Lockstead<const NODE: bool> {
    name: &'static str,
    server: Server,
    redis: Option<RedisServer>,
    _lock_dir: Option<TempDir>,
}

/// Starts a server, which the kernel kills if this program ends in any way.
pub(crate) fn serve(flags: &[&str]) -> Server {
    let plain = lockstead_tests::serve();
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(plain.get_program()).args(plain.get_args());
    command.args(["--listen", "127.0.0.1:0"]).args(flags).stdin(Stdio::null());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Server::start_as(command)
}

/// Over the memory engine.
pub(crate) fn memory() -> Lockstead<false> {
    Lockstead { name: "memory", server: serve(&[]), redis: None, _lock_dir: None }
}

/// Over the kernel's file locks.
pub(crate) fn node() -> Result<Lockstead<true>, Failure> {
    let folder = tempfile::tempdir()?;
    let server = serve(&["--lock-dir", &folder.path().to_string_lossy()]);
    Ok(Lockstead { name: "node", server, redis: None, _lock_dir: Some(folder) })
}

/// Over Redis; ready when it grants.
pub(crate) async fn redis() -> Result<Lockstead<false>, Failure> {
    let redis = RedisServer::start_with(&APPENDING).await;
    let server = serve(&["--redis", &redis.url()]);
    // Redis is empty, so nothing is granted before one server lease has passed.
    let client = Client::connect(&server.url).await?;
    client.lock("compare/ready").acquire().await?.release().await?;
    client.close().await?;
    Ok(Lockstead { name: "redis", server, redis: Some(redis), _lock_dir: None })
}

impl<const NODE: bool> Contender for Lockstead<NODE> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn processes(&self) -> Vec<u32> {
        [self.server.id()].into_iter().chain(self.redis.as_ref().map(RedisServer::id)).collect()
    }

    fn measure(&self, workload: Workload, time: Duration) -> Option<Measuring<'_>> {
        let url = self.server.url.as_str();
        let is_memory = self.name == "memory";
        let figures = |measured: Result<Measured, Failure>| measured.map(|measured| of_operations(&measured));
        Some(match workload {
            Workload::Pairs { in_flight } => locker::pairs::<Session<NODE>>(url, in_flight, time).map(figures).boxed(),
            Workload::Unary { in_flight } => locker::pairs::<Unary<NODE>>(url, in_flight, time).map(figures).boxed(),
            Workload::HandOver { waiters } => {
                locker::hand_over::<Session<NODE>>(url, waiters, time).map(figures).boxed()
            }
            Workload::Processes { count, by: Crowd::Client } if !NODE => {
                crowd::clients(Member::Lockstead, url, count).boxed()
            }
            Workload::Processes { count, by: Crowd::Curl } if !NODE => crowd::curls(url, count).boxed(),
            Workload::Sessions { sessions, locks_each, idle } if is_memory => {
                scale::sessions::measure(sessions, locks_each, idle).boxed()
            }
            Workload::Holds { count } if is_memory => scale::engine::holds(count).boxed(),
            Workload::Queue { waiters } if is_memory => scale::engine::queue(waiters).boxed(),
            _ => return None,
        })
    }
}
