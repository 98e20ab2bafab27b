//! A client that tests kill, stop and continue. It says on standard output what it sees.
//!
//! - `hold URL COUNT`: holds `kill/0` to `kill/COUNT-1` on one session, says `holding`, and stays.
//! - `watch URL TIMEOUT_MS`: holds `pause/mine` on a session with that timeout, waits for `pause/other`, and says what
//!   happens, with the time in microseconds on the clock that all processes of the machine share.

use std::time::Duration;

use lockstead_client::{Client, OnDisconnect};

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["hold", url, count] => hold(url, count.parse()?).await,
        ["watch", url, timeout] => watch(url, Duration::from_millis(timeout.parse()?)).await,
        _ => Err("usage: hold URL COUNT | watch URL TIMEOUT_MS".into()),
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
