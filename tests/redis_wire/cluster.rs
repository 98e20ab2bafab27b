//! Partitions spread over a Cluster.

use std::sync::LazyLock;

use lockstead_engine::wire::{Link, Script, WireError};
use lockstead_tests::{ClusterSetup, Proxy};
use tokio::sync::mpsc;

use crate::reach::{in_time, read, swap, text, until_it_works, wire};

#[tokio::test]
async fn each_partition_is_served_by_its_node_and_one_url_is_enough() {
    let cluster = ClusterSetup::start().await;
    for url in [cluster.url(), cluster.nodes[5].url()] {
        let wire = wire(&url);
        for partition in 0..16 {
            let link = wire.link(partition).await.unwrap();
            swap(&link, partition, "a").await.unwrap();
            let node = &cluster.nodes[cluster.primary_of(partition).await];
            let found = node.command(&["HGET", &format!("lockstead:{{{partition}}}:test"), "f"]).await;
            assert_eq!(found, text("a"));
        }
    }
}

#[tokio::test]
async fn a_dead_primary_is_replaced_and_the_others_go_on() {
    let mut cluster = ClusterSetup::start().await;
    let wire = wire(&cluster.url());
    let mut links = Vec::new();
    for partition in 0..16 {
        let link = wire.link(partition).await.unwrap();
        swap(&link, partition, "a").await.unwrap();
        links.push((partition, cluster.primary_of(partition).await, link));
    }
    let killed = cluster.kill_primary_of(3).await;
    for (partition, node, link) in links {
        if node == killed {
            in_time(link.closed()).await;
            until_it_works(&wire, partition, "b").await;
        } else {
            assert_eq!(read(&link, partition).await.unwrap(), text("a"), "another node's partition");
        }
    }
}

#[tokio::test]
async fn a_partition_that_moves_is_followed_with_its_keys() {
    let cluster = ClusterSetup::start().await;
    let wire = wire(&cluster.url());
    let link = wire.link(3).await.unwrap();
    swap(&link, 3, "a").await.unwrap();
    let to = cluster.move_partition(3).await;
    let moved = swap(&link, 3, "b").await.unwrap_err();
    assert!(matches!(&moved, WireError::Elsewhere(what) if what.contains("no longer has")), "{moved:?}");
    let link = wire.link(3).await.unwrap();
    assert_eq!(swap(&link, 3, "b").await.unwrap(), text("a"));
    assert_eq!(cluster.primary_of(3).await, to);
}

/// The node ends the subscription by itself then, which nobody may take for an answer.
#[tokio::test]
async fn a_channel_that_moves_closes_its_link_and_mixes_up_no_answers() {
    let cluster = ClusterSetup::start().await;
    let wire = wire(&cluster.url());
    let link = wire.link(3).await.unwrap();
    let (inbox, mut heard) = mpsc::unbounded_channel();
    link.subscribe("lockstead:{3}:inbox".to_owned(), inbox).await.unwrap();
    let home = cluster.primary_of(3).await;
    let mut neighbour = None;
    for partition in (0..16).filter(|partition| *partition != 3) {
        if cluster.primary_of(partition).await == home {
            neighbour = Some(partition);
        }
    }
    let neighbour = neighbour.expect("a partition on the same node");
    let other = wire.link(neighbour).await.unwrap();
    // So many that some are always on their way.
    let calls = futures::future::join_all((0..64).map(|caller| echo_until_it_breaks(&other, caller)));
    let (errors, _) = in_time(async { tokio::join!(calls, cluster.move_partition(3)) }).await;
    assert!(errors.iter().all(|error| matches!(error, WireError::Broken(_))), "{errors:?}");
    assert_eq!(in_time(heard.recv()).await, None, "whoever listens learns that it must listen elsewhere");
    in_time(other.closed()).await;
    until_it_works(&wire, neighbour, "on").await;
    let (link, _) = until_it_works(&wire, 3, "on").await;
    let (inbox, mut heard) = mpsc::unbounded_channel();
    link.subscribe("lockstead:{3}:inbox".to_owned(), inbox).await.unwrap();
    cluster.nodes[cluster.primary_of(3).await].command(&["SPUBLISH", "lockstead:{3}:inbox", "a"]).await;
    assert_eq!(in_time(heard.recv()).await.unwrap(), b"a");
}

async fn echo_until_it_breaks(link: &Link, caller: u32) -> WireError {
    static ECHO: LazyLock<Script> = LazyLock::new(|| Script::new("return ARGV[1]", false));
    let mut number = 0;
    loop {
        let word = format!("{caller} {number}");
        match link.call(&ECHO, &[], &[word.as_bytes()]).await {
            Ok(answer) => assert_eq!(answer, text(&word)),
            Err(error) => return error,
        }
        number += 1;
    }
}

#[tokio::test]
async fn a_seed_that_falls_silent_is_passed_over() {
    let cluster = ClusterSetup::start().await;
    let proxy = Proxy::before(cluster.nodes[0].address()).await;
    proxy.cut();
    let seeds = format!("redis://{},{}", proxy.address(), cluster.nodes[4].url());
    let wire = wire(&seeds);
    let (link, _) = until_it_works(&wire, 3, "a").await;
    swap(&link, 3, "b").await.unwrap();
}
