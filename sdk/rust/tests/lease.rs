//! Leases and lists: unary calls, which follow the session to where it is.

mod scripted;

use std::time::Duration;

use futures::TryStreamExt;
use lockstead_api::v1::session_response::Message as FromServer;
use lockstead_api::v1::{self, ErrorReason};
use lockstead_client::{Error, OnDisconnect, now};
use scripted::{Arrival, Pair, Server, hold_id, proto, soon};
use tokio::sync::oneshot;
use tonic::Status;

const LONG: Duration = Duration::from_secs(10);
const TTL: Duration = Duration::from_secs(30);

type Answer<T> = oneshot::Sender<Result<T, Status>>;

async fn acquire(server: &mut Server) -> (v1::AcquireRequest, Answer<v1::AcquireResponse>) {
    match server.arrival().await {
        Arrival::Acquire(request, answer) => (request, answer),
        _ => panic!("not an acquire"),
    }
}

async fn renew(server: &mut Server) -> (v1::RenewRequest, Answer<v1::RenewResponse>) {
    match server.arrival().await {
        Arrival::Renew(request, answer) => (request, answer),
        _ => panic!("not a renew"),
    }
}

async fn release(server: &mut Server) -> (v1::ReleaseRequest, Answer<v1::ReleaseResponse>) {
    match server.arrival().await {
        Arrival::Release(request, answer) => (request, answer),
        _ => panic!("not a release"),
    }
}

fn hold(ttl: Duration) -> v1::Hold {
    v1::Hold { hold_id: hold_id(5), fencing_token: 9, ttl: Some(proto(ttl)), ..v1::Hold::default() }
}

fn acquired(ttl: Duration) -> v1::AcquireResponse {
    v1::AcquireResponse { outcome: Some(v1::acquire_response::Outcome::Acquired(hold(ttl))) }
}

#[tokio::test]
async fn a_lease_is_acquired_renewed_and_released() {
    let mut server = Server::start().await;
    let (client, _peer) = server.client(OnDisconnect::Keep, LONG).await;
    let serve = async {
        let (request, answer) = acquire(&mut server).await;
        assert_eq!((&*request.owner, request.wait.is_some()), ("me", true));
        assert!(!request.request_id.is_empty(), "so that it can be repeated");
        answer.send(Ok(acquired(TTL))).unwrap();
    };
    let before = now();
    let (lease, ()) = tokio::join!(client.lock("x").lease(TTL).acquire(), serve);
    let mut lease = lease.unwrap();
    assert_eq!((lease.token(), lease.name(), lease.hold_id().reveal()), (9, "x", hold_id(5)));
    assert!(lease.valid_until() >= before.saturating_add(TTL) && lease.valid_until() <= now().saturating_add(TTL));

    let serve = async {
        let (request, answer) = renew(&mut server).await;
        assert_eq!(request.hold_id, hold_id(5));
        answer.send(Ok(v1::RenewResponse { hold: Some(hold(TTL * 2)) })).unwrap();
    };
    let (renewed, ()) = tokio::join!(lease.renew(TTL * 2), serve);
    renewed.unwrap();
    assert!(lease.remaining() > TTL);

    let serve = async { release(&mut server).await.1.send(Ok(v1::ReleaseResponse {})).unwrap() };
    let (released, ()) = tokio::join!(lease.release(), serve);
    released.unwrap();
}

#[tokio::test]
async fn a_lease_that_waited_long_is_renewed_to_know_its_deadline() {
    let mut server = Server::start().await;
    let (client, _peer) = server.client(OnDisconnect::Keep, LONG).await;
    let ttl = Duration::from_millis(400);
    let serve = async {
        let (_, answer) = acquire(&mut server).await;
        tokio::time::sleep(ttl * 2).await;
        answer.send(Ok(acquired(ttl))).unwrap();
        let (request, answer) = renew(&mut server).await;
        assert_eq!(request.ttl, None, "as long as before");
        answer.send(Ok(v1::RenewResponse { hold: Some(hold(ttl)) })).unwrap();
    };
    let (lease, ()) = tokio::join!(client.lock("x").lease(ttl).acquire(), serve);
    assert!(lease.unwrap().remaining() > ttl / 2);
}

/// Under an id of the caller's own the hold may be old, and its deadline near, however fast the answer comes.
#[tokio::test]
async fn a_lease_under_a_given_id_is_renewed_to_know_its_deadline() {
    let mut server = Server::start().await;
    let (client, _peer) = server.client(OnDisconnect::Keep, LONG).await;
    for can_be_renewed in [true, false] {
        let serve = async {
            let (request, answer) = acquire(&mut server).await;
            assert_eq!(request.request_id, "job-7");
            answer.send(Ok(acquired(TTL))).unwrap();
            let (_, answer) = renew(&mut server).await;
            let renewed = Ok(v1::RenewResponse { hold: Some(hold(TTL)) });
            let over = Err(ErrorReason::NotHolder.status("it is over"));
            answer.send(if can_be_renewed { renewed } else { over }).unwrap();
        };
        let (lease, ()) = tokio::join!(client.lock("x").lease(TTL).request_id("job-7").acquire(), serve);
        assert_eq!(lease.is_ok_and(|lease| lease.remaining() > TTL / 2), can_be_renewed);
    }
}

#[tokio::test]
async fn a_call_whose_server_goes_away_is_repeated_under_the_same_id() {
    let Pair { client, home: mut first, other: mut second, .. } = Pair::start(OnDisconnect::Keep, LONG).await;
    let leasing = tokio::spawn(client.lock("x").lease(TTL).acquire());
    let (request, _unanswered) = acquire(&mut first).await;
    let started = now();
    first.kill();
    let _peer = second.resumed(LONG).await;
    let (again, answer) = acquire(&mut second).await;
    assert_eq!(again.request_id, request.request_id);
    answer.send(Ok(acquired(TTL))).unwrap();
    let lease = leasing.await.unwrap().unwrap();
    assert!(lease.valid_until() <= started.saturating_add(TTL), "it may have been granted the first time");

    // A release that is repeated finds that it has happened.
    let releasing = tokio::spawn(lease.release());
    release(&mut second).await.1.send(Err(Status::unavailable("lost"))).unwrap();
    // The first one's turn, but it is no more.
    release(&mut second).await.1.send(Err(ErrorReason::HoldNotFound.status("it is over"))).unwrap();
    releasing.await.unwrap().unwrap();
}

/// The session is well, so it stays. Calls need not.
#[tokio::test]
async fn a_server_that_can_not_serve_a_call_is_not_the_only_one() {
    for reason in [ErrorReason::BackendUnavailable, ErrorReason::Draining] {
        let Pair { client, peer: _peer, mut home, mut other } = Pair::start(OnDisconnect::Keep, LONG).await;
        let leasing = tokio::spawn(client.lock("x").lease(TTL).acquire());
        let (request, answer) = acquire(&mut home).await;
        answer.send(Err(reason.status("not now"))).unwrap();
        let (again, answer) = acquire(&mut other).await;
        assert_eq!(again.request_id, request.request_id);
        answer.send(Err(reason.status("not now"))).unwrap();
        let (again, answer) = acquire(&mut home).await;
        assert_eq!(again.request_id, request.request_id);
        answer.send(Ok(acquired(TTL))).unwrap();
        assert_eq!(soon(leasing).await.unwrap().unwrap().token(), 9);
    }
}

#[tokio::test]
async fn a_server_that_drains_still_answers_what_it_was_asked() {
    let Pair { client, peer, mut home, mut other } = Pair::start(OnDisconnect::Release, LONG).await;
    let leasing = tokio::spawn(client.lock("x").lease(TTL).acquire());
    let (_, answer) = acquire(&mut home).await;
    peer.say(FromServer::Draining(v1::SessionDraining::default()));
    // Waits for the next server, and so tells when it has the session.
    let waiting = tokio::spawn(client.lock("y").acquire());
    let (mut next, _) = other.resumed(LONG).await;
    next.read_acquire().await;
    // Further calls go there, too.
    let listing = tokio::spawn(async move { client.list_locks("").page().await });
    let Arrival::List(_, page) = other.arrival().await else { panic!("not a list") };
    page.send(Ok(v1::ListResponse::default())).unwrap();
    soon(listing).await.unwrap().unwrap();
    answer.send(Ok(acquired(TTL))).unwrap();
    assert_eq!(soon(leasing).await.unwrap().unwrap().token(), 9);
    waiting.abort();
}

#[tokio::test]
async fn a_server_that_is_cut_off_is_not_waited_for() {
    let valid_for = Duration::from_millis(1_500);
    let Pair { client, peer: _peer, mut home, mut other } = Pair::start(OnDisconnect::Keep, valid_for).await;
    let leasing = tokio::spawn(client.lock("x").lease(TTL).acquire());
    let (request, _unanswered) = acquire(&mut home).await;
    let _next = other.resumed(LONG).await;
    let (again, answer) = acquire(&mut other).await;
    assert_eq!(again.request_id, request.request_id);
    answer.send(Ok(acquired(TTL))).unwrap();
    assert_eq!(soon(leasing).await.unwrap().unwrap().token(), 9);
}

#[tokio::test]
async fn a_refusal_is_not_repeated() {
    let mut server = Server::start().await;
    let (client, _peer) = server.client(OnDisconnect::Keep, LONG).await;
    let id = lockstead_client::HoldId::parse(&hold_id(5)).unwrap();
    let serve = async { release(&mut server).await.1.send(Err(ErrorReason::NotHolder.status("not yours"))).unwrap() };
    let (released, ()) = tokio::join!(client.lock("x").release(id), serve);
    assert!(matches!(released, Err(Error::Refused { reason: ErrorReason::NotHolder, .. })), "{released:?}");
}

#[tokio::test]
async fn a_list_goes_on_to_its_last_page() {
    let mut server = Server::start().await;
    let (client, _peer) = server.client(OnDisconnect::Keep, LONG).await;
    let serve = async {
        for (token, next) in [("", "a"), ("a", "b"), ("b", "")] {
            let Arrival::List(request, answer) = server.arrival().await else { panic!("not a list") };
            assert_eq!((&*request.page_token, &*request.prefix), (token, "jobs/"));
            let resources = vec![v1::Resource::default(); 2];
            answer.send(Ok(v1::ListResponse { resources, next_page_token: next.to_owned() })).unwrap();
        }
    };
    let (resources, ()) = tokio::join!(client.list_locks("jobs/").stream().try_collect::<Vec<_>>(), serve);
    assert_eq!(resources.unwrap().len(), 6);
}
