//! A primary, two replicas, and three Sentinels that watch over them.

use std::collections::HashMap;
use std::fmt::Write;

use rustix::process::Signal;
use tempfile::TempDir;

use super::RedisServer;
use crate::daemon::Daemon;
use crate::port::Port;

const NODES: usize = 3;
const SENTINELS: usize = 3;

/// Three Redis nodes behind three Sentinels, which call the primary `mymaster`.
#[derive(Debug)]
pub struct SentinelSetup {
    /// The nodes; which of them is the primary changes.
    pub nodes: Vec<RedisServer>,
    primary: usize,
    failovers: usize,
    sentinels: Vec<Sentinel>,
}

#[derive(Debug)]
struct Sentinel {
    port: Port,
    daemon: Daemon,
    _folder: TempDir,
}

impl SentinelSetup {
    /// Starts them, and returns once all know all.
    ///
    /// # Panics
    /// If one does not start.
    pub async fn start() -> Self {
        let mut nodes = vec![RedisServer::start().await];
        let port = nodes[0].port().to_string();
        for _ in 1..NODES {
            // By a command, so that one that was promoted is no replica again when it is restarted.
            let node = RedisServer::start().await;
            node.command(&["REPLICAOF", "127.0.0.1", &port]).await;
            nodes.push(node);
        }
        nodes[0].has_replicas(NODES - 1).await;
        let mut sentinels = Vec::new();
        for _ in 0..SENTINELS {
            sentinels.push(Sentinel::start(nodes[0].port()).await);
        }
        for sentinel in &sentinels {
            sentinel.daemon.logged("+slave slave", NODES - 1).await;
            sentinel.daemon.logged("+sentinel sentinel", SENTINELS - 1).await;
        }
        Self { nodes, primary: 0, failovers: 0, sentinels }
    }

    /// All Sentinels, as `--redis` takes them.
    pub fn url(&self) -> String {
        let mut url = String::from("redis+sentinel://");
        for (index, sentinel) in self.sentinels.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(url, "{comma}127.0.0.1:{}", sentinel.port.number).expect("a string takes it");
        }
        url
    }

    /// The one that serves now.
    pub fn primary(&self) -> &RedisServer {
        &self.nodes[self.primary]
    }

    /// From now on the replicas miss what the primary does, until they are promoted or [told to follow again](Self::replicate).
    ///
    /// # Panics
    /// If the primary does not answer.
    pub async fn stop_replicating(&self) {
        for replica in self.replicas() {
            replica.signal(Signal::STOP);
        }
        // What is on its way to a stopped process would be read later; what is written after this has no way.
        self.primary().command(&["CLIENT", "KILL", "TYPE", "replica"]).await;
    }

    /// Undoes [`stop_replicating`](Self::stop_replicating).
    ///
    /// # Panics
    /// If the replicas do not follow again.
    pub async fn replicate(&self) {
        for replica in self.replicas() {
            replica.signal(Signal::CONT);
        }
        self.primary().has_replicas(self.replicas().count()).await;
    }

    /// Kills the primary, and returns once all Sentinels know the next one, and it serves.
    ///
    /// # Panics
    /// If no other becomes primary.
    pub async fn fail_over(&mut self) {
        self.nodes[self.primary].kill();
        for replica in self.replicas() {
            replica.signal(Signal::CONT);
        }
        self.follow().await;
    }

    /// Makes another one primary, while the old one lives and becomes its replica.
    ///
    /// # Panics
    /// If no other becomes primary.
    pub async fn switch_over(&mut self) {
        super::command(&self.sentinels[0].url(), &["SENTINEL", "FAILOVER", "mymaster"]).await;
        self.follow().await;
    }

    /// Stops the primary until another one has taken its place, and returns its number. It goes on as if nothing had been,
    /// until the Sentinels see to it after ten seconds.
    ///
    /// # Panics
    /// If no other becomes primary.
    pub async fn replace_stopped(&mut self) -> usize {
        let old = self.primary;
        self.nodes[old].signal(Signal::STOP);
        self.follow().await;
        self.nodes[old].signal(Signal::CONT);
        old
    }

    /// Kills a Sentinel; the others are enough.
    pub fn kill_last_sentinel(&mut self) {
        self.sentinels.pop();
    }

    async fn follow(&mut self) {
        self.failovers += 1;
        for sentinel in &self.sentinels {
            sentinel.daemon.logged("+switch-master", self.failovers).await;
        }
        let known = self.primary_port().await;
        self.primary = self.nodes.iter().position(|node| node.port() == known).expect("it is one of the nodes");
        super::until("the new primary serves", || async { self.primary().info("role").await == "master" }).await;
    }

    /// A failover in which everything is lost that `writes` did.
    ///
    /// # Panics
    /// If no other becomes primary.
    pub async fn fail_over_losing<T>(&mut self, writes: impl Future<Output = T>) -> T {
        self.stop_replicating().await;
        let written = writes.await;
        self.fail_over().await;
        written
    }

    /// Starts those that were killed again, and returns once they follow the primary.
    ///
    /// # Panics
    /// If they do not.
    pub async fn restart_killed(&mut self) {
        for node in &mut self.nodes {
            if !node.is_running() {
                node.restart().await;
            }
        }
        self.primary().has_replicas(NODES - 1).await;
    }

    /// Returns once the Sentinels have no doubt about the primary, whichever that is now, and another node follows it. (One
    /// that has been primary goes on as if it still were, until the Sentinels see to it after ten seconds.)
    ///
    /// # Panics
    /// If they do not find together.
    pub async fn settle(&mut self) {
        super::until("the Sentinels agree", || async {
            let mut ports = Vec::new();
            for sentinel in &self.sentinels {
                ports.extend(sentinel.undoubted_primary().await);
            }
            let agreed = ports.len() == self.sentinels.len() && ports.windows(2).all(|pair| pair[0] == pair[1]);
            let primary = self.nodes.iter().find(|node| agreed && Some(&node.port()) == ports.first());
            match primary {
                Some(primary) => primary.replica_count().await > 0,
                None => false,
            }
        })
        .await;
        let known = self.primary_port().await;
        self.primary = self.nodes.iter().position(|node| node.port() == known).expect("it is one of the nodes");
        let seen = self.sentinels.iter().map(|sentinel| sentinel.daemon.log().matches("+switch-master").count());
        self.failovers = seen.max().unwrap_or(0);
    }

    fn replicas(&self) -> impl Iterator<Item = &RedisServer> {
        self.nodes.iter().enumerate().filter_map(|(index, node)| {
            let is_replica = index != self.primary && node.is_running();
            is_replica.then_some(node)
        })
    }

    async fn primary_port(&self) -> u16 {
        let asked =
            super::try_command(&self.sentinels[0].url(), &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"]).await;
        let (_, port): (String, u16) = asked.expect("the Sentinel knows it");
        port
    }
}

impl Sentinel {
    async fn start(primary: u16) -> Self {
        let (port, folder) = (Port::free(), tempfile::tempdir().expect("a folder for Sentinel"));
        let config = format!(
            "bind 127.0.0.1\nport {}\ndir {}\n\
             sentinel monitor mymaster 127.0.0.1 {primary} 2\n\
             sentinel down-after-milliseconds mymaster 1000\n\
             sentinel failover-timeout mymaster 3000\n\
             sentinel parallel-syncs mymaster 2\n",
            port.number,
            folder.path().display()
        );
        let path = folder.path().join("sentinel.conf");
        std::fs::write(&path, config).expect("its configuration can be written");
        let daemon =
            Daemon::start("redis-sentinel", &[path.to_str().expect("a readable path")], "+monitor master").await;
        Self { port, daemon, _folder: folder }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port.number)
    }

    /// The primary's port, unless this Sentinel misses it or is about to replace it.
    async fn undoubted_primary(&self) -> Option<u16> {
        let asked = super::try_command(&self.url(), &["SENTINEL", "MASTER", "mymaster"]).await;
        let known: HashMap<String, String> = asked.ok()?;
        known.get("flags").filter(|flags| *flags == "master").and(known.get("port")?.parse().ok())
    }
}
