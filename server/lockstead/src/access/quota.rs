//! Quotas: how much one principal may use of one server. What is counted is a value, and counts while it lives.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lockstead_core::{ResourceKey, Scope, Time};
use thiserror::Error;

/// Most of what a principal may have at once; `None` is no bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Quota {
    pub(super) sessions: Option<u32>,
    /// Holds and waiters together.
    pub(super) holds: Option<u32>,
    pub(super) waiters_per_name: Option<u32>,
    pub(super) requests_per_second: Option<u32>,
}

/// More than the quota allows.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OverQuota {
    /// Too many at once.
    #[error(
        "the quota of {most} {what} is used up; let some go, or ask whoever keeps the server's access file for more"
    )]
    Full {
        /// Of what.
        what: &'static str,
        /// How many may be.
        most: u32,
    },
    /// Too many in a short time.
    #[error("the quota of {most} requests per second is used up; ask more slowly")]
    TooFast {
        /// How many may be.
        most: u32,
        /// When the next one may come.
        retry_after: Duration,
    },
}

/// What one principal has at this server.
#[derive(Debug, Default)]
pub(super) struct Usage {
    sessions: AtomicU32,
    holds: AtomicU32,
    waiters: Mutex<HashMap<(Scope, ResourceKey), u32>>,
    rate: Mutex<Bucket>,
}

/// A second's worth of requests, which fills up again steadily.
#[derive(Debug, Default)]
struct Bucket {
    /// Requests that have not been paid for by the passing of time, at `at`.
    used: f64,
    at: Option<Time>,
}

/// A hold, or an acquire that may become one.
#[derive(Debug)]
pub struct Counted(Arc<Usage>);

/// A session.
#[derive(Debug)]
pub struct CountedSession(Arc<Usage>);

/// A place in a queue.
#[derive(Debug)]
pub struct CountedWait {
    usage: Arc<Usage>,
    of: Option<(Scope, ResourceKey)>,
}

impl Quota {
    pub(super) const NONE: Self =
        Self { sessions: None, holds: None, waiters_per_name: None, requests_per_second: None };
}

/// A bucket that nobody took from for so long is full again, whatever its size.
const BUCKET_FULL_AFTER: Duration = Duration::from_secs(1);

impl Usage {
    /// Whether there is nothing to remember. It is not in use if nobody else has it.
    pub(super) fn is_over(self: &Arc<Self>, now: Time) -> bool {
        let at = self.rate.lock().unwrap_or_else(PoisonError::into_inner).at;
        Arc::strong_count(self) == 1 && at.is_none_or(|at| now.since(at) >= BUCKET_FULL_AFTER)
    }

    pub(super) fn count_request(&self, quota: &Quota, now: Time) -> Result<(), OverQuota> {
        let Some(most) = quota.requests_per_second else { return Ok(()) };
        let mut bucket = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = bucket.at.map_or(Duration::ZERO, |at| now.since(at));
        let used = (bucket.used - passed.as_secs_f64() * f64::from(most)).max(0.0);
        if used + 1.0 > f64::from(most) {
            let missing = used + 1.0 - f64::from(most);
            let retry_after = Duration::try_from_secs_f64(missing / f64::from(most)).unwrap_or(Duration::from_secs(1));
            return Err(OverQuota::TooFast { most, retry_after });
        }
        *bucket = Bucket { used: used + 1.0, at: Some(now) };
        Ok(())
    }

    pub(super) fn count_session(self: &Arc<Self>, quota: &Quota) -> Result<CountedSession, OverQuota> {
        take(&self.sessions, quota.sessions, "sessions")?;
        Ok(CountedSession(self.clone()))
    }

    pub(super) fn count_hold(self: &Arc<Self>, quota: &Quota) -> Result<Counted, OverQuota> {
        take(&self.holds, quota.holds, "holds and waiters")?;
        Ok(Counted(self.clone()))
    }

    /// One that it has already, and may go on having.
    pub(super) fn count_held(self: &Arc<Self>) -> Counted {
        self.holds.fetch_add(1, Ordering::Relaxed);
        Counted(self.clone())
    }

    pub(super) fn count_wait(
        self: &Arc<Self>,
        quota: &Quota,
        scope: Scope,
        resource: ResourceKey,
    ) -> Result<CountedWait, OverQuota> {
        let Some(most) = quota.waiters_per_name else { return Ok(CountedWait { usage: self.clone(), of: None }) };
        let of = (scope, resource);
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiters.entry(of.clone()).or_default();
        if *count >= most {
            if *count == 0 {
                waiters.remove(&of);
            }
            return Err(OverQuota::Full { what: "waiters for one name", most });
        }
        *count += 1;
        Ok(CountedWait { usage: self.clone(), of: Some(of) })
    }
}

/// Counts one more, unless there are so many already.
fn take(count: &AtomicU32, most: Option<u32>, what: &'static str) -> Result<(), OverQuota> {
    let most = most.unwrap_or(u32::MAX);
    let one_more = |count: u32| (count < most).then(|| count + 1);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).map_err(|_| OverQuota::Full { what, most })?;
    Ok(())
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.holds.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for CountedSession {
    fn drop(&mut self) {
        self.0.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for CountedWait {
    fn drop(&mut self) {
        let Some(of) = self.of.take() else { return };
        let mut waiters = self.usage.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = waiters.entry(of) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use lockstead_core::{Kind, Name};

    use super::*;

    #[test]
    fn what_is_dropped_counts_no_more() {
        let (usage, quota) = (Arc::<Usage>::default(), Quota { holds: Some(2), sessions: Some(1), ..Quota::NONE });
        let first = usage.count_hold(&quota).unwrap();
        let _second = usage.count_hold(&quota).unwrap();
        assert_eq!(usage.count_hold(&quota).unwrap_err(), OverQuota::Full { what: "holds and waiters", most: 2 });
        drop(first);
        usage.count_hold(&quota).unwrap();
        let session = usage.count_session(&quota).unwrap();
        assert!(usage.count_session(&quota).is_err());
        drop(session);
        assert!(usage.count_session(&quota).is_ok());
    }

    #[test]
    fn waiters_are_counted_by_name() {
        let (usage, quota) = (Arc::<Usage>::default(), Quota { waiters_per_name: Some(1), ..Quota::NONE });
        let key = |name: &str| ResourceKey { kind: Kind::Lock, name: Name::parse(name).unwrap() };
        let first = usage.count_wait(&quota, Scope::Cluster, key("a")).unwrap();
        assert!(usage.count_wait(&quota, Scope::Cluster, key("a")).is_err());
        assert!(usage.count_wait(&quota, Scope::Cluster, key("b")).is_ok());
        assert!(usage.count_wait(&quota, Scope::Node, key("a")).is_ok());
        drop(first);
        assert!(usage.count_wait(&quota, Scope::Cluster, key("a")).is_ok());
        assert!(usage.waiters.lock().unwrap().is_empty());
        let none = Quota { waiters_per_name: Some(0), ..Quota::NONE };
        assert!(usage.count_wait(&none, Scope::Cluster, key("a")).is_err());
        assert!(usage.waiters.lock().unwrap().is_empty());
    }

    #[test]
    fn a_rate_fills_up_steadily() {
        let (usage, quota) = (Usage::default(), Quota { requests_per_second: Some(10), ..Quota::NONE });
        let at = |ms: u64| Time::from_micros(1_000_000 + ms * 1_000);
        for _ in 0..10 {
            usage.count_request(&quota, at(0)).unwrap();
        }
        let Err(OverQuota::TooFast { most: 10, retry_after }) = usage.count_request(&quota, at(0)) else { panic!() };
        assert_eq!(retry_after.as_millis(), 100);
        assert!(usage.count_request(&quota, at(99)).is_err());
        usage.count_request(&quota, at(100)).unwrap();
        assert!(usage.count_request(&quota, at(100)).is_err());
        for _ in 0..10 {
            usage.count_request(&quota, at(5_000)).unwrap();
        }
        assert!(usage.count_request(&quota, at(5_000)).is_err());
        assert!(usage.count_request(&Quota { requests_per_second: Some(0), ..Quota::NONE }, at(9_000)).is_err());
    }
}
