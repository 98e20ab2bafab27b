//! What the tests share: a wire, and scripts to call on it.

use std::sync::LazyLock;
use std::time::Duration;

use lockstead_engine::wire::{Link, Script, Target, Wire, WireError};
use lockstead_tests::PATIENCE;
use redis::Value;

pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Writes the argument, and answers what was there before.
pub(crate) static SWAP: LazyLock<Script> = LazyLock::new(|| {
    let source = "local old = redis.call('HGET', KEYS[1], 'f') redis.call('HSET', KEYS[1], 'f', ARGV[1]) return old";
    Script::new(source, true)
});

/// Answers what is there.
pub(crate) static READ: LazyLock<Script> =
    LazyLock::new(|| Script::new("return redis.call('HGET', KEYS[1], 'f')", false));

pub(crate) fn wire(urls: &str) -> Wire {
    Wire::new(Target::parse(urls, None).unwrap(), 0, ANSWER_WITHIN)
}

pub(crate) fn key(partition: u16) -> Vec<String> {
    vec![format!("lockstead:{{{partition}}}:test")]
}

pub(crate) fn text(text: &str) -> Value {
    Value::BulkString(text.into())
}

pub(crate) async fn swap(link: &Link, partition: u16, new: &str) -> Result<Value, WireError> {
    link.call(&SWAP, &key(partition), &[new.as_bytes()]).await
}

pub(crate) async fn read(link: &Link, partition: u16) -> Result<Value, WireError> {
    link.call(&READ, &key(partition), &[]).await
}

/// Does what an engine does: gets a link and calls on it, again and again until it works.
pub(crate) async fn until_it_works(wire: &Wire, partition: u16, new: &str) -> (Link, Value) {
    let works = async {
        loop {
            match wire.link(partition).await {
                Ok(link) => match swap(&link, partition, new).await {
                    Ok(old) => return (link, old),
                    Err(error) => eprintln!("call: {error}"),
                },
                Err(error) => eprintln!("link: {error}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, works).await.expect("it works in time")
}

pub(crate) async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it happens in time")
}

/// Why there is no link.
pub(crate) async fn refused(wire: &Wire) -> WireError {
    match wire.link(0).await {
        Ok(_) => panic!("there is a link"),
        Err(error) => error,
    }
}
