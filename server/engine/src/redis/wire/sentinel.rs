//! What a Sentinel knows.

use std::time::Duration;

use redis::{AsyncConnectionConfig, RedisError};

use super::dial::{Peer, dial};
use super::error::WireError;
use super::target::{Address, Target};

/// Asks a Sentinel where the primary of this name is.
pub(super) async fn primary_known_to(
    sentinel: &Address,
    target: &Target,
    primary: &str,
    within: Duration,
) -> Result<Address, WireError> {
    let answer = tokio::time::timeout(within, ask(sentinel, target, primary)).await;
    let late = |_| Err(WireError::Broken(format!("the Sentinel at {sentinel} does not answer within {within:?}")));
    answer.unwrap_or_else(late)
}

async fn ask(sentinel: &Address, target: &Target, primary: &str) -> Result<Address, WireError> {
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let (mut connection, driver) = dial(target, Peer::Sentinel, sentinel, config).await?;
    let mut question = redis::cmd("SENTINEL");
    question.arg("GET-MASTER-ADDR-BY-NAME").arg(primary);
    let answer = tokio::select! {
        answer = question.query_async::<Option<(String, u16)>>(&mut connection) => answer,
        () = driver => return Err(WireError::Broken(format!("the connection to the Sentinel at {sentinel} broke"))),
    };
    match answer {
        Ok(Some((host, port))) => Ok(Address { host, port }),
        Ok(None) => Err(WireError::Misconfigured(format!(
            "the Sentinel at {sentinel} knows no primary {primary}; write its name as redis+sentinel://HOST:PORT/NAME"
        ))),
        Err(error) => Err(refusal(&error, sentinel)),
    }
}

fn refusal(error: &RedisError, sentinel: &Address) -> WireError {
    let detail = error.detail().unwrap_or_default();
    match error.code() {
        Some("NOPERM") => WireError::Misconfigured(format!(
            "the user in sentinel_username lacks a permission at {sentinel}; on every Sentinel, run ACL SETUSER with its name \
             and: +sentinel|get-master-addr-by-name"
        )),
        _ if detail.starts_with("unknown command") => {
            WireError::Misconfigured(format!("{sentinel} is not a Sentinel; write redis:// for redis+sentinel://"))
        }
        code => {
            WireError::Broken(format!("the Sentinel at {sentinel} does not answer: {}", code.unwrap_or("no address")))
        }
    }
}
