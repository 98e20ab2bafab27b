//! Connections that do nothing but stay.

use lockstead_tests::http2;
use tokio::task::JoinSet;

use crate::Failure;

/// So many connect at a time: the server's queue of connections has its bounds.
const AT_A_TIME: usize = 200;

/// Opens so many HTTP/2 connections, says `connected`, keeps them alive, and says how many were ended by the server.
pub(crate) async fn idle(address: &str, count: usize) -> Result<(), Failure> {
    let mut connections = JoinSet::new();
    while connections.len() < count {
        let some = (connections.len()..count).take(AT_A_TIME).map(|_| http2::connect(address, None));
        for (mut speaker, mut hearer) in futures::future::try_join_all(some).await? {
            connections.spawn(async move { http2::stay_alive(&mut speaker, &mut hearer).await });
        }
        println!("{} connections", connections.len());
    }
    println!("connected");
    while connections.join_next().await.is_some() {
        println!("ended");
    }
    Ok(())
}
