//! What tests of several targets share: engines and what they report, and real servers as processes of their own, on free
//! ports.

#![expect(clippy::expect_used, reason = "a test that can't go on has failed")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

mod daemon;
pub mod engines;
pub mod events;
pub mod fixture;
pub mod http2;
mod logged;
mod memory;
mod port;
mod process;
mod proxy;
mod raw_session;
pub mod redis;
mod sweeper;

pub use daemon::Daemon;
pub use logged::Logged;
pub use memory::Memory;
pub use port::Port;
pub use process::Process;
pub use proxy::Proxy;
pub use raw_session::RawSession;
pub use redis::{ClusterSetup, RedisServer, SentinelSetup, TlsFiles, TlsServer};

/// How long a test waits for what must happen, before it gives up. It is no bound on speed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for what no event tells. Awaiting an event is better where there is one.
///
/// # Panics
/// If it does not come true.
pub async fn eventually(what: &str, is_true: impl AsyncFn() -> bool) {
    let come_true = async {
        while !is_true().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, come_true).await.is_ok(), "never came: {what}");
}

/// A server, killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// `http://127.0.0.1:PORT`, or `https://…`.
    pub url: String,
}

impl Server {
    /// Starts a server on a free port, and returns once it listens.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with more flags.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_with(flags: &[&str]) -> Self {
        let mut command = serve();
        command.args(["--listen", "127.0.0.1:0"]).args(flags);
        Self::start_as(command)
    }

    /// Starts a server by a command of the test's own making.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_as(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the server can be started");
        let output = child.stdout.take().expect("its output is piped");
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).expect("it says where it listens");
        let url = line.trim().rsplit(' ').next().unwrap_or_default().to_owned();
        assert!(url.starts_with("http"), "the server said {line:?}");
        Self { child, url }
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        self.url.split_once("://").map_or(self.url.as_str(), |(_, address)| address)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        send_signal(&self.child, signal);
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// If the system does not tell.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("its state can be asked for").is_none()
    }

    /// Returns when it has ended.
    ///
    /// # Panics
    /// If the system does not tell.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("it can be waited for")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// `lockstead serve`, without settings.
///
/// # Panics
/// If it can't be built.
pub fn serve() -> Command {
    let mut command = Command::new(lockstead());
    command.arg("serve").env("RUST_LOG", "warn").stdin(Stdio::null());
    for setting in
        ["CONFIG", "LISTEN", "DRAIN_TIMEOUT", "LOG_FORMAT", "SERVER", "SERVER_LEASE", "LOCK_DIR", "LOCK_FAMILY"]
    {
        command.env_remove(format!("LOCKSTEAD_{setting}"));
    }
    for setting in ["REDIS", "REDIS_CA", "REDIS_MIN_ACKS", "OTLP_ENDPOINT", "TRACE_SAMPLE_RATIO"] {
        command.env_remove(format!("LOCKSTEAD_{setting}"));
    }
    for setting in [
        "ACCESS",
        "INSECURE",
        "MAX_CONNECTIONS",
        "MONITOR_LISTEN",
        "TLS_CERT",
        "TLS_KEY",
        "TLS_CLIENT_CA",
        "TOKEN_FILE",
    ] {
        command.env_remove(format!("LOCKSTEAD_{setting}"));
    }
    // The lock directory of those that name none: not that of a server which this machine may really have.
    command.env("XDG_RUNTIME_DIR", lockstead().with_file_name("test-runtime"));
    command
}

/// The `lockstead` program under test.
///
/// # Panics
/// If it can't be built.
pub fn lockstead() -> PathBuf {
    program("lockstead")
}

/// The program that plays a client which a test kills or stops.
///
/// # Panics
/// If it can't be built.
pub fn test_client() -> PathBuf {
    program("lockstead-test-client")
}

/// A program of this workspace, as its code is now: `cargo test` itself builds only the programs of packages with
/// integration tests, and would let a test run against one of yesterday.
///
/// # Panics
/// If it can't be built.
pub fn program(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(build_programs);
    let this = std::env::current_exe().expect("a program knows where it is");
    let folder = this.parent().expect("a folder");
    // Programs are there; tests are one level below.
    folder.parent().filter(|_| folder.ends_with("deps")).unwrap_or(folder).join(name)
}

/// With the flags of `cargo test --workspace`, so that nothing but the programs themselves is built anew.
fn build_programs() {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--workspace", "--bins", "--examples"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    // What cargo tells this test of its package, build scripts would take for a change of theirs.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            cargo.env_remove(name);
        }
    }
    let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo can be run");
    assert!(built.success(), "the programs under test can't be built");
}

/// Sends a signal to a child process.
///
/// # Panics
/// If there is no such process.
pub fn send_signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process has an id");
    kill_process(pid, signal).expect("the process is there");
}
