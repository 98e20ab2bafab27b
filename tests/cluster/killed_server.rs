//! A server's death does not unlock.

use std::time::Duration;

use futures::future::join_all;
use lockstead_client::{Client, Guard, now};
use lockstead_tests::{Process, RedisServer, Server, eventually, test_client};
use rustix::process::Signal;
use tokio::process::Command;

use crate::servers::{LEASE, addresses, keeping_client, serve, serve_with, start, until_ready};

const SESSIONS: usize = 500;
const HOLDS_PER_SESSION: usize = 10;
const HOLDS_OF_THE_KILLED: usize = 1_000;
/// So many clients take their time to move, on a small machine that has to play them all.
const LONG_LEASE: Duration = Duration::from_secs(8);

fn name(session: usize, hold: usize) -> String {
    format!("kept/{session}/{hold}")
}

async fn sessions_of(server: &Server) -> usize {
    let url = format!("{}/v1/sessions", server.url);
    let answer: serde_json::Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    answer["sessions"].as_array().map_or(0, Vec::len)
}

/// A session with its holds.
async fn hold_some(addresses: &str, session: usize) -> (Client, Vec<Guard>) {
    let client = keeping_client(addresses).await;
    let acquires = (0..HOLDS_PER_SESSION).map(|hold| client.lock(name(session, hold)).acquire());
    let guards = join_all(acquires).await.into_iter().map(Result::unwrap).collect();
    (client, guards)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_client_of_a_killed_server_goes_on_with_all_its_holds_on_another() {
    let redis = RedisServer::start().await;
    let mut doomed = serve_with(&redis.url(), LONG_LEASE).await;
    // It takes its port now and serves later, so that all sessions begin on the other one.
    let heir_port = free_port();
    let addresses = format!("{},http://127.0.0.1:{heir_port}", doomed.url);
    let mut sessions = Vec::new();
    for session in 0..SESSIONS {
        sessions.push(hold_some(&addresses, session).await);
    }
    assert_eq!(sessions_of(&doomed).await, SESSIONS);
    let tokens: Vec<u64> = sessions.iter().flat_map(|(_, guards)| guards.iter().map(Guard::token)).collect();
    let heir = start(&redis.url(), LONG_LEASE, &format!("127.0.0.1:{heir_port}"));
    until_ready(&heir).await;

    doomed.signal(Signal::KILL);
    doomed.wait();
    eventually("all sessions have moved", || async { sessions_of(&heir).await == SESSIONS }).await;

    // Longer than anything could still be good that was not confirmed.
    tokio::time::sleep(LONG_LEASE * 2).await;
    for (guard, token) in sessions.iter().flat_map(|(_, guards)| guards).zip(tokens) {
        assert_eq!(guard.ensure_held(), Ok(()), "{}", guard.name());
        assert_eq!(guard.token(), token, "{}", guard.name());
    }
    let other = Client::connect(&heir.url).await.unwrap();
    let held = other.list_locks("kept/").page_size(1_000).all().await.unwrap();
    assert_eq!(held.len(), SESSIONS * HOLDS_PER_SESSION);
    assert!(other.lock(name(7, 7)).try_acquire().await.unwrap().is_none());
    let (_, guards) = sessions.swap_remove(7);
    let before = guards[7].token();
    join_all(guards.into_iter().map(Guard::release)).await.into_iter().for_each(Result::unwrap);
    let next = other.lock(name(7, 7)).try_acquire().await.unwrap().expect("it was released");
    assert!(next.token() > before);
}

/// A port that is free now. Somebody else could take it; nobody on this machine does within the test.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn clients_that_die_with_their_server_are_freed_within_its_lease_and_a_second() {
    let redis = RedisServer::start().await;
    let doomed = serve(&redis.url()).await;
    let heir = serve(&redis.url()).await;
    let mut command = Command::new(test_client());
    command.args(["hold", &doomed.url, &HOLDS_OF_THE_KILLED.to_string()]);
    let mut holder = Process::start(command);
    holder.line_with("holding").await;
    let client = keeping_client(&addresses(&[&heir])).await;
    let names = (0..HOLDS_OF_THE_KILLED).map(|number| format!("kill/{number}"));
    let waiters: Vec<_> = names.map(|name| tokio::spawn(client.lock(name).acquire())).collect();
    eventually("all wait", || async {
        let locks = client.list_locks("kill/").page_size(1_000).all().await.unwrap();
        locks.iter().filter(|lock| lock.waiter_count == 1).count() == HOLDS_OF_THE_KILLED
    })
    .await;

    // The server first: it must have no chance to see its client go.
    doomed.signal(Signal::STOP);
    holder.signal(Signal::KILL);
    doomed.signal(Signal::KILL);
    let killed = now();
    let granted: Vec<Guard> = join_all(waiters).await.into_iter().map(|waiter| waiter.unwrap().unwrap()).collect();
    let took = now().since(killed);
    drop(granted);
    assert!(took < LEASE + Duration::from_secs(1), "it took {took:?}");
    assert!(took > LEASE / 2, "freed after {took:?}, before anybody could know that the server is dead");
}
