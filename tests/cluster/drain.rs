//! A server that is told to stop hands its sessions over.

use lockstead_client::{Client, Guard, OnDisconnect};
use lockstead_tests::{PATIENCE, RedisServer, eventually};
use rustix::process::Signal;

use crate::servers::{LEASE, addresses, serve};

const SESSIONS: usize = 20;

/// A client that knows both servers and is attached to the first, with a hold.
async fn attached(addresses: &str, session: usize) -> (Client, Guard) {
    let on_disconnect = if session.is_multiple_of(2) { OnDisconnect::Release } else { OnDisconnect::Keep };
    let client = Client::builder().server(addresses).on_disconnect(on_disconnect).connect().await.unwrap();
    let guard = client.lock(format!("drain/{session}")).acquire().await.unwrap();
    (client, guard)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_of_a_draining_server_move_with_their_holds_and_waits() {
    let redis = RedisServer::start().await;
    let mut leaving = serve(&redis.url()).await;
    let staying = serve(&redis.url()).await;
    let addresses = addresses(&[&leaving, &staying]);
    let mut sessions = Vec::new();
    for session in 0..SESSIONS {
        sessions.push(attached(&addresses, session).await);
    }
    let tokens: Vec<u64> = sessions.iter().map(|(_, guard)| guard.token()).collect();
    // Each waits for its neighbour's lock.
    let neighbour = |session: usize| format!("drain/{}", (session + 1) % SESSIONS);
    let waits: Vec<_> =
        sessions.iter().enumerate().map(|(n, (client, _))| tokio::spawn(client.lock(neighbour(n)).acquire())).collect();
    let onlooker = Client::connect(&staying.url).await.unwrap();
    eventually("all wait", || async {
        let locks = onlooker.list_locks("drain/").all().await.unwrap();
        locks.iter().filter(|lock| lock.waiter_count == 1).count() == SESSIONS
    })
    .await;

    leaving.signal(Signal::TERM);
    let status = tokio::task::spawn_blocking(move || leaving.wait()).await.unwrap();
    assert!(status.success(), "{status}");

    // Longer than anything could still be good that was not confirmed.
    tokio::time::sleep(LEASE * 2).await;
    for ((_, guard), token) in sessions.iter().zip(&tokens) {
        assert_eq!(guard.ensure_held(), Ok(()), "{}", guard.name());
        assert_eq!(guard.token(), *token);
    }
    assert!(waits.iter().all(|wait| !wait.is_finished()), "somebody was granted what another holds");
    let clients: Vec<Client> = sessions
        .into_iter()
        .map(|(client, guard)| {
            tokio::spawn(guard.release());
            client
        })
        .collect();
    for (session, wait) in waits.into_iter().enumerate() {
        let guard = tokio::time::timeout(PATIENCE, wait).await.expect("its turn").unwrap().unwrap();
        assert_eq!(guard.name(), neighbour(session));
        assert!(guard.token() > tokens[(session + 1) % SESSIONS]);
    }
    drop(clients);
}
