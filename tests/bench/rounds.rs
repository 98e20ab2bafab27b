//! Starts the contenders, and measures them in turn.

use std::time::Duration;

use crate::clock::{cpu_nanos_of, own_cpu_nanos};
use crate::contender::{Contender, Workload};
use crate::crowd::Crowd;
use crate::figures::{CLIENT_CPU, DONE, Figures, SERVER_CPU, real};
use crate::limits::echo::Callers;
use crate::limits::scripts::Batches;
use crate::limits::{echo, flock, publish, scripts};
use crate::peers::{direct_redis, etcd, portalocker, zookeeper};
use crate::report::Results;
use crate::{Failure, RunArgs, lockstead, report};

/// What takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(240);

/// All who can be compared: Lockstead over its engines, its limits, its peers.
const CONTENDERS: [&str; 15] = [
    "memory",
    "redis",
    "node",
    "echo",
    "echo to many callers",
    "scripts one by one",
    "scripts by partition",
    "scripts batched",
    "redis publish",
    "flock",
    "etcd",
    "etcd without fsync",
    "zookeeper",
    "direct redis lock",
    PORTALOCKER,
];

const PORTALOCKER: &str = "portalocker";

async fn start(name: &'static str) -> Result<Box<dyn Contender>, Failure> {
    Ok(match name {
        "memory" => Box::new(lockstead::memory()),
        "redis" => Box::new(lockstead::redis().await?),
        "node" => Box::new(lockstead::node()?),
        "echo" => Box::new(echo::start(Callers::One)),
        "echo to many callers" => Box::new(echo::start(Callers::Many)),
        "scripts one by one" => Box::new(scripts::start(Batches::None).await?),
        "scripts by partition" => Box::new(scripts::start(Batches::ByPartition).await?),
        "scripts batched" => Box::new(scripts::start(Batches::Largest).await?),
        "redis publish" => Box::new(publish::start().await?),
        "flock" => Box::new(flock::start()?),
        "etcd" => Box::new(etcd::start("etcd", &[]).await?),
        "etcd without fsync" => Box::new(etcd::start("etcd without fsync", &["--unsafe-no-fsync"]).await?),
        "zookeeper" => Box::new(zookeeper::start().await?),
        "direct redis lock" => Box::new(direct_redis::start().await?),
        PORTALOCKER => Box::new(portalocker::start().await?),
        other => return Err(format!("there is no contender {other:?}").into()),
    })
}

/// Measures everything, and reports.
pub(crate) async fn run(args: &RunArgs) -> Result<(), Failure> {
    let mut results = Results::new(args);
    let mut contenders = Vec::new();
    for name in CONTENDERS.into_iter().filter(|name| is_wanted(&args.only, name)) {
        // One that panics in its start is one that is not there, too.
        match tokio::spawn(start(name)).await.unwrap_or_else(|panic| Err(panic.into())) {
            Ok(contender) => contenders.push(contender),
            Err(why) => results.is_missing(name, &why.to_string()),
        }
    }
    for round in 0..args.rounds {
        for workload in args.plan.workloads() {
            let is_wanted = args.workloads.is_empty()
                || args.workloads.iter().any(|wanted| workload.to_string().starts_with(wanted.as_str()));
            if !is_wanted {
                continue;
            }
            for contender in &contenders {
                if round > 0 && is_slow(contender.name(), workload) {
                    continue;
                }
                measure(args, round, contender.as_ref(), workload, &mut results).await;
            }
        }
    }
    report::write(&results, args)
}

fn is_wanted(only: &[String], name: &str) -> bool {
    only.is_empty() || only.iter().any(|wanted| wanted == name)
}

/// What takes so long that one round of it has to do.
fn is_slow(contender: &str, workload: Workload) -> bool {
    let is_crowd = matches!(workload, Workload::Processes { by: Crowd::Client | Crowd::Impatient, .. });
    is_crowd && contender == PORTALOCKER || matches!(workload, Workload::Sessions { .. })
}

async fn measure(args: &RunArgs, round: usize, contender: &dyn Contender, workload: Workload, results: &mut Results) {
    let Some(measuring) = contender.measure(workload, args.time) else { return };
    let name = contender.name();
    // A whole run takes minutes, and whoever waits wants to see that it goes on.
    eprintln!("round {}: {workload}: {name}", round + 1);
    let before = cpu(contender);
    match tokio::time::timeout(PATIENCE, measuring).await {
        Ok(Ok(mut figures)) => {
            add_cpu(&mut figures, before, cpu(contender));
            results.add(round, workload, name, figures);
        }
        Ok(Err(why)) => results.has_failed(round, workload, name, &why.to_string()),
        Err(_) => results.has_failed(round, workload, name, "it did not end"),
    }
}

/// Of this process, and of the contender's.
fn cpu(contender: &dyn Contender) -> (u64, u64) {
    let theirs = contender.processes().into_iter().map(|process| cpu_nanos_of(process).unwrap_or(0)).sum();
    (own_cpu_nanos(), theirs)
}

/// What an operation has cost on either side.
fn add_cpu(figures: &mut Figures, before: (u64, u64), after: (u64, u64)) {
    if let Some(done) = figures.remove(DONE).filter(|done| *done > 0.0) {
        let micros = |before: u64, after: u64| real(after.saturating_sub(before)) / 1_000.0 / done;
        figures.insert(CLIENT_CPU, micros(before.0, after.0));
        figures.insert(SERVER_CPU, micros(before.1, after.1));
    }
}
