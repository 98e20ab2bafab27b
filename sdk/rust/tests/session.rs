//! Sessions over a real connection, with a scripted server.

mod scripted;

use std::time::Duration;

use lockstead_api::v1::session_request::Message as ToServer;
use lockstead_api::v1::session_response::Message as FromServer;
use lockstead_api::v1::{self, ErrorReason};
use lockstead_client::{Client, Error, HoldState, LossReason, NotAcquiredReason, OnDisconnect, now};
use scripted::{Pair, Server, hold_id, soon};
use tokio::net::{TcpSocket, TcpStream};

const LONG: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_lock_is_acquired_and_given_back() {
    let mut server = Server::start().await;
    let builder = Client::builder().server(&server.address).session_timeout(LONG).owner("me").metadata([("k", "v")]);
    let (client, mut peer) = tokio::join!(builder.connect(), server.opened(LONG));
    let client = client.unwrap();
    assert_eq!(client.session_id().as_deref(), Some("the-session"));

    let (guard, asked) = tokio::join!(client.lock("reports/daily").owner("worker 7").acquire(), peer.grant(1, 33));
    let guard = guard.unwrap();
    let v1::SessionAcquire { claim, wait, owner, .. } = asked;
    assert_eq!(claim.unwrap().name, "reports/daily");
    assert_eq!(wait.unwrap().how, Some(v1::wait::How::Forever(true)));
    assert_eq!(owner, "worker 7");
    assert_eq!((guard.token(), guard.name(), guard.hold_id().reveal()), (33, "reports/daily", hold_id(1)));
    assert_eq!(guard.state(), HoldState::Held);
    assert!(guard.remaining() <= LONG && guard.remaining() > LONG / 2);

    let server_side = async {
        let message = peer.read().await;
        let ToServer::Release(release) = message else { panic!("{message:?}") };
        assert_eq!(release.hold_id, hold_id(1));
        peer.released(release.request_id);
    };
    let (released, ()) = tokio::join!(guard.release(), server_side);
    released.unwrap();
}

#[tokio::test]
async fn who_is_in_the_way_is_told() {
    let mut server = Server::start().await;
    let (client, mut peer) = server.client(OnDisconnect::Release, LONG).await;
    let refuse = async {
        let asked = peer.read_acquire().await;
        assert!(asked.wait.is_none(), "a try");
        let holders = vec![v1::Holder { owner: "somebody".to_owned(), ..v1::Holder::default() }];
        let reason = v1::not_acquired::Reason::Held.into();
        let why = v1::NotAcquired { reason, message: "held by others".to_owned(), holders };
        peer.say(FromServer::NotAcquired(v1::SessionNotAcquired { request_id: asked.request_id, why: Some(why) }));
        peer
    };
    let (outcome, mut peer) = tokio::join!(client.lock("x").wait(Duration::ZERO).acquire(), refuse);
    let Err(Error::NotAcquired(why)) = outcome else { panic!("{outcome:?}") };
    assert_eq!((why.reason, &*why.holders[0].owner), (NotAcquiredReason::Held, "somebody"));
    assert!(why.to_string().contains("held by somebody"), "{why}");

    let fail = async {
        let (request_id, reason) = (peer.read_acquire().await.request_id, ErrorReason::LimitMismatch.into());
        peer.say(FromServer::Failed(v1::SessionFailed { request_id, reason, message: "the limit is 3".to_owned() }));
    };
    let (outcome, ()) = tokio::join!(client.semaphore("pool", 5).permits(2).acquire(), fail);
    assert!(matches!(outcome, Err(Error::Refused { reason: ErrorReason::LimitMismatch, .. })), "{outcome:?}");
    // What is wrong at sight does not need a server.
    let outcome = client.lock("a//b").acquire().await;
    assert!(matches!(outcome, Err(Error::Refused { reason: ErrorReason::InvalidName, .. })), "{outcome:?}");
    let outcome = client.semaphore("pool", 5).permits(6).acquire().await;
    assert!(matches!(outcome, Err(Error::Refused { reason: ErrorReason::InvalidPermits, .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_silent_server_costs_the_hold_at_its_deadline() {
    let mut server = Server::start().await;
    let valid_for = Duration::from_millis(900);
    let (client, mut peer) = server.client(OnDisconnect::Keep, valid_for).await;
    let (guard, _) = tokio::join!(client.lock("x").acquire(), peer.grant(1, 1));
    let guard = guard.unwrap();
    let deadline = guard.valid_until();
    assert_eq!(guard.state(), HoldState::Held);
    tokio::time::sleep(valid_for * 3 / 4).await;
    assert_eq!(guard.state(), HoldState::AtRisk);
    let (first, second) = (guard.lost(), guard.lost().clone());
    let (loss, also) = soon(async { tokio::join!(first, second) }).await;
    assert_eq!((loss.reason, loss.at), (LossReason::Expired, deadline));
    assert_eq!(loss, also);
    assert!(now() >= deadline && now().since(deadline) < Duration::from_millis(300));
    assert_eq!(guard.ensure_held(), Err(loss));
    assert!(matches!(guard.release().await, Err(Error::Lost(_))));
    // The server hears that this session is over, and of the next.
    while !matches!(peer.read().await, ToServer::Close(_)) {}
    loop {
        // Before that, the client has tried to reach it on another stream.
        match server.session().await.read().await {
            ToServer::Resume(_) => {}
            ToServer::Open(_) => break,
            other => panic!("{other:?}"),
        }
    }
}

/// As after SIGSTOP: nothing of the client has run when the guard is asked.
#[tokio::test(flavor = "current_thread")]
async fn a_guard_is_right_though_the_runtime_stood_still() {
    let mut server = Server::start().await;
    let valid_for = Duration::from_millis(300);
    let (client, mut peer) = server.client(OnDisconnect::Keep, valid_for).await;
    let (guard, _) = tokio::join!(client.lock("x").acquire(), peer.grant(1, 1));
    let guard = guard.unwrap();
    let ping = peer.read_ping().await;
    peer.pong(ping, LONG * 10);
    // The pong arrives meanwhile, from another thread; nobody reads it in time.
    std::thread::sleep(valid_for * 2);
    let HoldState::Lost(loss) = guard.state() else { panic!("{guard:?}") };
    assert_eq!((loss.reason, guard.remaining()), (LossReason::Expired, Duration::ZERO));
    assert_eq!(soon(guard.lost()).await, loss);
    server.opened(LONG).await;
    assert_eq!(guard.state(), HoldState::Lost(loss), "for ever");
}

#[tokio::test]
async fn a_kept_session_moves_to_another_server() {
    let Pair { client, mut peer, home, mut other } = Pair::start(OnDisconnect::Keep, LONG).await;
    let (guard, _) = tokio::join!(client.lock("x").acquire(), peer.grant(1, 7));
    let guard = guard.unwrap();
    let waiting = tokio::spawn(client.lock("y").acquire());
    let request_id = peer.read_acquire().await.request_id;

    home.kill();
    let (mut peer, resume) = other.resumed(LONG).await;
    assert_eq!((resume.holds.len(), resume.holds[0].fencing_token), (1, 7));
    assert_eq!(resume.pending_request_ids, [request_id]);
    assert_eq!(peer.grant(2, 8).await.request_id, request_id);
    let other = soon(waiting).await.unwrap().unwrap();
    assert_eq!((guard.state(), other.token()), (HoldState::Held, 8));
}

#[tokio::test]
async fn a_session_moves_away_from_a_server_that_drains() {
    for on_disconnect in [OnDisconnect::Keep, OnDisconnect::Release] {
        let Pair { client, mut peer, home: _home, mut other } = Pair::start(on_disconnect, LONG).await;
        let (guard, _) = tokio::join!(client.lock("x").acquire(), peer.grant(1, 7));
        let guard = guard.unwrap();
        let id = client.session_id();
        peer.say(FromServer::Draining(v1::SessionDraining::default()));
        let mut next = other.session().await;
        let message = next.read().await;
        assert!(matches!(message, ToServer::Resume(_)), "{message:?}");
        let mut waiting = Box::pin(client.lock("y").acquire());
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        drop(guard);
        assert!(matches!(peer.read().await, ToServer::Release(_)), "the old stream is in use");
        next.resumed(LONG);
        assert_eq!(next.grant(2, 8).await.request_id, 2);
        assert!(matches!(next.read().await, ToServer::Release(_)), "since the resume had listed it");
        let guard = soon(waiting).await.unwrap();
        assert_eq!((guard.state(), client.session_id()), (HoldState::Held, id));
        // The old server may not know yet that the session is gone: the stream is not broken, but not used either.
        peer.say(FromServer::Ping(v1::Ping { sequence: 3 }));
        assert!(tokio::time::timeout(Duration::from_millis(100), peer.try_read()).await.is_err());
        peer.fail(ErrorReason::SessionSuperseded);
        next.say(FromServer::Ping(v1::Ping { sequence: 4 }));
        assert!(matches!(next.read().await, ToServer::Pong(v1::Pong { sequence: 4, .. })));
        assert_eq!(guard.state(), HoldState::Held);
    }
}

/// Neither of the streams breaks: the server, or the way to it, has just fallen silent.
#[tokio::test]
async fn a_kept_session_moves_away_from_a_server_that_is_cut_off() {
    let valid_for = Duration::from_millis(1_500);
    let Pair { client, mut peer, home: _home, mut other } = Pair::start(OnDisconnect::Keep, valid_for).await;
    let (guard, _) = tokio::join!(client.lock("x").acquire(), peer.grant(1, 7));
    let guard = guard.unwrap();
    let deadline = guard.valid_until();
    let (_peer, resume) = other.resumed(LONG).await;
    assert!(now() < deadline);
    assert_eq!((resume.attempt, resume.holds.len()), (1, 1));
    let moved = async {
        while guard.state() != HoldState::Held {
            tokio::task::yield_now().await;
        }
    };
    soon(moved).await;
    assert!(guard.valid_until() > deadline);
}

/// Its queue of connections is full, so the kernel drops all further attempts.
#[tokio::test]
async fn an_address_that_swallows_everything_costs_little_time() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(connected) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        queue.push(connected.unwrap());
    }
    let mut server = Server::start().await;
    let addresses = format!("http://{address},{}", server.address);
    // Some of these clients try it first.
    for _ in 0..6 {
        let started = now();
        let (client, _peer) = tokio::join!(Client::connect(&addresses), server.opened(LONG));
        client.unwrap();
        assert!(now().since(started) < Duration::from_secs(2));
    }
}

#[tokio::test]
async fn a_session_that_the_server_has_forgotten_is_lost() {
    let mut server = Server::start().await;
    let (client, mut peer) = server.client(OnDisconnect::Keep, LONG).await;
    let (guard, _) = tokio::join!(client.lock("x").acquire(), peer.grant(1, 1));
    let guard = guard.unwrap();
    peer.cut();
    let mut peer = server.session().await;
    assert!(matches!(peer.read().await, ToServer::Resume(_)));
    assert_eq!(guard.state(), HoldState::AtRisk);
    peer.fail(ErrorReason::SessionNotFound);
    assert_eq!(soon(guard.lost()).await.reason, LossReason::ServerLost);
    server.opened(LONG).await;
}

#[tokio::test]
async fn with_release_a_killed_server_costs_the_hold_at_once() {
    let mut server = Server::start().await;
    let (client, mut peer) = server.client(OnDisconnect::Release, LONG).await;
    let (guard, _) = tokio::join!(client.lock("x").acquire(), peer.grant(1, 1));
    let guard = guard.unwrap();
    server.kill();
    assert_eq!(soon(guard.lost()).await.reason, LossReason::Disconnected);
    drop(client);
}

#[tokio::test]
async fn an_acquire_that_is_dropped_is_taken_back() {
    let mut server = Server::start().await;
    let (client, mut peer) = server.client(OnDisconnect::Release, LONG).await;
    let waiting = tokio::spawn(client.lock("x").acquire());
    let request_id = peer.read_acquire().await.request_id;
    waiting.abort();
    let message = peer.read().await;
    assert!(matches!(message, ToServer::Cancel(cancel) if cancel.request_id == request_id), "{message:?}");
}

#[tokio::test]
async fn an_acquire_that_is_dropped_at_its_grant_leaves_nothing_held() {
    let mut server = Server::start().await;
    let (client, mut peer) = server.client(OnDisconnect::Release, LONG).await;
    for hold in 1..200 {
        let waiting = tokio::spawn(client.lock("x").acquire());
        let request_id = peer.read_acquire().await.request_id;
        peer.acquired(request_id, hold, 1);
        waiting.abort();
        match peer.read().await {
            ToServer::Cancel(cancel) => assert_eq!(cancel.request_id, request_id),
            ToServer::Release(release) => assert_eq!(release.hold_id, hold_id(hold)),
            other => panic!("{other:?}"),
        }
        drop(waiting.await);
    }
}

#[tokio::test]
async fn a_guard_can_be_dropped_anywhere_and_keeps_the_session_till_then() {
    let mut server = Server::start().await;
    let (client, mut peer) = server.client(OnDisconnect::Keep, LONG).await;
    let (guard, _) = tokio::join!(client.lock("x").acquire(), peer.grant(1, 1));
    let guard = guard.unwrap();
    drop(client);
    peer.say(FromServer::Ping(v1::Ping { sequence: 3 }));
    assert!(matches!(peer.read().await, ToServer::Pong(_)), "the session goes on");
    std::thread::spawn(move || drop(guard)).join().unwrap();
    assert!(matches!(peer.read().await, ToServer::Release(_)));
    assert!(matches!(peer.read().await, ToServer::Close(_)));
    assert!(peer.try_read().await.is_none());
}

#[tokio::test]
async fn closing_ends_every_wait_and_returns_when_the_server_has_seen_it() {
    let mut server = Server::start().await;
    let (client, mut peer) = server.client(OnDisconnect::Keep, LONG).await;
    let (guard, _) = tokio::join!(client.lock("x").acquire(), peer.grant(1, 1));
    let guard = guard.unwrap();
    let waiting = tokio::spawn(client.lock("y").acquire());
    peer.read_acquire().await;
    let closing = tokio::spawn({
        let client = client.clone();
        async move { client.close().await }
    });
    assert!(matches!(peer.read().await, ToServer::Close(_)));
    assert_eq!(soon(waiting).await.unwrap().unwrap_err(), Error::Closed);
    assert_eq!(soon(guard.lost()).await.reason, LossReason::Disconnected);
    assert!(!closing.is_finished());
    drop(peer);
    soon(closing).await.unwrap().unwrap();
    assert_eq!(client.lock("z").acquire().await.unwrap_err(), Error::Closed);
    client.close().await.unwrap();
}

#[tokio::test]
async fn many_operations_share_the_stream() {
    const COUNT: u64 = 5_000;
    let mut server = Server::start().await;
    let (client, mut peer) = server.client(OnDisconnect::Release, LONG).await;
    let acquires: Vec<_> = (0..COUNT).map(|i| tokio::spawn(client.lock(format!("lock/{i}")).acquire())).collect();
    let mut asked = Vec::new();
    for _ in 0..COUNT {
        asked.push(peer.read_acquire().await.request_id);
    }
    // Answered in any order.
    for request_id in asked.into_iter().rev() {
        peer.acquired(request_id, u128::from(request_id), request_id);
    }
    for acquire in acquires {
        drop(soon(acquire).await.unwrap().unwrap());
    }
    for _ in 0..COUNT {
        assert!(matches!(peer.read_operation(LONG).await, ToServer::Release(_)));
    }
}

#[tokio::test]
async fn without_a_server_connecting_fails_with_every_address() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addresses = format!("http://{closed},http://{}", silent.local_addr().unwrap());
    let started = now();
    let connecting = Client::builder().server(&addresses).connect_timeout(Duration::from_millis(800)).connect();
    let Err(Error::Unavailable(why)) = connecting.await else { panic!() };
    let took = now().since(started);
    assert!(took >= Duration::from_millis(800) && took < Duration::from_secs(2), "{took:?}");
    assert_eq!(why.attempts.len(), 2);
    assert!(why.attempts[0].1.contains("refused") && why.attempts[1].1.contains("no answer"), "{why}");
}

#[tokio::test]
async fn secrets_are_not_shown() {
    let mut server = Server::start().await;
    let (client, mut peer) = server.client(OnDisconnect::Keep, LONG).await;
    let (guard, _) = tokio::join!(client.lock("x").acquire(), peer.grant(0xfeed, 1));
    let guard = guard.unwrap();
    let shown = format!("{client:?} {guard:?} {:?} {:?} {:?}", guard.hold_id(), guard.lost(), client.lock("x"));
    assert!(!shown.contains("feed") && !shown.contains("the-secret"), "{shown}");
}
