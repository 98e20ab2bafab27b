//! What a seed says: the servers and clients of a run, and what is done to them when. The same seed gives the same plan;
//! how the processes' steps interleave, nobody plans.

use fastrand::Rng;
use lockstead_engine::PARTITIONS;
use serde::{Deserialize, Serialize};

use crate::fault::{ClientFault, Fault, RedisFault, ServerFault};
use crate::history::HungOn;

/// Acquires under way at once in one process.
const WORKERS: usize = 5;
const CLIENTS: usize = 4;
/// Before the first fault.
const PEACE_AT_FIRST_MS: u64 = 2_000;
/// Faults come in storms. Between them it is calm for long enough that order and the absence of losses mean something.
const STORM_MS: u64 = 8_000;
const CALM_AFTER_LEASES_MS: u64 = 7_000;
/// How often a fault is drawn again if another one is wanted. What does not come then is not of this list.
const DRAWS: usize = 200;

/// Where the truth is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Topology {
    /// In one server.
    Memory,
    /// In one Redis.
    Single,
    /// In a Redis with replicas that Sentinels watch over.
    Sentinel,
    /// In a Redis Cluster.
    Cluster,
}

/// Servers and clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Site {
    pub(crate) seed: u64,
    pub(crate) seconds: u64,
    pub(crate) topology: Topology,
    pub(crate) servers: usize,
    pub(crate) server_lease_ms: u64,
    pub(crate) min_acks: u32,
    pub(crate) clients: Vec<ClientSite>,
}

/// One client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClientSite {
    /// For what it does.
    pub(crate) seed: u64,
    pub(crate) sessions: HungOn,
    pub(crate) session_timeout_ms: u64,
    pub(crate) workers: usize,
}

/// What is done to whom, each list in the order of time. Faults of different lists can overlap, those of one never do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) site: Site,
    pub(crate) servers: Vec<Planned<ServerFault>>,
    pub(crate) redis: Vec<Planned<RedisFault>>,
    pub(crate) clients: Vec<Planned<ClientFault>>,
}

/// A fault and when it begins, counted from the beginning of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Planned<F> {
    pub(crate) at_ms: u64,
    pub(crate) fault: F,
}

impl Site {
    /// Whether holds outlive the server that granted them.
    pub(crate) fn outlives_servers(&self) -> bool {
        self.topology != Topology::Memory
    }

    /// How long a client believes in what it holds without hearing anything.
    pub(crate) fn patience_ms(&self, client: usize) -> u64 {
        let timeout = self.clients.get(client).map_or(u64::MAX, |client| client.session_timeout_ms);
        if self.outlives_servers() { timeout.min(self.server_lease_ms) } else { timeout }
    }

    fn draw(rng: &mut Rng, seed: u64, seconds: u64, topology: Option<Topology>) -> Self {
        // Drawn in any case, so that the choice changes nothing else.
        let drawn = [Topology::Single, Topology::Single, Topology::Sentinel, Topology::Cluster][rng.usize(..4)];
        let topology = topology.unwrap_or(drawn);
        let (servers, acks) = (rng.usize(2..=3), rng.u32(0..=1));
        let server_lease_ms = rng.u64(2_000..=3_000);
        let clients = (0..CLIENTS).map(|number| ClientSite {
            seed: rng.u64(..),
            sessions: if number % 2 == 0 { HungOn::Keep } else { HungOn::Release },
            session_timeout_ms: rng.u64(1_500..=3_000),
            workers: WORKERS,
        });
        let clients = clients.collect();
        let has_replicas = matches!(topology, Topology::Sentinel | Topology::Cluster);
        Self {
            seed,
            seconds,
            topology,
            servers: if topology == Topology::Memory { 1 } else { servers },
            server_lease_ms,
            min_acks: if has_replicas { acks } else { 0 },
            clients,
        }
    }
}

impl Plan {
    /// What the seed says; the topology too, unless it is given. If `only` is, then only faults with that in their name.
    pub(crate) fn draw(seed: u64, seconds: u64, topology: Option<Topology>, only: Option<&str>) -> Self {
        let mut rng = Rng::with_seed(seed);
        let site = Site::draw(&mut rng.fork(), seed, seconds, topology);
        let calm = 2 * site.server_lease_ms + CALM_AFTER_LEASES_MS;
        let weather = |at: u64| at >= PEACE_AT_FIRST_MS && (at - PEACE_AT_FIRST_MS) % (STORM_MS + calm) < STORM_MS;
        Self {
            servers: schedule(&mut rng.fork(), &site, server_fault, only, weather),
            redis: schedule(&mut rng.fork(), &site, redis_fault, only, weather),
            // What is done to one client disturbs no other.
            clients: schedule(&mut rng.fork(), &site, client_fault, only, |at| at >= PEACE_AT_FIRST_MS),
            site,
        }
    }
}

/// One fault after another, as long as the run goes on.
fn schedule<F: Clone + Into<Fault>>(
    rng: &mut Rng,
    site: &Site,
    draw: fn(&mut Rng, &Site) -> F,
    only: Option<&str>,
    may_begin: impl Fn(u64) -> bool,
) -> Vec<Planned<F>> {
    let mut planned = Vec::new();
    let mut at_ms = 0;
    loop {
        at_ms += rng.u64(200..2_500);
        if at_ms >= site.seconds * 1_000 {
            return planned;
        }
        let wanted = |fault: &F| only.is_none_or(|only| fault.clone().into().kind().contains(only));
        let Some(fault) = (0..DRAWS).map(|_| draw(rng, site)).find(wanted) else { return planned };
        let general: Fault = fault.clone().into();
        if may_begin(at_ms) && general.is_possible(site) {
            planned.push(Planned { at_ms, fault });
            at_ms += general.lasts_ms();
        }
    }
}

fn server_fault(rng: &mut Rng, site: &Site) -> ServerFault {
    let server = rng.usize(..site.servers);
    let lease = site.server_lease_ms;
    let down_ms = if rng.bool() { 0 } else { rng.u64(..2 * lease) };
    let for_ms = rng.u64(lease / 2..2 * lease);
    match rng.u32(..12) {
        0..4 => ServerFault::Killed { server, down_ms },
        4..7 => ServerFault::Stopped { server, for_ms },
        7..9 => ServerFault::Drained { server },
        9..11 => ServerFault::Cut { server, for_ms: rng.u64(lease / 8..2 * lease) },
        _ => ServerFault::AllKilled { down_ms },
    }
}

fn redis_fault(rng: &mut Rng, site: &Site) -> RedisFault {
    let partition = rng.u16(..PARTITIONS);
    let for_ms = rng.u64(site.server_lease_ms / 8..2 * site.server_lease_ms);
    let down_ms = if rng.bool() { 0 } else { rng.u64(..site.server_lease_ms) };
    match rng.u32(..12) {
        0..3 => RedisFault::Flushed { partition },
        3..6 => RedisFault::Killed { partition, down_ms },
        6..8 => RedisFault::Stopped { partition, for_ms },
        8..10 => RedisFault::FailedOver { partition },
        _ => RedisFault::Reset,
    }
}

fn client_fault(rng: &mut Rng, site: &Site) -> ClientFault {
    let client = rng.usize(..site.clients.len());
    let timeout = site.clients[client].session_timeout_ms;
    let for_ms = rng.u64(timeout / 8..2 * timeout);
    match rng.u32(..8) {
        0..2 => ClientFault::Killed { client },
        2..4 => ClientFault::Stopped { client, for_ms },
        4..6 => ClientFault::Cut { client, for_ms },
        _ => ClientFault::Reset { client },
    }
}

impl From<ServerFault> for Fault {
    fn from(fault: ServerFault) -> Self {
        Self::Server(fault)
    }
}

impl From<RedisFault> for Fault {
    fn from(fault: RedisFault) -> Self {
        Self::Redis(fault)
    }
}

impl From<ClientFault> for Fault {
    fn from(fault: ClientFault) -> Self {
        Self::Client(fault)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_same_seed_says_the_same() {
        for seed in 0..50 {
            assert_eq!(Plan::draw(seed, 60, None, None), Plan::draw(seed, 60, None, None));
        }
        assert_ne!(Plan::draw(1, 60, None, None), Plan::draw(2, 60, None, None));
    }

    /// All faults of a plan, list by list.
    fn faults(plan: Plan) -> [Vec<(u64, Fault)>; 3] {
        fn general<F: Into<Fault>>(planned: Vec<Planned<F>>) -> Vec<(u64, Fault)> {
            planned.into_iter().map(|planned| (planned.at_ms, planned.fault.into())).collect()
        }
        [general(plan.servers), general(plan.redis), general(plan.clients)]
    }

    #[test]
    fn the_topology_changes_what_is_possible_and_nothing_else() {
        let drawn = Plan::draw(7, 60, None, None);
        let asked = Plan::draw(7, 60, Some(drawn.site.topology), None);
        assert_eq!(drawn, asked);
        let memory = Plan::draw(7, 60, Some(Topology::Memory), None);
        assert_eq!(memory.site.clients, drawn.site.clients);
        assert!(memory.redis.is_empty(), "there is no Redis to break");
    }

    #[test]
    fn every_fault_is_drawn_where_it_is_possible() {
        let kinds = |topology| -> HashSet<&str> {
            let plans = (0..40).map(|seed| Plan::draw(seed, 60, Some(topology), None));
            plans.flat_map(faults).flatten().map(|(_, fault)| fault.kind()).collect()
        };
        assert_eq!(kinds(Topology::Single).len(), 13, "all but a failover");
        assert_eq!(kinds(Topology::Sentinel).len(), 13, "all but a cut from Redis");
        assert_eq!(kinds(Topology::Cluster), kinds(Topology::Sentinel));
        assert_eq!(kinds(Topology::Memory).len(), 7, "those of one server and of clients");
    }

    #[test]
    fn one_kind_of_fault_can_be_asked_for() {
        let [servers, redis, clients] = faults(Plan::draw(7, 60, Some(Topology::Single), Some("flushed")));
        assert!(servers.is_empty() && clients.is_empty());
        assert!(redis.len() > 5 && redis.iter().all(|(_, fault)| fault.kind() == "Redis flushed"), "{redis:?}");
    }

    #[test]
    fn faults_of_one_kind_do_not_overlap() {
        for list in (0..40).map(|seed| Plan::draw(seed, 60, None, None)).flat_map(faults) {
            for pair in list.windows(2) {
                assert!(pair[0].0 + pair[0].1.lasts_ms() < pair[1].0);
            }
        }
    }
}
