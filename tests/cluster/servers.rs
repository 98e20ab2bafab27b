//! What the tests share: servers over one Redis, and clients that know them all.

use std::time::Duration;

use lockstead_client::{Client, OnDisconnect};
use lockstead_tests::{RedisServer, Server, eventually};

/// Short, so that what ends with it ends soon.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

/// Starts a server over this Redis, and returns once it can serve.
pub(crate) async fn serve(redis: &str) -> Server {
    serve_with(redis, LEASE).await
}

/// Starts a server with another lease, and returns once it can serve.
pub(crate) async fn serve_with(redis: &str, lease: Duration) -> Server {
    let server = start(redis, lease, "127.0.0.1:0");
    until_ready(&server).await;
    server
}

/// Starts a server over this Redis.
pub(crate) fn start(redis: &str, lease: Duration, listen: &str) -> Server {
    let mut command = lockstead_tests::serve();
    command.args(["--redis", redis, "--server-lease", &format!("{}ms", lease.as_millis()), "--listen", listen]);
    Server::start_as(command)
}

/// Two servers over one Redis.
pub(crate) async fn two_servers(redis: &RedisServer) -> [Server; 2] {
    let one_more = || start(&redis.url(), LEASE, "127.0.0.1:0");
    let servers = [one_more(), one_more()];
    for server in &servers {
        until_ready(server).await;
    }
    servers
}

/// Waits until a server can serve.
pub(crate) async fn until_ready(server: &Server) {
    let url = format!("{}/readyz", server.url);
    eventually("the server is ready", || async {
        reqwest::get(&url).await.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
}

/// All addresses, as clients are told them.
pub(crate) fn addresses(servers: &[&Server]) -> String {
    servers.iter().map(|server| server.url.as_str()).collect::<Vec<_>>().join(",")
}

/// A client of these servers, whose holds survive a broken stream.
pub(crate) async fn keeping_client(addresses: &str) -> Client {
    Client::builder().server(addresses).on_disconnect(OnDisconnect::Keep).connect().await.unwrap()
}
