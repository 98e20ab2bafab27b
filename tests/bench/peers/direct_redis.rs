//! A lock in Redis without a server between: SET NX with an expiry, and a script that deletes what is still one's own. A
//! waiter has to ask again and again, as clients of such locks do.

use std::sync::LazyLock;
use std::time::Duration;

use lockstead_tests::RedisServer;
use redis::aio::MultiplexedConnection;

use super::installed;
use crate::Failure;
use crate::contender::Service;
use crate::crowd::Member;
use crate::locker::Locker;
use crate::lockstead::APPENDING;

const EXPIRY: Duration = Duration::from_secs(30);
/// Between two attempts at a lock that others hold. Usual are 50 to 200 ms, with which it would look worse.
const POLL_EVERY: Duration = Duration::from_millis(10);

static RELEASE: LazyLock<redis::Script> = LazyLock::new(|| {
    redis::Script::new("if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0")
});

/// A worker on a connection that others share.
pub(crate) struct RedisLocker(MultiplexedConnection);

impl Locker for RedisLocker {
    /// The key, and what stands there.
    type Held = (String, u64);

    async fn open(address: &str, workers: usize) -> Result<Vec<Self>, Failure> {
        let mut connection = redis::Client::open(address)?.get_multiplexed_async_connection().await?;
        RELEASE.prepare_invoke().load_async(&mut connection).await?;
        Ok((0..workers).map(|_| Self(connection.clone())).collect())
    }

    async fn acquire(&mut self, lock: &str) -> Result<Self::Held, Failure> {
        let mine = fastrand::u64(..);
        let expiry = redis::SetExpiry::PX(u64::try_from(EXPIRY.as_millis())?);
        let options = redis::SetOptions::default().conditional_set(redis::ExistenceCheck::NX).with_expiration(expiry);
        let mut set = redis::cmd("SET");
        set.arg(lock).arg(mine).arg(options);
        loop {
            if set.query_async::<Option<String>>(&mut self.0).await?.is_some() {
                return Ok((lock.to_owned(), mine));
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    async fn release(&mut self, (lock, mine): Self::Held) -> Result<(), Failure> {
        let deleted: u64 = RELEASE.key(lock).arg(mine).invoke_async(&mut self.0).await?;
        if deleted == 1 { Ok(()) } else { Err("the lock was not held any more".into()) }
    }
}

pub(crate) async fn start() -> Result<Service<RedisLocker>, Failure> {
    installed("redis-server")?;
    let redis = RedisServer::start_with(&APPENDING).await;
    Ok(Service::new("direct redis lock", redis.url(), vec![redis.id()], Member::DirectRedis, redis))
}
