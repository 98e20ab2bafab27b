//! The command line.

mod exit;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use exit::Exit;

use crate::config::ServeArgs;

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
            eprintln!("lockstead: can't start its threads: {error}");
            return Exit::Unavailable.into();
        }
    };
    runtime.block_on(async {
        match cli.command.unwrap_or(Command::Serve(cli.serve)) {
            Command::Serve(args) => serve::serve(args).await,
        }
    })
}
