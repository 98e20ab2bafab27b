//! A real Redis for a test: on a port of its own, and gone when the test is, however that ends.

use std::net::{TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

use redis::Value;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::PATIENCE;
use crate::daemon::Daemon;

/// A `redis-server`, killed when dropped.
#[derive(Debug)]
pub struct RedisServer {
    port: Port,
    folder: TempDir,
    arguments: Vec<String>,
    running: Option<Daemon>,
}

impl RedisServer {
    /// Starts one that keeps nothing on disk, and returns once it serves.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts one with more arguments, which come last and so win.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start_with(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for Redis");
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut server = Self { port: Port::free(), folder, arguments, running: None };
        server.restart().await;
        server
    }

    /// Starts it again on the same port, after killing it if it still runs: with what it kept on disk (`--appendonly
    /// yes`), else empty.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn restart(&mut self) {
        self.kill();
        let (port, folder) = (self.port().to_string(), self.folder.path().display().to_string());
        let settings = ["--bind", "127.0.0.1", "--port", &port, "--save", "", "--dir", &folder];
        let arguments: Vec<_> = settings.map(str::to_owned).into_iter().chain(self.arguments.iter().cloned()).collect();
        self.running = Some(Daemon::start("redis-server", &arguments, "Ready to accept connections").await);
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// `redis://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// Ends it without a chance to say goodbye.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Sends it a signal, such as STOP and CONT.
    ///
    /// # Panics
    /// If it does not run.
    pub fn signal(&self, signal: Signal) {
        self.running.as_ref().expect("it runs").signal(signal);
    }

    /// Says a command on a connection of its own.
    ///
    /// # Panics
    /// If it does not answer, or by an error.
    pub async fn command(&self, words: &[&str]) -> Value {
        command(&self.url(), words).await
    }
}

/// Says a command to the Redis at a URL, on a connection of its own.
///
/// # Panics
/// If it does not answer, or by an error.
pub async fn command(url: &str, words: &[&str]) -> Value {
    let client = redis::Client::open(url).expect("a URL");
    let patience = Some(PATIENCE);
    let config = redis::AsyncConnectionConfig::new().set_connection_timeout(patience).set_response_timeout(patience);
    let connection = client.get_multiplexed_async_connection_with_config(&config).await;
    let mut connection = connection.unwrap_or_else(|error| panic!("no Redis at {url}: {error}"));
    let mut command = redis::Cmd::new();
    command.arg(words);
    let answer = command.query_async(&mut connection).await;
    answer.unwrap_or_else(|error| panic!("{words:?} at {url}: {error}"))
}

/// A port on 127.0.0.1 that no other test uses, also while nobody listens there: a UDP socket of the same number marks
/// it as taken. Below 22768, so that the bus of a cluster (10,000 above) stays out of the range of outgoing connections.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) number: u16,
    _mark: UdpSocket,
}

impl Port {
    const FIRST: u16 = 10_768;
    const COUNT: u16 = 12_000;

    pub(crate) fn free() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        // Test processes begin at different ports, or they would all try the same ones first.
        let begin = std::process::id().wrapping_mul(97);
        for _ in 0..Self::COUNT {
            let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
            let offset = begin.wrapping_add(step) % u32::from(Self::COUNT);
            let number = Self::FIRST + u16::try_from(offset).expect("it is below the count");
            if let Ok(mark) = UdpSocket::bind(("127.0.0.1", number))
                && TcpListener::bind(("127.0.0.1", number)).is_ok()
                && TcpListener::bind(("127.0.0.1", number + 10_000)).is_ok()
            {
                return Self { number, _mark: mark };
            }
        }
        panic!("no port is free");
    }
}
