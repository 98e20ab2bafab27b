//! The limits of the service: whatever a client can make grow has a line here. Those of a connection stand where it is served.

use std::time::Duration;

/// Longest name of a resource.
pub const NAME_MAX_BYTES: usize = 255;
/// Longest owner text.
pub const OWNER_MAX_BYTES: usize = 255;
/// Longest re-entrance key.
pub const OWNER_KEY_MAX_BYTES: usize = 128;
/// Longest request id of a lease.
pub const REQUEST_ID_MAX_BYTES: usize = 128;

/// Most entries in a metadata map.
pub const METADATA_MAX_ENTRIES: usize = 16;
/// Longest metadata key.
pub const METADATA_KEY_MAX_BYTES: usize = 64;
/// Longest metadata value.
pub const METADATA_VALUE_MAX_BYTES: usize = 512;

/// Most permits that a semaphore can have.
pub const SEMAPHORE_LIMIT_MAX: u32 = 1_000_000;
/// Most permits that a semaphore can have in the node scope, where each is a file.
pub const NODE_SEMAPHORE_LIMIT_MAX: u32 = 1_000;
/// Permits of a lock: an exclusive hold takes all of them, a shared hold takes one.
pub const LOCK_PERMITS: u32 = u32::MAX;

/// Shortest lease.
pub const TTL_MIN: Duration = Duration::from_millis(100);
/// Longest lease.
pub const TTL_MAX: Duration = Duration::from_secs(24 * 3600);
/// A lease whose request names no ttl.
pub const TTL_DEFAULT: Duration = Duration::from_secs(30);

/// Shortest session timeout.
pub const SESSION_TIMEOUT_MIN: Duration = Duration::from_secs(1);
/// Longest session timeout.
pub const SESSION_TIMEOUT_MAX: Duration = Duration::from_secs(300);
/// A session whose request names no timeout.
pub const SESSION_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// Longest wait that is not "for ever".
pub const WAIT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Most sessions of one server.
pub const SESSIONS_MAX: usize = 100_000;
/// Most waiters in one queue.
pub const WAITERS_PER_RESOURCE_MAX: usize = 200_000;
/// Most holds and waiters of one session together.
pub const HOLDS_PER_SESSION_MAX: usize = 200_000;
/// Most acquires that one re-entrant hold stands for.
pub const ENTRIES_PER_HOLD_MAX: usize = 10_000;
/// Most holds and waiters that one engine keeps.
pub const HOLDS_MAX: usize = 4_000_000;
/// How many ended leases are remembered, so that a late renew or release hears why, and a request id is not taken for new.
pub const ENDED_LEASES_REMEMBERED: usize = 65_536;
/// How many ended holds of sessions are remembered, so that a late release hears why.
pub const ENDED_SESSION_HOLDS_REMEMBERED: usize = 8_192;

/// Most holders, and most waiters, in the description of one resource.
pub const DESCRIBED_PARTIES_MAX: usize = 100;
/// Most holders named to an acquire that got nothing.
pub const NAMED_HOLDERS_MAX: usize = 8;
/// Resources on a page of a list that asks for no size.
pub const PAGE_SIZE_DEFAULT: usize = 100;
/// Most resources on a page of a list.
pub const PAGE_SIZE_MAX: usize = 1_000;
/// A page of a list ends with the resource whose description takes it to this. With a whole description more, which is
/// below 1 MiB, it is still below the 4 MiB that gRPC clients read unless told otherwise.
pub const PAGE_BYTES_MAX: usize = 2 << 20;

/// Largest body of an HTTP request.
pub const HTTP_BODY_MAX_BYTES: usize = 64 << 10;
/// Largest gRPC message. The largest that makes sense is a resume that lists every hold of a full session; this has room
/// for that with names of about a hundred bytes.
pub const GRPC_MESSAGE_MAX_BYTES: usize = 32 << 20;
/// Largest gRPC message that can't be a resume.
pub const GRPC_SMALL_MESSAGE_MAX_BYTES: usize = 64 << 10;
/// Most bytes of messages and bodies that are on their way in, of all clients together. Others wait for their turn.
pub const INCOMING_MAX_BYTES: usize = 256 << 20;
/// Messages and bodies up to this size don't count there: they need no more than the call itself.
pub const INCOMING_UNCOUNTED_MAX_BYTES: usize = 4 << 10;
/// Most calls in progress on one HTTP/2 connection.
pub const HTTP2_STREAMS_MAX: u32 = 10_000;
/// Most replies of a session that the transport has not written yet. While there are more, the client reads too slowly,
/// and is not read either.
pub const REPLIES_IN_FLIGHT_MAX: usize = 256;

/// Fencing tokens stay below this, so that every language can hold them: 2^53.
pub const TOKEN_END: u64 = 1 << 53;
