//! Two servers on one lock directory are other programs to each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lockstead_tests::PATIENCE;
use rustix::process::Signal;

use crate::fixture::Node;

#[tokio::test]
async fn they_exclude_each_other() {
    let first = Node::start().await;
    let second = first.another().await;
    let guard = first.lock("x").acquire().await.unwrap();
    assert!(second.lock("x").try_acquire().await.unwrap().is_none());
    assert!(second.lock("x").shared().try_acquire().await.unwrap().is_none());
    let waiting = second.wait_for(second.lock("x"), "x", 1).await;
    let token = guard.token();
    guard.release().await.unwrap();
    let guard = waiting.granted().await;
    assert!(guard.token() > token && first.lock("x").try_acquire().await.unwrap().is_none());
    guard.release().await.unwrap();

    let shared =
        [first.lock("x").shared().acquire().await.unwrap(), second.lock("x").shared().acquire().await.unwrap()];
    assert!(first.lock("x").try_acquire().await.unwrap().is_none());
    for guard in shared {
        guard.release().await.unwrap();
    }
    let pool = [
        first.semaphore("x", 3).permits(2).acquire().await.unwrap(),
        second.semaphore("x", 3).acquire().await.unwrap(),
    ];
    assert!(first.semaphore("x", 3).try_acquire().await.unwrap().is_none());
    assert!(second.semaphore("x", 3).try_acquire().await.unwrap().is_none());
    drop(pool);
}

#[tokio::test]
async fn one_that_is_killed_or_stopped_concerns_the_other_only_by_what_it_holds() {
    let mut first = Node::start().await;
    let second = first.another().await;
    let guard = first.lock("held").acquire().await.unwrap();
    first.server.signal(Signal::STOP);
    second.lock("free").acquire().await.unwrap().release().await.unwrap();
    let waiting = second.wait_for(second.lock("held"), "held", 1).await;
    first.server.signal(Signal::KILL);
    first.server.wait();
    assert!(waiting.granted().await.token() > guard.token());
}

/// Never two at a time, tokens in the order of the grants, and turns for each server and for another program, while all of
/// them want the same lock all the time. (How many, between several that poll, is luck.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_has_a_turn_and_nobody_two_at_a_time() {
    const CLIENTS: usize = 3;
    let first = Node::start().await;
    let second = first.another().await;
    let inside = Arc::new(AtomicBool::new(false));
    let last_token = Arc::new(AtomicU64::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let turns: Arc<[AtomicU64; 3]> = Arc::default();

    let mut clients = tokio::task::JoinSet::new();
    for (server, node) in [&first, &second].into_iter().enumerate() {
        for _ in 0..CLIENTS {
            let client = node.client.clone();
            let (inside, last_token, over, turns) = (inside.clone(), last_token.clone(), over.clone(), turns.clone());
            clients.spawn(async move {
                while !over.load(Ordering::SeqCst) {
                    let guard = client.lock("hot").node_scope().acquire().await.unwrap();
                    assert!(!inside.swap(true, Ordering::SeqCst), "two at a time");
                    let before = last_token.swap(guard.token(), Ordering::SeqCst);
                    assert!(guard.token() > before, "{} after {before}", guard.token());
                    turns[server].fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    assert!(inside.swap(false, Ordering::SeqCst));
                    guard.release().await.unwrap();
                }
            });
        }
    }
    let poller = std::thread::spawn({
        let (path, over) = (first.file("hot.lock"), over.clone());
        let turns = turns.clone();
        move || poll(&path, &over, &inside, &turns[2])
    });
    let all_had_turns = async {
        while turns.iter().any(|turns| turns.load(Ordering::SeqCst) < 1) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let fair = tokio::time::timeout(PATIENCE, all_had_turns).await;
    over.store(true, Ordering::SeqCst);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    poller.join().unwrap();
    assert!(fair.is_ok(), "turns: {turns:?}");
}

/// Another program that wants the lock: it looks every 50 ms, like filelock, and keeps the file open, like portalocker.
fn poll(path: &std::path::Path, over: &AtomicBool, inside: &AtomicBool, turns: &AtomicU64) {
    let file = loop {
        if let Ok(file) = std::fs::File::open(path) {
            break file;
        }
        std::thread::yield_now();
    };
    while !over.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(50));
        if file.try_lock().is_ok() {
            assert!(!inside.swap(true, Ordering::SeqCst), "two at a time");
            turns.fetch_add(1, Ordering::SeqCst);
            assert!(inside.swap(false, Ordering::SeqCst));
            file.unlock().unwrap();
        }
    }
}
