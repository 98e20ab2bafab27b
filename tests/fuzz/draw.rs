//! Random messages: every field from a pool of what is good, what is at an edge, and what is wrong.

use std::collections::BTreeMap;

use fastrand::Rng;
use lockstead_api::v1;
use lockstead_api::v1::session_request::Message as Say;

use crate::yields::Yields;

const NAMES: [&str; 12] =
    ["fuzz/a", "fuzz/b", "fuzz/c", "fuzz/d", "fuzz", "", ".", "a/../b", "a//b", "\u{0}", "Zürich 🔒", "fuzz/e"];
const TEXTS: [&str; 6] = ["", "worker-7", "\n", "🔒🔒", "\u{7f}", "a\tb"];
const NUMBERS: [u32; 9] = [0, 1, 2, 3, 4, 1_000, 1_000_000, 1_000_001, u32::MAX];
const ENUMS: [i32; 8] = [0, 0, 1, 1, 2, 3, -1, i32::MAX];
/// What a lease or a session may last is short, so that whatever is left behind ends soon.
const DURATIONS: [(i64, i32); 12] = [
    (1, 0),
    (2, 0),
    (1, 500_000_000),
    (0, 250_000_000),
    (0, 100_000_000),
    (0, 0),
    (0, 1),
    (-1, 0),
    (i64::MIN, i32::MIN),
    (i64::MAX, i32::MAX),
    (1, -999_999_999),
    (400 * 24 * 3600, 0),
];
/// Of those, good for a session, and good for a lease or a wait.
const FOR_SESSIONS: usize = 3;
const FOR_LEASES: usize = 5;

pub(crate) fn one<T: Clone>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.usize(..of.len())].clone()
}

/// Mostly there.
fn some<T>(rng: &mut Rng, draw: impl FnOnce(&mut Rng) -> T) -> Option<T> {
    (rng.u8(..16) > 0).then(|| draw(rng))
}

/// Mostly a good one: what is refused at once reaches nothing.
fn name(rng: &mut Rng) -> String {
    match rng.u8(..16) {
        0 => "x".repeat(rng.usize(..600)),
        1 => one(rng, &NAMES).to_owned(),
        _ => one(rng, &NAMES[..4]).to_owned(),
    }
}

fn text(rng: &mut Rng) -> String {
    match rng.u8(..32) {
        0 => "é".repeat(rng.usize(..300)),
        1 => one(rng, &TEXTS).to_owned(),
        _ => one(rng, &TEXTS[..2]).to_owned(),
    }
}

fn wild_text(rng: &mut Rng) -> String {
    if rng.u8(..8) == 0 { one(rng, &TEXTS).to_owned() } else { text(rng) }
}

fn metadata(rng: &mut Rng) -> BTreeMap<String, String> {
    let entries = if rng.bool() { 0 } else { rng.usize(..20) };
    (0..entries)
        .map(|entry| (format!("{entry}{}", wild_text(rng)), "v".repeat(rng.usize(..64) * rng.usize(..10))))
        .collect()
}

/// A kind, a mode or the like; mostly a good one.
fn choice(rng: &mut Rng) -> i32 {
    if rng.u8(..16) > 0 { rng.i32(1..3) } else { one(rng, &ENUMS) }
}

/// Mostly the cluster: each name in the node scope is a file.
fn scope(rng: &mut Rng) -> i32 {
    if rng.u8(..8) > 0 { rng.i32(0..2) } else { one(rng, &ENUMS) }
}

/// Mostly one of the first so many.
fn duration(rng: &mut Rng, good: usize) -> prost_types::Duration {
    let (seconds, nanos) = if rng.u8(..8) > 0 { one(rng, &DURATIONS[..good]) } else { one(rng, &DURATIONS) };
    prost_types::Duration { seconds, nanos }
}

pub(crate) fn claim(rng: &mut Rng) -> v1::Claim {
    let demand = match rng.u8(..4) {
        0 => None,
        1 | 2 => Some(v1::claim::Demand::Lock(choice(rng))),
        _ if rng.bool() => Some(v1::claim::Demand::Semaphore(v1::Permits { permits: rng.u32(0..4), limit: 4 })),
        _ => {
            let (permits, limit) = (one(rng, &NUMBERS), one(rng, &NUMBERS));
            Some(v1::claim::Demand::Semaphore(v1::Permits { permits, limit }))
        }
    };
    v1::Claim { name: name(rng), scope: scope(rng), demand }
}

pub(crate) fn wait(rng: &mut Rng) -> Option<v1::Wait> {
    use v1::wait::How;
    let how = match rng.u8(..8) {
        0..3 => return None,
        3..5 => Some(How::UpTo(duration(rng, FOR_LEASES))),
        5 | 6 => Some(How::Forever(true)),
        _ => one(rng, &[None, Some(How::Forever(false))]),
    };
    Some(v1::Wait { how })
}

pub(crate) fn resource_id(rng: &mut Rng) -> v1::ResourceId {
    v1::ResourceId { kind: choice(rng), name: name(rng), scope: scope(rng) }
}

/// A hold that there is or was, or none.
fn hold(rng: &mut Rng, yields: &Yields) -> (Option<v1::ResourceId>, String) {
    let known = yields.any_hold(rng).filter(|_| rng.u8(..4) > 0);
    let (resource, id) = known.unwrap_or_else(|| (resource_id(rng), format!("{:032x}", rng.u128(..))));
    let resource = if rng.u8(..8) > 0 { Some(resource) } else { some(rng, resource_id) };
    (resource, if rng.u8(..16) > 0 { id } else { wild_text(rng) })
}

pub(crate) fn acquire(rng: &mut Rng) -> v1::AcquireRequest {
    let request_id = match rng.u8(..4) {
        0 => format!("fuzz-{}", rng.u8(..50)),
        1 => wild_text(rng),
        _ => String::new(),
    };
    // There in any case, since what is left out stands for something longer.
    let ttl = Some(duration(rng, FOR_LEASES));
    let (claim, wait) = (some(rng, claim), wait(rng));
    v1::AcquireRequest { claim, wait, ttl, owner: text(rng), metadata: metadata(rng), request_id }
}

pub(crate) fn renew(rng: &mut Rng, yields: &Yields) -> v1::RenewRequest {
    let (resource, hold_id) = hold(rng, yields);
    v1::RenewRequest { resource, hold_id, ttl: Some(duration(rng, FOR_LEASES)) }
}

pub(crate) fn release(rng: &mut Rng, yields: &Yields) -> v1::ReleaseRequest {
    let (resource, hold_id) = hold(rng, yields);
    v1::ReleaseRequest { resource, hold_id }
}

pub(crate) fn get(rng: &mut Rng) -> v1::GetRequest {
    v1::GetRequest { resource: some(rng, resource_id) }
}

pub(crate) fn list(rng: &mut Rng) -> v1::ListRequest {
    let (kind, scope, page_size) = (choice(rng), scope(rng), one(rng, &NUMBERS));
    v1::ListRequest { kind, scope, prefix: name(rng), page_size, page_token: text(rng) }
}

pub(crate) fn hold_stream(rng: &mut Rng) -> v1::HoldRequest {
    v1::HoldRequest { claim: some(rng, claim), wait: wait(rng), owner: text(rng), metadata: metadata(rng) }
}

fn options(rng: &mut Rng) -> v1::OpenSession {
    let (session_timeout, on_disconnect) = (Some(duration(rng, FOR_SESSIONS)), choice(rng));
    v1::OpenSession { session_timeout, on_disconnect, owner: text(rng), metadata: metadata(rng) }
}

/// A resume, of a session that there is or was, or of none.
fn resume(rng: &mut Rng, yields: &Yields) -> v1::ResumeSession {
    let nobody = || (format!("{:032x}", fastrand::Rng::with_seed(7).u128(..)), "secret".to_owned());
    let (session_id, resume_secret) = yields.any_session(rng).unwrap_or_else(nobody);
    let holds = (0..rng.u8(..6)).map(|_| {
        let (resource, hold_id) = hold(rng, yields);
        v1::HeldHold { hold_id, resource, fencing_token: rng.u64(..), entries: one(rng, &NUMBERS) }
    });
    let holds = holds.collect();
    let pending_request_ids = (0..rng.u8(..6)).map(|_| rng.u64(..12)).collect();
    let (attempt, options) = (one(rng, &NUMBERS), some(rng, options));
    v1::ResumeSession { session_id, resume_secret, attempt, holds, pending_request_ids, options }
}

/// Mostly one that opens a session.
pub(crate) fn first(rng: &mut Rng, yields: &Yields) -> v1::SessionRequest {
    let message = match rng.u8(..8) {
        0 => return later(rng, yields),
        1 | 2 => Say::Resume(resume(rng, yields)),
        _ => Say::Open(options(rng)),
    };
    v1::SessionRequest { message: Some(message) }
}

pub(crate) fn later(rng: &mut Rng, yields: &Yields) -> v1::SessionRequest {
    let message = match rng.u8(..100) {
        0 => None,
        1 => Some(Say::Open(options(rng))),
        2 => Some(Say::Resume(resume(rng, yields))),
        3 => Some(Say::Close(v1::CloseSession {})),
        4..12 => Some(Say::Ping(v1::Ping { sequence: rng.u64(..) })),
        12..16 => {
            Some(Say::Pong(v1::Pong { sequence: rng.u64(..), valid_for: some(rng, |rng| duration(rng, FOR_LEASES)) }))
        }
        16..60 => Some(Say::Acquire(v1::SessionAcquire {
            request_id: rng.u64(..12),
            claim: some(rng, claim),
            wait: wait(rng),
            owner_key: text(rng),
            owner: text(rng),
            metadata: metadata(rng),
        })),
        60..85 => {
            let (_, hold_id) = hold(rng, yields);
            Some(Say::Release(v1::SessionRelease { request_id: rng.u64(..12), hold_id }))
        }
        _ => Some(Say::Cancel(v1::SessionCancel { request_id: rng.u64(..12) })),
    };
    v1::SessionRequest { message }
}
