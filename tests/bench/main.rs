//! Lockstead, its peers and its limits side by side, in one run on one machine.
//!
//! Everything is measured in several rounds, and within a round one after the other, so that what the machine does besides
//! hits all alike. Speeds of different machines, and of different runs, do not compare; ratios within a round do.

mod clock;
mod contender;
mod crowd;
mod figures;
mod limits;
mod load;
mod locker;
mod lockstead;
mod peers;
mod plan;
mod report;
mod rounds;
mod scale;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use lockstead_core::duration;

use crate::plan::Plan;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Measures Lockstead beside its peers and its limits, and says which targets are met.
#[derive(Debug, Parser)]
#[command(name = "lockstead-compare", args_conflicts_with_subcommands = true)]
struct Args {
    #[command(flatten)]
    run: RunArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// How often everything is measured
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each measurement takes
    #[arg(long, default_value = "1s", value_parser = duration::parse)]
    time: Duration,
    /// Only these contenders; all unless given
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only the workloads whose names begin like one of these; all unless given
    #[arg(long, value_delimiter = ',')]
    workloads: Vec<String>,
    /// Where result.json, plot.svg and report.md go
    #[arg(long, default_value = "target/compare")]
    out: PathBuf,
    /// Refresh this folder's performance.md, performance.json and performance.svg, too
    #[arg(long)]
    docs: Option<PathBuf>,
    #[command(flatten)]
    plan: Plan,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Takes one lock once, as a process of its own
    #[command(hide = true)]
    Once(crowd::OnceArgs),
    /// Holds locks on many sessions until its standard input ends
    #[command(hide = true)]
    Hold(scale::sessions::HoldArgs),
    /// Fills the memory engine in this process
    #[command(hide = true)]
    Engine(scale::engine::EngineArgs),
}

fn main() -> Result<ExitCode, Failure> {
    let args = Args::parse();
    let mut runtime = match &args.command {
        // A process that takes one lock needs no second thread, and would pay for it.
        Some(Command::Once(_)) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    runtime.enable_all().build()?.block_on(async {
        match args.command {
            None => rounds::run(&args.run).await,
            Some(Command::Once(args)) => crowd::once(args).await,
            Some(Command::Hold(args)) => scale::sessions::hold(args).await,
            Some(Command::Engine(args)) => scale::engine::measure(args).await,
        }
    })?;
    Ok(ExitCode::SUCCESS)
}
