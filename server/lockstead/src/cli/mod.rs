//! The command line.

mod bench;
mod client;
mod descendants;
mod exit;
mod lease;
mod ready;
mod run;
mod say;
mod serve;
mod show;
mod token;
mod watchdog;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

pub use exit::Exit;

use crate::config::ServeArgs;
use say::say;

/// Named locks and semaphores for programs on many machines.
///
/// Without a command it serves, so `lockstead` alone is a lock service at 127.0.0.1:7420.
#[derive(Debug, Parser)]
#[command(name = "lockstead", version, args_conflicts_with_subcommands = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    serve: ServeArgs,
}

const AFTER_HELP: &str = "\
Try it:
  lockstead &
  curl -N -X POST localhost:7420/v1/locks/demo/hold      # holds until Ctrl-C
  lockstead run demo -- echo 'mine at last'              # waits for it
  lockstead ls";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve locks over gRPC and HTTP (the default)
    Serve(ServeArgs),
    Run(run::RunArgs),
    Acquire(lease::AcquireArgs),
    Release(lease::ReleaseArgs),
    Ls(show::LsArgs),
    Get(show::GetArgs),
    Ready(ready::ReadyArgs),
    Bench(bench::BenchArgs),
    Token(token::TokenArgs),
    /// Print completions for a shell, to be sourced by it
    Completions {
        /// Which
        shell: clap_complete::Shell,
    },
    #[command(name = watchdog::COMMAND, hide = true)]
    RunWatchdog,
    #[command(name = bench::SERVER_COMMAND, hide = true)]
    BenchServer,
    #[command(name = bench::ECHO_COMMAND, hide = true)]
    BenchEcho,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(told) => {
            // Help and version are no errors. A closed pipe is nobody's loss.
            _ = told.print();
            return if told.use_stderr() { Exit::Usage.into() } else { ExitCode::SUCCESS };
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(format_args!("can't start its threads: {error}"));
            return Exit::Unavailable.into();
        }
    };
    runtime.block_on(async {
        match cli.command.unwrap_or(Command::Serve(cli.serve)) {
            Command::Serve(args) => serve::serve(args).await,
            Command::Run(args) => run::run(args).await,
            Command::Acquire(args) => lease::acquire(args).await,
            Command::Release(args) => lease::release(args).await,
            Command::Ls(args) => show::ls(args).await,
            Command::Get(args) => show::get(args).await,
            Command::Ready(args) => ready::ready(args).await,
            Command::Bench(args) => bench::bench(args).await,
            Command::Token(args) => token::token(&args),
            Command::RunWatchdog => watchdog::watch().await,
            Command::BenchServer => bench::serve().await,
            Command::BenchEcho => bench::echo().await,
            Command::Completions { shell } => {
                clap_complete::generate(shell, &mut Cli::command(), "lockstead", &mut std::io::stdout());
                ExitCode::SUCCESS
            }
        }
    })
}
