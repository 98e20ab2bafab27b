//! A client's process: acquires, holds and gives back, and says on standard output what it sees, until its standard input
//! ends.

mod choice;
mod worker;

use std::io::Write;
use std::time::Duration;

use lockstead_client::{Client, OnDisconnect};
use tokio::io::AsyncReadExt;
use tokio::sync::watch;

use crate::history::{Event, HungOn, Line, Process};
use crate::plan::ClientSite;
pub(crate) use choice::{LOCK_LIMIT, NAMES};
pub(crate) use worker::{Wanted, failure, request};

/// How long a try looks for a server, and how long any short call may take.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// What a client's process is told.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct WorkloadArgs {
    /// Who it is
    pub(crate) process: Process,
    /// Addresses of the servers
    pub(crate) servers: String,
    /// Its part of the plan, as JSON
    pub(crate) site: String,
    /// The servers' lease
    pub(crate) server_lease_ms: u64,
}

pub(crate) async fn main(args: WorkloadArgs) -> Result<(), Box<dyn std::error::Error>> {
    let site: ClientSite = serde_json::from_str(&args.site)?;
    let (end, mut ending) = watch::channel(false);
    tokio::spawn(async move {
        // Ended or broken: either way nobody wants more.
        _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
        end.send_replace(true);
    });
    let client = tokio::select! {
        client = connect(&args.servers, site) => client,
        _ = ending.wait_for(|ending| *ending) => return Ok(()),
    };
    let mut workers = tokio::task::JoinSet::new();
    for number in 0..site.workers {
        let worker = worker::Worker::new(client.clone(), &args, site, number, ending.clone());
        workers.spawn(worker.run());
    }
    workers.join_all().await;
    // If no server is there, what is left ends with the session's timeout.
    _ = client.close().await;
    Ok(())
}

async fn connect(servers: &str, site: ClientSite) -> Client {
    let on_disconnect = if site.sessions == HungOn::Keep { OnDisconnect::Keep } else { OnDisconnect::Release };
    let builder = Client::builder()
        .server(servers)
        .on_disconnect(on_disconnect)
        .session_timeout(Duration::from_millis(site.session_timeout_ms))
        .connect_timeout(CONNECT_TIMEOUT);
    loop {
        // The error is of no interest: the servers may be down just now.
        if let Ok(client) = builder.clone().connect().await {
            return client;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Says what happened. One line is one write, so that what was said before a kill was said whole.
fn say(event: Event) {
    let line = serde_json::to_string(&Line::now(event)).unwrap_or_default();
    if writeln!(std::io::stdout(), "{line}").is_err() {
        // Nobody listens any more.
        std::process::exit(1);
    }
}
