//! Holds a lock around some work, and stops the work if the lock is lost.
//!
//! `cargo run -p lockstead-client --example quickstart`; `LOCKSTEAD_SERVER` says where the server is.

use std::time::Duration;

use lockstead_client::{Client, OnDisconnect};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = std::env::var("LOCKSTEAD_SERVER").unwrap_or_else(|_| "http://127.0.0.1:7420".to_owned());
    let client = Client::builder()
        .server(server)
        .owner("quickstart")
        // A short network cut shall not cost the lock.
        .on_disconnect(OnDisconnect::Keep)
        .connect()
        .await?;

    // Waits for its turn.
    let guard = client.lock("reports/daily").acquire().await?;
    println!("holding {}", guard.name());
    tokio::select! {
        written = write_report(guard.token()) => written?,
        // Somebody else may hold the lock now: what must not happen twice stops here.
        loss = guard.lost() => return Err(loss.into()),
    }
    guard.release().await?;

    // Does not wait. The permit is given back when it goes out of scope.
    match client.semaphore("printers", 4).try_acquire().await? {
        Some(permit) => println!("one of four, with fencing token {}", permit.token()),
        None => println!("all four are in use"),
    }
    client.close().await?;
    Ok(())
}

/// A storage that refuses tokens smaller than the largest it has seen is safe even from a writer that is late.
async fn write_report(token: u64) -> std::io::Result<()> {
    println!("writing the report, with fencing token {token}");
    tokio::time::sleep(Duration::from_millis(100)).await;
    Ok(())
}
