//! What can go wrong on the way to Redis, by what it means for the caller.

use redis::{ErrorKind, RedisError, ServerError};
use thiserror::Error;

use super::dial::Peer;
use super::permission;
use super::target::{Address, Target};

/// Why Redis gave no answer. The sentences are for an operator; they name addresses, but no user and no password.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// The connection broke, or no answer came in time. The call may have happened. Get a new link.
    #[error("{0}")]
    Broken(String),
    /// This node can't do it (now). The call did not happen. Get a new link.
    #[error("{0}")]
    Elsewhere(String),
    /// The call happened, but too few replicas have it.
    #[error(
        "fewer replicas than --redis-min-acks asks for confirm writes in time; see `INFO replication` for the replicas"
    )]
    TooFewAcks,
    /// Somebody must mend something: what is wrong, and what to do. The call did not happen, unless a permission was
    /// taken away while the server runs.
    #[error("{0}")]
    Misconfigured(String),
    /// The script itself failed, since the data is damaged or by a defect; it may have done a part of its work.
    #[error(
        "a script failed: {0}. If this does not end, the partition's keys, lockstead:{{N}}:*, are damaged: delete them"
    )]
    Script(String),
}

/// What is to become of a connection after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    Closes,
}

/// What it means that a node answered a call with an error, and what becomes of the connection.
pub(super) fn of_reply(error: &ServerError, node: &Address) -> (WireError, Fate) {
    let detail = error.details().unwrap_or_default();
    let elsewhere = |what: &str| WireError::Elsewhere(format!("Redis at {node} {what}"));
    match error.code() {
        "MOVED" | "ASK" | "TRYAGAIN" => (elsewhere("no longer has all keys of the partition"), Fate::Stays),
        "CLUSTERDOWN" => (elsewhere("says that the cluster is down (CLUSTERDOWN); see `CLUSTER INFO`"), Fate::Stays),
        "READONLY" => (elsewhere("has become a replica"), Fate::Closes),
        "MASTERDOWN" => (elsewhere("is a replica that has lost its primary"), Fate::Closes),
        "LOADING" => (elsewhere("is loading its data"), Fate::Closes),
        "BUSY" => (elsewhere("is busy with somebody else's script (BUSY)"), Fate::Stays),
        "NOREPLICAS" => (elsewhere("takes no writes with so few replicas (min-replicas-to-write)"), Fate::Stays),
        "OOM" => (elsewhere("takes no writes: its memory is full (maxmemory)"), Fate::Stays),
        "MISCONF" => (elsewhere("takes no writes: it can't save to its disk (MISCONF); see its log"), Fate::Stays),
        "NOAUTH" | "WRONGPASS" => {
            (WireError::Misconfigured(login_sentence(error.code(), Peer::Node, node)), Fate::Closes)
        }
        code if permission::is_lacking(code, detail) => (permission::lacking(node), Fate::Closes),
        // Redis repeats the arguments in this one, and they may be secret.
        _ if detail.starts_with("unknown command") => (
            WireError::Misconfigured(format!(
                "Redis at {node} does not know a command that Lockstead needs; was it renamed?"
            )),
            Fate::Closes,
        ),
        code => (WireError::Script(format!("{code} {detail}")), Fate::Stays),
    }
}

/// What it means that no connection could be set up.
pub(super) fn of_greeting(error: &RedisError, target: &Target, peer: Peer, node: &Address) -> WireError {
    let misconfigured = |what: &str| WireError::Misconfigured(format!("Redis at {node} {what}"));
    let text = error.to_string();
    match (error.kind(), error.code()) {
        (_, Some(code @ ("NOAUTH" | "WRONGPASS"))) => WireError::Misconfigured(login_sentence(code, peer, node)),
        (_, Some("DENIED")) => misconfigured("is in protected mode: give it a password, or set `protected-mode no`"),
        (ErrorKind::RESP3NotSupported, _) | (_, Some("NOPROTO")) => misconfigured(TOO_OLD),
        (ErrorKind::Parse, _) => WireError::Misconfigured(format!("what listens at {node} is not Redis")),
        (ErrorKind::Io, _) if text.contains("CertificateRequired") => {
            misconfigured("asks for a client certificate, which Lockstead has not: set `tls-auth-clients no`")
        }
        (ErrorKind::Io, _) if error.is_connection_dropped() => {
            let hint = if target.tls.is_none() { "; if it speaks TLS, write rediss:// for redis://" } else { "" };
            WireError::Broken(format!("{node} closed the connection at once{hint}"))
        }
        (ErrorKind::Io, _) => WireError::Broken(format!("{node}: {text}")),
        _ if text.contains("refused to switch database") && text.contains("no permissions") => {
            permission::lacking_database(node)
        }
        _ if text.contains("refused to switch database") => misconfigured("has no database of the number in --redis"),
        _ if text.contains("max number of clients") => {
            WireError::Elsewhere(format!("Redis at {node} takes no more connections (maxclients)"))
        }
        // Its own words may repeat what it was sent, which is a password.
        (_, code) => WireError::Broken(format!("Redis at {node} refuses the connection ({})", code.unwrap_or("ERR"))),
    }
}

/// What to do about a Redis that lacks something.
pub(super) const TOO_OLD: &str = "is too old: Lockstead needs Redis 7.0 or Valkey 7.2, or newer";

fn login_sentence(code: &str, peer: Peer, node: &Address) -> String {
    match (peer, code) {
        (Peer::Node, "NOAUTH") => format!(
            "Redis at {node} asks for a password: write USER:PASSWORD@ before the host, or :PASSWORD@ if it has no ACL users"
        ),
        (Peer::Node, _) => format!("Redis at {node} refuses the user name or the password in --redis"),
        (Peer::Sentinel, "NOAUTH") => {
            format!("the Sentinel at {node} asks for a password: add ?sentinel_password=PASSWORD")
        }
        (Peer::Sentinel, _) => format!("the Sentinel at {node} refuses sentinel_username or sentinel_password"),
    }
}
