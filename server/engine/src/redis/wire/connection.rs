//! One connection to one node, used by many at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lockstead_tasks::Starter;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Pipeline, PushInfo, PushKind, RedisError, ServerError, Value};
use tokio::sync::{OnceCell, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::dial::{Peer, dial};
use super::error::{self, Fate, WireError};
use super::info::NodeInfo;
use super::permission;
use super::target::{Address, Target};

/// An open connection, logged in, to a node that can be used. Closed when dropped.
pub(super) struct Connection {
    pub(super) node: Address,
    pub(super) info: NodeInfo,
    redis: MultiplexedConnection,
    inboxes: Inboxes,
    closed: CancellationToken,
    permitted: OnceCell<()>,
    _closes: DropGuard,
}

/// Who hears what is published on which channel.
#[derive(Clone, Default)]
struct Inboxes(Arc<Mutex<ByChannel>>);

type ByChannel = HashMap<Vec<u8>, mpsc::UnboundedSender<Vec<u8>>>;

impl Connection {
    /// Connects. Everything that is asked on it is answered, or broken off, within `within`.
    pub(super) async fn open(
        target: &Target,
        node: &Address,
        within: Duration,
        tasks: &Starter,
    ) -> Result<Self, WireError> {
        let opened = tokio::time::timeout(within, Self::begin(target, node, within, tasks)).await;
        let hint = if target.tls.is_some() { "; does it speak TLS?" } else { "" };
        opened.unwrap_or_else(|_| Err(WireError::Broken(format!("{node} does not answer within {within:?}{hint}"))))
    }

    async fn begin(target: &Target, node: &Address, within: Duration, tasks: &Starter) -> Result<Self, WireError> {
        let (inboxes, closed) = (Inboxes::default(), CancellationToken::new());
        let pushes = {
            let (inboxes, closed) = (inboxes.clone(), closed.clone());
            move |push: PushInfo| {
                inboxes.take(push, &closed);
                Ok::<_, RedisError>(())
            }
        };
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(within)).set_push_sender(pushes);
        let (redis, driver) = dial(target, Peer::Node, node, config).await?;
        tasks.start({
            let (inboxes, closed) = (inboxes.clone(), closed.clone());
            async move {
                closed.run_until_cancelled(driver).await;
                closed.cancel();
                inboxes.lock().clear();
            }
        });
        let info = NodeInfo { is_primary: false, is_in_cluster: false };
        let guard = closed.clone().drop_guard();
        let permitted = OnceCell::new();
        let mut connection = Self { node: node.clone(), info, redis, inboxes, closed, permitted, _closes: guard };
        let info = connection.ask_one(redis::pipe().cmd("INFO")).await?;
        let info: String = redis::from_redis_value(info).unwrap_or_default();
        connection.info = NodeInfo::read(&info, node)?;
        Ok(connection)
    }

    /// Says one command; an error in answer to it fails this.
    pub(super) async fn ask_one(&self, command: &Pipeline) -> Result<Value, WireError> {
        match self.ask(command).await?.pop() {
            Some(Value::ServerError(error)) => Err(self.judge(&error)),
            answer => Ok(answer.unwrap_or(Value::Nil)),
        }
    }

    /// Says commands, and returns the answers, of which each may be an error.
    pub(super) async fn ask(&self, commands: &Pipeline) -> Result<Vec<Value>, WireError> {
        let answers = self.redis.clone().send_packed_commands(commands, 0, commands.len()).await;
        // Checked first: what comes after an unsubscription that nobody asked for may be somebody else's answer.
        if self.closed.is_cancelled() {
            return Err(self.broken());
        }
        answers.map_err(|error| {
            self.close();
            if error.is_timeout() {
                WireError::Broken(format!("Redis at {} did not answer in time", self.node))
            } else {
                self.broken()
            }
        })
    }

    /// Hears a channel from now on, until the connection closes; `inbox` is dropped then.
    pub(super) async fn subscribe(
        &self,
        channel: String,
        inbox: mpsc::UnboundedSender<Vec<u8>>,
    ) -> Result<Value, WireError> {
        let mut command = redis::pipe();
        command.cmd("SSUBSCRIBE").arg(&channel);
        self.inboxes.lock().insert(channel.into_bytes(), inbox);
        let answer = self.ask(&command).await?.pop();
        // It may have closed, and let go of all inboxes, before this one was there.
        if self.is_open() { Ok(answer.unwrap_or(Value::Nil)) } else { Err(self.broken()) }
    }

    /// What an error in answer to a command means; closes the connection if it is of no more use.
    pub(super) fn judge(&self, error: &ServerError) -> WireError {
        let (error, fate) = error::of_reply(error, &self.node);
        if fate == Fate::Closes {
            self.close();
        }
        error
    }

    /// Whether the user that is logged in may do all that Lockstead does; asked once per connection.
    pub(super) async fn check_permissions(&self, partition: u16, min_acks: u32) -> Result<(), WireError> {
        self.permitted.get_or_try_init(|| permission::check(self, partition, min_acks)).await.copied()
    }

    pub(super) fn is_open(&self) -> bool {
        !self.closed.is_cancelled()
    }

    /// Ends it for everybody who uses it.
    pub(super) fn close(&self) {
        self.closed.cancel();
    }

    /// Returns when it is closed.
    pub(super) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    fn broken(&self) -> WireError {
        WireError::Broken(format!("the connection to Redis at {} broke", self.node))
    }
}

impl Inboxes {
    fn lock(&self) -> MutexGuard<'_, ByChannel> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, push: PushInfo, closed: &CancellationToken) {
        match (push.kind, &mut push.data.into_iter()) {
            (PushKind::SMessage, data) => {
                if let (Some(Value::BulkString(channel)), Some(Value::BulkString(payload))) = (data.next(), data.next())
                    && let Some(inbox) = self.lock().get(&channel)
                {
                    // Nobody may want to hear it any more.
                    _ = inbox.send(payload);
                }
            }
            // Lockstead never unsubscribes, so the channel's slot has gone to another node. The library takes this for the
            // answer to the oldest call, and each answer after it for that to the next.
            (PushKind::SUnsubscribe, _) => closed.cancel(),
            _ => {}
        }
    }
}
