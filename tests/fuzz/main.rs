//! Sends a server of its own what no client would send, for a while, and checks what becomes of it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a check that can't go on has failed")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Parser;
use futures::future::join_all;
use lockstead_clock::time;
use lockstead_tests::{Logged, Memory};
use tonic::Code;

mod calls;
mod draw;
mod raw;
mod sessions;
mod yields;

use yields::Yields;

/// The process must not grow by more than this between the first fifth of the time and its end. What is remembered of ended
/// leases, and what the allocator keeps, has its place here.
const GROWTH_MAX_BYTES: usize = 64 << 20;

#[derive(Debug, Parser)]
enum Command {
    /// Random bytes and random messages on every call, over several connections
    Grpc(Args),
}

#[derive(Debug, clap::Args)]
struct Args {
    /// For how long
    #[arg(long, default_value_t = 15)]
    seconds: u64,

    /// What is drawn follows from it. The ids that the server gives, and when it answers, don't
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// How many connections
    #[arg(long, default_value_t = 6)]
    connections: u64,
}

/// What was done, and what should not have happened.
#[derive(Clone, Debug, Default)]
struct Findings(Arc<Mutex<Found>>);

#[derive(Debug, Default)]
struct Found {
    /// How often which kind of attack had which outcome.
    outcomes: BTreeMap<(&'static str, String), u64>,
    wrong: Vec<String>,
}

impl Findings {
    /// Notes how something ended, and whether the server blames itself.
    fn note(&self, what: &'static str, code: Code, why: impl FnOnce() -> String) {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *found.outcomes.entry((what, format!("{code:?}"))).or_default() += 1;
        if matches!(code, Code::Internal | Code::Unknown | Code::DataLoss) {
            found.wrong.push(format!("{what}: {code:?}: {}", why()));
        }
    }

    /// Notes what must not be.
    fn wrong(&self, what: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).wrong.push(what);
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let Command::Grpc(args) = Command::parse();
    let lock_dir = tempfile::tempdir().expect("a folder");
    let mut server = Logged::start_with(|command| _ = command.arg("--lock-dir").arg(lock_dir.path()));
    let (findings, yields) = (Findings::default(), Yields::default());
    let end = time().saturating_add(Duration::from_secs(args.seconds));
    let connections = (0..args.connections).map(|connection| {
        let rng = fastrand::Rng::with_seed(args.seed.wrapping_mul(1_000_003).wrapping_add(connection));
        tokio::spawn(attack(server.url.clone(), rng, end, findings.clone(), yields.clone()))
    });
    let connections: Vec<_> = connections.collect();
    tokio::time::sleep(Duration::from_secs(args.seconds) / 5).await;
    let early = Memory::of(server.id());
    for ended in join_all(connections).await {
        if let Err(error) = ended {
            findings.wrong(format!("a connection's task: {error}"));
        }
    }
    let late = Memory::of(server.id());
    if late.now > early.now + GROWTH_MAX_BYTES {
        findings.wrong(format!("the server grew from {} to {} bytes", early.now, late.now));
    }
    if let Err(why) = yields.give_back(&server.url).await {
        findings.wrong(why);
    }
    let log = server.log();
    if log.contains("panicked") || !server.is_alive() {
        findings.wrong(format!("the server is not well; its log:\n{log}"));
    }
    report(&args, &findings, early, late)
}

/// What one connection does.
async fn attack(url: String, mut rng: fastrand::Rng, end: lockstead_core::Time, findings: Findings, yields: Yields) {
    let channel = tonic::transport::Endpoint::from_shared(url).unwrap().connect().await.expect("the server is there");
    while time() < end {
        match rng.u8(..10) {
            0..4 => raw::attack(&channel, &mut rng, &findings, &yields).await,
            4..8 => calls::attack(&channel, &mut rng, &findings, &yields).await,
            _ => sessions::attack(&channel, &mut rng, &findings, &yields).await,
        }
    }
}

fn report(args: &Args, findings: &Findings, early: Memory, late: Memory) -> ExitCode {
    let found = findings.0.lock().unwrap_or_else(PoisonError::into_inner);
    let total: u64 = found.outcomes.values().sum();
    for ((what, outcome), count) in &found.outcomes {
        println!("{count:>9}  {what}: {outcome}");
    }
    let (early, now, peak) = (early.now >> 10, late.now >> 10, late.peak >> 10);
    println!(
        "{total} attacks in {} s with seed {}; memory of the server: {early} KiB after a fifth, {now} KiB at the end, {peak} \
         KiB at most",
        args.seconds, args.seed
    );
    for wrong in found.wrong.iter().take(20) {
        println!("WRONG: {wrong}");
    }
    println!("{} findings", found.wrong.len());
    if found.wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
