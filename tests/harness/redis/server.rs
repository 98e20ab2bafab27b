//! One `redis-server`.

use std::path::Path;

use redis::Value;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::port::Port;

/// A `redis-server`, killed when dropped.
#[derive(Debug)]
pub struct RedisServer {
    program: String,
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
        Self::start_program("redis-server", arguments).await
    }

    /// Starts another program that takes the arguments of `redis-server`.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start_program(program: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for Redis");
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut server = Self { program: program.to_owned(), port: Port::free(), folder, arguments, running: None };
        server.restart().await;
        server
    }

    /// Starts it again on the same port, after killing it if it still runs: with what it kept on disk (`--appendonly
    /// yes`), else empty.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn restart(&mut self) {
        self.run(&[], "Ready to accept connections").await;
    }

    /// Starts it again, and returns while it is still loading what it kept on disk, at so many keys a second.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn restart_slowly(&mut self, keys_per_second: u32) {
        let delay = (1_000_000 / keys_per_second).to_string();
        let slowly = ["--key-load-delay", &delay, "--loading-process-events-interval-bytes", "1024"];
        self.run(&slowly, "Server initialized").await;
    }

    async fn run(&mut self, more: &[&str], ready: &str) {
        self.kill();
        let (port, folder) = (self.port().to_string(), self.folder.path().display().to_string());
        let mut arguments = vec!["--bind", "127.0.0.1", "--port", &port, "--dir", &folder, "--save", ""];
        // A replica gets the data at once; by default Redis waits 5 s for others to come.
        arguments.extend(["--repl-diskless-sync-delay", "0"]);
        arguments.extend(more);
        arguments.extend(self.arguments.iter().map(String::as_str));
        self.running = Some(Daemon::start(&self.program, &arguments, ready).await);
    }

    /// Its process id.
    ///
    /// # Panics
    /// If it was killed.
    pub fn id(&self) -> u32 {
        self.daemon().id()
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

    /// Where it keeps what it keeps.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends it without a chance to say goodbye.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Whether it was started and not killed.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Sends it a signal, such as STOP and CONT.
    ///
    /// # Panics
    /// If it does not run.
    pub fn signal(&self, signal: Signal) {
        self.daemon().signal(signal);
    }

    /// Says a command on a connection of its own.
    ///
    /// # Panics
    /// If it does not answer, or by an error.
    pub async fn command(&self, words: &[&str]) -> Value {
        super::command(&self.url(), words).await
    }

    /// One field of INFO; empty if there is none.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn info(&self, field: &str) -> String {
        let info: String = super::try_command(&self.url(), &["INFO"]).await.expect("it answers INFO");
        let value = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.unwrap_or_default().to_owned()
    }

    /// Returns once it has so many replicas that follow it.
    ///
    /// # Panics
    /// If they take long.
    pub async fn has_replicas(&self, count: usize) {
        super::until("replicas follow", || async { self.replica_count().await >= count }).await;
    }

    /// How many replicas follow it.
    pub(super) async fn replica_count(&self) -> usize {
        let replication: String = super::try_command(&self.url(), &["INFO", "replication"]).await.unwrap_or_default();
        replication.lines().filter(|line| line.starts_with("slave") && line.contains("state=online")).count()
    }

    pub(super) fn daemon(&self) -> &Daemon {
        self.running.as_ref().expect("it runs")
    }
}
