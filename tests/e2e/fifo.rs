//! Strict order of arrival, also in a crowd, and no trace of those who left.

use std::time::Duration;

use lockstead_client::{Client, Error, Guard, NotAcquiredReason};
use lockstead_tests::{PATIENCE, Server};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

const WAITERS: usize = 100;
const PERMITS: u32 = 5;

/// What a waiter wants, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Exclusive,
    Shared,
}

fn wish(number: usize) -> Wish {
    // Runs of shared waiters of different lengths, between exclusive ones.
    if matches!(number % 10, 0 | 1 | 4) { Wish::Exclusive } else { Wish::Shared }
}

#[tokio::test]
async fn a_hundred_mixed_waiters_of_a_lock_are_served_in_order() {
    let server = Server::start();
    let client = Client::connect(&server.url).await.unwrap();
    let first = client.lock("crowd").acquire().await.unwrap();
    let (sender, mut granted) = mpsc::unbounded_channel();
    for number in 0..WAITERS {
        let lock = client.lock("crowd");
        let lock = if wish(number) == Wish::Shared { lock.shared() } else { lock };
        tell_when_granted(number, async move { lock.acquire().await.unwrap() }, &sender);
        until_waiting(&client.list_locks("crowd"), number + 1).await;
    }
    first.release().await.unwrap();

    let mut number = 0;
    let mut last_token = 0;
    while number < WAITERS {
        // A run of shared waiters holds together; whoever else is granted holds alone.
        let run = (number..WAITERS).take_while(|next| wish(*next) == Wish::Shared).count().max(1);
        let mut held = Vec::new();
        for _ in 0..run {
            held.push(next(&mut granted).await);
        }
        held.sort_by_key(|(number, _)| *number);
        for (offset, (who, guard)) in held.iter().enumerate() {
            assert_eq!(*who, number + offset);
            assert!(guard.token() > last_token, "tokens follow the order of arrival");
            last_token = guard.token();
        }
        assert!(granted.try_recv().is_err(), "somebody barged in beside {number}");
        let holders = client.lock("crowd").get().await.unwrap().holder_count as usize;
        assert_eq!(holders, run);
        number += run;
    }
}

#[tokio::test]
async fn large_requests_are_not_starved_by_small_ones_behind_them() {
    let server = Server::start();
    let client = Client::connect(&server.url).await.unwrap();
    let wishes: Vec<u32> = (0..WAITERS).map(|number| [1, PERMITS, 2, 3][number % 4]).collect();
    let all = client.semaphore("pool", PERMITS).permits(PERMITS).acquire().await.unwrap();
    let (sender, mut granted) = mpsc::unbounded_channel();
    for (number, permits) in wishes.iter().enumerate() {
        let pool = client.semaphore("pool", PERMITS).permits(*permits);
        tell_when_granted(number, async move { pool.acquire().await.unwrap() }, &sender);
        until_waiting(&client.list_semaphores("pool"), number + 1).await;
    }
    all.release().await.unwrap();

    // Whoever is granted gives back at once, so each can be granted only when all before it have been.
    let mut tokens = vec![0; WAITERS];
    for _ in 0..WAITERS {
        let (number, guard) = next(&mut granted).await;
        tokens[number] = guard.token();
        let used: u32 = client.semaphore("pool", PERMITS).get().await.unwrap().holders.iter().map(|h| h.permits).sum();
        assert!(used <= PERMITS, "{used} permits are held");
        guard.release().await.unwrap();
    }
    assert!(tokens.is_sorted(), "granted out of order: {tokens:?}");
}

#[tokio::test]
async fn those_who_cancel_or_time_out_leave_no_trace() {
    let server = Server::start();
    let client = Client::connect(&server.url).await.unwrap();
    let holder = client.lock("trace").acquire().await.unwrap();
    let mut leaving = Vec::new();
    for number in 0..10 {
        let lock = client.lock("trace");
        leaving.push(tokio::spawn(async move { lock.acquire().await }));
        until_waiting(&client.list_locks("trace"), number + 1).await;
    }
    let lock = client.lock("trace");
    let patient = tokio::spawn(async move { lock.acquire().await.unwrap() });
    until_waiting(&client.list_locks("trace"), 11).await;

    let short = client.lock("trace").wait(Duration::from_millis(100)).acquire().await;
    assert!(matches!(short, Err(Error::NotAcquired(why)) if why.reason == NotAcquiredReason::WaitTimeout));
    for task in &leaving {
        task.abort();
    }
    until_waiting(&client.list_locks("trace"), 1).await;
    holder.release().await.unwrap();
    let guard = tokio::time::timeout(PATIENCE, patient).await.unwrap().unwrap();
    assert_eq!(client.lock("trace").get().await.unwrap().waiter_count, 0);
    guard.release().await.unwrap();
    assert!(client.list_locks("").all().await.unwrap().is_empty(), "an unused resource is no resource");
}

type Granted = mpsc::UnboundedReceiver<(usize, Guard)>;

fn tell_when_granted(
    number: usize,
    acquire: impl Future<Output = Guard> + Send + 'static,
    granted: &mpsc::UnboundedSender<(usize, Guard)>,
) -> JoinHandle<()> {
    let granted = granted.clone();
    tokio::spawn(async move { _ = granted.send((number, acquire.await)) })
}

async fn next(granted: &mut Granted) -> (usize, Guard) {
    tokio::time::timeout(PATIENCE, granted.recv()).await.unwrap().unwrap()
}

/// The order of arrival is what is tested, so each waiter must stand in the queue before the next comes.
async fn until_waiting(list: &lockstead_client::List, count: usize) {
    let all_there = async {
        while list.clone().all().await.unwrap().iter().map(|one| one.waiter_count as usize).sum::<usize>() != count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, all_there).await.unwrap();
}
