//! A primary that Sentinels name.

use lockstead_engine::wire::{Target, Wire, WireError};
use lockstead_tests::SentinelSetup;
use redis::Value;

use crate::reach::{ANSWER_WITHIN, in_time, swap, text, until_it_works, wire};

#[tokio::test]
async fn a_failover_is_followed_and_so_is_the_next() {
    let mut setup = SentinelSetup::start().await;
    let wire = wire(&setup.url());
    let link = wire.link(3).await.unwrap();
    assert_eq!(swap(&link, 3, "kept").await.unwrap(), Value::Nil);
    setup.primary().command(&["WAIT", "2", "5000"]).await;
    let lost = async { swap(&link, 3, "lost").await.unwrap() };
    assert_eq!(setup.fail_over_losing(lost).await, text("kept"));
    in_time(link.closed()).await;
    let (link, old) = until_it_works(&wire, 3, "after").await;
    assert_eq!(old, text("kept"), "the new primary has not seen the last write");
    setup.restart_killed().await;
    setup.fail_over().await;
    in_time(link.closed()).await;
    until_it_works(&wire, 3, "again").await;
}

#[tokio::test]
async fn a_planned_failover_is_followed_without_a_break() {
    let mut setup = SentinelSetup::start().await;
    let wire = wire(&setup.url());
    let link = wire.link(3).await.unwrap();
    // Nobody dies here: the old primary becomes a replica, and says so, or Sentinel closes its connections.
    setup.switch_over().await;
    let left = async {
        loop {
            match swap(&link, 3, "a").await {
                Ok(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
                Err(error) => return error,
            }
        }
    };
    let told = in_time(left).await;
    assert!(matches!(told, WireError::Elsewhere(_) | WireError::Broken(_)), "{told:?}");
    until_it_works(&wire, 3, "b").await;
    assert_eq!(setup.primary().command(&["HGET", "lockstead:{3}:test", "f"]).await, text("b"));
}

#[tokio::test]
async fn a_primary_that_comes_back_too_late_is_not_gone_back_to() {
    let mut setup = SentinelSetup::start().await;
    let wire = wire(&setup.url());
    let link = wire.link(3).await.unwrap();
    swap(&link, 3, "a").await.unwrap();
    setup.fail_over().await;
    in_time(link.closed()).await;
    // It is a primary again, and empty, until Sentinel has made a replica of it.
    setup.nodes[0].restart().await;
    until_it_works(&wire, 3, "b").await;
    assert_eq!(setup.primary().command(&["HGET", "lockstead:{3}:test", "f"]).await, text("b"));
}

#[tokio::test]
async fn dead_sentinels_are_passed_over() {
    let mut setup = SentinelSetup::start().await;
    let wire = wire(&setup.url());
    setup.kill_last_sentinel();
    for _ in 0..3 {
        // Each round asks another one first.
        let link = in_time(wire.link(3)).await.unwrap();
        swap(&link, 3, "a").await.unwrap();
        setup.primary().command(&["CLIENT", "KILL", "TYPE", "normal"]).await;
        in_time(link.closed()).await;
    }
}

#[tokio::test]
async fn writes_that_no_replica_has_do_not_count() {
    let setup = SentinelSetup::start().await;
    let wire = Wire::new(Target::parse(&setup.url(), None).unwrap(), 1, ANSWER_WITHIN);
    let link = wire.link(3).await.unwrap();
    swap(&link, 3, "a").await.unwrap();
    setup.stop_replicating().await;
    assert_eq!(swap(&link, 3, "b").await.unwrap_err(), WireError::TooFewAcks);
    setup.replicate().await;
    swap(&link, 3, "c").await.unwrap();
}

#[tokio::test]
async fn a_primary_that_was_replaced_while_it_stood_still_is_left() {
    let mut setup = SentinelSetup::start().await;
    let wire = Wire::new(Target::parse(&setup.url(), None).unwrap(), 1, ANSWER_WITHIN);
    let link = wire.link(3).await.unwrap();
    swap(&link, 3, "a").await.unwrap();
    let old = setup.replace_stopped().await;
    assert_eq!(swap(&link, 3, "b").await.unwrap_err(), WireError::TooFewAcks);
    until_it_works(&wire, 3, "c").await;
    assert_eq!(setup.nodes[old].info("role").await, "master", "it does not know yet");
    assert_eq!(setup.primary().command(&["HGET", "lockstead:{3}:test", "f"]).await, text("c"));
}
