//! A pool of slots that the server shares with portalocker's `BoundedSemaphore`.

use std::collections::BTreeSet;

use lockstead_client::{Error, ErrorReason};
use lockstead_tests::eventually;

use crate::fixture::Node;
use crate::foreign::{Foreign, Program, can_lock};

const POOL: Program = Program::Python("portalocker_semaphore");

#[tokio::test]
async fn a_pool_has_as_many_holders_as_slots_whoever_they_are() {
    let node = Node::start().await;
    let path = node.file("pool/gpu/3");
    std::fs::create_dir(node.file("pool")).unwrap();
    let mut foreign = Foreign::start(POOL, &path, "exclusive");
    let mut slots = BTreeSet::from([foreign.holding_what().await]);
    let permits = |count| node.semaphore("pool/gpu", 3).permits(count);
    assert!(permits(3).try_acquire().await.unwrap().is_none());
    let two = permits(2).acquire().await.unwrap();
    assert!(permits(1).try_acquire().await.unwrap().is_none(), "all are taken");
    assert!(!can_lock(POOL, &path, "exclusive").await, "all are taken");

    two.release().await.unwrap();
    let mut another = Foreign::start(POOL, &path, "exclusive");
    slots.insert(another.holding_what().await);
    assert_eq!(slots, BTreeSet::from(["gpu.00.lock".to_owned(), "gpu.01.lock".to_owned()]));
    let one = permits(1).acquire().await.unwrap();
    let request = permits(2);
    let large = tokio::spawn(async move { request.acquire().await.unwrap() });
    foreign.release().await;
    another.kill().await;
    let two = tokio::time::timeout(lockstead_tests::PATIENCE, large).await.unwrap().unwrap();
    assert!(!can_lock(POOL, &path, "exclusive").await, "all are taken");
    one.release().await.unwrap();
    assert!(can_lock(POOL, &path, "exclusive").await);
    two.release().await.unwrap();
}

#[tokio::test]
async fn each_permit_is_a_slot() {
    let node = Node::start().await;
    let locked = async || {
        let mut locked = Vec::new();
        for slot in 0..5 {
            let path = node.file(&format!("many.{slot:02}.lock"));
            if path.exists() && !can_lock(Program::Flock, &path, "exclusive").await {
                locked.push(slot);
            }
        }
        locked
    };
    let three = node.semaphore("many", 5).permits(3).acquire().await.unwrap();
    assert_eq!(locked().await, [0, 1, 2]);
    let two = node.semaphore("many", 5).permits(2).acquire().await.unwrap();
    assert_eq!(locked().await, [0, 1, 2, 3, 4]);
    three.release().await.unwrap();
    assert_eq!(locked().await, [3, 4]);
    let one = node.semaphore("many", 5).acquire().await.unwrap();
    assert_eq!(locked().await, [0, 3, 4]);
    two.release().await.unwrap();
    one.release().await.unwrap();
    assert_eq!(locked().await, [0; 0]);
}

/// From one waiter to the next without a moment in which others could take it.
#[tokio::test]
async fn a_large_request_is_served_from_slots_of_the_server_and_of_others() {
    let node = Node::start().await;
    let mut foreign = Foreign::start(POOL, &node.file("mixed/3"), "exclusive");
    assert_eq!(foreign.holding_what().await, "mixed.00.lock");
    let two = node.semaphore("mixed", 3).permits(2).acquire().await.unwrap();
    let request = node.semaphore("mixed", 3).permits(3);
    let all = tokio::spawn(async move { request.acquire().await.unwrap() });
    two.release().await.unwrap();
    assert!(!all.is_finished());
    foreign.release().await;
    let all = tokio::time::timeout(lockstead_tests::PATIENCE, all).await.unwrap().unwrap();
    assert!(!can_lock(POOL, &node.file("mixed/3"), "exclusive").await);
    all.release().await.unwrap();
}

#[tokio::test]
async fn a_semaphore_of_more_slots_than_there_can_be_is_refused() {
    let node = Node::start().await;
    let refused = node.semaphore("vast", 1_001).acquire().await;
    assert!(
        matches!(&refused, Err(Error::Refused { reason: ErrorReason::InvalidLimit, message, .. })
        if message.contains("1000")),
        "{refused:?}"
    );
    let all = node.semaphore("vast", 1_000).permits(1_000).acquire().await.unwrap();
    assert!(!can_lock(Program::Flock, &node.file("vast.999.lock"), "shared").await);
    all.release().await.unwrap();
    assert!(can_lock(Program::Flock, &node.file("vast.999.lock"), "exclusive").await);
}

/// So the kernel tells when one of them is free, which looking alone would find out too late for a large pool.
#[tokio::test]
async fn the_slots_of_a_pool_are_watched_while_somebody_waits() {
    const SLOTS: u32 = 50;
    let node = Node::start().await;
    let hold = |slot| {
        let file = std::fs::File::create(node.file(&format!("large.{slot:02}.lock"))).unwrap();
        file.lock().unwrap();
        file
    };
    let mut others: Vec<_> = (0..SLOTS).map(hold).collect();
    let request = node.semaphore("large", SLOTS);
    let waiting = tokio::spawn(async move { request.acquire().await.unwrap() });
    eventually("all slots are open", async || node.open_lock_files() == SLOTS as usize).await;
    drop(others.swap_remove(17));
    let guard = tokio::time::timeout(lockstead_tests::PATIENCE, waiting).await.unwrap().unwrap();
    eventually("only what is held is open", async || node.open_lock_files() == 1).await;
    guard.release().await.unwrap();
}
