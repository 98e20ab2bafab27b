//! See [`crate::fuzzing`].

use lockstead_api::{convert, v1};
use prost::Message;

use super::decode;

/// Reads the messages of all calls.
pub fn read_messages(bytes: &[u8]) {
    read::<v1::SessionRequest, _>(bytes, decode::first);
    read::<v1::SessionRequest, _>(bytes, decode::message);
    read::<v1::AcquireRequest, _>(bytes, decode::lease);
    read::<v1::HoldRequest, _>(bytes, decode::hold);
    read::<v1::ListRequest, _>(bytes, decode::list);
    read::<v1::GetRequest, _>(bytes, |request| convert::resource_id(request.resource));
    read::<v1::ReleaseRequest, _>(bytes, |request| convert::resource_id(request.resource));
    read::<v1::RenewRequest, _>(bytes, |request| (convert::resource_id(request.resource), convert::ttl(request.ttl)));
}

fn read<M: Message + Default, T>(bytes: &[u8], check: impl FnOnce(M) -> T) {
    _ = M::decode(bytes).map(check);
}
