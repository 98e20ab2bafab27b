//! What a partition has of the connection to its node.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value};
use tokio::sync::mpsc;

use super::connection::Connection;
use super::error::WireError;
use super::routes::Routes;
use super::script::Script;

/// A connection to the node that has a partition's keys, or had when the link was made. Many can use it at a time; what
/// they say is pipelined.
#[derive(Clone)]
pub struct Link {
    pub(super) connection: Arc<Connection>,
    pub(super) routes: Arc<Routes>,
    pub(super) acks: Option<Acks>,
}

/// How many replicas must confirm what is written.
#[derive(Clone)]
pub(super) struct Acks {
    pub(super) needed: u32,
    pub(super) within: Duration,
    /// A key of the partition, written before each WAIT: that waits for what its own connection has written, and a script
    /// may have nothing to write when it repeats an answer that was lost with another connection.
    pub(super) mark: Arc<str>,
}

impl Link {
    /// Runs a script. If Redis does not know it, it is taught, and the call may take twice its time.
    pub async fn call(&self, script: &'static Script, keys: &[String], args: &[&[u8]]) -> Result<Value, WireError> {
        let acks = self.acks.as_ref().filter(|_| script.writes);
        let mut answers = self.ask(None, evaluate(script, keys, args), acks).await?;
        if matches!(&answers[..], [Value::ServerError(error), ..] if error.code() == "NOSCRIPT") {
            answers = self.ask(Some(script), evaluate(script, keys, args), acks).await?;
            self.check(Some(answers.remove(0)))?;
        }
        let mut answers = answers.into_iter();
        let answer = self.check(answers.next())?;
        match (acks, answers.nth(1)) {
            (None, _) => Ok(answer),
            (Some(acks), Some(Value::Int(confirmed))) if confirmed >= i64::from(acks.needed) => Ok(answer),
            (Some(_), Some(Value::Int(_))) => {
                // Its replicas may follow another one by now, which took its place while it could not be reached.
                self.routes.doubt();
                Err(WireError::TooFewAcks)
            }
            (Some(_), unexpected) => {
                self.connection.close();
                let node = &self.connection.node;
                Err(WireError::Broken(format!("Redis at {node} did not say how many replicas have it: {unexpected:?}")))
            }
        }
    }

    /// Hears a channel of the partition from now on. `inbox` is dropped when the connection closes.
    pub async fn subscribe(&self, channel: String, inbox: mpsc::UnboundedSender<Vec<u8>>) -> Result<(), WireError> {
        let answer = self.connection.subscribe(channel, inbox).await?;
        self.check(Some(answer)).map(|_| ())
    }

    /// Returns when the connection is closed: it broke, or did not answer in time, or its node is not the one any more.
    pub async fn closed(&self) {
        self.connection.closed().await;
    }

    /// Whether it is not closed.
    pub fn is_open(&self) -> bool {
        self.connection.is_open()
    }

    async fn ask(&self, taught: Option<&Script>, evaluate: Cmd, acks: Option<&Acks>) -> Result<Vec<Value>, WireError> {
        let mut commands = redis::pipe();
        if let Some(script) = taught {
            commands.cmd("SCRIPT").arg("LOAD").arg(&script.source);
        }
        commands.add_command(evaluate);
        if let Some(acks) = acks {
            commands.cmd("HSET").arg(&*acks.mark).arg("mark").arg("");
            commands.cmd("WAIT").arg(acks.needed).arg(acks.within.as_millis().max(1).to_string());
        }
        self.connection.ask(&commands).await
    }

    fn check(&self, answer: Option<Value>) -> Result<Value, WireError> {
        match answer {
            Some(Value::ServerError(error)) => {
                let error = self.connection.judge(&error);
                if !matches!(error, WireError::Script(_)) {
                    self.routes.doubt();
                }
                Err(error)
            }
            answer => Ok(answer.unwrap_or(Value::Nil)),
        }
    }
}

fn evaluate(script: &Script, keys: &[String], args: &[&[u8]]) -> Cmd {
    let mut command = redis::cmd("EVALSHA");
    command.arg(&script.sha1).arg(keys.len()).arg(keys).arg(args);
    command
}
