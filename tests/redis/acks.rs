//! With `min_acks` only what a replica has counts.

use lockstead_core::EndReason;
use lockstead_engine::{EngineError, RedisSettings};
use lockstead_tests::engines::{
    SERVER_LEASE, promised, settings, start, start_unready, until_nothing_is_left, until_ready,
};
use lockstead_tests::fixture::{EXCLUSIVE, Fixture, LONG, session_id};
use lockstead_tests::{RedisServer, eventually};

async fn replica_of(primary: &RedisServer) -> RedisServer {
    let port = primary.port().to_string();
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &port]).await;
    primary.has_replicas(1).await;
    replica
}

fn server_on(primary: &RedisServer) -> Fixture {
    start_unready(RedisSettings { min_acks: 1, ..settings(primary) })
}

#[tokio::test]
async fn without_a_replica_nothing_is_granted() {
    let primary = RedisServer::start().await;
    let server = server_on(&primary);
    let session = session_id();
    let answer = server.engine.acquire(server.ask(session, 1, "x", EXCLUSIVE)).await;
    assert!(matches!(answer, Err(EngineError::Unavailable(_))), "{answer:?}");
    let _replica = replica_of(&primary).await;
    until_ready(&server).await;
    server.granted(server.ask(session, 1, "x", EXCLUSIVE)).await;
}

#[tokio::test]
async fn what_no_replica_has_is_taken_back() {
    let primary = RedisServer::start().await;
    let replica = replica_of(&primary).await;
    let a = start(RedisSettings { min_acks: 1, ..settings(&primary) }).await;
    let b = server_on(&primary);
    until_ready(&b).await;
    let b = a.beside(b.engine, b.events);
    let (session, other) = (session_id(), session_id());
    let held = a.granted(a.ask(session, 1, "held", EXCLUSIVE)).await;
    let lease = a.granted(a.ask_lease("lease", EXCLUSIVE, LONG)).await;
    b.queued(b.ask(other, 1, "held", EXCLUSIVE)).await;
    // A hand-over from one server to the other counts, too, once the replica has it.
    let first = a.granted(a.ask(session, 2, "handed over", EXCLUSIVE)).await;
    b.queued(b.ask(other, 2, "handed over", EXCLUSIVE)).await;
    a.release(first.hold, session).await;
    let second = b.events.granted(other, 2).await;
    assert!(first.token < second.token);

    drop(replica);
    let believed = promised(&*a.engine);
    let asked = [a.ask(session, 3, "x", EXCLUSIVE), a.ask_lease("y", EXCLUSIVE, LONG)].map(|ask| a.engine.acquire(ask));
    for answer in futures::future::join_all(asked).await {
        assert!(matches!(answer, Err(EngineError::Unavailable(_))), "{answer:?}");
    }
    assert_eq!(a.events.ended(held.hold).await.2, EndReason::BackendLost);
    assert!(lockstead_clock::time() < believed.saturating_add(SERVER_LEASE), "too late");
    assert!(b.events.grants_to(other) == [2], "nobody is granted what a replica does not hear of");

    let _replica = replica_of(&primary).await;
    until_ready(&a).await;
    until_ready(&b).await;
    let grant = b.events.granted(other, 1).await;
    assert!(held.token < grant.token);
    b.release(grant.hold, other).await;
    eventually("only the lease", async || b.all().await.len() == 1).await;
    b.release_as_bearer(lease.hold, b.lock("lease")).await.unwrap();
    until_nothing_is_left(&b).await;
}
