//! `lockstead serve`.

use std::io::Write;
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use super::Exit;
use super::say::say;
use crate::config::{ServeArgs, Settings};
use crate::server::Server;
use crate::telemetry::init_logs;

pub(super) async fn serve(args: ServeArgs) -> ExitCode {
    let settings = match Settings::load(args) {
        Ok(settings) => settings,
        Err(error) => {
            say(error);
            return Exit::Usage.into();
        }
    };
    init_logs(settings.log_format);
    raise_descriptor_limit();
    let server = match Server::bind(&settings).await {
        Ok(server) => server,
        Err(error) => {
            let exit = if error.is_of_settings() { Exit::Usage } else { Exit::Unavailable };
            say(error);
            return exit.into();
        }
    };
    // Before anybody knows that it is there, and may want it to end.
    let asked_to_stop = listen_to_signals();
    // On standard output, alone, so that a script that asked for port 0 can read it.
    let address = server.address();
    let scheme = if settings.tls.is_some() { "https" } else { "http" };
    _ = writeln!(std::io::stdout(), "lockstead is listening on {scheme}://{address}");
    if let Some(monitor) = server.monitor_address() {
        _ = writeln!(std::io::stdout(), "probes and metrics are at http://{monitor}");
    }
    if let Err(misconfigured) = server.run(asked_to_stop).await {
        tracing::error!(%misconfigured, "stopped");
        say(misconfigured);
        return Exit::Usage.into();
    }
    tracing::info!("stopped");
    ExitCode::SUCCESS
}

/// Connections and lock files are many descriptors. The limit that a process starts with is low on many systems, for the
/// sake of programs that can't deal with large numbers.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

/// From here on SIGTERM and SIGINT are heard. What it returns is ready when one has come.
fn listen_to_signals() -> impl Future<Output = ()> {
    let signals =
        signal(SignalKind::terminate()).and_then(|terminate| Ok((terminate, signal(SignalKind::interrupt())?)));
    async {
        match signals {
            Ok((mut terminate, mut interrupt)) => {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            }
            Err(error) => {
                tracing::error!(%error, "signals can't be heard; only SIGKILL will stop this server");
                std::future::pending::<()>().await;
            }
        }
    }
}
