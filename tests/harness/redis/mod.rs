//! A real Redis for a test: on ports of its own, and gone when the test is, however that ends.

mod cluster;
mod sentinel;
mod server;
mod tls;

use std::time::Duration;

use redis::{FromRedisValue, Value};

use crate::PATIENCE;

pub use cluster::ClusterSetup;
pub use sentinel::SentinelSetup;
pub use server::RedisServer;
pub use tls::{TlsFiles, TlsServer};

/// How soon to look again at what nobody announces.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Says a command to the Redis at a URL, on a connection of its own.
///
/// # Panics
/// If it does not answer, or by an error.
pub async fn command(url: &str, words: &[&str]) -> Value {
    try_command(url, words).await.unwrap_or_else(|error| panic!("{words:?} at {url}: {error}"))
}

async fn try_command<T: FromRedisValue>(url: &str, words: &[&str]) -> redis::RedisResult<T> {
    let client = redis::Client::open(url)?;
    let patience = Some(PATIENCE);
    let config = redis::AsyncConnectionConfig::new().set_connection_timeout(patience).set_response_timeout(patience);
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    let mut command = redis::Cmd::new();
    command.arg(words);
    command.query_async(&mut connection).await
}

/// Looks again and again until it is so.
///
/// # Panics
/// If it is not so for long.
async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let so = async {
        while !is_so().await {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(PATIENCE, so).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}
