//! What only a server over Redis has to tell.

use lockstead_client::Client;
use lockstead_tests::{RedisServer, Server};
use rustix::process::Signal;

use super::scrape::Scrape;

const PARTITIONS: u64 = lockstead_engine::PARTITIONS as u64;
const SERVING: &str = "lockstead_redis_partitions{state=\"serving\"}";
const AWAY: &str = "lockstead_redis_partitions{state=\"away\"}";
const EPOCHS: &str = "lockstead_redis_epoch_changes_total";

fn serve(redis: &RedisServer) -> Server {
    Server::start_with(&["--redis", &redis.url(), "--server-lease", "1s"])
}

#[tokio::test]
async fn each_partition_that_lost_its_data_is_one_epoch_change() {
    let redis = RedisServer::start().await;
    let server = serve(&redis);
    // The first start on an empty Redis is no change of what was known before.
    Scrape::until(&server, &[(SERVING, PARTITIONS), (EPOCHS, 0), ("lockstead_ready", 1)]).await;
    let client = Client::connect(&server.url).await.unwrap();
    let guard = client.lock("m").acquire().await.unwrap();

    redis.command(&["FLUSHALL"]).await;
    let reclaiming = [("lockstead_redis_partitions{state=\"reclaiming\"}", PARTITIONS), ("lockstead_ready", 0)];
    Scrape::until(&server, &reclaiming).await;
    Scrape::until(&server, &[(SERVING, PARTITIONS), (EPOCHS, PARTITIONS), ("lockstead_ready", 1)]).await;
    guard.release().await.unwrap();
    let expected = [
        ("lockstead_releases_total{scope=\"cluster\",by=\"session\"}", 1),
        ("lockstead_hold_seconds_count{scope=\"cluster\"}", 1),
    ];
    let scrape = Scrape::until(&server, &expected).await;
    assert_eq!(scrape.total("lockstead_losses_total"), 0, "the hold was reclaimed");
}

#[tokio::test]
async fn calls_that_fail_and_holds_that_are_lost_while_redis_is_away_are_counted() {
    let redis = RedisServer::start().await;
    let server = serve(&redis);
    Scrape::until(&server, &[(SERVING, PARTITIONS)]).await;
    let client = Client::connect(&server.url).await.unwrap();
    let guard = client.lock("m").acquire().await.unwrap();
    redis.signal(Signal::STOP);
    guard.lost().await;
    Scrape::until(&server, &[(AWAY, PARTITIONS), ("lockstead_ready", 0)]).await;
    client.lock("other").try_acquire().await.unwrap_err();
    let expected = [
        ("lockstead_losses_total{scope=\"cluster\",reason=\"backend_lost\"}", 1),
        ("lockstead_engine_errors_total{engine=\"redis\",operation=\"acquire\",error=\"unavailable\"}", 1),
        ("lockstead_engine_call_seconds_count{engine=\"redis\",operation=\"acquire\"}", 2),
        ("lockstead_acquires_total{scope=\"cluster\",outcome=\"acquired\"}", 1),
        ("lockstead_hold_seconds_count{scope=\"cluster\"}", 1),
    ];
    let scrape = Scrape::until(&server, &expected).await;
    assert_eq!(scrape.total("lockstead_engine_errors_total"), 1, "{}", scrape.text);

    redis.signal(Signal::CONT);
    Scrape::until(&server, &[(SERVING, PARTITIONS), (EPOCHS, 0)]).await;
}

#[tokio::test]
async fn a_session_that_moves_is_a_resume_from_elsewhere_and_a_hand_over_goes_between_servers() {
    let redis = RedisServer::start().await;
    let (first, second) = (serve(&redis), serve(&redis));
    for server in [&first, &second] {
        Scrape::until(server, &[(SERVING, PARTITIONS)]).await;
    }
    let moving = Client::builder().server(format!("{},{}", first.url, second.url));
    let moving = moving.on_disconnect(lockstead_client::OnDisconnect::Keep).connect().await.unwrap();
    let guard = moving.lock("m").acquire().await.unwrap();
    // A client begins with a server of its own choice.
    let is_first = Scrape::of(&first).await.count("lockstead_sessions") == 1;
    let (left, joined) = if is_first { (first, second) } else { (second, first) };
    let staying = Client::connect(&joined.url).await.unwrap();
    let waiting = tokio::spawn(staying.lock("m").acquire());
    Scrape::until(&joined, &[("lockstead_waiters{scope=\"cluster\"}", 1)]).await;

    left.signal(Signal::TERM);
    Scrape::until(&joined, &[("lockstead_session_resumes_total{from=\"elsewhere\"}", 1), ("lockstead_sessions", 2)])
        .await;
    guard.release().await.unwrap();
    let _next = waiting.await.unwrap().unwrap();
    let expected = [
        ("lockstead_hand_over_seconds_count{scope=\"cluster\"}", 1),
        ("lockstead_acquires_total{scope=\"cluster\",outcome=\"acquired\"}", 1),
        ("lockstead_releases_total{scope=\"cluster\",by=\"session\"}", 1),
        ("lockstead_hold_seconds_count{scope=\"cluster\"}", 0),
    ];
    Scrape::until(&joined, &expected).await;
}
