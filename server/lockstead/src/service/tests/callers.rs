//! Leases and hold streams whose callers go away, or whose engine does.

use std::time::Duration;

use futures::{FutureExt, StreamExt};
use lockstead_api::v1::ErrorReason;
use lockstead_api::v1::not_acquired::Reason;
use lockstead_core::{Acquired, Party, RequestId, Scope, Wait};
use lockstead_engine::Engine;

use super::client::{LONG, Slow, ask, lock, soon};
use super::slow_engine::Method;
use crate::service::engines::new_hold_id;
use crate::service::{HoldEvent, LeaseAsk, Outcome};

fn lease(name: &str, wait: Wait) -> LeaseAsk {
    LeaseAsk { ask: ask(name, wait), ttl: LONG, request_id: None }
}

fn short() -> Wait {
    Wait::UpTo(Duration::from_millis(20))
}

#[tokio::test]
async fn what_a_lease_gets_after_its_caller_has_gone_is_given_back() {
    let mut slow = Slow::start();
    slow.engine.hold_back(&[Method::Acquire, Method::Cancel]);
    let service = slow.service.clone();
    let mut caller = Box::pin(service.acquire(lease("x", Wait::Forever)));
    assert!(caller.as_mut().now_or_never().is_none());
    let acquire = slow.held_back(Method::Acquire).await;
    drop(caller);
    tokio::task::yield_now().await;
    slow.no_other_call();
    acquire.answer();
    let cancel = slow.held_back(Method::Cancel).await;
    assert_eq!(slow.counts("x").await, (1, 0));
    cancel.answer();
    assert_eq!(slow.counts("x").await, (0, 0));
    soon(slow.service.engines().settled()).await;
}

#[tokio::test]
async fn a_request_can_come_again_once_the_first_has_been_taken_back() {
    let mut slow = Slow::start();
    slow.engine.hold_back(&[Method::Acquire, Method::Cancel]);
    let again = || LeaseAsk { request_id: Some(RequestId::parse("r").unwrap()), ..lease("x", Wait::Forever) };
    let service = slow.service.clone();
    let mut first = Box::pin(service.acquire(again()));
    assert!(first.as_mut().now_or_never().is_none());
    let acquire = slow.held_back(Method::Acquire).await;
    drop(first);
    acquire.answer();
    let cancel = slow.held_back(Method::Cancel).await;
    let service = slow.service.clone();
    let second = tokio::spawn(async move { service.acquire(again()).await });
    tokio::task::yield_now().await;
    slow.no_other_call();
    cancel.answer();
    slow.held_back(Method::Acquire).await.answer();
    assert!(matches!(soon(second).await.unwrap(), Ok(Outcome::Acquired(_))));
}

#[tokio::test]
async fn a_lease_whose_wait_is_over_is_told_so_also_if_the_engine_is_away() {
    let mut slow = Slow::start();
    slow.service.acquire(lease("x", Wait::No)).await.unwrap();
    slow.engine.hold_back(&[Method::Cancel]);
    let service = slow.service.clone();
    let caller = tokio::spawn(async move { service.acquire(lease("x", short())).await });
    slow.held_back(Method::Cancel).await.fail();
    let Ok(Outcome::NotAcquired(why)) = soon(caller).await.unwrap() else { panic!("not over") };
    assert_eq!(why.reason, Reason::WaitTimeout);
    slow.held_back(Method::Cancel).await.answer();
    assert_eq!(slow.counts("x").await, (1, 0));
}

#[tokio::test]
async fn a_lease_that_the_engine_can_not_ask_for_now_is_told_so() {
    let mut slow = Slow::start();
    slow.engine.hold_back(&[Method::Acquire, Method::Cancel]);
    let service = slow.service.clone();
    let caller = tokio::spawn(async move { service.acquire(lease("x", Wait::Forever)).await });
    slow.held_back(Method::Acquire).await.fail();
    let error = soon(caller).await.unwrap().unwrap_err();
    assert_eq!(error.reason(), ErrorReason::BackendUnavailable);
    slow.no_other_call();
}

/// The request was made on another server first, which gave the hold its name.
#[tokio::test]
async fn a_lease_that_waits_under_an_older_name_is_found_by_it() {
    for granted_meanwhile in [false, true] {
        let mut slow = Slow::start();
        let Ok(Outcome::Acquired(blocking)) = slow.service.acquire(lease("x", Wait::No)).await else { panic!() };
        let again = || LeaseAsk { request_id: Some(RequestId::parse("r").unwrap()), ..lease("x", Wait::Forever) };
        let party = Party::Lease { ttl: LONG, request: again().request_id };
        let older = new_hold_id(Scope::Cluster);
        let queued = slow.engine.acquire(again().ask.command(older, party)).await.unwrap();
        assert!(matches!(queued, Acquired::Queued { .. }));

        slow.engine.hold_back(&[Method::Acquire]);
        let service = slow.service.clone();
        let caller = tokio::spawn(async move { service.acquire(again()).await });
        let first = slow.held_back(Method::Acquire).await.carry_out();
        let service = slow.service.clone();
        let release = service.release(Scope::Cluster, lock("x"), blocking.hold);
        if granted_meanwhile {
            release.await.unwrap();
            first.answer();
            slow.held_back(Method::Acquire).await.answer();
        } else {
            first.answer();
            slow.held_back(Method::Acquire).await.answer();
            release.await.unwrap();
        }
        let Ok(Outcome::Acquired(grant)) = soon(caller).await.unwrap() else { panic!("not acquired") };
        assert_eq!(grant.hold, older);
    }
}

#[tokio::test]
async fn what_a_hold_stream_gets_after_its_caller_has_gone_is_given_back() {
    let mut slow = Slow::start();
    slow.engine.hold_back(&[Method::Acquire, Method::End]);
    let service = slow.service.clone();
    let mut caller = Box::pin(service.hold(ask("x", Wait::Forever)));
    assert!(caller.as_mut().now_or_never().is_none());
    let acquire = slow.held_back(Method::Acquire).await;
    drop(caller);
    slow.held_back(Method::End).await.answer();
    acquire.answer();
    assert_eq!(slow.counts("x").await, (1, 0));
    slow.held_back(Method::End).await.answer();
    assert_eq!(slow.counts("x").await, (0, 0));
    soon(slow.service.engines().settled()).await;
}

#[tokio::test]
async fn a_hold_stream_whose_wait_is_over_says_so_also_if_the_engine_is_away() {
    let mut slow = Slow::start();
    let blocking = slow.service.hold(ask("x", Wait::No)).await.unwrap().unwrap();
    slow.engine.hold_back(&[Method::Cancel]);
    let mut waiting = slow.service.hold(ask("x", short())).await.unwrap().unwrap();
    assert!(matches!(waiting.next().await, Some(HoldEvent::Queued(1))));
    let over = tokio::spawn(async move { (waiting.next().await, waiting.next().await) });
    slow.held_back(Method::Cancel).await.fail();
    let (Some(HoldEvent::NotAcquired(why)), None) = soon(over).await.unwrap() else { panic!("not over") };
    assert_eq!(why.reason, Reason::WaitTimeout);
    drop(blocking);
    assert_eq!(slow.counts("x").await, (0, 0));
}

#[tokio::test]
async fn a_hold_stream_that_is_granted_at_the_last_moment_holds() {
    let mut slow = Slow::start();
    let blocking = slow.service.hold(ask("x", Wait::No)).await.unwrap().unwrap();
    slow.engine.hold_back(&[Method::Cancel]);
    let mut waiting = slow.service.hold(ask("x", short())).await.unwrap().unwrap();
    assert!(matches!(waiting.next().await, Some(HoldEvent::Queued(1))));
    let next = tokio::spawn(async move { (waiting.next().await, waiting) });
    let cancel = slow.held_back(Method::Cancel).await;
    drop(blocking);
    cancel.answer();
    let (event, _holding) = soon(next).await.unwrap();
    assert!(matches!(event, Some(HoldEvent::Acquired(_))), "{event:?}");
    assert_eq!(slow.counts("x").await, (1, 0));
}
