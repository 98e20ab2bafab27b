//! How soon a server notices that another program lets go, and what it costs to look.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lockstead_tests::PATIENCE;

use crate::fixture::Node;

/// Time enough to see a rate.
const LOOK: Duration = Duration::from_secs(1);
const WAITERS: u32 = 1_000;

fn open(path: &Path) -> File {
    File::options().create(true).append(true).open(path).unwrap()
}

/// How long it takes from another program's letting go to the grant, for one in two.
async fn notices(node: &Node, let_go: impl Fn(File)) -> Duration {
    let mut times = Vec::new();
    for _ in 0..21 {
        let file = open(&node.file("noticed.lock"));
        file.lock().unwrap();
        let waiting = node.wait_for(node.lock("noticed"), "noticed", 1).await;
        let before = lockstead_client::now();
        let_go(file);
        let guard = waiting.granted().await;
        times.push(lockstead_client::now().since(before));
        guard.release().await.unwrap();
    }
    times.sort_unstable();
    times[times.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_noticed_within_20_ms_that_another_program_lets_go() {
    let node = Node::start().await;
    // The kernel tells.
    let closed = notices(&node, drop).await;
    // It does not: the file stays open.
    let kept = std::sync::Mutex::new(Vec::new());
    let unlocked = notices(&node, |file| {
        file.unlock().unwrap();
        kept.lock().unwrap().push(file);
    })
    .await;
    assert!(closed < Duration::from_millis(20) && unlocked < Duration::from_millis(20), "{closed:?} {unlocked:?}");
}

/// Nanoseconds that the thread of the node engine has run, and how often.
fn work(node: &Node) -> (u64, u64) {
    let tasks = format!("/proc/{}/task", node.server.id());
    for task in std::fs::read_dir(tasks).unwrap() {
        let task = task.unwrap().path();
        if std::fs::read_to_string(task.join("comm")).unwrap().trim() == "lockstead-node" {
            let stat = std::fs::read_to_string(task.join("schedstat")).unwrap();
            let mut numbers = stat.split_whitespace().map(|number| number.parse().unwrap());
            let run = numbers.next().unwrap();
            return (run, numbers.nth(1).unwrap());
        }
    }
    panic!("the engine has no thread");
}

async fn work_while_waiting(node: &Node) -> (Duration, u64) {
    let before = work(node);
    tokio::time::sleep(LOOK).await;
    let after = work(node);
    (Duration::from_nanos(after.0 - before.0), after.1 - before.1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_who_wait_for_one_file_cost_no_more_than_one() {
    let node = Node::start().await;
    let idle = work_while_waiting(&node).await;
    let file = open(&node.file("popular.lock"));
    file.lock().unwrap();
    let first = node.wait_for(node.lock("popular"), "popular", 1).await;
    let one = work_while_waiting(&node).await;

    let granted = Arc::new(AtomicUsize::new(0));
    let mut waiters = tokio::task::JoinSet::new();
    for _ in 1..WAITERS {
        let (request, granted) = (node.lock("popular"), granted.clone());
        waiters.spawn(async move {
            let guard = request.acquire().await.unwrap();
            granted.fetch_add(1, Ordering::SeqCst);
            guard.release().await.unwrap();
        });
    }
    while node.lock("popular").get().await.unwrap().waiter_count < WAITERS {
        tokio::task::yield_now().await;
    }
    let all = work_while_waiting(&node).await;
    assert!(one.1 <= 250 && all.1 <= 2 * one.1 + 20, "it wakes {} and {} times, idle {}", one.1, all.1, idle.1);
    assert!(all.0 < LOOK / 10, "it works {:?} and {:?}, idle {:?}", one.0, all.0, idle.0);
    assert!(idle.1 <= 10 && idle.0 < LOOK / 50, "idle it wakes {} times and works {:?}", idle.1, idle.0);

    drop(file);
    first.granted().await.release().await.unwrap();
    tokio::time::timeout(PATIENCE, waiters.join_all()).await.unwrap();
    assert_eq!(granted.load(Ordering::SeqCst), WAITERS as usize - 1);
}

/// A queue of the server's own clients does not keep another program out for ever; and when nobody else is there, no time
/// is lost on politeness.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_program_that_waits_has_its_turn() {
    let node = Node::start().await;
    let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut clients = tokio::task::JoinSet::new();
    let grants = Arc::new(AtomicUsize::new(0));
    for _ in 0..3 {
        let (client, over, grants) = (node.client.clone(), over.clone(), grants.clone());
        clients.spawn(async move {
            while !over.load(Ordering::SeqCst) {
                let guard = client.lock("busy").node_scope().acquire().await.unwrap();
                grants.fetch_add(1, Ordering::SeqCst);
                guard.release().await.unwrap();
            }
        });
    }
    while grants.load(Ordering::SeqCst) < 100 {
        tokio::task::yield_now().await;
    }
    // Blocked in the kernel, and one that polls as slowly as portalocker.
    for patient in [true, false] {
        let path = node.file("busy.lock");
        let other = tokio::task::spawn_blocking(move || {
            let file = open(&path);
            if patient {
                file.lock().unwrap();
            } else {
                while file.try_lock().is_err() {
                    std::thread::sleep(Duration::from_millis(250));
                }
            }
        });
        tokio::time::timeout(PATIENCE, other).await.expect("it has its turn").unwrap();
        let before = grants.load(Ordering::SeqCst);
        let goes_on = async {
            while grants.load(Ordering::SeqCst) < before + 100 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, goes_on).await.expect("the queue goes on");
    }
    over.store(true, Ordering::SeqCst);
    clients.join_all().await;
}

/// One client follows another, but a moment after it: nobody stands in the queue when the lock is given back. The other
/// program opens the file once, and always looks when the next has come.
#[tokio::test]
async fn another_program_has_its_turn_though_nobody_stands_in_the_queue() {
    const LOOKS_EVERY: Duration = Duration::from_millis(250);
    let node = Node::start().await;
    let path = node.file("often.lock");
    let (held, holds) = std::sync::mpsc::channel();
    let (looked, mut looks) = tokio::sync::mpsc::unbounded_channel();
    let mut guard = node.lock("often").acquire().await.unwrap();
    let other = std::thread::spawn(move || {
        let file = open(&path);
        loop {
            _ = holds.recv_timeout(LOOKS_EVERY);
            if file.try_lock().is_ok() || looked.send(()).is_err() {
                return;
            }
        }
    });
    let clients = async {
        while looks.recv().await.is_some() {
            guard.release().await.unwrap();
            guard = node.lock("often").acquire().await.unwrap();
            _ = held.send(());
        }
    };
    tokio::time::timeout(PATIENCE, clients).await.expect("it has its turn");
    other.join().unwrap();
}
