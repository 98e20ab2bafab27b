//! The server that the benchmark starts for itself: the real one, with an echo beside it.

use std::process::{ExitCode, Stdio};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{ChildStdin, Command};
use tonic::service::Routes;

use super::Failure;
use super::echo::Echo;
use crate::cli::Exit;
use crate::config::{ServeArgs, Settings};
use crate::server::Server;

/// The hidden command by which this program becomes that server.
pub(in crate::cli) const COMMAND: &str = "bench-server";

/// The server's process. It ends when its standard input does, so it never outlives the benchmark.
pub(super) struct Child {
    process: tokio::process::Child,
    input: ChildStdin,
    pub(super) address: String,
}

impl Child {
    pub(super) async fn start() -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(COMMAND).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let input = process.stdin.take().ok_or("no standard input")?;
        let output = process.stdout.take().ok_or("no standard output")?;
        let address = BufReader::new(output).lines().next_line().await?.ok_or("the server ended at once")?;
        Ok(Self { process, input, address })
    }

    pub(super) async fn stop(mut self) {
        drop(self.input);
        // It ends by itself now; its exit code says nothing.
        _ = self.process.wait().await;
    }
}

/// That server.
pub(in crate::cli) async fn serve() -> ExitCode {
    let args = ServeArgs { listen: Some("127.0.0.1:0".to_owned()), ..ServeArgs::default() };
    let server = match Settings::load(args) {
        Ok(settings) => Server::bind(&settings).await,
        Err(error) => {
            eprintln!("lockstead: {error}");
            return Exit::Usage.into();
        }
    };
    match server {
        Ok(server) => {
            println!("http://{}", server.address());
            let echo = Routes::new(Echo::service()).into_axum_router().reset_fallback();
            match server.with_routes(echo).run(input_ended()).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => Exit::Usage.into(),
            }
        }
        Err(error) => {
            eprintln!("lockstead: {error}");
            Exit::Unavailable.into()
        }
    }
}

async fn input_ended() {
    let mut rest = Vec::new();
    // Ended or broken: either way nobody is there any more.
    _ = tokio::io::stdin().read_to_end(&mut rest).await;
}
