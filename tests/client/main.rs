//! A client that tests kill, stop, continue and cut off. It says on standard output what it sees. Times are microseconds
//! on the clock that all processes of the machine share.

use std::time::Duration;

use clap::Parser;
use lockstead_client::{Client, OnDisconnect};

mod idle;
mod keep;

type Failure = Box<dyn std::error::Error>;

/// What to do until killed
#[derive(Debug, clap::Parser)]
enum Mode {
    /// Hold `kill/0` to `kill/COUNT-1` on one session, and say `holding`
    Hold {
        url: String,
        count: usize,
    },
    /// Hold `pause/mine` on a session with that timeout, wait for `pause/other`, and say what happens
    Watch {
        url: String,
        timeout_ms: u64,
    },
    /// Open that many connections, say `connected`, and keep them without using them
    Idle {
        address: String,
        count: usize,
    },
    Keep(keep::KeepArgs),
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    match Mode::parse() {
        Mode::Hold { url, count } => hold(&url, count).await,
        Mode::Watch { url, timeout_ms } => watch(&url, Duration::from_millis(timeout_ms)).await,
        Mode::Idle { address, count } => idle::idle(&address, count).await,
        Mode::Keep(args) => keep::keep(&args).await,
    }
}

async fn hold(url: &str, count: usize) -> Result<(), Failure> {
    let client = Client::connect(url).await?;
    let mut guards = Vec::new();
    for number in 0..count {
        guards.push(client.lock(format!("kill/{number}")).acquire().await?);
    }
    println!("holding");
    std::future::pending::<()>().await;
    Ok(())
}

async fn watch(url: &str, timeout: Duration) -> Result<(), Failure> {
    let client = Client::builder().server(url).session_timeout(timeout).on_disconnect(OnDisconnect::Keep);
    let client = client.connect().await?;
    let guard = client.lock("pause/mine").acquire().await?;
    println!("held {}", lockstead_client::now().as_micros());
    let waiting = client.lock("pause/other").acquire();
    let ending = guard.lost();
    tokio::pin!(waiting, ending);
    loop {
        // Unbiased, so that whatever the client knows first may come first.
        tokio::select! {
            loss = &mut ending => {
                println!("lost {:?} {}", loss.reason, guard.valid_until().as_micros());
                break;
            }
            granted = &mut waiting => println!("granted {:?}", granted.map(|guard| guard.token())),
            () = tokio::time::sleep(timeout / 50) => {
                let state = if guard.ensure_held().is_ok() { "held" } else { "over" };
                println!("{state} {}", lockstead_client::now().as_micros());
            }
        }
    }
    std::future::pending::<()>().await;
    Ok(())
}
