//! What Redis keeps of a hold or waiter, and how the parts of a call are written and read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use lockstead_core::{
    Claim, HoldId, HolderView, Kind, Metadata, Mode, Name, Owner, OwnerKey, Party, Permits, RequestId, ResourceKey,
    ResourceView, SessionId, Token, WaiterView, WallTime,
};
use redis::Value;
use serde::{Deserialize, Serialize};

/// One hold or waiter, as the scripts know it.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) resource: ResourceKey,
    pub(super) claim: Claim,
    pub(super) ttl_ms: u64,
    pub(super) request: Option<RequestId>,
    /// `None` while it waits.
    pub(super) token: Option<Token>,
    pub(super) ticket: u64,
    pub(super) since: WallTime,
    pub(super) details: Details<'static>,
}

/// What only servers read. Of two requests with one request id it must be the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Details<'a> {
    #[serde(rename = "o", default, skip_serializing_if = "str::is_empty")]
    pub(super) owner: Cow<'a, str>,
    #[serde(rename = "m", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) metadata: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    /// The ttl that a lease was asked with, whatever it was renewed to.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub(super) ttl_ms: Option<u64>,
    /// The session's number for the acquire.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub(super) request: Option<u64>,
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub(super) owner_key: Option<Cow<'a, str>>,
}

impl<'a> Details<'a> {
    pub(super) fn new(owner: &'a Owner, metadata: &'a Metadata) -> Self {
        let metadata = metadata.iter().map(|(key, value)| (key.into(), value.into())).collect();
        Self { owner: owner.as_str().into(), metadata, ttl_ms: None, request: None, owner_key: None }
    }

    pub(super) fn with_request(mut self, request: u64, owner_key: Option<&'a OwnerKey>) -> Self {
        self.request = Some(request);
        self.owner_key = owner_key.map(|key| key.as_str().into());
        self
    }

    pub(super) fn write(&self) -> Vec<u8> {
        // A map with text keys can always be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    fn read(bytes: &[u8]) -> Option<Details<'static>> {
        serde_json::from_slice(bytes).ok()
    }

    pub(super) fn owner(&self) -> Owner {
        Owner::parse(&self.owner).unwrap_or_default()
    }

    pub(super) fn metadata(&self) -> Metadata {
        let entries = self.metadata.iter().map(|(key, value)| (key.to_string(), value.to_string()));
        Metadata::parse(entries.collect()).unwrap_or_default()
    }

    pub(super) fn owner_key(&self) -> Option<OwnerKey> {
        self.owner_key.as_ref().and_then(|key| OwnerKey::parse(key).ok())
    }
}

/// A resource as the scripts call it.
pub(super) fn resource_bytes(key: &ResourceKey) -> Vec<u8> {
    prefix_bytes(key.kind, key.name.as_str())
}

/// What the names of resources of a kind begin with.
pub(super) fn prefix_bytes(kind: Kind, prefix: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + prefix.len());
    bytes.push(match kind {
        Kind::Lock => b'l',
        Kind::Semaphore => b's',
    });
    bytes.extend_from_slice(prefix.as_bytes());
    bytes
}

fn read_resource(bytes: &[u8]) -> Option<ResourceKey> {
    let (kind, name) = bytes.split_first()?;
    let kind = match kind {
        b'l' => Kind::Lock,
        b's' => Kind::Semaphore,
        _ => return None,
    };
    Some(ResourceKey { kind, name: Name::parse(std::str::from_utf8(name).ok()?).ok()? })
}

fn read_claim(kind: Kind, permits: u64, limit: u64) -> Option<Claim> {
    Some(match kind {
        Kind::Lock if permits == 1 => Claim::Lock(Mode::Shared),
        Kind::Lock => Claim::Lock(Mode::Exclusive),
        Kind::Semaphore => {
            Claim::Semaphore(Permits::new(u32::try_from(permits).ok()?, u32::try_from(limit).ok()?).ok()?)
        }
    })
}

pub(super) fn hold_bytes(hold: HoldId) -> Vec<u8> {
    hold.bits().to_be_bytes().to_vec()
}

pub(super) fn read_hold_id(value: &Value) -> Option<HoldId> {
    Some(HoldId::from_bits(u128::from_be_bytes(bytes(value)?.try_into().ok()?)))
}

pub(super) fn session_bytes(session: SessionId) -> Vec<u8> {
    session.bits().to_be_bytes().to_vec()
}

pub(super) fn read_session_id(bytes: &[u8]) -> Option<SessionId> {
    Some(SessionId::from_bits(u128::from_be_bytes(bytes.try_into().ok()?)))
}

pub(super) fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

pub(super) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

pub(super) fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        other => text(other)?.parse().ok(),
    }
}

pub(super) fn array(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

pub(super) fn micros(value: &Value) -> Option<WallTime> {
    number(value).map(WallTime::from_micros)
}

impl Record {
    /// Reads what `cmsgpack` gave back as an array.
    pub(super) fn read(value: &Value) -> Option<Self> {
        let [resource, permits, limit, _session, ttl, request, token, ticket, since, _origin, details] = array(value)?
        else {
            return None;
        };
        let resource = read_resource(bytes(resource)?)?;
        let request = text(request)?;
        Some(Self {
            claim: read_claim(resource.kind, number(permits)?, number(limit)?)?,
            resource,
            ttl_ms: number(ttl)?,
            request: if request.is_empty() { None } else { Some(RequestId::parse(request).ok()?) },
            token: Some(number(token)?).filter(|token| *token > 0).map(Token::from_number),
            ticket: number(ticket)?,
            since: micros(since)?,
            details: Details::read(bytes(details)?)?,
        })
    }
}

/// Reads what `describe_holders` wrote.
pub(super) fn read_holders(kind: Kind, value: &Value) -> Option<Vec<HolderView>> {
    array(value)?.iter().map(|holder| read_holder(kind, holder)).collect()
}

fn read_holder(kind: Kind, value: &Value) -> Option<HolderView> {
    let [details, token, permits, limit, since, due_ms] = array(value)? else { return None };
    let details = Details::read(bytes(details)?)?;
    let due = number(due_ms)?;
    Some(HolderView {
        owner: details.owner(),
        metadata: details.metadata(),
        token: Token::from_number(number(token)?),
        claim: read_claim(kind, number(permits)?, number(limit)?)?,
        acquired_at: micros(since)?,
        expires_at: (due > 0).then(|| WallTime::from_micros(due * 1_000)),
    })
}

/// Reads what `describe` wrote.
pub(super) fn read_view(value: &Value) -> Option<ResourceView> {
    let [name, limit, holder_count, waiter_count, holders, waiters] = array(value)? else { return None };
    let key = read_resource(bytes(name)?)?;
    let limit = u32::try_from(number(limit)?).ok().filter(|limit| *limit > 0 && key.kind == Kind::Semaphore);
    let waiter = |(index, waiter): (usize, &Value)| {
        let [details, permits, limit, since] = array(waiter)? else { return None };
        Some(WaiterView {
            owner: Details::read(bytes(details)?)?.owner(),
            claim: read_claim(key.kind, number(permits)?, number(limit)?)?,
            queued_at: micros(since)?,
            position: index + 1,
        })
    };
    Some(ResourceView {
        limit,
        holders: read_holders(key.kind, holders)?,
        waiters: array(waiters)?.iter().enumerate().map(waiter).collect::<Option<_>>()?,
        holder_count: usize::try_from(number(holder_count)?).ok()?,
        waiter_count: usize::try_from(number(waiter_count)?).ok()?,
        key,
    })
}

/// The ttl and the request id that a lease was asked with, as its record has them; nothing of a session's hold.
pub(super) fn ttl_and_request(party: &Party) -> (Duration, Vec<u8>) {
    match party {
        Party::Lease { ttl, request } => {
            (*ttl, request.as_ref().map_or_else(Vec::new, |request| request.as_str().as_bytes().to_vec()))
        }
        Party::Session { .. } => (Duration::ZERO, Vec::new()),
    }
}
