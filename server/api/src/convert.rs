//! Between the wire's types and the core's.

use std::time::Duration;

use lockstead_core::{
    Claim, Field, Grant, HolderView, Invalid, Kind, Mode, Name, Permits, ResourceKey, ResourceView, Scope, Wait,
    WaiterView, WallTime, bounds,
};

use crate::v1;

/// Reads a duration; negative ones are not durations here.
pub fn duration(mut wire: prost_types::Duration) -> Option<Duration> {
    // `Duration::try_from` negates what is negative, which overflows for the least of all.
    wire.normalize();
    Some(Duration::new(wire.seconds.try_into().ok()?, wire.nanos.try_into().ok()?))
}

/// Reads a scope.
pub fn scope(wire: i32) -> Result<Scope, Invalid> {
    match v1::Scope::try_from(wire) {
        Ok(v1::Scope::Unspecified | v1::Scope::Cluster) => Ok(Scope::Cluster),
        Ok(v1::Scope::Node) => Ok(Scope::Node),
        Err(_) => Err(Invalid::new(Field::Scope, format!("there is no scope {wire}"))),
    }
}

/// Reads a kind; it must be specified.
pub fn kind(wire: i32) -> Result<Kind, Invalid> {
    match v1::Kind::try_from(wire) {
        Ok(v1::Kind::Lock) => Ok(Kind::Lock),
        Ok(v1::Kind::Semaphore) => Ok(Kind::Semaphore),
        Ok(v1::Kind::Unspecified) | Err(_) => {
            Err(Invalid::new(Field::Kind, "the kind must be KIND_LOCK or KIND_SEMAPHORE"))
        }
    }
}

/// Reads the name of a resource.
pub fn resource_id(wire: Option<v1::ResourceId>) -> Result<(Scope, ResourceKey), Invalid> {
    let wire = wire.ok_or_else(|| Invalid::new(Field::Name, "the resource is missing"))?;
    let key = ResourceKey { name: Name::parse(&wire.name)?, kind: kind(wire.kind)? };
    Ok((scope(wire.scope)?, key))
}

/// Reads a claim.
pub fn claim(wire: Option<v1::Claim>) -> Result<(Scope, Name, Claim), Invalid> {
    let wire = wire.ok_or_else(|| Invalid::new(Field::Name, "the claim is missing"))?;
    let name = Name::parse(&wire.name)?;
    let claim = match wire.demand {
        None => Claim::Lock(Mode::Exclusive),
        Some(v1::claim::Demand::Lock(wire)) => Claim::Lock(mode(wire)?),
        Some(v1::claim::Demand::Semaphore(wire)) => Claim::Semaphore(Permits::new(wire.permits.max(1), wire.limit)?),
    };
    Ok((scope(wire.scope)?, name, claim))
}

fn mode(wire: i32) -> Result<Mode, Invalid> {
    match v1::Mode::try_from(wire) {
        Ok(v1::Mode::Unspecified | v1::Mode::Exclusive) => Ok(Mode::Exclusive),
        Ok(v1::Mode::Shared) => Ok(Mode::Shared),
        Err(_) => Err(Invalid::new(Field::Mode, format!("there is no mode {wire}"))),
    }
}

/// Reads a wait.
pub fn wait(wire: Option<v1::Wait>) -> Result<Wait, Invalid> {
    let wrong = |why: &str| Err(Invalid::new(Field::Wait, why));
    match wire.map(|wire| wire.how) {
        None => Ok(Wait::No),
        Some(None) => wrong("the wait says neither how long nor forever"),
        Some(Some(v1::wait::How::Forever(true))) => Ok(Wait::Forever),
        Some(Some(v1::wait::How::Forever(false))) => wrong("forever can only be true; to try once, leave the wait out"),
        Some(Some(v1::wait::How::UpTo(wire))) => match duration(wire) {
            Some(duration) => Wait::up_to(duration),
            None => wrong("the wait is negative"),
        },
    }
}

/// Reads the ttl of a lease, if there is one.
pub fn ttl(wire: Option<prost_types::Duration>) -> Result<Option<Duration>, Invalid> {
    let Some(wire) = wire else { return Ok(None) };
    let duration = duration(wire).ok_or_else(|| Invalid::new(Field::Ttl, "the ttl is negative"))?;
    bounds::ttl(duration).map(Some)
}

/// Writes a wait.
pub fn wait_to_wire(wait: Wait) -> Option<v1::Wait> {
    let how = match wait {
        Wait::No => return None,
        Wait::UpTo(duration) => v1::wait::How::UpTo(duration_to_wire(duration)),
        Wait::Forever => v1::wait::How::Forever(true),
    };
    Some(v1::Wait { how: Some(how) })
}

/// Writes a duration.
pub fn duration_to_wire(duration: Duration) -> prost_types::Duration {
    // Out of range only beyond 292 billion years.
    prost_types::Duration::try_from(duration).unwrap_or_default()
}

/// Writes a time.
pub fn time_to_wire(time: WallTime) -> prost_types::Timestamp {
    let (seconds, micros) = (time.as_micros() / 1_000_000, time.as_micros() % 1_000_000);
    prost_types::Timestamp {
        seconds: i64::try_from(seconds).unwrap_or(i64::MAX),
        nanos: i32::try_from(micros * 1_000).unwrap_or(0),
    }
}

/// Writes the name of a resource.
pub fn resource_id_to_wire(scope: Scope, key: &ResourceKey) -> v1::ResourceId {
    v1::ResourceId {
        kind: v1::Kind::from(key.kind).into(),
        name: key.name.to_string(),
        scope: v1::Scope::from(scope).into(),
    }
}

/// Writes a grant for its holder.
pub fn hold_to_wire(scope: Scope, name: &Name, grant: &Grant) -> v1::Hold {
    let key = ResourceKey { kind: grant.claim.kind(), name: name.clone() };
    v1::Hold {
        resource: Some(resource_id_to_wire(scope, &key)),
        hold_id: grant.hold.reveal(),
        fencing_token: grant.token.get(),
        demand: Some(match grant.claim {
            Claim::Lock(mode) => v1::hold::Demand::Lock(v1::Mode::from(mode).into()),
            Claim::Semaphore(share) => v1::hold::Demand::Semaphore(permits_to_wire(share)),
        }),
        acquired_at: Some(time_to_wire(grant.acquired_at)),
        expires_at: grant.lease.map(|lease| time_to_wire(lease.expires_at)),
        ttl: grant.lease.map(|lease| duration_to_wire(lease.ttl)),
    }
}

/// Writes a share of a semaphore.
pub fn permits_to_wire(share: Permits) -> v1::Permits {
    v1::Permits { permits: share.permits(), limit: share.limit() }
}

/// Writes a claim.
pub fn claim_to_wire(scope: Scope, name: impl Into<String>, claim: Claim) -> v1::Claim {
    v1::Claim {
        name: name.into(),
        scope: v1::Scope::from(scope).into(),
        demand: Some(match claim {
            Claim::Lock(mode) => v1::claim::Demand::Lock(v1::Mode::from(mode).into()),
            Claim::Semaphore(share) => v1::claim::Demand::Semaphore(permits_to_wire(share)),
        }),
    }
}

/// Why an acquire got nothing, in a sentence.
pub fn not_acquired_message(reason: v1::not_acquired::Reason) -> &'static str {
    use v1::not_acquired::Reason;
    match reason {
        Reason::Held => "held by others, or others wait for it already",
        Reason::WaitTimeout => "not granted within the wait",
        Reason::Deadlock => "granting this could never happen: it is part of a cycle of waits",
        Reason::Cancelled => "cancelled by its caller",
        Reason::Unspecified => "",
    }
}

/// Writes that an acquire got nothing.
pub fn not_acquired_to_wire(reason: v1::not_acquired::Reason, holders: Vec<HolderView>) -> v1::NotAcquired {
    let message = not_acquired_message(reason);
    let holders = holders.into_iter().map(v1::Holder::from).collect();
    v1::NotAcquired { reason: reason.into(), message: message.to_owned(), holders }
}

/// Writes who holds and who waits.
pub fn resource_to_wire(scope: Scope, view: ResourceView) -> v1::Resource {
    v1::Resource {
        id: Some(resource_id_to_wire(scope, &view.key)),
        limit: view.limit.unwrap_or(0),
        holders: view.holders.into_iter().map(v1::Holder::from).collect(),
        waiters: view.waiters.into_iter().map(v1::Waiter::from).collect(),
        holder_count: saturate(view.holder_count),
        waiter_count: saturate(view.waiter_count),
    }
}

/// A count on the wire.
pub fn saturate(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn mode_and_permits(claim: Claim) -> (i32, u32) {
    match claim {
        Claim::Lock(mode) => (v1::Mode::from(mode).into(), 0),
        Claim::Semaphore(share) => (v1::Mode::Unspecified.into(), share.permits()),
    }
}

impl From<HolderView> for v1::Holder {
    fn from(view: HolderView) -> Self {
        let (mode, permits) = mode_and_permits(view.claim);
        Self {
            owner: view.owner.as_str().to_owned(),
            metadata: view.metadata.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            fencing_token: view.token.get(),
            mode,
            permits,
            acquired_at: Some(time_to_wire(view.acquired_at)),
            expires_at: view.expires_at.map(time_to_wire),
        }
    }
}

impl From<WaiterView> for v1::Waiter {
    fn from(view: WaiterView) -> Self {
        let (mode, permits) = mode_and_permits(view.claim);
        Self {
            owner: view.owner.as_str().to_owned(),
            mode,
            permits,
            queued_at: Some(time_to_wire(view.queued_at)),
            position: saturate(view.position),
        }
    }
}

impl From<Kind> for v1::Kind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Lock => Self::Lock,
            Kind::Semaphore => Self::Semaphore,
        }
    }
}

impl From<Scope> for v1::Scope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Cluster => Self::Cluster,
            Scope::Node => Self::Node,
        }
    }
}

impl From<Mode> for v1::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Exclusive => Self::Exclusive,
            Mode::Shared => Self::Shared,
        }
    }
}
