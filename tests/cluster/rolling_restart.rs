//! Servers are restarted one after another, as for an upgrade, while their clients work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use lockstead_client::{Client, Error, Guard, OnDisconnect};
use lockstead_tests::{PATIENCE, Port, RedisServer, Server, eventually};
use rustix::process::Signal;
use tokio::task::JoinHandle;

use crate::servers::{start, until_ready};

/// All share two cores: a shorter one would be over now and then because nobody got to run.
const LEASE: Duration = Duration::from_secs(8);
const SERVERS: usize = 3;
const SESSIONS: usize = 60;
const HOLDS_PER_SESSION: usize = 8;
const WORKERS: usize = 16;
/// So few that workers wait for one another, on whatever servers they are.
const NAMES: usize = 6;
/// How much work goes on before the next server goes.
const ACQUIRES_BETWEEN: usize = 50;
const LEASE_TTL: Duration = Duration::from_secs(30);

/// Every other session ends with its stream, unless it moves in time.
async fn client(addresses: &str, number: usize) -> Client {
    let on_disconnect = if number.is_multiple_of(2) { OnDisconnect::Release } else { OnDisconnect::Keep };
    Client::builder().server(addresses).on_disconnect(on_disconnect).connect().await.unwrap()
}

async fn hold_some(addresses: String, session: usize) -> (Client, Vec<Guard>) {
    let client = client(&addresses, session).await;
    let holds = (0..HOLDS_PER_SESSION).map(|hold| client.lock(format!("rolling/held/{session}/{hold}")).acquire());
    let guards = try_join_all(holds).await.unwrap();
    (client, guards)
}

/// What the workers do, and what came of it.
#[derive(Default)]
struct Work {
    is_over: AtomicBool,
    /// How often something was acquired: in a session, and as a lease.
    guards: AtomicUsize,
    leases: AtomicUsize,
    /// The last token of each name.
    tokens: [AtomicU64; NAMES],
}

impl Work {
    fn acquired(&self) -> usize {
        self.guards.load(Ordering::Relaxed) + self.leases.load(Ordering::Relaxed)
    }

    /// Acquires, looks and releases until the work is over. Each worker has a session of its own.
    async fn go_on(&self, client: Client, worker: usize) -> Result<(), Error> {
        for turn in worker.. {
            if self.is_over.load(Ordering::Relaxed) {
                break;
            }
            let number = turn % NAMES;
            let request = client.lock(format!("rolling/busy/{number}"));
            if turn % 3 == 0 {
                let lease = request.lease(LEASE_TTL).acquire().await?;
                self.note_token(number, lease.token());
                lease.release().await?;
                self.leases.fetch_add(1, Ordering::Relaxed);
            } else {
                let guard = request.acquire().await?;
                self.note_token(number, guard.token());
                // The hold is good for a while longer.
                tokio::time::sleep(Duration::from_millis(2)).await;
                guard.ensure_held()?;
                guard.release().await?;
                self.guards.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// The lock is held: whoever had it before had a smaller token.
    fn note_token(&self, number: usize, token: u64) {
        let before = self.tokens[number].fetch_max(token, Ordering::SeqCst);
        assert!(token > before, "rolling/busy/{number}: {token} after {before}");
    }

    async fn goes_on(&self) {
        let before = self.acquired();
        eventually("the workers go on", async || self.acquired() >= before + ACQUIRES_BETWEEN).await;
    }
}

/// Drains a server to its end, and starts it anew at the same address.
async fn restart(server: Server, redis: &str, port: &Port) -> Server {
    server.signal(Signal::TERM);
    let mut leaving = server;
    let ended = tokio::task::spawn_blocking(move || leaving.wait());
    let status = tokio::time::timeout(PATIENCE, ended).await.expect("a drain in time").unwrap();
    assert!(status.success(), "{status}");
    let server = start(redis, LEASE, &format!("127.0.0.1:{}", port.number));
    until_ready(&server).await;
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_load_loses_no_hold_and_fails_no_acquire() {
    let redis = RedisServer::start().await;
    let ports: [Port; SERVERS] = std::array::from_fn(|_| Port::free());
    let mut servers = Vec::new();
    for port in &ports {
        let server = start(&redis.url(), LEASE, &format!("127.0.0.1:{}", port.number));
        until_ready(&server).await;
        servers.push(server);
    }
    let addresses = servers.iter().map(|server| server.url.as_str()).collect::<Vec<_>>().join(",");
    let sessions = join_all((0..SESSIONS).map(|session| hold_some(addresses.clone(), session))).await;
    let guards: Vec<&Guard> = sessions.iter().flat_map(|(_, guards)| guards).collect();
    let tokens: Vec<u64> = guards.iter().map(|guard| guard.token()).collect();

    let work = Arc::new(Work::default());
    let mut workers: Vec<JoinHandle<Result<(), Error>>> = Vec::new();
    for worker in 0..WORKERS {
        let (work, client) = (work.clone(), client(&addresses, worker).await);
        workers.push(tokio::spawn(async move { work.go_on(client, worker).await }));
    }
    work.goes_on().await;
    for port in &ports {
        let server = restart(servers.remove(0), &redis.url(), port).await;
        servers.push(server);
        work.goes_on().await;
        for (guard, token) in guards.iter().zip(&tokens) {
            assert_eq!((guard.ensure_held(), guard.token()), (Ok(()), *token), "{}", guard.name());
        }
    }
    work.is_over.store(true, Ordering::Relaxed);
    for (worker, ended) in join_all(workers).await.into_iter().enumerate() {
        assert_eq!(ended.unwrap(), Ok(()), "worker {worker}");
    }

    // Longer than anything could still be good that was not confirmed.
    tokio::time::sleep(LEASE).await;
    for (guard, token) in guards.iter().zip(&tokens) {
        assert_eq!((guard.ensure_held(), guard.token()), (Ok(()), *token), "{}", guard.name());
    }
    let onlooker = Client::connect(&servers[0].url).await.unwrap();
    let held = onlooker.list_locks("rolling/").page_size(1_000).all().await.unwrap();
    assert_eq!(held.len(), SESSIONS * HOLDS_PER_SESSION, "the workers have left something, or a hold is gone");
    let (guards, leases) = (work.guards.load(Ordering::Relaxed), work.leases.load(Ordering::Relaxed));
    assert!(guards > 0 && leases > 0, "{guards} holds and {leases} leases");
    println!("{SERVERS} restarts: {} holds kept, {guards} holds and {leases} leases acquired meanwhile", held.len());

    let (_, guards) = sessions.into_iter().unzip::<_, _, Vec<_>, Vec<_>>();
    let names_and_tokens: Vec<_> =
        guards.iter().flatten().map(|guard| (guard.name().to_owned(), guard.token())).collect();
    join_all(guards.into_iter().flatten().map(Guard::release)).await.into_iter().for_each(Result::unwrap);
    for (name, token) in names_and_tokens {
        let next = onlooker.lock(&name).try_acquire().await.unwrap().expect("it was released");
        assert!(next.token() > token, "{name}");
    }
}
