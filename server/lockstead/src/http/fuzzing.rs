//! See [`crate::fuzzing`].

use lockstead_core::{Kind, Name};
use serde::de::DeserializeOwned;

use super::request::{
    AcquireLock, AcquireSemaphore, GetParams, HoldLock, HoldSemaphore, ListParams, ReleaseHold, RenewLease,
};
use super::{json, query};

/// Reads the bodies and queries of all calls.
pub fn read_bodies(bytes: &[u8]) {
    let Ok(name) = Name::parse("name") else { return };
    read(bytes, |body: AcquireLock| body.into_ask(name.clone()));
    read(bytes, |body: AcquireSemaphore| body.into_ask(name.clone()));
    read(bytes, |body: HoldLock| HoldLock::default().into_ask(body, name.clone()));
    read(bytes, |body: HoldSemaphore| HoldSemaphore::default().into_ask(body, name.clone()));
    read(bytes, |body: RenewLease| body.hold());
    read(bytes, |body: ReleaseHold| body.hold());
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    _ = query::decode::<ListParams>(text).map(|params| params.into_list(Kind::Lock));
    _ = query::decode::<GetParams>(text).map(|params| params.scope());
    _ = query::decode::<HoldLock>(text).map(|params| params.into_ask(HoldLock::default(), name));
}

fn read<B: DeserializeOwned, T>(bytes: &[u8], ask: impl FnOnce(B) -> T) {
    _ = json::decode::<B>(bytes).map(ask);
}
