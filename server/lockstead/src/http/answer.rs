//! Answers, as JSON.

use std::collections::BTreeMap;

use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use lockstead_core::{Claim, Grant, HolderView, Kind, Metadata, Name, ResourceView, WaiterView, WallTime, duration};
use serde::Serialize;
use utoipa::ToSchema;

use super::json;
use super::value::{Mode, Scope};
use crate::service::Page;

/// An answer in JSON.
pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let headers = [
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            // It is about now, and may carry a secret.
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        json::encode(&self.0).map(|body| (headers, body)).into_response()
    }
}

/// Lock or semaphore.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Kind)]
pub(super) enum KindWord {
    /// Held exclusively by one, or shared by many.
    Lock,
    /// Has a limit of permits.
    Semaphore,
}

/// A grant, as its holder sees it.
#[expect(clippy::struct_field_names, reason = "the fields are called so in JSON")]
#[derive(Serialize, ToSchema)]
pub(super) struct Hold {
    /// What is held.
    #[schema(example = "jobs/nightly")]
    name: String,
    /// Lock or semaphore.
    kind: KindWord,
    /// Who shares it.
    scope: Scope,
    /// Names this grant in renew and release. A secret: whoever knows it can release the hold.
    #[schema(example = "5f0c8a1b9e7d4c3fa26b10d98e4f7c52")]
    hold_id: String,
    /// Greater than the token of every earlier grant of this name, and below 2^53. Hand it to the storage you protect, and
    /// let the storage refuse smaller ones.
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991_i64, example = 1_795_227_470_123_456_i64)]
    fencing_token: u64,
    #[serde(flatten)]
    demand: Demand,
    /// When it was granted, by the server's clock.
    #[schema(format = DateTime, example = "2026-11-21T02:17:50.123456Z")]
    acquired_at: String,
    /// When the lease ends unless renewed, by the server's clock. Absent in a hold stream, whose hold has no deadline.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime, example = "2026-11-21T02:18:20.123456Z")]
    expires_at: Option<String>,
    /// How long the lease is good, counted from its grant or last renewal. Absent in a hold stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "30s")]
    ttl: Option<String>,
}

/// What a hold has of its resource: a mode of a lock, or permits of a semaphore.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct Demand {
    /// Of a lock.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    mode: Option<Mode>,
    /// Of a semaphore: how many are taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 1)]
    permits: Option<u32>,
    /// Of a semaphore: how many there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 4)]
    limit: Option<u32>,
}

/// A hold, as everybody may see it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Holder {
    /// Who holds, in the holder's own words.
    #[schema(example = "worker-7")]
    owner: String,
    /// What the holder wants others to know.
    metadata: BTreeMap<String, String>,
    /// See `Hold`.
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991_i64, example = 1_795_227_470_123_456_i64)]
    fencing_token: u64,
    #[serde(flatten)]
    demand: Demand,
    /// Since when, by the server's clock.
    #[schema(format = DateTime, example = "2026-11-21T02:17:50.123456Z")]
    acquired_at: String,
    /// When it ends unless renewed. Absent for the holds of sessions and hold streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime, example = "2026-11-21T02:18:20.123456Z")]
    expires_at: Option<String>,
}

/// An acquire in the queue, as everybody may see it.
#[derive(Serialize, ToSchema)]
pub(super) struct Waiter {
    /// Who waits, in the waiter's own words.
    #[schema(example = "worker-8")]
    owner: String,
    #[serde(flatten)]
    demand: Demand,
    /// Since when, by the server's clock.
    #[schema(format = DateTime, example = "2026-11-21T02:17:52.654321Z")]
    queued_at: String,
    /// 1 is next.
    #[schema(minimum = 1, example = 1)]
    position: usize,
}

/// Who holds a resource and who waits for it.
#[derive(Serialize, ToSchema)]
pub(super) struct Resource {
    /// Its name.
    #[schema(example = "jobs/nightly")]
    name: String,
    /// Lock or semaphore.
    kind: KindWord,
    /// Who shares it.
    scope: Scope,
    /// The limit in use, of a semaphore in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 4)]
    limit: Option<u32>,
    /// Oldest first; at most 100, `holder_count` tells how many there are.
    holders: Vec<Holder>,
    /// Next first; at most 100, `waiter_count` tells how many there are.
    waiters: Vec<Waiter>,
    /// All holders.
    #[schema(example = 1)]
    holder_count: usize,
    /// All waiters.
    #[schema(example = 0)]
    waiter_count: usize,
}

/// A page of resources.
#[derive(Serialize, ToSchema)]
pub(super) struct ResourcePage {
    /// Those held or waited for, in order of their names, bytewise.
    resources: Vec<Resource>,
    /// The `page_token` of the next page. Empty on the last one.
    #[schema(example = "")]
    next_page_token: String,
}

/// A release that happened.
#[derive(Serialize, ToSchema)]
pub(super) struct Released {
    /// Always true.
    #[schema(example = true)]
    released: bool,
}

impl Released {
    pub(super) const YES: Self = Self { released: true };
}

impl Hold {
    pub(super) fn new(scope: lockstead_core::Scope, name: &Name, grant: &Grant) -> Self {
        Self {
            name: name.to_string(),
            kind: grant.claim.kind().into(),
            scope: scope.into(),
            hold_id: grant.hold.reveal(),
            fencing_token: grant.token.get(),
            demand: Demand::with_limit(grant.claim),
            acquired_at: time(grant.acquired_at),
            expires_at: grant.lease.map(|lease| time(lease.expires_at)),
            ttl: grant.lease.map(|lease| duration::format(lease.ttl)),
        }
    }
}

impl Resource {
    pub(super) fn new(scope: lockstead_core::Scope, view: ResourceView) -> Self {
        Self {
            name: view.key.name.to_string(),
            kind: view.key.kind.into(),
            scope: scope.into(),
            limit: view.limit,
            holders: view.holders.into_iter().map(Holder::from).collect(),
            waiters: view.waiters.into_iter().map(Waiter::from).collect(),
            holder_count: view.holder_count,
            waiter_count: view.waiter_count,
        }
    }
}

impl ResourcePage {
    pub(super) fn new(scope: lockstead_core::Scope, page: Page) -> Self {
        Self {
            resources: page.resources.into_iter().map(|view| Resource::new(scope, view)).collect(),
            next_page_token: page.next.map(|name| name.to_string()).unwrap_or_default(),
        }
    }
}

impl Demand {
    fn with_limit(claim: Claim) -> Self {
        match claim {
            Claim::Lock(mode) => Self { mode: Some(mode.into()), ..Self::default() },
            Claim::Semaphore(share) => {
                Self { permits: Some(share.permits()), limit: Some(share.limit()), ..Self::default() }
            }
        }
    }

    /// In a list of parties, where the limit is said once, beside them.
    fn without_limit(claim: Claim) -> Self {
        Self { limit: None, ..Self::with_limit(claim) }
    }
}

impl From<HolderView> for Holder {
    fn from(view: HolderView) -> Self {
        Self {
            owner: view.owner.as_str().to_owned(),
            metadata: metadata(&view.metadata),
            fencing_token: view.token.get(),
            demand: Demand::without_limit(view.claim),
            acquired_at: time(view.acquired_at),
            expires_at: view.expires_at.map(time),
        }
    }
}

impl From<WaiterView> for Waiter {
    fn from(view: WaiterView) -> Self {
        Self {
            owner: view.owner.as_str().to_owned(),
            demand: Demand::without_limit(view.claim),
            queued_at: time(view.queued_at),
            position: view.position,
        }
    }
}

impl From<Kind> for KindWord {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Lock => Self::Lock,
            Kind::Semaphore => Self::Semaphore,
        }
    }
}

pub(super) fn metadata(metadata: &Metadata) -> BTreeMap<String, String> {
    metadata.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// RFC 3339 with microseconds, in UTC.
pub(super) fn time(time: WallTime) -> String {
    let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    let timestamp = Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX);
    format!("{timestamp:.6}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_microseconds_and_end_in_z() {
        assert_eq!(time(WallTime::from_micros(0)), "1970-01-01T00:00:00.000000Z");
        assert_eq!(time(WallTime::from_micros(1_795_227_470_120_000)), "2026-11-21T02:17:50.120000Z");
        assert!(time(WallTime::from_micros(u64::MAX)).starts_with("9999-"));
    }
}
