//! Many sessions on connections of their own: what they cost a server in memory, and in CPU while nothing happens.
//!
//! The sessions are in a process of their own, so that neither it nor the server comes to the limit of open files.

use std::process::Stdio;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use lockstead_client::{Client, Guard};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

use crate::Failure;
use crate::clock::{cpu_nanos_of, nanos, resident_kib_of};
use crate::figures::{Figures, IDLE_CPU, KIB_PER_SESSION, count, real};
use crate::lockstead::serve;

/// So many connect at the same time.
const CONNECT_AT_ONCE: usize = 64;
/// What has just been opened comes to rest first.
const SETTLE: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub(crate) struct HoldArgs {
    url: String,
    sessions: usize,
    locks_each: usize,
}

/// Holds so many locks on so many sessions, says so, and ends when its standard input does.
pub(crate) async fn hold(args: HoldArgs) -> Result<(), Failure> {
    let sessions = stream::iter(0..args.sessions).map(|session| hold_on(&args, session));
    let held: Vec<(Client, Vec<Guard>)> = sessions.buffer_unordered(CONNECT_AT_ONCE).try_collect().await?;
    println!("holding {}", held.len());
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    // All of them are gone at once with the process, which takes less time than many goodbyes.
    std::process::exit(0)
}

async fn hold_on(args: &HoldArgs, session: usize) -> Result<(Client, Vec<Guard>), Failure> {
    let client = Client::connect(&args.url).await?;
    let mut guards = Vec::new();
    for lock in 0..args.locks_each {
        guards.push(client.lock(format!("compare/session/{session}/{lock}")).acquire().await?);
    }
    Ok((client, guards))
}

/// On a server of its own: one that has done other things keeps the memory for it.
pub(crate) async fn measure(sessions: usize, locks_each: usize, idle: Duration) -> Result<Figures, Failure> {
    let server = serve(&[]);
    let empty = resident_kib_of(server.id())?;
    let mut command = Command::new(lockstead_tests::program("lockstead-compare"));
    command.args(["hold", &server.url, &sessions.to_string(), &locks_each.to_string()]).kill_on_drop(true);
    let mut holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let output = holder.stdout.take().ok_or("no output")?;
    BufReader::new(output).lines().next_line().await?.ok_or("the sessions could not be opened")?;
    tokio::time::sleep(SETTLE).await;
    let full = resident_kib_of(server.id())?;
    let (start, cpu) = (nanos(), cpu_nanos_of(server.id())?);
    tokio::time::sleep(idle).await;
    let used = cpu_nanos_of(server.id())?.saturating_sub(cpu);
    let share = real(used) / real(nanos() - start);
    Ok(Figures::from([
        (KIB_PER_SESSION, real(full.saturating_sub(empty)) / count(sessions)),
        (IDLE_CPU, 100.0 * share),
    ]))
}
