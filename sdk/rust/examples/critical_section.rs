//! Holds a lock around some work, and stops the work if the lock is lost.
//!
//! `cargo run -p lockstead-client --example critical_section [http://127.0.0.1:7420]`; start it twice to see one wait for
//! the other, and stop the server meanwhile to see the holder notice.

use std::time::Duration;

use lockstead_client::{Client, Guard, OnDisconnect};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:7420".to_owned());
    let client = Client::builder()
        .server(server)
        .owner(format!("critical_section, process {}", std::process::id()))
        // A short network cut shall not cost the lock.
        .on_disconnect(OnDisconnect::Keep)
        .connect()
        .await?;

    println!("waiting for the lock");
    let guard = client.lock("examples/critical-section").acquire().await?;
    println!("holding it, with fencing token {}", guard.token());

    tokio::select! {
        () = work(&guard) => {}
        // Somebody else may hold the lock now: whatever must not happen twice must stop here.
        loss = guard.lost() => return Err(loss.into()),
    }

    guard.release().await?;
    println!("released");
    client.close().await?;
    Ok(())
}

/// Ten steps of a second.
async fn work(guard: &Guard) {
    for step in 1..=10 {
        println!("step {step}; {:?}, good for another {:.1?}", guard.state(), guard.remaining());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
