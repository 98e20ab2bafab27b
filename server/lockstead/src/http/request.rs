//! Bodies and queries of requests, and what they ask of the service.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use lockstead_api::v1::ErrorReason;
use lockstead_core::limits::SEMAPHORE_LIMIT_MAX;
use lockstead_core::{Claim, Field, HoldId, Invalid, Kind, List, Name, Permits, bounds};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::problem::{Problem, Result};
use super::value::{Count, HoldIdText, MetadataMap, Mode, OwnerText, RequestIdText, Scope, TtlText, WaitText};
use crate::service::{Ask, LeaseAsk, page_size, page_start};

/// The name of a resource in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes for the document what `ResourceName` reads")]
pub(super) struct NameParam {
    /// The name: 1 to 255 bytes of UTF-8 without control characters. `/` separates levels, of which none is empty, `.` or
    /// `..`; percent-encode it here: `jobs%2Fnightly`.
    #[param(
        min_length = 1,
        max_length = 255,
        pattern = r"^[^/\u0000-\u001F\u007F-\u009F]+(/[^/\u0000-\u001F\u007F-\u009F]+)*$",
        example = "jobs/nightly"
    )]
    name: String,
}

/// The name of a resource, out of the path.
pub(super) struct ResourceName(pub(super) Name);

impl<S: Send + Sync> FromRequestParts<S> for ResourceName {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        if !is_percent_encoded(parts.uri.path()) {
            let detail = "the path has a `%` without two hexadecimal digits behind it; write %25 for a percent sign";
            return Err(Problem::new(ErrorReason::InvalidName, detail));
        }
        let not_text = |_| Problem::new(ErrorReason::InvalidName, "the name is not UTF-8");
        let Path(name) = Path::<String>::from_request_parts(parts, state).await.map_err(not_text)?;
        Ok(Self(Name::parse(&name)?))
    }
}

fn is_percent_encoded(path: &str) -> bool {
    let is_code = |rest: &str| rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    path.split('%').skip(1).all(is_code)
}

/// Asks for a lease of a lock. An empty body asks for all defaults.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AcquireLock {
    /// Exclusive, if absent.
    mode: Option<Mode>,
    /// Tries once, if absent.
    wait: Option<WaitText>,
    /// 30s, if absent. Counted from the grant.
    ttl: Option<TtlText>,
    /// Cluster, if absent.
    scope: Option<Scope>,
    /// Empty, if absent.
    owner: Option<OwnerText>,
    /// Empty, if absent.
    metadata: Option<MetadataMap>,
    /// None, if absent.
    request_id: Option<RequestIdText>,
}

/// Asks for a lease of permits of a semaphore.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AcquireSemaphore {
    /// How many permits to take: 1 to `limit`; 1, if absent.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1_000_000, example = 1)]
    permits: Option<Count>,
    /// How many there are: 1 to 1,000,000. Must be the limit in use while anybody holds or waits for the semaphore; when
    /// nobody does, this sets it.
    #[schema(value_type = u32, minimum = 1, maximum = 1_000_000, example = 4)]
    limit: Option<Count>,
    /// Tries once, if absent.
    wait: Option<WaitText>,
    /// 30s, if absent. Counted from the grant.
    ttl: Option<TtlText>,
    /// Cluster, if absent.
    scope: Option<Scope>,
    /// Empty, if absent.
    owner: Option<OwnerText>,
    /// Empty, if absent.
    metadata: Option<MetadataMap>,
    /// None, if absent.
    request_id: Option<RequestIdText>,
}

/// Asks for a lock for as long as the answer is read. An empty body asks for all defaults.
#[derive(Default, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HoldLock {
    /// Exclusive, if absent.
    mode: Option<Mode>,
    /// Tries once, if absent.
    wait: Option<WaitText>,
    /// Cluster, if absent.
    scope: Option<Scope>,
    /// Empty, if absent.
    owner: Option<OwnerText>,
    /// Empty, if absent.
    #[param(ignore)]
    metadata: Option<MetadataMap>,
}

/// Asks for permits of a semaphore for as long as the answer is read.
#[derive(Default, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HoldSemaphore {
    /// How many permits to take: 1 to `limit`; 1, if absent.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1_000_000, example = 1)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1_000_000, example = 1)]
    permits: Option<Count>,
    /// How many there are: 1 to 1,000,000. Needed in the query or the body. Must be the limit in use while anybody holds or
    /// waits for the semaphore; when nobody does, this sets it.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1_000_000, example = 4)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1_000_000, example = 4)]
    limit: Option<Count>,
    /// Tries once, if absent.
    wait: Option<WaitText>,
    /// Cluster, if absent.
    scope: Option<Scope>,
    /// Empty, if absent.
    owner: Option<OwnerText>,
    /// Empty, if absent.
    #[param(ignore)]
    metadata: Option<MetadataMap>,
}

/// Moves the deadline of a lease.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RenewLease {
    /// From the acquire.
    #[schema(required, nullable = false)]
    hold_id: Option<HoldIdText>,
    /// Counted from now. As long as the lease had before, if absent.
    pub(super) ttl: Option<TtlText>,
    /// That of the acquire. It need not be given, since the hold id tells.
    pub(super) scope: Option<Scope>,
}

/// Ends a hold.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReleaseHold {
    /// From the acquire.
    #[schema(required, nullable = false)]
    hold_id: Option<HoldIdText>,
    /// That of the acquire. It need not be given, since the hold id tells.
    pub(super) scope: Option<Scope>,
}

/// Where to look for a resource.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct GetParams {
    /// Cluster, if absent.
    scope: Option<Scope>,
}

/// Which resources to list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// Names that start so. All, if absent.
    #[param(example = "jobs/")]
    prefix: Option<String>,
    /// Cluster, if absent.
    scope: Option<Scope>,
    /// `next_page_token` of the page before. Absent for the first page.
    #[param(
        min_length = 1,
        max_length = 255,
        pattern = r"^[^/\u0000-\u001F\u007F-\u009F]+(/[^/\u0000-\u001F\u007F-\u009F]+)*$"
    )]
    page_token: Option<String>,
    /// How many go on a page: 100, if absent or 0; more than 1,000 is read as 1,000.
    #[param(inline, example = 100)]
    page_size: Option<Count>,
}

impl AcquireLock {
    pub(super) fn into_ask(self, name: Name) -> Result<LeaseAsk> {
        let mode = self.mode.map_or(lockstead_core::Mode::Exclusive, Into::into);
        let ask = ask(name, Claim::Lock(mode), self.scope, self.wait, self.owner, self.metadata);
        lease(ask, self.ttl, self.request_id)
    }
}

impl AcquireSemaphore {
    pub(super) fn into_ask(self, name: Name) -> Result<LeaseAsk> {
        let claim = share(self.permits, self.limit)?;
        let ask = ask(name, claim, self.scope, self.wait, self.owner, self.metadata);
        lease(ask, self.ttl, self.request_id)
    }
}

impl HoldLock {
    /// What the query and the body ask for together.
    pub(super) fn into_ask(self, body: Self, name: Name) -> Result<Ask> {
        let mode = either("mode", self.mode, body.mode)?.map_or(lockstead_core::Mode::Exclusive, Into::into);
        let scope = either("scope", self.scope, body.scope)?;
        let (wait, owner) = (either("wait", self.wait, body.wait)?, either("owner", self.owner, body.owner)?);
        Ok(ask(name, Claim::Lock(mode), scope, wait, owner, body.metadata))
    }
}

impl HoldSemaphore {
    /// What the query and the body ask for together.
    pub(super) fn into_ask(self, body: Self, name: Name) -> Result<Ask> {
        let permits = either("permits", self.permits, body.permits)?;
        let claim = share(permits, either("limit", self.limit, body.limit)?)?;
        let scope = either("scope", self.scope, body.scope)?;
        let (wait, owner) = (either("wait", self.wait, body.wait)?, either("owner", self.owner, body.owner)?);
        Ok(ask(name, claim, scope, wait, owner, body.metadata))
    }
}

impl RenewLease {
    pub(super) fn hold(&self) -> Result<HoldId> {
        given(self.hold_id.as_ref())
    }
}

impl ReleaseHold {
    pub(super) fn hold(&self) -> Result<HoldId> {
        given(self.hold_id.as_ref())
    }
}

impl GetParams {
    pub(super) fn scope(&self) -> lockstead_core::Scope {
        scope_or_default(self.scope)
    }
}

impl ListParams {
    pub(super) fn into_list(self, kind: Kind) -> Result<(lockstead_core::Scope, List)> {
        let after = page_start(&self.page_token.unwrap_or_default())?;
        let at_most = page_size(self.page_size.map_or(0, |Count(size)| size as usize));
        let list = List { kind, prefix: self.prefix.unwrap_or_default(), after, at_most };
        Ok((scope_or_default(self.scope), list))
    }
}

fn ask(
    name: Name,
    claim: Claim,
    scope: Option<Scope>,
    wait: Option<WaitText>,
    owner: Option<OwnerText>,
    metadata: Option<MetadataMap>,
) -> Ask {
    Ask {
        scope: scope_or_default(scope),
        name,
        claim,
        wait: wait.map(|wait| wait.0).unwrap_or_default(),
        owner: owner.map(|owner| owner.0).unwrap_or_default(),
        metadata: metadata.map(|metadata| metadata.0).unwrap_or_default(),
    }
}

fn lease(ask: Ask, ttl: Option<TtlText>, request_id: Option<RequestIdText>) -> Result<LeaseAsk> {
    let ttl = bounds::ttl_or_default(ttl.map(|ttl| ttl.0.0))?;
    Ok(LeaseAsk { ask, ttl, request_id: request_id.map(|id| id.0) })
}

fn share(permits: Option<Count>, limit: Option<Count>) -> Result<Claim> {
    let missing = || {
        let message = format!("the limit is missing: how many permits there are, 1 to {SEMAPHORE_LIMIT_MAX}");
        Invalid::new(Field::Limit, message)
    };
    let Count(limit) = limit.ok_or_else(missing)?;
    Ok(Claim::Semaphore(Permits::new(permits.map_or(1, |permits| permits.0), limit)?))
}

fn given(hold_id: Option<&HoldIdText>) -> Result<HoldId> {
    let missing = || Invalid::new(Field::HoldId, "the hold_id is missing: the one that acquire returned");
    Ok(hold_id.ok_or_else(missing)?.0)
}

fn scope_or_default(scope: Option<Scope>) -> lockstead_core::Scope {
    scope.map(Into::into).unwrap_or_default()
}

fn either<T>(name: &str, query: Option<T>, body: Option<T>) -> Result<Option<T>> {
    if query.is_some() && body.is_some() {
        let detail = format!("`{name}` is in the query and in the body; give it once");
        return Err(Problem::new(ErrorReason::InvalidBody, detail));
    }
    Ok(query.or(body))
}
