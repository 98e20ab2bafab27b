//! What nobody uses costs nothing: Redis hears as much of ten thousand idle holds as of one.

use std::time::Duration;

use futures::future::join_all;
use lockstead_client::Client;
use lockstead_tests::RedisServer;

use crate::servers::serve;

/// Many heartbeats of every partition.
const WATCHED: Duration = Duration::from_secs(4);
const IN_FLIGHT: usize = 500;

#[tokio::test]
async fn redis_is_asked_as_often_for_ten_thousand_idle_holds_as_for_one() {
    let redis = RedisServer::start().await;
    let server = serve(&redis.url()).await;
    let client = Client::connect(&server.url).await.unwrap();
    let mut guards = Vec::new();
    let mut rates = Vec::new();
    for holds in [1, 100, 10_000] {
        while guards.len() < holds {
            let more =
                (guards.len()..holds.min(guards.len() + IN_FLIGHT)).map(|n| client.lock(format!("idle/{n}")).acquire());
            guards.extend(join_all(more).await.into_iter().map(Result::unwrap));
        }
        let before = calls(&redis).await;
        tokio::time::sleep(WATCHED).await;
        rates.push(calls(&redis).await - before);
    }
    let (least, most) = (rates.iter().min().unwrap(), rates.iter().max().unwrap());
    assert!(*least > 0, "there are heartbeats");
    // One round of heartbeats more or less falls into the time that is watched.
    assert!(most - least <= least / 5, "commands in {WATCHED:?} with 1, 100 and 10,000 holds: {rates:?}");
}

/// All commands that Redis has seen so far, also those inside of scripts, but for the test's own.
async fn calls(server: &RedisServer) -> u64 {
    let stats: String = redis::from_redis_value(server.command(&["INFO", "commandstats"]).await).unwrap();
    let of_line = |line: &str| {
        let (name, figures) = line.strip_prefix("cmdstat_")?.split_once(':')?;
        let calls = figures.strip_prefix("calls=")?.split(',').next()?;
        (name != "info").then(|| calls.parse::<u64>().ok()).flatten()
    };
    stats.lines().filter_map(of_line).sum()
}
