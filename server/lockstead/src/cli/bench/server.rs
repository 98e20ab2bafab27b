//! The servers that the benchmark starts for itself: the real one, and the echo.

use std::process::{ExitCode, Stdio};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{ChildStdin, Command};
use tonic::transport::server::TcpIncoming;

use super::Failure;
use super::echo::Echo;
use crate::cli::Exit;
use crate::config::{ServeArgs, Settings};
use crate::server::Server;

/// The hidden commands by which this program becomes one of them.
pub(in crate::cli) const SERVER_COMMAND: &str = "bench-server";
pub(in crate::cli) const ECHO_COMMAND: &str = "bench-echo";

/// A server's process. It ends when its standard input does, so it never outlives the benchmark.
pub(super) struct Child {
    process: tokio::process::Child,
    input: ChildStdin,
    pub(super) address: String,
}

impl Child {
    pub(super) async fn start(command: &str) -> Result<Self, Failure> {
        let mut process = Command::new(std::env::current_exe()?);
        let mut process = process.arg(command).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
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

/// The server itself.
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
            match server.run(input_ended()).await {
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

/// The echo: the server that tonic has by itself, with nothing around it.
pub(in crate::cli) async fn echo() -> ExitCode {
    match serve_echo().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lockstead: the echo failed: {error}");
            Exit::Unavailable.into()
        }
    }
}

async fn serve_echo() -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    tonic::transport::Server::builder()
        // Windows as large as those of the real server.
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .add_service(Echo::service())
        .serve_with_incoming_shutdown(incoming, input_ended())
        .await?;
    Ok(())
}

async fn input_ended() {
    let mut rest = Vec::new();
    // Ended or broken: either way nobody is there any more.
    _ = tokio::io::stdin().read_to_end(&mut rest).await;
}
