//! A message's way through Redis: from before it is published until a subscriber has it.

use std::time::Duration;

use futures::{FutureExt, StreamExt};
use lockstead_tests::RedisServer;
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use tokio::sync::mpsc;

use crate::Failure;
use crate::contender::{Contender, Measuring, Workload};
use crate::figures::of_operations;
use crate::load::{Measured, Operation, run};
use crate::lockstead::APPENDING;
use crate::peers::installed;

const CHANNEL: &str = "compare";

pub(crate) struct Publish {
    redis: RedisServer,
}

pub(crate) async fn start() -> Result<Publish, Failure> {
    installed("redis-server")?;
    Ok(Publish { redis: RedisServer::start_with(&APPENDING).await })
}

impl Contender for Publish {
    fn name(&self) -> &'static str {
        "redis publish"
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.redis.id()]
    }

    fn measure(&self, workload: Workload, time: Duration) -> Option<Measuring<'_>> {
        let in_flight = match workload {
            Workload::Pairs { in_flight: 1 } => 1,
            Workload::HandOver { waiters } => waiters,
            _ => return None,
        };
        // In a task of its own: the thread that waits for all tasks is slow to be woken.
        let measuring = tokio::spawn(round_trips(self.redis.url(), in_flight, time));
        Some(measuring.map(|measured| Ok(of_operations(&measured??))).boxed())
    }
}

/// So many workers, each with one message on its way; they share two connections.
async fn round_trips(url: String, in_flight: usize, time: Duration) -> Result<Measured, Failure> {
    let client = redis::Client::open(url)?;
    let connection = client.get_multiplexed_async_connection().await?;
    let mut subscription = client.get_async_pubsub().await?;
    subscription.subscribe(CHANNEL).await?;
    let (heard, workers): (Vec<_>, Vec<_>) = (0..in_flight)
        .map(|number| {
            let (sender, heard) = mpsc::unbounded_channel();
            (sender, RoundTrip { connection: connection.clone(), number, heard })
        })
        .unzip();
    let listening = async {
        let mut messages = subscription.into_on_message();
        while let Some(message) = messages.next().await {
            let number: usize = message.get_payload()?;
            // It may have ended already.
            _ = heard.get(number).ok_or("a message of nobody")?.send(());
        }
        Err("the subscription ended".into())
    };
    tokio::select! {
        measured = run(time, workers) => measured,
        failure = listening => failure,
    }
}

struct RoundTrip {
    connection: MultiplexedConnection,
    number: usize,
    heard: mpsc::UnboundedReceiver<()>,
}

impl Operation for RoundTrip {
    async fn once(&mut self) -> Result<(), Failure> {
        let _: u64 = self.connection.publish(CHANNEL, self.number).await?;
        self.heard.recv().await.ok_or("the subscription ended")?;
        Ok(())
    }
}
