//! The Redis engine's own script, called by one pipelined connection without a server: what is left when everything but
//! Redis takes no time.
//!
//! The operations are those of an acquire and a release that nobody else is in the way of, and the keys are spread over as
//! many partitions as a server has. How many operations go into one call is what the variants differ in.

use std::collections::VecDeque;
use std::time::Duration;

use futures::FutureExt;
use lockstead_engine::PARTITIONS;
use lockstead_tests::RedisServer;

use super::scripts_wire::{Args, Partition, Wire};
use crate::Failure;
use crate::clock::nanos;
use crate::contender::{Contender, Measuring, Workload};
use crate::figures::of_operations;
use crate::load::{Measured, Span};
use crate::lockstead::APPENDING;
use crate::peers::installed;

/// As many operations as a server puts into one call.
const BATCH_MAX: usize = 128;
/// All permits of a lock.
const PERMITS: u32 = lockstead_core::limits::LOCK_PERMITS;

/// How operations are put into calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Batches {
    /// Each has its own: without a server, every client would do that.
    None,
    /// One call for each partition, with all its operations: as a server does it.
    ByPartition,
    /// As few calls as there may be, but two, so that Redis never waits for the next one.
    Largest,
}

pub(crate) struct Scripts {
    redis: RedisServer,
    batches: Batches,
}

pub(crate) async fn start(batches: Batches) -> Result<Scripts, Failure> {
    installed("redis-server")?;
    Ok(Scripts { redis: RedisServer::start_with(&APPENDING).await, batches })
}

impl Contender for Scripts {
    fn name(&self) -> &'static str {
        match self.batches {
            Batches::None => "scripts one by one",
            Batches::ByPartition => "scripts by partition",
            Batches::Largest => "scripts batched",
        }
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.redis.id()]
    }

    fn measure(&self, workload: Workload, time: Duration) -> Option<Measuring<'_>> {
        let Workload::Pairs { in_flight } = workload else { return None };
        // In a task of its own: the thread that waits for all tasks is slow to be woken.
        let measuring = tokio::spawn(pairs(self.redis.port(), in_flight, self.batches.calls(in_flight), time));
        Some(measuring.map(|measured| Ok(of_operations(&measured??))).boxed())
    }
}

impl Batches {
    /// How many calls are in flight.
    fn calls(self, in_flight: usize) -> usize {
        match self {
            Self::None => in_flight,
            Self::ByPartition => in_flight.min(usize::from(PARTITIONS)),
            Self::Largest => in_flight.min(2.max(in_flight.div_ceil(BATCH_MAX))),
        }
    }
}

/// Locks that are taken by one call, and given back by the next.
struct Lane {
    partition: usize,
    /// Hold and lock of each.
    locks: Vec<(u128, String)>,
    is_held: bool,
    /// When its acquires were sent.
    since: u64,
}

impl Lane {
    fn operations(&mut self, session: &[u8]) -> Vec<Args> {
        if self.is_held {
            return self.locks.iter().map(|(hold, _)| release(*hold)).collect();
        }
        for (hold, _) in &mut self.locks {
            *hold = fastrand::u128(..);
        }
        self.locks.iter().map(|(hold, lock)| acquire(*hold, lock, session)).collect()
    }
}

fn acquire(hold: u128, lock: &str, session: &[u8]) -> Args {
    let text = |text: &str| text.as_bytes().to_vec();
    let permits = PERMITS.to_string();
    vec![
        text("A"),
        hold.to_be_bytes().to_vec(),
        text(&format!("l{lock}")),
        text(&permits),
        text(&permits),
        session.to_vec(),
        text("0"),
        text("0"),
        Vec::new(),
        text("1"),
        text(r#"{"r":12345}"#),
    ]
}

fn release(hold: u128) -> Args {
    vec![b"R".to_vec(), hold.to_be_bytes().to_vec(), Vec::new()]
}

/// So many locks, in so many calls.
async fn pairs(port: u16, in_flight: usize, calls: usize, time: Duration) -> Result<Measured, Failure> {
    let mut wire = Wire::open(port).await?;
    let mut partitions = Vec::new();
    for number in 0..PARTITIONS {
        partitions.push(Partition::join(&mut wire, number).await?);
    }
    let session = fastrand::u128(..).to_be_bytes();
    let mut lanes = lanes(in_flight, calls);
    let span = Span::starting_now(time);
    let mut measured = Measured::during(span)?;
    // Redis answers in the order in which it was asked.
    let mut asked = VecDeque::new();
    for (number, lane) in lanes.iter_mut().enumerate() {
        lane.since = nanos();
        wire.send(&partitions[lane.partition].call(&lane.operations(&session))).await?;
        asked.push_back(number);
    }
    loop {
        let results = wire.results().await?;
        let now = nanos();
        let number = asked.pop_front().ok_or("an answer to no call")?;
        let lane = &mut lanes[number];
        lane.check(&results)?;
        if lane.is_held {
            lane.locks.iter().for_each(|_| measured.record(lane.since, now));
            lane.since = now;
        }
        lane.is_held = !lane.is_held;
        if now < span.to || lane.is_held {
            wire.send(&partitions[lane.partition].call(&lane.operations(&session))).await?;
            asked.push_back(number);
        }
        if asked.is_empty() {
            return Ok(measured);
        }
    }
}

impl Lane {
    /// Whether all that was asked for has happened.
    fn check(&self, results: &[String]) -> Result<(), Failure> {
        let expected = if self.is_held { "R" } else { "G" };
        let all_done = results.len() == self.locks.len() && results.iter().all(|letter| letter == expected);
        all_done.then_some(()).ok_or_else(|| format!("the script answered {results:?}").into())
    }
}

/// The locks of all who are in flight, spread over so many calls.
fn lanes(in_flight: usize, calls: usize) -> Vec<Lane> {
    let mut lanes: Vec<_> = (0..calls)
        .map(|number| Lane { partition: number % usize::from(PARTITIONS), locks: Vec::new(), is_held: false, since: 0 })
        .collect();
    for number in 0..in_flight {
        lanes[number % calls].locks.push((0, format!("compare/pair/{number}")));
    }
    lanes
}
