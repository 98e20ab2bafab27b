//! Calls with one field wrong.

use std::fmt::Debug;

use lockstead_api::v1::{self, ErrorReason};
use prost_types::Duration;
use tonic::{Code, Response, Status};

use super::asks::{self, Ask};
use super::{assert_unharmed, connect, millis, resource, seconds};
use crate::logged::Logged;

const DAY_SECONDS: i64 = 24 * 3600;
const UNKNOWN_HOLD: &str = "0123456789abcdef0123456789abcdef";

/// Ttls that no lease can have.
const WRONG_TTLS: &[(&str, Duration)] = &[
    ("a negative ttl", Duration { seconds: -1, nanos: 0 }),
    ("no ttl at all", Duration { seconds: 0, nanos: 0 }),
    ("a ttl too short", Duration { seconds: 0, nanos: 99_999_999 }),
    ("a ttl too long", Duration { seconds: DAY_SECONDS, nanos: 1_000 }),
    ("a huge ttl", Duration { seconds: i64::MAX, nanos: 999_999_999 }),
    ("a very negative ttl", Duration { seconds: i64::MIN, nanos: -999_999_999 }),
];

/// Hold ids that are none.
const WRONG_HOLD_IDS: &[&str] = &[
    "",
    "abc",
    "0123456789abcdef0123456789abcde",
    "0123456789abcdef0123456789abcdef0",
    "g123456789abcdef0123456789abcdef",
];

fn assert_refused<T: Debug>(what: &str, answer: Result<Response<T>, Status>, reason: ErrorReason) {
    let status = answer.expect_err(what);
    assert_eq!(ErrorReason::of(&status), reason, "{what}: {status:?}");
    let code = if reason == ErrorReason::HoldNotFound { Code::NotFound } else { Code::InvalidArgument };
    assert_eq!(status.code(), code, "{what}: {status:?}");
    assert!(!status.message().is_empty(), "{what}");
}

/// Resources that are none, with the reason.
fn wrong_resources() -> Vec<(&'static str, Option<v1::ResourceId>, ErrorReason)> {
    let with = |change: fn(&mut v1::ResourceId)| {
        let mut resource = resource("bad/input");
        change(&mut resource);
        Some(resource)
    };
    vec![
        ("no resource", None, ErrorReason::InvalidName),
        ("no name", with(|id| id.name.clear()), ErrorReason::InvalidName),
        ("a long name", with(|id| id.name = "x".repeat(256)), ErrorReason::InvalidName),
        ("a line break in the name", with(|id| id.name.push('\n')), ErrorReason::InvalidName),
        ("no kind", with(|id| id.kind = 0), ErrorReason::InvalidKind),
        ("an unknown kind", with(|id| id.kind = 3), ErrorReason::InvalidKind),
        ("a negative kind", with(|id| id.kind = -1), ErrorReason::InvalidKind),
        ("an unknown scope", with(|id| id.scope = 3), ErrorReason::InvalidScope),
        ("a scope that is not offered", with(|id| id.scope = v1::Scope::Node.into()), ErrorReason::InvalidScope),
    ]
}

fn acquire(ask: Ask) -> v1::AcquireRequest {
    let Ask { claim, wait, owner, metadata } = ask;
    v1::AcquireRequest { claim, wait, owner, metadata, ttl: Some(millis(500)), request_id: String::new() }
}

#[tokio::test]
async fn an_acquire_with_a_wrong_field_says_which() {
    let mut server = Logged::start_without_node_scope();
    let mut client = connect(&server).await;
    for (what, spoil, reason) in asks::WRONG {
        assert_refused(what, client.acquire(acquire(Ask::spoilt(*spoil))).await, *reason);
    }
    for (what, ttl) in WRONG_TTLS {
        let request = v1::AcquireRequest { ttl: Some(*ttl), ..acquire(Ask::good()) };
        assert_refused(what, client.acquire(request).await, ErrorReason::InvalidTtl);
    }
    let request = v1::AcquireRequest { request_id: "r".repeat(129), ..acquire(Ask::good()) };
    assert_refused("a long request id", client.acquire(request).await, ErrorReason::InvalidRequestId);
    assert_refused("an empty message", client.acquire(v1::AcquireRequest::default()).await, ErrorReason::InvalidName);
    assert_unharmed(&mut server).await;
}

#[tokio::test]
async fn a_hold_with_a_wrong_field_says_which() {
    let mut server = Logged::start_without_node_scope();
    let mut client = connect(&server).await;
    for (what, spoil, reason) in asks::WRONG {
        let Ask { claim, wait, owner, metadata } = Ask::spoilt(*spoil);
        let answer = client.hold(v1::HoldRequest { claim, wait, owner, metadata }).await;
        assert_refused(what, answer, *reason);
    }
    assert_refused("an empty message", client.hold(v1::HoldRequest::default()).await, ErrorReason::InvalidName);
    assert_unharmed(&mut server).await;
}

#[tokio::test]
async fn a_renew_with_a_wrong_field_says_which() {
    let mut server = Logged::start_without_node_scope();
    let mut client = connect(&server).await;
    let good = || v1::RenewRequest {
        resource: Some(resource("bad/input")),
        hold_id: UNKNOWN_HOLD.to_owned(),
        ttl: Some(seconds(1)),
    };
    for (what, resource, reason) in wrong_resources() {
        assert_refused(what, client.renew(v1::RenewRequest { resource, ..good() }).await, reason);
    }
    for wrong in WRONG_HOLD_IDS {
        let request = v1::RenewRequest { hold_id: (*wrong).to_owned(), ..good() };
        assert_refused(wrong, client.renew(request).await, ErrorReason::InvalidHoldId);
    }
    for (what, ttl) in WRONG_TTLS {
        let request = v1::RenewRequest { ttl: Some(*ttl), ..good() };
        assert_refused(what, client.renew(request).await, ErrorReason::InvalidTtl);
    }
    assert_refused("an unknown hold", client.renew(good()).await, ErrorReason::HoldNotFound);
    assert_unharmed(&mut server).await;
}

#[tokio::test]
async fn a_release_with_a_wrong_field_says_which() {
    let mut server = Logged::start_without_node_scope();
    let mut client = connect(&server).await;
    let good = || v1::ReleaseRequest { resource: Some(resource("bad/input")), hold_id: UNKNOWN_HOLD.to_owned() };
    for (what, resource, reason) in wrong_resources() {
        assert_refused(what, client.release(v1::ReleaseRequest { resource, ..good() }).await, reason);
    }
    for wrong in WRONG_HOLD_IDS {
        let request = v1::ReleaseRequest { hold_id: (*wrong).to_owned(), ..good() };
        assert_refused(wrong, client.release(request).await, ErrorReason::InvalidHoldId);
    }
    assert_refused("an unknown hold", client.release(good()).await, ErrorReason::HoldNotFound);
    assert_unharmed(&mut server).await;
}

#[tokio::test]
async fn a_get_with_a_wrong_field_says_which() {
    let mut server = Logged::start_without_node_scope();
    let mut client = connect(&server).await;
    for (what, resource, reason) in wrong_resources() {
        assert_refused(what, client.get(v1::GetRequest { resource }).await, reason);
    }
    assert_unharmed(&mut server).await;
}

#[tokio::test]
async fn a_list_with_a_wrong_field_says_which() {
    let mut server = Logged::start_without_node_scope();
    let mut client = connect(&server).await;
    let good = || v1::ListRequest { kind: v1::Kind::Lock.into(), ..v1::ListRequest::default() };
    for (what, wrong, reason) in [
        ("no kind", v1::ListRequest { kind: 0, ..good() }, ErrorReason::InvalidKind),
        ("an unknown kind", v1::ListRequest { kind: 3, ..good() }, ErrorReason::InvalidKind),
        ("a negative kind", v1::ListRequest { kind: i32::MIN, ..good() }, ErrorReason::InvalidKind),
        ("an unknown scope", v1::ListRequest { scope: 3, ..good() }, ErrorReason::InvalidScope),
        ("a scope that is not offered", v1::ListRequest { scope: 2, ..good() }, ErrorReason::InvalidScope),
        (
            "a token of no page",
            v1::ListRequest { page_token: "a//b".to_owned(), ..good() },
            ErrorReason::InvalidPageToken,
        ),
        ("a long token", v1::ListRequest { page_token: "x".repeat(256), ..good() }, ErrorReason::InvalidPageToken),
    ] {
        assert_refused(what, client.list(wrong).await, reason);
    }
    // Too much of these is no error: the page is as large as a page can be, and nothing has such a name.
    let generous = v1::ListRequest { page_size: u32::MAX, prefix: "x".repeat(1 << 15), ..good() };
    assert_eq!(client.list(generous).await.unwrap().into_inner(), v1::ListResponse::default());
    assert_unharmed(&mut server).await;
}
