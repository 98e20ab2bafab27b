//! A server that is killed: the kernel frees what it held, and tokens go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lockstead_client::Client;
use lockstead_tests::PATIENCE;
use rustix::process::Signal;

use crate::fixture::Node;
use crate::foreign::{Foreign, Program, can_lock};

const HOLDS: usize = 50;
const KILLS: u64 = 10;
/// Far above any wall clock, so that only what is written down can make tokens grow.
const AHEAD: u64 = 1 << 52;

#[tokio::test]
async fn a_killed_server_frees_every_lock_at_once() {
    let mut node = Node::start_with(&["--lock-family", "both"]).await;
    let mut guards = Vec::new();
    for number in 0..HOLDS {
        let lock = node.lock(&format!("kill/{number}"));
        guards.push(if number % 2 == 0 { lock.acquire().await } else { lock.shared().acquire().await }.unwrap());
    }
    guards.push(node.semaphore("kill/pool", 2).permits(2).acquire().await.unwrap());
    let waiting = Foreign::start(Program::Flock, &node.file("kill/0.lock"), "exclusive");
    let mut paths: Vec<_> = (0..HOLDS).map(|number| node.file(&format!("kill/{number}.lock"))).collect();
    paths.extend([node.file("kill/pool.00.lock"), node.file("kill/pool.01.lock")]);
    for path in &paths {
        assert!(!can_lock(Program::Flock, path, "exclusive").await, "{path:?}");
    }
    node.server.signal(Signal::KILL);
    node.server.wait();
    waiting.holding().await.kill().await;
    for path in &paths {
        assert!(can_lock(Program::Flock, path, "exclusive").await, "{path:?}");
    }
    assert!(can_lock(Program::Python("fasteners_lock"), &paths[0], "exclusive").await);
    drop(guards);
}

#[tokio::test]
async fn tokens_grow_over_kills_at_any_moment() {
    let mut node = Node::start().await;
    let seen = Arc::new(AtomicU64::new(0));
    for kill in 0..KILLS {
        let token = node.lock("tokens").acquire().await.unwrap().token();
        let before = seen.swap(token, Ordering::SeqCst);
        assert!(token > before, "{token} after {before}");
        let clients: Vec<_> =
            (0..4).map(|number| tokio::spawn(acquire(node.server.url.clone(), number, seen.clone()))).collect();
        let grown = async {
            // Each time at another moment.
            while seen.load(Ordering::SeqCst) < token + 50 * (kill + 1) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, grown).await.unwrap();
        node.server.signal(Signal::KILL);
        node.server.wait();
        for client in clients {
            client.abort();
            _ = client.await;
        }
        if kill == 0 {
            // As if the machine had been started since, and its clock set back.
            std::fs::write(node.file(".lockstead/last"), "").unwrap();
            std::fs::write(node.file(".lockstead/ceiling"), format!("{AHEAD:016}")).unwrap();
            seen.store(AHEAD, Ordering::SeqCst);
        }
        node = Node::start_on(node.directory, &[]).await;
    }
}

/// Acquires as fast as it can for as long as it can.
async fn acquire(url: String, number: usize, seen: Arc<AtomicU64>) {
    let client = Client::connect(&url).await.unwrap();
    while let Ok(guard) = client.lock(format!("busy/{number}")).node_scope().acquire().await {
        seen.fetch_max(guard.token(), Ordering::SeqCst);
        if guard.release().await.is_err() {
            return;
        }
    }
}
