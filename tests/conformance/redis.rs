//! The Redis engine, for the suite. All scenarios share a Redis or a Cluster, each with an engine of its own: only the
//! first waits for the reclaim window of an empty Redis, and each runs beside what others have left.

use lockstead_engine::RedisSettings;
use lockstead_tests::engines;

use crate::fixture::Fixture;

/// A new engine in which nothing is held.
pub(crate) async fn fixture() -> Fixture {
    engines::start(engines::settings(engines::shared_redis().await)).await
}

/// One whose every call reaches Redis twice.
pub(crate) async fn fixture_that_repeats_itself() -> Fixture {
    let settings = engines::settings(engines::shared_redis().await);
    engines::start(RedisSettings { send_twice: true, ..settings }).await
}

/// One whose partitions are spread over a Cluster, so that calls about different names go different ways.
pub(crate) async fn fixture_on_a_cluster() -> Fixture {
    engines::start(engines::settings_at(&engines::shared_cluster().await.url())).await
}
