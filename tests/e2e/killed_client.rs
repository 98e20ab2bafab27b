//! A client that is killed gives everything back at once.

use std::time::Duration;

use lockstead_client::Client;
use lockstead_tests::{PATIENCE, Process, Server, test_client};
use rustix::process::Signal;
use tokio::process::Command;

const HOLDS: usize = 1_000;

#[tokio::test]
async fn a_killed_clients_thousand_holds_go_to_their_waiters_within_a_second() {
    let server = Server::start();
    let mut command = Command::new(test_client());
    command.args(["hold", &server.url, &HOLDS.to_string()]);
    let mut holder = Process::start(command);
    holder.line_with("holding").await;

    let client = Client::connect(&server.url).await.unwrap();
    let before = tokens(&client).await;
    assert_eq!(before.len(), HOLDS);
    let mut waiters = tokio::task::JoinSet::new();
    for number in 0..HOLDS {
        let lock = client.lock(name(number));
        waiters.spawn(async move { (number, lock.acquire().await.unwrap()) });
    }
    until_all_wait(&client).await;

    let killed = lockstead_client::now();
    holder.signal(Signal::KILL);
    let granted = tokio::time::timeout(PATIENCE, waiters.join_all()).await.unwrap();
    let took = lockstead_client::now().since(killed);

    assert!(took < Duration::from_secs(1), "it took {took:?}");
    for (number, guard) in granted {
        let (lock, earlier) = &before[number];
        assert_eq!(*lock, name(number));
        assert!(guard.token() > *earlier, "{lock}: {earlier} then {}", guard.token());
    }
}

fn name(number: usize) -> String {
    format!("kill/{number}")
}

/// Every lock with its token, in the order of their numbers.
async fn tokens(client: &Client) -> Vec<(String, u64)> {
    let mut held = client.list_locks("kill/").page_size(1_000).all().await.unwrap();
    held.sort_by_key(|lock| lock.name.rsplit('/').next().and_then(|number| number.parse::<usize>().ok()));
    held.into_iter().map(|lock| (lock.name, lock.holders[0].token)).collect()
}

/// The queue can't announce that everybody stands in it, so it is asked.
async fn until_all_wait(client: &Client) {
    let all_wait = async {
        while client.list_locks("kill/").page_size(1_000).all().await.unwrap().iter().any(|lock| lock.waiter_count == 0)
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, all_wait).await.unwrap();
}
