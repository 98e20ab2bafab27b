//! Python's `portalocker.RedisLock`: a lock that is held by being subscribed to a channel.

use std::path::Path;
use std::time::Duration;

use futures::FutureExt;
use lockstead_tests::RedisServer;
use tokio::process::Command;

use super::{installed, there};
use crate::Failure;
use crate::contender::{Contender, Measuring, Workload};
use crate::crowd::{self, Crowd};
use crate::figures::{Figures, P50, P99, PER_SECOND};

const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/.venv/bin/python");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/peers/portalocker_lock.py");
/// It takes a tenth of a second to release, so a second is too short.
const AT_LEAST: Duration = Duration::from_secs(3);

/// That and its Redis.
pub(crate) struct Portalocker {
    redis: RedisServer,
}

pub(crate) async fn start() -> Result<Portalocker, Failure> {
    installed("redis-server")?;
    there(Path::new(PYTHON))?;
    Ok(Portalocker { redis: RedisServer::start().await })
}

impl Portalocker {
    fn script(&self, mode: &str) -> Vec<String> {
        vec![SCRIPT.to_owned(), mode.to_owned(), self.redis.port().to_string()]
    }

    fn crowd(&self, mode: &str, count: usize) -> Measuring<'_> {
        let mut command = std::process::Command::new(PYTHON);
        command.args(self.script(mode));
        crowd::programs(command, count).boxed()
    }

    async fn pairs(&self, time: Duration) -> Result<Figures, Failure> {
        let mut command = Command::new(PYTHON);
        command.args(self.script("pairs")).arg(time.max(AT_LEAST).as_secs_f64().to_string()).kill_on_drop(true);
        let output = command.output().await?;
        let numbers: Vec<f64> = serde_json::from_slice(&output.stdout)
            .map_err(|_| format!("portalocker failed: {}", String::from_utf8_lossy(&output.stderr)))?;
        Ok([PER_SECOND, P50, P99].into_iter().zip(numbers).collect())
    }
}

impl Contender for Portalocker {
    fn name(&self) -> &'static str {
        "portalocker"
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.redis.id()]
    }

    fn measure(&self, workload: Workload, time: Duration) -> Option<Measuring<'_>> {
        Some(match workload {
            Workload::Pairs { in_flight: 1 } => self.pairs(time).boxed(),
            Workload::Processes { count, by: Crowd::Client } => self.crowd("patient", count),
            Workload::Processes { count, by: Crowd::Impatient } => self.crowd("impatient", count),
            _ => return None,
        })
    }
}
