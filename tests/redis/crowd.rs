//! Many ask at once, through several servers, while Redis does what it likes: no two hold what must be held alone, tokens
//! grow, and nothing is left in the end.

mod ledger;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use lockstead_engine::{RedisEngine, RedisSettings};
use lockstead_tests::engines::{SERVER_LEASE, servers_on, settings, until_nothing_is_left, until_ready};
use lockstead_tests::fixture::Fixture;
use lockstead_tests::{RedisServer, eventually};

use ledger::Ledger;
use worker::{Desk, Worker};

const SERVERS: usize = 3;
const WORKERS: usize = 36;

/// How a crowd is kept busy.
struct Crowd {
    /// Whether calls may fail and holds be lost.
    has_faults: bool,
    rounds: usize,
    send_twice: bool,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_peace() {
    let crowd = Crowd { has_faults: false, rounds: 60, send_twice: false };
    crowd.works(RedisServer::start().await, async |_| std::future::pending().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_everything_is_said_twice() {
    let crowd = Crowd { has_faults: false, rounds: 30, send_twice: true };
    crowd.works(RedisServer::start().await, async |_| std::future::pending().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_connections_break() {
    let crowd = Crowd { has_faults: true, rounds: 60, send_twice: false };
    let fault = async |redis: &mut RedisServer| {
        for kind in ["pubsub", "normal"] {
            tokio::time::sleep(Duration::from_millis(150)).await;
            redis.command(&["CLIENT", "KILL", "TYPE", kind]).await;
        }
    };
    crowd.works(RedisServer::start().await, fault).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_is_flushed() {
    let crowd = Crowd { has_faults: true, rounds: 30, send_twice: false };
    let fault = async |redis: &mut RedisServer| {
        tokio::time::sleep(SERVER_LEASE * 2).await;
        redis.command(&["FLUSHALL"]).await;
    };
    crowd.works(RedisServer::start().await, fault).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_restarts_from_an_older_dump() {
    let crowd = Crowd { has_faults: true, rounds: 30, send_twice: false };
    let fault = async |redis: &mut RedisServer| {
        tokio::time::sleep(SERVER_LEASE + SERVER_LEASE / 2).await;
        redis.command(&["SAVE"]).await;
        tokio::time::sleep(SERVER_LEASE / 4).await;
        redis.restart().await;
    };
    crowd.works(RedisServer::start().await, fault).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_stands_still() {
    let crowd = Crowd { has_faults: true, rounds: 30, send_twice: false };
    let fault = async |redis: &mut RedisServer| {
        for nap in [SERVER_LEASE / 4, SERVER_LEASE * 3 / 2] {
            tokio::time::sleep(SERVER_LEASE / 4).await;
            redis.signal(rustix::process::Signal::STOP);
            tokio::time::sleep(nap).await;
            redis.signal(rustix::process::Signal::CONT);
        }
    };
    crowd.works(RedisServer::start().await, fault).await;
}

impl Crowd {
    /// Lets the crowd work, while one fault comes after the other.
    async fn works(self, redis: RedisServer, fault: impl AsyncFn(&mut RedisServer)) {
        // Its views of Redis are nobody's business but the test's.
        let (mut redis, [observer]) = servers_on(redis).await;
        let ledger = Arc::new(Ledger::default());
        let desks: Vec<_> = (0..SERVERS).map(|_| Arc::new(Desk::new(ledger.clone()))).collect();
        let start = |desk: &Arc<Desk>| {
            let settings = RedisSettings { send_twice: self.send_twice, ..settings(&redis) };
            let engine = Arc::new(RedisEngine::start(settings, desk.clone()));
            // The fixture's own log hears nothing.
            (observer.beside(engine, observer.events.clone()), desk.clone())
        };
        let servers: Vec<(Fixture, Arc<Desk>)> = desks.iter().map(start).collect();
        for (server, _) in &servers {
            until_ready(server).await;
        }
        let worker = |at| Worker::new(at, servers.clone(), ledger.clone(), self.has_faults);
        let workers = (0..WORKERS).map(|at| tokio::spawn(worker(at).work(self.rounds)));
        let work = join_all(workers.collect::<Vec<_>>());
        tokio::pin!(work);
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                () = fault(&mut redis) => {}
            }
        };
        for worker in done {
            worker.unwrap();
        }
        until_ready(&observer).await;
        until_nothing_is_left(&observer).await;
        for (server, _) in &servers {
            eventually("empty tables", async || server.engine.census().holds == 0).await;
        }
        let expected = if self.has_faults { WORKERS } else { WORKERS * self.rounds / 2 };
        assert!(ledger.grants() > expected, "only {} grants", ledger.grants());
    }
}
