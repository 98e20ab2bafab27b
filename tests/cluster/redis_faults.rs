//! Redis fails: nobody else is granted what is held, and holders whose server lives keep it.

use std::time::Duration;

use lockstead_client::{Client, Guard, now};
use lockstead_tests::{ClusterSetup, PATIENCE, RedisServer, SentinelSetup, eventually};
use tokio::task::JoinHandle;

use crate::servers::{LEASE, keeping_client, serve, serve_with};

/// Longer than a failover takes, since a shorter one is over before Redis is back.
const FAILOVER_LEASE: Duration = Duration::from_secs(8);

/// A holder on one server and a waiter for the same lock on another.
struct Contest {
    holder: Client,
    guard: Guard,
    rival: JoinHandle<Guard>,
}

impl Contest {
    async fn begin(here: &str, there: &str, name: &str) -> Self {
        let holder = keeping_client(here).await;
        let guard = holder.lock(name).acquire().await.unwrap();
        let rival = keeping_client(there).await;
        let waiting = rival.lock(name).acquire();
        let rival = tokio::spawn(async move {
            let guard = waiting.await.unwrap();
            // The session ends with its client.
            drop(rival);
            guard
        });
        eventually("the rival waits", || async {
            holder.lock(name).get().await.is_ok_and(|lock| lock.waiter_count == 1)
        })
        .await;
        Self { holder, guard, rival }
    }

    /// For longer than the reclaim window and the server lease together, the holder holds and the rival waits; then the
    /// lock changes hands, with a greater token.
    async fn survives(self, lease: Duration) {
        let end = now().saturating_add(lease * 3);
        while now() < end {
            assert_eq!(self.guard.ensure_held(), Ok(()), "the holder lost its lock");
            assert!(!self.rival.is_finished(), "two hold at once");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let token = self.guard.token();
        self.guard.release().await.unwrap();
        let next = tokio::time::timeout(PATIENCE, self.rival).await.expect("the rival's turn").unwrap();
        assert!(next.token() > token, "the token went back from {token} to {}", next.token());
        // A name that nobody held meanwhile is as good as before.
        self.holder.lock("faults/afterwards").acquire().await.unwrap().release().await.unwrap();
    }
}

#[tokio::test]
async fn a_restart_without_the_data_costs_no_live_holder_its_lock() {
    let mut redis = RedisServer::start().await;
    let (here, there) = (serve(&redis.url()).await, serve(&redis.url()).await);
    let contest = Contest::begin(&here.url, &there.url, "faults/restart").await;
    redis.kill();
    redis.restart().await;
    contest.survives(LEASE).await;
}

#[tokio::test]
async fn a_flush_costs_no_live_holder_its_lock() {
    let redis = RedisServer::start().await;
    let (here, there) = (serve(&redis.url()).await, serve(&redis.url()).await);
    let contest = Contest::begin(&here.url, &there.url, "faults/flush").await;
    redis.command(&["FLUSHALL"]).await;
    contest.survives(LEASE).await;
}

#[tokio::test]
async fn a_failover_that_lost_the_last_writes_costs_no_live_holder_its_lock() {
    let mut sentinels = SentinelSetup::start().await;
    let (here, there) =
        (serve_with(&sentinels.url(), FAILOVER_LEASE).await, serve_with(&sentinels.url(), FAILOVER_LEASE).await);
    let contest = Contest::begin(&here.url, &there.url, "faults/failover");
    let contest = sentinels.fail_over_losing(contest).await;
    contest.survives(FAILOVER_LEASE).await;
}

#[tokio::test]
async fn the_failover_of_one_master_of_a_cluster_costs_no_live_holder_its_lock() {
    let mut cluster = ClusterSetup::start().await;
    let (here, there) =
        (serve_with(&cluster.url(), FAILOVER_LEASE).await, serve_with(&cluster.url(), FAILOVER_LEASE).await);
    let mut contests = Vec::new();
    for number in 0..8 {
        contests.push(Contest::begin(&here.url, &there.url, &format!("faults/cluster/{number}")).await);
    }
    cluster.kill_primary_of(0).await;
    // What lives on the two other masters is granted as ever, while the killed one's names wait for their window to end.
    let other = keeping_client(&there.url).await;
    let names = (0..32).map(|number| other.lock(format!("faults/elsewhere/{number}")).try_acquire());
    let granted =
        futures::future::join_all(names).await.into_iter().filter(|tried| matches!(tried, Ok(Some(_)))).count();
    assert!((16..32).contains(&granted), "{granted} of 32 were granted");
    futures::future::join_all(contests.into_iter().map(|contest| contest.survives(FAILOVER_LEASE))).await;
}
