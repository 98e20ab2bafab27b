//! Somebody deletes some of the keys and not others, against all advice.

use lockstead_engine::{PARTITIONS, Readiness};
use lockstead_tests::engines::{servers, until_ready};
use lockstead_tests::eventually;
use lockstead_tests::fixture::{EXCLUSIVE, session_id};

/// As docs/redis.md says.
#[tokio::test]
async fn a_damaged_partition_is_named_and_well_again_once_all_its_keys_are_deleted() {
    let (redis, [a, b]) = servers().await;
    let (dead, living) = (session_id(), session_id());
    a.granted(a.ask(dead, 1, "x", EXCLUSIVE)).await;
    let held = b.granted(b.ask(living, 1, "y", EXCLUSIVE)).await;
    b.queued(b.ask(living, 2, "x", EXCLUSIVE)).await;
    let waited_for = format!("l{}", b.lock("x").name);
    let damaged = (0..PARTITIONS).map(|partition| format!("lockstead:{{{partition}}}:"));
    let mut damaged_partition = None;
    for keys in damaged {
        let exists = redis.command(&["HEXISTS", &format!("{keys}resources"), &waited_for]).await;
        if exists == redis::Value::Int(1) {
            damaged_partition = Some(keys);
        }
    }
    let keys = damaged_partition.expect("it is in one of them");
    redis.command(&["DEL", &format!("{keys}holds")]).await;
    drop(a);
    let number = keys.trim_matches(|letter: char| !letter.is_ascii_digit()).to_owned();
    eventually("a server that says which partition is damaged", async || {
        matches!(b.engine.readiness(), Readiness::NotReady(why)
            if why.contains(&format!("for partition {number}: ")) && why.contains("a script failed"))
    })
    .await;

    let all = redis.command(&["KEYS", &format!("{keys}*")]).await;
    let all: Vec<String> = redis::from_redis_value(all).unwrap();
    redis.command(&[&["UNLINK"], &all.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat()).await;
    b.events.granted(living, 2).await;
    until_ready(&b).await;
    assert_eq!(b.release(held.hold, living).await, 0);
}
