//! Room in memory for what is on its way in: one for the whole process, however many send.

use lockstead_core::limits::INCOMING_MAX_BYTES;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Room is counted in these.
const UNIT_BYTES: usize = 1 << 10;

static ROOM: Semaphore = Semaphore::const_new(INCOMING_MAX_BYTES / UNIT_BYTES);

/// Room that is given back when it is dropped.
pub(crate) type Place = SemaphorePermit<'static>;

/// Waits until there is room for so many bytes. Who waits longest is next. The wait is to be bounded, and so is the time for
/// which the room is kept: others wait for it.
pub(crate) async fn take(bytes: usize) -> Place {
    let units = bytes.div_ceil(UNIT_BYTES).min(INCOMING_MAX_BYTES / UNIT_BYTES);
    match ROOM.acquire_many(u32::try_from(units).unwrap_or(u32::MAX)).await {
        Ok(place) => place,
        // Nobody closes it.
        Err(_) => std::future::pending().await,
    }
}
