//! Breaks a small cluster in every way it can for a while, and then checks what its clients saw against what Lockstead
//! promises.
//!
//! A seed says what runs, what the clients want and what breaks when; the same seed gives the same schedule and the same
//! choices. How the processes interleave is up to the machine, so a violation may take several runs of its seed to come
//! again.

#![expect(clippy::expect_used, reason = "a runner that can't go on has failed")]

mod checker;
mod fault;
mod history;
mod journal;
mod observer;
mod plan;
mod report;
mod run;
mod stage;
mod workload;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::history::Line;
use crate::plan::{Plan, Topology};
use crate::report::Summary;

type Failure = Box<dyn std::error::Error>;

/// Breaks a small cluster in every way it can for a while, and checks what its clients saw.
#[derive(Debug, Parser)]
#[command(name = "lockstead-faults", args_conflicts_with_subcommands = true)]
struct Args {
    #[command(flatten)]
    run: RunArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// Which schedule of faults and choices; a random one unless given
    #[arg(long)]
    seed: Option<u64>,
    /// For how long things break
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Where the truth is kept; said by the seed unless given
    #[arg(long)]
    topology: Option<Topology>,
    /// Only faults with this in their name: `flushed`, `killed`, `client` …
    #[arg(long)]
    only: Option<String>,
    /// The server to run, instead of this workspace's `lockstead`
    #[arg(long)]
    server: Option<PathBuf>,
    /// Keeps history and logs even if all is well
    #[arg(long)]
    keep: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Checks a history that was kept
    Check {
        /// `history.jsonl`
        history: PathBuf,
    },
    /// Plays a client
    #[command(hide = true)]
    Client(workload::WorkloadArgs),
}

/// One thread: what it starts is killed by the kernel when that ends.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Failure> {
    let args = Args::parse();
    match args.command {
        None => run_and_check(args.run).await,
        Some(Command::Check { history }) => Ok(judge(&journal::read(&history)?)),
        Some(Command::Client(args)) => workload::main(args).await.map(|()| ExitCode::SUCCESS),
    }
}

async fn run_and_check(args: RunArgs) -> Result<ExitCode, Failure> {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    let program = args.server.unwrap_or_else(lockstead_tests::lockstead);
    let plan = Plan::draw(seed, args.seconds, args.topology, args.only.as_deref());
    let (site, mut folder) = (plan.site.clone(), tempfile::Builder::new().prefix("lockstead-faults-").tempdir()?);
    println!(
        "seed {seed}: {:?}, {} servers with a lease of {} ms, {} clients, {} s; history and logs in {}",
        site.topology,
        site.servers,
        site.server_lease_ms,
        site.clients.len(),
        site.seconds,
        folder.path().display()
    );
    // Also if the run itself fails.
    folder.disable_cleanup(true);
    let lines = tokio::select! {
        lines = run::run(plan, &program, folder.path()) => lines?,
        _ = tokio::signal::ctrl_c() => return Err("interrupted".into()),
    };
    let verdict = judge(&lines);
    if verdict == ExitCode::SUCCESS {
        folder.disable_cleanup(args.keep);
    } else {
        let topology = format!("{:?}", site.topology).to_lowercase();
        println!("\nhistory and logs are in {}", folder.path().display());
        let only = args.only.map(|only| format!(" ONLY='{only}'")).unwrap_or_default();
        println!("the same schedule again: make faults SEED={seed} SECONDS={} TOPOLOGY={topology}{only}", site.seconds);
        println!("the same history again: lockstead-faults check {}", history_path(folder.path()).display());
    }
    Ok(verdict)
}

fn history_path(folder: &Path) -> PathBuf {
    folder.join("history.jsonl")
}

/// Says what a history is worth.
fn judge(lines: &[Line]) -> ExitCode {
    let findings = checker::check(lines);
    println!("\n{}", Summary::of(lines));
    println!("order: {} pairs of waiters could be compared", findings.ordered_pairs);
    if findings.violations.is_empty() {
        println!("no violation");
        return ExitCode::SUCCESS;
    }
    for (number, violation) in findings.violations.iter().enumerate() {
        println!("\nVIOLATION of {}: {}", violation.rule, violation.what);
        if number < report::SHOWN {
            print!("{}", report::timeline(lines, violation));
        }
    }
    println!("\n{} violations", findings.violations.len());
    ExitCode::FAILURE
}
