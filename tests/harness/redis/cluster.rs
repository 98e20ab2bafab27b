//! A Redis Cluster.

use super::RedisServer;

const PRIMARIES: usize = 3;
const NODES: usize = 2 * PRIMARIES;
const SLOTS: usize = 16_384;

/// Three primaries with a replica each.
#[derive(Debug)]
pub struct ClusterSetup {
    /// The nodes; which of them are primaries changes.
    pub nodes: Vec<RedisServer>,
}

/// What a node knows of another: a line of CLUSTER NODES.
#[derive(Debug)]
struct Known {
    id: String,
    port: u16,
    is_primary: bool,
    has_failed: bool,
    slots: Vec<(usize, usize)>,
}

impl ClusterSetup {
    /// Starts them, and returns once all slots are served and every primary has its replica.
    ///
    /// # Panics
    /// If they do not come together.
    pub async fn start() -> Self {
        // Without full coverage, an outage of some slots is an outage of those only.
        let arguments =
            ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-require-full-coverage", "no"];
        let mut nodes = Vec::new();
        for epoch in 1..=NODES {
            let node = RedisServer::start_with(&arguments).await;
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch.to_string()]).await;
            nodes.push(node);
        }
        let cluster = Self { nodes };
        for (index, primary) in cluster.nodes[..PRIMARIES].iter().enumerate() {
            let (first, last) = (SLOTS * index / PRIMARIES, SLOTS * (index + 1) / PRIMARIES - 1);
            primary.command(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]).await;
        }
        for node in &cluster.nodes[1..] {
            cluster.nodes[0].command(&["CLUSTER", "MEET", "127.0.0.1", &node.port().to_string()]).await;
        }
        cluster.all_know("all nodes", |known| known.len() == NODES).await;
        for (primary, replica) in cluster.nodes.iter().zip(&cluster.nodes[PRIMARIES..]) {
            let known = replica.known().await;
            let primary = known.iter().find(|node| node.port == primary.port()).expect("it is known");
            replica.command(&["CLUSTER", "REPLICATE", &primary.id]).await;
        }
        cluster
            .all_know("the replicas", |known| known.iter().filter(|node| !node.is_primary).count() == PRIMARIES)
            .await;
        for primary in &cluster.nodes[..PRIMARIES] {
            primary.has_replicas(1).await;
        }
        for node in &cluster.nodes {
            node.daemon().logged("Cluster state changed: ok", 1).await;
        }
        cluster
    }

    /// All nodes, as `--redis` takes them.
    pub fn url(&self) -> String {
        let urls: Vec<_> = self.nodes.iter().map(RedisServer::url).collect();
        urls.join(",")
    }

    /// The number of the node that has the keys of `{partition}`.
    ///
    /// # Panics
    /// If nobody has them.
    pub async fn primary_of(&self, partition: u16) -> usize {
        let slot = self.slot_of(partition).await;
        let owner = self.owner_of(slot, self.living().next().expect("a node runs")).await;
        self.nodes.iter().position(|node| Some(node.port()) == owner).expect("one of the nodes has the slot")
    }

    /// Kills the primary that has the keys of `{partition}`, and returns its number once its replica serves in its place
    /// and all nodes know.
    ///
    /// # Panics
    /// If the replica does not.
    pub async fn kill_primary_of(&mut self, partition: u16) -> usize {
        let killed = self.primary_of(partition).await;
        let slot = self.slot_of(partition).await;
        self.nodes[killed].kill();
        let gone = self.nodes[killed].port();
        for node in self.living() {
            super::until("the replica is promoted", || async {
                self.owner_of(slot, node).await.is_some_and(|owner| owner != gone)
            })
            .await;
        }
        killed
    }

    /// Starts those that were killed again.
    ///
    /// # Panics
    /// If they do not start.
    pub async fn restart_killed(&mut self) {
        for node in &mut self.nodes {
            if !node.is_running() {
                node.restart().await;
            }
        }
    }

    /// Returns once all nodes find all others well, and every primary has its replica, whichever those are now.
    ///
    /// # Panics
    /// If they do not recover.
    pub async fn settle(&self) {
        super::until("the Cluster is whole again", || async {
            for node in &self.nodes {
                let Ok(known) = node.try_known().await else { return false };
                let primaries = known.iter().filter(|node| node.is_primary).count();
                let is_primary = known.iter().any(|known| known.is_primary && known.port == node.port());
                if known.len() != NODES || primaries != PRIMARIES || known.iter().any(|node| node.has_failed) {
                    return false;
                }
                if is_primary && node.replica_count().await != 1 {
                    return false;
                }
            }
            true
        })
        .await;
    }

    /// Moves the keys of `{partition}` to another primary, and returns its number.
    ///
    /// # Panics
    /// If a node refuses.
    pub async fn move_partition(&self, partition: u16) -> usize {
        let from = self.primary_of(partition).await;
        let known = self.nodes[from].known().await;
        let to = known.iter().find(|node| node.is_primary && !node.has_failed && node.port != self.nodes[from].port());
        let to = to.expect("there is another primary");
        let target = self.nodes.iter().position(|node| node.port() == to.port).expect("it is one of the nodes");
        let mine = known.iter().find(|node| node.port == self.nodes[from].port()).expect("a node knows itself");
        let slot = self.slot_of(partition).await.to_string();
        self.nodes[target].command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &mine.id]).await;
        self.nodes[from].command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to.id]).await;
        let keys = super::try_command(&self.nodes[from].url(), &["CLUSTER", "GETKEYSINSLOT", &slot, "1000"]).await;
        let keys: Vec<String> = keys.expect("it has the slot");
        let port = to.port.to_string();
        for key in keys {
            self.nodes[from].command(&["MIGRATE", "127.0.0.1", &port, &key, "0", "5000"]).await;
        }
        for node in [target, from] {
            self.nodes[node].command(&["CLUSTER", "SETSLOT", &slot, "NODE", &to.id]).await;
        }
        target
    }

    fn living(&self) -> impl Iterator<Item = &RedisServer> {
        self.nodes.iter().filter(|node| node.is_running())
    }

    async fn slot_of(&self, partition: u16) -> usize {
        let node = self.living().next().expect("a node runs");
        let slot = super::try_command(&node.url(), &["CLUSTER", "KEYSLOT", &format!("{{{partition}}}")]).await;
        slot.expect("it can compute")
    }

    /// The port of the living primary that has a slot, as a node sees it.
    async fn owner_of(&self, slot: usize, node: &RedisServer) -> Option<u16> {
        let known = node.known().await;
        let owner = known.iter().find(|node| {
            let has_it = node.slots.iter().any(|(first, last)| (*first..=*last).contains(&slot));
            node.is_primary && !node.has_failed && has_it
        });
        owner.map(|owner| owner.port)
    }

    async fn all_know(&self, what: &str, is_so: impl Fn(&[Known]) -> bool) {
        for node in &self.nodes {
            super::until(what, || async { is_so(&node.known().await) }).await;
        }
    }
}

impl RedisServer {
    async fn known(&self) -> Vec<Known> {
        self.try_known().await.expect("it is in a Cluster")
    }

    async fn try_known(&self) -> redis::RedisResult<Vec<Known>> {
        let lines: String = super::try_command(&self.url(), &["CLUSTER", "NODES"]).await?;
        Ok(lines.lines().map(Known::read).collect())
    }
}

impl Known {
    /// `ID HOST:PORT@BUS,NAME FLAGS PRIMARY … SLOTS`; a slot that is being moved stands in brackets.
    fn read(line: &str) -> Self {
        let words: Vec<_> = line.split(' ').collect();
        let port = words[1].split('@').next().and_then(|address| address.rsplit(':').next()).expect("a port");
        let slots = words[8..].iter().filter(|slots| !slots.starts_with('['));
        let slots = slots.map(|slots| {
            let (first, last) = slots.split_once('-').unwrap_or((slots, slots));
            (first.parse().expect("a slot"), last.parse().expect("a slot"))
        });
        Self {
            id: words[0].to_owned(),
            port: port.parse().expect("a port"),
            is_primary: words[2].contains("master"),
            has_failed: words[2].contains("fail"),
            slots: slots.collect(),
        }
    }
}
